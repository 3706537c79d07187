// A file of large chunks: only ever appended to, page-aligned so that a kernel can map what lies in it.
import { closeSync, fdatasync, fstatSync, mkdirSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";

const PAGE = 4_096;
const datasync = promisify(fdatasync);

export class Pack implements Disposable {
  readonly #descriptor: number;
  #end: number;
  #unsynced = false;
  #syncing = 0;
  #closed = false;

  /** Opens or makes the file; what lies in it stays, and new chunks follow. Readable to the sandbox's user. */
  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#descriptor = openSync(path, "a+", 0o644);
    this.#end = fstatSync(this.#descriptor).size;
  }

  /** `bytes` */
  get size(): number {
    return this.#end;
  }

  get isUnsynced(): boolean {
    return this.#unsynced;
  }

  /** Appends a chunk and returns where it starts, in `bytes`. What was written before a failure is never named. */
  append(data: Uint8Array): number {
    const start = Math.ceil(this.#end / PAGE) * PAGE;
    const gap = start - this.#end;
    if (gap > 0) this.#write(Buffer.alloc(gap));
    this.#write(data);
    this.#unsynced = true;
    return start;
  }

  /** Resolves once everything that was appended survives the loss of power. */
  async sync(): Promise<void> {
    if (!this.#unsynced) return;
    this.#unsynced = false;
    this.#syncing += 1;
    try {
      await datasync(this.#descriptor);
    } catch (error) {
      this.#unsynced = true;
      throw error;
    } finally {
      this.#syncing -= 1;
      if (this.#closed && this.#syncing === 0) closeSync(this.#descriptor);
    }
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    // A number that is closed under a sync may be another file's by then.
    if (this.#syncing === 0) closeSync(this.#descriptor);
  }

  #write(data: Uint8Array): void {
    for (let done = 0; done < data.length; ) {
      const written = writeSync(this.#descriptor, data, done, data.length - done);
      done += written;
      this.#end += written;
    }
  }
}
