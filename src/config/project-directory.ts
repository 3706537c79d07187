// Which directory is the project: sessions, state and loads belong to it.
import { realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { ClocheError } from "../shared/errors.ts";
import { isWithin } from "./roots.ts";
import type { Surroundings } from "./surroundings.ts";

export interface ProjectDirectory {
  /** real path */
  path: string;
  origin: string;
  warnings: string[];
}

/**
 * The flag wins over CLAUDE_PROJECT_DIR: it was written for this one call or registration, while the variable is
 * whatever the client happens to have open. `mayBeGone` lets a directory pass that was deleted. Throws
 * `config.invalid`.
 */
export function resolveProject(
  flag: string | undefined,
  { env, cwd, home }: Surroundings,
  mayBeGone = false,
): ProjectDirectory {
  const [given, origin] =
    flag !== undefined
      ? [flag, "--project"]
      : env.CLAUDE_PROJECT_DIR
        ? [env.CLAUDE_PROJECT_DIR, "environment CLAUDE_PROJECT_DIR"]
        : [cwd, "working directory"];
  const refuse = (why: string, cause?: unknown) =>
    new ClocheError("config.invalid", {
      message: `the project directory ${JSON.stringify(given)} (${origin}) ${why}`,
      hint: "Name one with --project DIR, or start Cloche in it.",
      cause,
    });
  if (given === "") throw refuse("is empty");
  let path: string;
  try {
    path = realpathSync(resolve(cwd, given));
  } catch (cause) {
    const gone = (cause as NodeJS.ErrnoException).code === "ENOENT";
    if (gone && mayBeGone) return { path: realPathOfGone(resolve(cwd, given)), origin, warnings: [] };
    throw refuse(gone ? "does not exist" : "cannot be read", cause);
  }
  if (!statSync(path).isDirectory()) throw refuse("is not a directory");
  if (path === "/") throw refuse("is the whole file system");
  if (!isWithin(home, path)) return { path, origin, warnings: [] };
  const wide = path === home ? "your home directory" : `${path}, which holds your home directory`;
  return {
    path,
    origin,
    warnings: [
      `The project directory is ${wide}: load may read all of it but keys and credentials. --project names a smaller one.`,
    ],
  };
}

/** What the real path of a deleted directory was, as far as its parents are still there. */
function realPathOfGone(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return join(realPathOfGone(dirname(path)), basename(path));
  }
}
