// Published files in a directory of the project, `cloche-out` by default. A file appears there whole, under its name,
// or not at all; what is there already is never touched, and no link leads the bytes elsewhere.
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, link, lstat, mkdir, open, readdir, realpath, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { deferred } from "../shared/async.ts";
import { amount, DISK_RESERVE, freeBytes } from "../shared/disk-space.ts";
import { ClocheError } from "../shared/errors.ts";
import { freeName, plainFileName } from "./file-name.ts";
import type { Artifact, ArtifactStore } from "./store.ts";

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_DIRECTORY } = constants;

const DEFAULT_MAX_BYTES = 10 * 1024 ** 3;
/** How often the room left is asked for while a file grows, in `bytes`. */
const ASK_ROOM_BYTES = 64 * 1024 * 1024;
const PARTIAL = /^\.cloche-[0-9a-f]{16}\.partial$/;
/** A partial file this old belongs to a server that died, in `milliseconds`. */
const STALE_MS = 24 * 3_600_000;

export interface DirectoryStoreOptions {
  /** real path of the project directory */
  project: string;
  /** plain name of the directory in it, made when first needed */
  output: string;
  /** largest file taken, in `bytes` */
  maxBytes?: number;
  /** room that stays free on the disk, in `bytes` */
  reserve?: number;
}

/** The output directory as it was opened: every name in it is resolved from there, not from its path. */
interface Opened {
  handle: FileHandle;
  at(name: string): string;
}

export class DirectoryStore implements ArtifactStore {
  private readonly project: string;
  private readonly directory: string;
  private readonly maxBytes: number;
  private readonly reserve: number;

  constructor(options: DirectoryStoreOptions) {
    this.project = options.project;
    this.directory = join(options.project, options.output);
    this.maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
    this.reserve = options.reserve ?? DISK_RESERVE;
  }

  async put(name: string, body: AsyncIterable<Buffer>, signal: AbortSignal): Promise<Artifact> {
    signal.throwIfAborted();
    const plain = plainFileName(name);
    const opened = await this.open();
    try {
      await this.demandFree(opened, plain);
      await removeStale(opened);
      const partial = opened.at(`.cloche-${randomBytes(8).toString("hex")}.partial`);
      try {
        const bytes = await this.write(partial, body, signal);
        await this.reveal(opened, partial, plain);
        await opened.handle.sync();
        return { path: join(this.directory, plain), bytes };
      } finally {
        await rm(partial, { force: true });
      }
    } catch (error) {
      throw this.readable(error);
    } finally {
      await opened.handle.close();
    }
  }

  private async open(): Promise<Opened> {
    try {
      await mkdir(this.directory).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "EEXIST") throw error;
      });
      const handle = await open(this.directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      const base = process.platform === "linux" ? `/proc/self/fd/${handle.fd}` : this.directory;
      const real = await realpath(base);
      if (real === this.directory) return { handle, at: (name) => `${base}/${name}` };
      await handle.close();
      throw this.refused("its real place is elsewhere");
    } catch (error) {
      throw this.readable(error);
    }
  }

  private async demandFree(opened: Opened, name: string): Promise<void> {
    const taken = async (candidate: string) =>
      (await lstat(opened.at(candidate)).catch(() => undefined)) !== undefined;
    if (!(await taken(name))) return;
    const free = await freeName(name, taken);
    throw new ClocheError("publish.exists", {
      message: `${join(this.directory, name)} exists, and publish never replaces a file`,
      hint: `Publish it under another name; "${free}" is free.`,
      data: { free },
    });
  }

  private async write(path: string, body: AsyncIterable<Buffer>, signal: AbortSignal): Promise<number> {
    // The mode is what the person's umask makes of it, as with any file they save.
    const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644);
    try {
      let bytes = 0;
      let asked = -ASK_ROOM_BYTES;
      for await (const piece of until(signal, body)) {
        if (bytes + piece.length > this.maxBytes)
          throw new ClocheError("publish.refused", {
            message: `the file is larger than ${amount(this.maxBytes)}, the most that is published`,
            hint: "Publish it in parts, or compress it.",
          });
        if (bytes - asked >= ASK_ROOM_BYTES) {
          asked = bytes;
          if ((await freeBytes(this.project)) < this.reserve + piece.length) throw this.full();
        }
        for (let done = 0; done < piece.length; )
          done += (await file.write(piece, done, piece.length - done, bytes + done)).bytesWritten;
        bytes += piece.length;
      }
      signal.throwIfAborted();
      await file.sync();
      return bytes;
    } finally {
      await file.close();
    }
  }

  /** Gives the finished file its name, where nothing else has taken that meanwhile. */
  private async reveal(opened: Opened, partial: string, name: string): Promise<void> {
    try {
      await link(partial, opened.at(name));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EEXIST") await this.demandFree(opened, name);
      if (code !== "EPERM" && code !== "ENOTSUP" && code !== "EOPNOTSUPP" && code !== "ENOSYS") throw error;
      // A file system without hard links: the name is taken by an empty file of ours, which is then replaced.
      await (await open(opened.at(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)).close();
      await rename(partial, opened.at(name));
    }
  }

  private readable(error: unknown): unknown {
    switch ((error as NodeJS.ErrnoException).code) {
      case "ENOSPC":
      case "EDQUOT":
        return this.full();
      case "ELOOP":
      case "ENOTDIR":
        return this.refused("it is a link or a file, not a directory");
      case "EACCES":
      case "EPERM":
      case "EROFS":
        return this.refused("the system denies writing to it");
      case "ENOENT":
        return this.refused("it was removed meanwhile, or the project directory is gone");
      default:
        return error;
    }
  }

  private refused(why: string): ClocheError {
    return new ClocheError("publish.refused", {
      message: `nothing can be published to ${this.directory}: ${why}`,
      hint: "Ask the person to put that right, then publish again.",
    });
  }

  private full(): ClocheError {
    return new ClocheError("store.full", {
      message: `the disk of ${this.project} is too full for this file, so nothing was published`,
      hint: "Ask the person to free disk space, or publish a smaller file.",
    });
  }
}

/** The pieces of `body`; throws the signal's reason at once, also while a piece is being waited for. */
async function* until(signal: AbortSignal, body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const pieces = body[Symbol.asyncIterator]();
  const aborted = deferred<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    signal.throwIfAborted();
    for (;;) {
      const next = await Promise.race([pieces.next(), aborted.promise]);
      if (next.done) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", abort);
    // Not awaited: what waits for a piece that never comes would not answer.
    void pieces.return?.().catch(() => {});
  }
}

async function removeStale(opened: Opened): Promise<void> {
  for (const name of await readdir(opened.at("."))) {
    if (!PARTIAL.test(name)) continue;
    const stat = await lstat(opened.at(name)).catch(() => undefined);
    if (stat && Date.now() - stat.mtimeMs > STALE_MS) await rm(opened.at(name), { force: true });
  }
}
