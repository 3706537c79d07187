// Tells whether a DuckDB file is being written: DuckDB holds a lock on it, and keeps what is not yet in it in a .wal.
import { lstat, readFile } from "node:fs/promises";
import { refused } from "./access.ts";
import { label } from "./label.ts";
import type { SourceFile } from "./source-file.ts";

export function isDuckdb(head: Buffer): boolean {
  return head.subarray(8, 12).toString("latin1") === "DUCK";
}

/** Throws `load.refused` where the file is open for writing or its content is not all in it. */
export async function demandQuietDuckdb(source: SourceFile): Promise<void> {
  const pid = await writer(source);
  if (pid !== undefined) {
    const name = await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "");
    const who = name ? `process ${pid} (${label(name.trim())})` : "another process";
    throw refused(
      source.shown,
      `${who} has the DuckDB database open for writing`,
      "Close it there, then load it again.",
    );
  }
  const log =
    typeof source.real === "string"
      ? `${source.real}.wal`
      : Buffer.concat([source.real, Buffer.from(".wal")]);
  const stat = await lstat(log).catch(() => undefined);
  if (stat && stat.size > 0)
    throw refused(
      source.shown,
      `part of the DuckDB database is still in ${label(log)}`,
      "Open it once with DuckDB and run CHECKPOINT, or close the program that has it open; then load it again.",
    );
}

/** The process that holds a write lock on the file, where the system tells (Linux). */
async function writer(source: SourceFile): Promise<string | undefined> {
  const locks = await readFile("/proc/locks", "utf8").catch(() => "");
  const { dev, ino } = source.identity;
  for (const line of locks.split("\n")) {
    const lock = /: \S+\s+\S+\s+WRITE\s+(-?\d+)\s+([0-9a-f]+):([0-9a-f]+):(\d+)\s/.exec(line);
    if (!lock) continue;
    const [, pid, major = "", minor = "", inode = ""] = lock;
    // Some file systems (btrfs) show another device number in stat than in the table of locks.
    const sameDevice = BigInt(`0x${major}`) === majorOf(dev) && BigInt(`0x${minor}`) === minorOf(dev);
    if (BigInt(inode) === ino && (sameDevice || majorOf(dev) === 0n)) return pid;
  }
  return undefined;
}

const majorOf = (dev: bigint): bigint => ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
const minorOf = (dev: bigint): bigint => (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
