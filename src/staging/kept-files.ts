// Files that sessions loaded, kept for as long as a stored state speaks of them: hard links to the staged copies, so
// that they cost nothing and outlive the sandbox.
import { linkSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

export class KeptFiles {
  readonly directory: string;
  /** inode → name here */
  private readonly known = new Map<string, string>();

  /** `directory` exists, on the file system of the staging directories. */
  constructor(directory: string) {
    this.directory = directory;
  }

  /** Keeps every file of a staging directory. Returns name there → name here. Throws as the file system does. */
  keep(staging: string): Record<string, string> {
    const data = join(staging, "data");
    const kept: Record<string, string> = {};
    for (const name of listed(data)) kept[name] = this.link(join(data, name));
    return kept;
  }

  /** Where a kept file lies on the host. */
  path(name: string): string {
    return join(this.directory, name);
  }

  /** A file has one link here, named by its inode unless that name is taken by another. */
  private link(path: string): string {
    const { ino } = statSync(path, { bigint: true });
    const key = String(ino);
    const known = this.known.get(key);
    if (known !== undefined && inodeOf(this.path(known)) === ino) return known;
    for (let attempt = 0; ; attempt++) {
      const name = attempt === 0 ? key : `${key}-${attempt}`;
      const there = inodeOf(this.path(name));
      if (there !== undefined && there !== ino) continue;
      if (there === undefined) linkSync(path, this.path(name));
      this.known.set(key, name);
      return name;
    }
  }
}

function listed(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function inodeOf(path: string): bigint | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
}
