// Which servers are alive: each holds a lock of its own for as long as it lives, under a random token.
// No process ids: they are reused, and mean nothing across containers.
import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ClocheError } from "../shared/errors.ts";
import { isLocked, takeLock } from "./file-lock.ts";

/** A server's proof of life; ends with its process at the latest. */
export interface Lease extends Disposable {
  /** 32 hex digits */
  readonly token: string;
}

const TOKEN = /^[0-9a-f]{32}$/;

export class Owners {
  readonly #directory: string;
  /** Own leases: testing an own lock through the file would be a question to oneself. */
  readonly #own = new Set<string>();

  /** @param directory exists, mode 0700, shared by all servers of this user */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** A lease under a fresh token. Throws `store.readonly` or `store.full`. */
  lease(): Lease {
    const token = randomBytes(16).toString("hex");
    const lock = takeLock(this.#path(token), 5_000);
    if (!lock)
      throw new ClocheError("store.busy", {
        message: `the lock of this server in ${this.#directory} is held`,
      });
    this.#own.add(token);
    return {
      token,
      [Symbol.dispose]: () => {
        lock.release({ remove: true });
        this.#own.delete(token);
      },
    };
  }

  /** Is the server behind `token` alive? A string that is no token belongs to nobody. */
  isAlive(token: string): boolean {
    return this.#own.has(token) || (TOKEN.test(token) && isLocked(this.#path(token)));
  }

  /** Removes the locks of the dead; returns how many. */
  clean(): number {
    let removed = 0;
    for (const file of readdirSync(this.#directory)) {
      const token = file.replace(/\.lock$/, "");
      if (!file.endsWith(".lock") || !TOKEN.test(token) || this.#own.has(token)) continue;
      const lock = takeLock(join(this.#directory, file));
      if (!lock) continue;
      lock.release({ remove: true });
      removed += 1;
    }
    return removed;
  }

  #path(token: string): string {
    return join(this.#directory, `${token}.lock`);
  }
}
