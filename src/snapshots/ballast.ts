// A file that takes a few megabytes for nothing, so that a full disk has room to be cleaned up: deleting rows writes too.
import { closeSync, existsSync, fsyncSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { dirname } from "node:path";

const BALLAST_BYTES = 8 * 1024 * 1024;
/** Free `bytes` without which it is not made: it must not be what fills the disk. */
const LEAST_FREE = 8 * BALLAST_BYTES;

/** Makes the ballast where there is none and the disk has room; a disk that refuses it has none to give. */
export function layBallast(path: string): void {
  if (existsSync(path)) return;
  try {
    const { bavail, bsize } = statfsSync(dirname(path));
    if (bavail * bsize < LEAST_FREE) return;
    const descriptor = openSync(path, "wx", 0o600);
    try {
      // Zeros would do for most file systems; those that compress keep only what cannot be.
      const block = Buffer.alloc(1024 * 1024);
      for (let at = 0; at < block.length; at += 4) block.writeUInt32LE((Math.random() * 2 ** 32) >>> 0, at);
      for (let done = 0; done < BALLAST_BYTES; done += block.length) writeSync(descriptor, block);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch {
    rmSync(path, { force: true });
  }
}

/** Gives its space back. */
export function dropBallast(path: string): void {
  rmSync(path, { force: true });
}
