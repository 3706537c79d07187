// Copies a SQLite database so that it is never torn, whatever other programs do to it meanwhile, and so that nothing
// is created beside the original. What of its state lies in a -wal or -journal file decides how.
import { spawn } from "node:child_process";
import { chmod, lstat, mkdir, open, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Access } from "./access.ts";
import { refused } from "./access.ts";
import { type CopyOptions, copyFromDescriptor } from "./copy.ts";
import type { HardLinks } from "./hard-links.ts";
import { SourceFile } from "./source-file.ts";

const MAGIC = "SQLite format 3\0";
const LOOK_MS = 100;

export function isSqlite(head: Buffer): boolean {
  return head.subarray(0, 16).toString("latin1") === MAGIC;
}

/** Is the database in use, or left by a crash, so that its main file alone is not its content? */
export async function hasSideFiles(source: SourceFile): Promise<boolean> {
  return (await size(source, "-wal")) > 0 || (await size(source, "-journal")) > 0;
}

/**
 * Copies the database into the new file `target`, mode 0444, and resolves with its `bytes`; with undefined, and no
 * file, where the database did not stand still. Throws `load.refused` when it is locked or half-finished.
 */
export async function copySqlite(
  source: SourceFile,
  target: string,
  access: Access,
  links: HardLinks,
  options: CopyOptions,
): Promise<number | undefined> {
  const writeAhead = (await source.head(20))[18] === 2;
  const wal = await size(source, "-wal");
  const live = writeAhead ? wal >= 0 && (await size(source, "-shm")) >= 0 : true;
  if (live && typeof source.real === "string") {
    const failure = await backup(source, source.real, target, options);
    if (!failure) return (await lstat(target)).size;
    if (failure === "CLOCHE_MOVED")
      throw refused(source.shown, "it was replaced while it was being opened", "Load it again.");
    if (failure.startsWith("SQLITE_BUSY"))
      throw refused(
        source.shown,
        "another program keeps the database locked",
        "Load it again once that has finished.",
      );
  }
  if ((await size(source, "-journal")) > 0)
    throw refused(
      source.shown,
      "a program died in the middle of a transaction and left a -journal file",
      "Open it once with that program or the sqlite3 shell, which completes or undoes it; then load it again.",
    );
  if (wal > 0) await recover(source, target, access, links, options);
  else {
    await copyFromDescriptor(source.handle, target, options);
    if (writeAhead) await markRollbackMode(target);
  }
  if (await source.unchanged()) return (await lstat(target)).size;
  await rm(target, { force: true });
  return undefined;
}

/** `bytes` of a file beside the database, -1 where there is none. */
async function size(source: SourceFile, suffix: string): Promise<number> {
  const stat = await lstat(beside(source, suffix)).catch(() => undefined);
  return stat?.isFile() ? stat.size : -1;
}

function beside(source: SourceFile, suffix: string): string | Buffer {
  const { real } = source;
  return typeof real === "string" ? real + suffix : Buffer.concat([real, Buffer.from(suffix)]);
}

/** A database whose log nobody has open: both are copied, and the backup of the copy replays the log. */
async function recover(
  source: SourceFile,
  target: string,
  access: Access,
  links: HardLinks,
  options: CopyOptions,
): Promise<void> {
  const directory = `${target}.parts`;
  await mkdir(directory, { mode: 0o700 });
  try {
    await using log = await SourceFile.open(access, links, beside(source, "-wal"), beside(source, "-wal"));
    await copyFromDescriptor(source.handle, `${directory}/db`, options);
    const size = Number(log.identity.size);
    await copyFromDescriptor(log.handle, `${directory}/db-wal`, { ...options, size, onProgress() {} });
    if (!(await log.unchanged()))
      throw refused(source.shown, "it changed while it was being copied", "Load it again.");
    for (const name of ["db", "db-wal"]) await chmod(`${directory}/${name}`, 0o600);
    await using copy = await SourceFile.ours(`${directory}/db`);
    const failure = await backup(copy, `${directory}/db`, target, options);
    if (failure)
      throw refused(
        source.shown,
        `SQLite cannot read it (${failure})`,
        "Open it once with the sqlite3 shell.",
      );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Runs the backup process; resolves with SQLite's error code, or undefined when `target` is complete. */
async function backup(
  source: SourceFile,
  path: string,
  target: string,
  options: CopyOptions,
): Promise<string | undefined> {
  await options.beforeWriting();
  options.signal.throwIfAborted();
  const script = fileURLToPath(new URL(`./sqlite-backup.${import.meta.filename.slice(-2)}`, import.meta.url));
  const child = spawn(process.execPath, [script, path, target], {
    stdio: ["ignore", "pipe", "ignore", source.handle.fd],
    env: {},
  });
  const kill = () => void child.kill("SIGKILL");
  options.signal.addEventListener("abort", kill, { once: true });
  const look = setInterval(async () => {
    const stat = await lstat(target).catch(() => undefined);
    options.onProgress(Math.min(stat?.size ?? 0, options.size));
  }, LOOK_MS);
  let complete = false;
  try {
    let output = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(0, 4096);
    });
    await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
    options.signal.throwIfAborted();
    const result = output === "" ? { code: "the backup process died" } : JSON.parse(output);
    if (!result.ok) return String(result.code);
    await chmod(target, 0o444);
    complete = true;
    return undefined;
  } finally {
    clearInterval(look);
    options.signal.removeEventListener("abort", kill);
    if (!complete) for (const suffix of ["", "-journal"]) await rm(target + suffix, { force: true });
  }
}

/** As in sqlite-backup.ts: a read-only directory cannot hold a database in write-ahead mode. */
async function markRollbackMode(path: string): Promise<void> {
  await chmod(path, 0o600);
  const file = await open(path, "r+");
  try {
    await file.write(Buffer.from([1, 1]), 0, 2, 18);
    await file.chmod(0o444);
  } finally {
    await file.close();
  }
}
