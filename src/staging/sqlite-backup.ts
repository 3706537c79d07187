// A process of its own that copies one SQLite database by SQLite's online backup: `argv` is source and target path,
// descriptor 3 the source as it was opened and allowed. Prints one line of JSON, `{ok}` or `{code, message}`.
// Apart, because SQLite opens by path (what it opened is compared with descriptor 3, which only a process without
// other descriptors can do), because the backup blocks, and because the file may be hostile.
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import Database from "better-sqlite3";

/** How long a lock of another program is waited for, in `milliseconds`. */
const LOCK_WAIT_MS = 15_000;
/** Pages in one step while writers of a rollback-mode database must get their turn: 64 MB of 4 KiB pages. */
const STEP_PAGES = 16_384;
/** After so many restarts (a writer changed the database between two steps) the rest is copied in one step. */
const MAX_RESTARTS = 3;
const ALL_PAGES = 0x7fffffff;

class Failure extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

function openedIsAllowed(): boolean {
  const allowed = fstatSync(3, { bigint: true });
  for (let fd = 4; fd < 64; fd++) {
    try {
      const opened = fstatSync(fd, { bigint: true });
      if (opened.isFile() && opened.ino === allowed.ino && opened.dev === allowed.dev) return true;
    } catch {}
  }
  return false;
}

async function backup(source: string, target: string): Promise<void> {
  const database = new Database(source, { readonly: true, fileMustExist: true, timeout: LOCK_WAIT_MS });
  try {
    if (!openedIsAllowed()) throw new Failure("CLOCHE_MOVED", "the file was replaced");
    let left = Number.POSITIVE_INFINITY;
    let moved = Date.now();
    let restarts = 0;
    const { totalPages } = await database.backup(target, {
      progress({ remainingPages }) {
        if (remainingPages > left) restarts++;
        if (remainingPages !== left) moved = Date.now();
        else if (Date.now() - moved > LOCK_WAIT_MS)
          throw new Failure("SQLITE_BUSY", "the database is locked");
        left = remainingPages;
        return restarts > MAX_RESTARTS ? ALL_PAGES : STEP_PAGES;
      },
    });
    // better-sqlite3 takes a lock that never let it begin for a finished backup of nothing.
    if (totalPages === 0) throw new Failure("SQLITE_BUSY", "the database is locked");
  } finally {
    database.close();
  }
  leaveWriteAheadMode(target);
}

/**
 * Marks a database as one in rollback mode, as `PRAGMA journal_mode=DELETE` does (file format, bytes 18 and 19): one
 * in write-ahead mode cannot be opened in a directory that is read-only.
 */
function leaveWriteAheadMode(path: string): void {
  const file = openSync(path, "r+");
  try {
    const versions = Buffer.alloc(2);
    if (readSync(file, versions, 0, 2, 18) === 2 && versions[0] === 2)
      writeSync(file, Buffer.from([1, 1]), 0, 2, 18);
  } finally {
    closeSync(file);
  }
}

try {
  const [source = "", target = ""] = process.argv.slice(2);
  await backup(source, target);
  console.log(JSON.stringify({ ok: true }));
} catch (error) {
  const { code = "UNKNOWN", message } = error as Failure;
  console.log(JSON.stringify({ code, message }));
}
