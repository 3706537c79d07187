// Where a command of the system is.
import { accessSync, constants, statSync } from "node:fs";
import { join } from "node:path";

/** Path of the first executable file `command` on `searchPath` (directories with colons between), or undefined. */
export function findCommand(command: string, searchPath: string | undefined): string | undefined {
  for (const directory of (searchPath ?? "").split(":").filter(Boolean)) {
    const path = join(directory, command);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // not in this directory
    }
  }
  return undefined;
}
