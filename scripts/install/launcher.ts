// The command `cloche` on the user's path: a few lines of shell that start the clone's build under setup's Node.
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Surroundings } from "../../src/config/surroundings.ts";
import { writeAtomically } from "../../src/shared/atomic-write.ts";
import { ClocheError } from "../../src/shared/errors.ts";

const MARK = "# Starts Cloche. Written by its setup.sh, removed by setup.sh --uninstall.";

/** A client that was started by the desktop lacks what the shell of the set-up had: where state and engine are. */
const CARRIED = [
  "XDG_STATE_HOME",
  "XDG_CONFIG_HOME",
  "DOCKER_HOST",
  "DOCKER_CONTEXT",
  "DOCKER_CONFIG",
  "DOCKER_CERT_PATH",
  "DOCKER_TLS_VERIFY",
];

export interface Program {
  node: string;
  main: string;
}

/** The variables every start of Cloche gets that the set-up had, by name. */
export function carriedEnvironment(env: Surroundings["env"]): Record<string, string> {
  return Object.fromEntries(CARRIED.flatMap((name) => (env[name] ? [[name, env[name]]] : [])));
}

/** Where the launcher goes: ~/.local/bin, or /usr/local/bin for a root whose path has no ~/.local/bin. */
export function launcherPath({ env, home, uid }: Surroundings): string {
  const own = join(home, ".local/bin");
  const onPath = (env.PATH ?? "").split(":").includes(own);
  return join(uid === 0 && !onPath ? "/usr/local/bin" : own, "cloche");
}

/** Writes the launcher. Throws `input.invalid` where a program of that name is not ours. */
export function writeLauncher(path: string, { node, main }: Program, carried: Record<string, string>): void {
  if (existsSync(path) && !isOurs(path)) {
    throw new ClocheError("input.invalid", {
      message: `another program is already at ${path}`,
      hint: "Move it away, then run ./setup.sh again.",
    });
  }
  const defaults = Object.entries(carried).map(
    ([name, value]) => `[ "\${${name}:-}" ] || export ${name}=${word(value)}\n`,
  );
  const text = `#!/bin/sh\n${MARK}\n${defaults.join("")}exec ${word(node)} ${word(main)} "$@"\n`;
  mkdirSync(join(path, ".."), { recursive: true });
  writeAtomically(path, text, 0o755);
  chmodSync(path, 0o755);
}

/** Removes the launcher if it is ours; says whether it did. */
export function removeLauncher(path: string): boolean {
  if (!existsSync(path) || !isOurs(path)) return false;
  rmSync(path);
  return true;
}

function isOurs(path: string): boolean {
  return readFileSync(path, "utf8").includes(MARK);
}

/** `text` as one word of sh. */
function word(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
