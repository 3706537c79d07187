// How much room a disk has, and amounts of bytes in words.
import { statfs } from "node:fs/promises";

/** What is left free for everything else, in `bytes`. */
export const DISK_RESERVE = 256 * 1024 * 1024;

/** `bytes` that the file system of `directory` has for us. */
export async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

/** A number of bytes for a sentence: `4.1 GB`. */
export function amount(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  if (bytes === 1) return "1 byte";
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
