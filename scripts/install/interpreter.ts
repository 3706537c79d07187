// Finds a Python of the system that the bubblewrap sandbox can run: 3.11 to 3.14, with venv, readable by its user.
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

export interface Interpreter {
  /** real path */
  executable: string;
  /** `major.minor.micro` */
  version: string;
  /** its own prefix, such as /usr */
  prefix: string;
}

const NAMES = ["python3", "python3.13", "python3.12", "python3.14", "python3.11"];
const SYSTEM_DIRECTORIES = ["/usr/bin", "/usr/local/bin"];
const PROBE = `
import json, os, sys
import ensurepip, venv
executable = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
print(json.dumps({"executable": executable, "version": "%d.%d.%d" % sys.version_info[:3], "prefix": sys.base_prefix}))
`;

/** The first interpreter that serves, or undefined. As root (`uid` 0) other users must be able to read it too. */
export function findInterpreter(searchPath: string | undefined, uid: number): Interpreter | undefined {
  const directories = [...new Set([...(searchPath ?? "").split(":").filter(Boolean), ...SYSTEM_DIRECTORIES])];
  for (const name of NAMES) {
    for (const directory of directories) {
      const found = probe(join(directory, name));
      if (found && isSupported(found.version) && (uid !== 0 || isPublic(found.executable, found.prefix)))
        return found;
    }
  }
  return undefined;
}

export function isSupported(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major === 3 && minor >= 11 && minor <= 14;
}

function probe(path: string): Interpreter | undefined {
  if (!existsSync(path)) return undefined;
  const result = spawnSync(path, ["-I", "-c", PROBE], { encoding: "utf8", timeout: 10_000 });
  try {
    return JSON.parse(result.stdout) as Interpreter;
  } catch {
    return undefined;
  }
}

/** May every user enter these paths and read what is there? */
export function isPublic(...paths: string[]): boolean {
  return paths.every((path) => {
    for (let at = path; at !== dirname(at); at = dirname(at)) {
      if (((statSync(at).mode ?? 0) & 0o001) === 0) return false;
    }
    return (statSync(path).mode & 0o004) !== 0;
  });
}
