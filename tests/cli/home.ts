// A person's home, project and settings in a fresh directory, and the real program run there in its own process.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveConfig } from "../../src/config/config.ts";
import type { Paths } from "../../src/config/paths.ts";

export const MAIN = join(import.meta.dirname, "../../src/main.ts");

export interface Home {
  /** holds all of it; whoever made it removes it */
  base: string;
  project: string;
  env: Record<string, string>;
  paths: Paths;
}

export function makeHome(): Home {
  const base = realpathSync(mkdtempSync(join(tmpdir(), "cloche-cli-")));
  const project = join(base, "project");
  const home = join(base, "home");
  for (const directory of [project, home]) mkdirSync(directory);
  const env = {
    PATH: process.env.PATH ?? "",
    HOME: home,
    XDG_STATE_HOME: join(base, "state"),
    XDG_CONFIG_HOME: join(base, "config"),
  };
  const { paths } = resolveConfig(
    { project },
    { env, cwd: project, home, uid: process.getuid!(), memory: 2 ** 34, cpus: 4 },
  );
  return { base, project, env, paths };
}

/** Runs the program in the project, with these variables over its own. */
export function runCloche({ project, env }: Home, args: string[], more: Record<string, string> = {}) {
  const run = spawnSync(process.execPath, [MAIN, ...args], {
    cwd: project,
    env: { ...env, ...more },
    encoding: "utf8",
    input: "",
  });
  return { code: run.status, out: run.stdout, err: run.stderr };
}
