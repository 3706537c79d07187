// Hard links: a second name tells nothing of the first, so a file with several names is compared with the files of
// the places where secrets usually lie. Best effort: making such a link takes code that already runs as the person.
import { lstat, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Access } from "./access.ts";
import type { HostPath } from "./label.ts";

/** Entries looked at in one directory. */
const MAX_ENTRIES = 500;

const PLACES = [
  "",
  ".ssh",
  ".gnupg",
  ".aws",
  ".azure",
  ".kube",
  ".docker",
  ".config",
  ".config/gcloud",
  ".config/gh",
  ".config/cloche",
  ".config/git",
  ".cargo",
  ".m2",
  ".claude",
];

/** Knows the denied files of the home directory, the project and the roots; made for one load. */
export class HardLinks {
  private readonly access: Access;
  private readonly seen = new Map<string, Promise<Set<string>>>();

  constructor(access: Access) {
    this.access = access;
  }

  /** Is this file also known by a denied name in one of those places, or beside `real`? */
  async leadsToDenied(file: { dev: bigint; ino: bigint }, real: HostPath): Promise<boolean> {
    const homes = PLACES.map((place) => join(this.access.home, place));
    for (const directory of [...homes, ...this.access.roots(), dirname(real.toString())]) {
      const denied = this.seen.get(directory) ?? this.deniedIn(directory);
      this.seen.set(directory, denied);
      if ((await denied).has(`${file.dev}:${file.ino}`)) return true;
    }
    return false;
  }

  private async deniedIn(directory: string): Promise<Set<string>> {
    const found = new Set<string>();
    const names = await readdir(directory).catch(() => []);
    for (const name of names.slice(0, MAX_ENTRIES)) {
      const path = join(directory, name);
      if (!this.access.denied(path)) continue;
      const stat = await lstat(path, { bigint: true }).catch(() => undefined);
      if (stat) found.add(`${stat.dev}:${stat.ino}`);
    }
    return found;
  }
}
