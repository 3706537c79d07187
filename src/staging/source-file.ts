// An opened source: a regular file whose descriptor, not only whose path, was found to be allowed. Everything that
// is read afterwards is read from the descriptor, so that a link swapped in later changes nothing.
import { constants } from "node:fs";
import { type FileHandle, lstat, open, readlink, realpath } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { type Access, kindOf, refused } from "./access.ts";
import type { HardLinks } from "./hard-links.ts";
import type { HostPath } from "./label.ts";

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;

/** Clock steps of file times, in `nanoseconds`: two writes closer than this may leave the same mtime. */
const TIME_STEP_NS = 20_000_000n;

/** What must stay the same for two readings to be of one and the same content. */
export interface Identity {
  dev: bigint;
  ino: bigint;
  size: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
}

export function sameIdentity(a: Identity, b: Identity): boolean {
  return identityKey(a) === identityKey(b);
}

export function identityKey({ dev, ino, size, mtimeNs, ctimeNs }: Identity): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(":");
}

export class SourceFile implements AsyncDisposable {
  readonly handle: FileHandle;
  readonly identity: Identity;
  /** where the descriptor really leads; a name, to be used only for messages and files beside it */
  readonly real: HostPath;
  readonly shown: HostPath;

  private constructor(handle: FileHandle, identity: Identity, real: HostPath, shown: HostPath) {
    this.handle = handle;
    this.identity = identity;
    this.real = real;
    this.shown = shown;
  }

  /** Opens the real path; throws `load.refused` for anything but an allowed regular file. `shown` is for messages. */
  static async open(access: Access, links: HardLinks, path: HostPath, shown: HostPath): Promise<SourceFile> {
    let handle: FileHandle | undefined;
    try {
      // Opening a device or FIFO can have effects, so it is not even tried; what was swapped in since is caught below.
      const before = await lstat(path);
      if (!before.isFile())
        throw refused(shown, `it is ${kindOf(before)}, not a regular file`, "Load a regular file.");
      handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
      const stat = await settled(handle);
      if (!stat.isFile())
        throw refused(shown, `it is ${kindOf(stat)}, not a regular file`, "Load a regular file.");
      const real = await whereabouts(handle, path, stat);
      if (real === undefined)
        throw refused(shown, "it was replaced while it was being opened", "Load it again.");
      access.demand(real, shown);
      if (stat.nlink > 1n && (await links.leadsToDenied(stat, real)))
        throw refused(
          shown,
          "it is another name (a hard link) of a file that is never loaded",
          "Load another file.",
        );
      return new SourceFile(handle, stat, real, shown);
    } catch (error) {
      await handle?.close();
      throw readable(error, shown);
    }
  }

  /** A file of Cloche's own, which no policy has to allow. */
  static async ours(path: string): Promise<SourceFile> {
    const handle = await open(path, O_RDONLY | O_NOFOLLOW);
    return new SourceFile(handle, await handle.stat({ bigint: true }), path, path);
  }

  /** Is the content still that of the moment it was opened? */
  async unchanged(): Promise<boolean> {
    return sameIdentity(this.identity, await this.handle.stat({ bigint: true }));
  }

  /** The first `length` bytes, or fewer; leaves the descriptor's own position alone. */
  async head(length: number): Promise<Buffer> {
    const { buffer, bytesRead } = await this.handle.read(Buffer.alloc(length), 0, length, 0);
    return buffer.subarray(0, bytesRead);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.handle.close();
  }
}

/** The descriptor's state, taken late enough that any later write gives the file another time. */
async function settled(handle: FileHandle) {
  const stat = await handle.stat({ bigint: true });
  const age = BigInt(Date.now()) * 1_000_000n - stat.mtimeNs;
  if (age < 0n || age > TIME_STEP_NS) return stat;
  await sleep(Number(TIME_STEP_NS / 1_000_000n));
  return handle.stat({ bigint: true });
}

/** The path the descriptor leads to; undefined where it cannot be told, because the name was swapped. */
async function whereabouts(handle: FileHandle, path: HostPath, stat: Identity & { nlink: bigint }) {
  if (stat.nlink === 0n) return undefined;
  if (process.platform === "linux")
    return keep(await readlink(`/proc/self/fd/${handle.fd}`, { encoding: "buffer" }));
  const real = keep(await realpath(path, { encoding: "buffer" }));
  const there = await lstat(real, { bigint: true });
  return there.ino === stat.ino && there.dev === stat.dev ? real : undefined;
}

/** Bytes as text where that loses nothing. */
export function keep(bytes: Buffer): HostPath {
  const text = bytes.toString();
  return Buffer.from(text).equals(bytes) ? text : bytes;
}

function readable(error: unknown, shown: HostPath): unknown {
  switch ((error as NodeJS.ErrnoException).code) {
    case "EACCES":
    case "EPERM":
      return refused(shown, "the system denies permission", "Change its permissions, or load a copy.");
    case "ELOOP":
    case "ENOENT":
    case "ENOTDIR":
      return refused(shown, "it was replaced while it was being opened", "Load it again.");
    case "ENXIO":
      return refused(shown, "it is not a regular file", "Load a regular file.");
    default:
      return isSystemError(error) ? refused(shown, `the system cannot read it (${error.code})`) : error;
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return typeof (error as NodeJS.ErrnoException).errno === "number";
}
