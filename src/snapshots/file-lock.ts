// A lock that the operating system drops the moment its process dies, kill -9 included: SQLite's own lock on an
// empty database. The lock lives on the file's inode, so a lock file must never be opened by other means here:
// closing any descriptor of it would drop the lock.
import { closeSync, existsSync, mkdirSync, openSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { storeError } from "./store-errors.ts";

export interface FileLock extends Disposable {
  readonly path: string;
  /** Gives the lock up and, where asked, removes its file first, so that nobody finds it unlocked. */
  release(options?: { remove?: boolean }): void;
}

/**
 * Takes the lock at `path`, making file and directory, and waits up to `wait` milliseconds for another holder.
 * Undefined when it is still held then. Throws `store.readonly` or `store.full`.
 */
export function takeLock(path: string, wait = 0): FileLock | undefined {
  const deadline = Date.now() + wait;
  for (;;) {
    const before = identity(path, true);
    let database: Database.Database;
    try {
      database = new Database(path, { timeout: Math.max(0, deadline - Date.now()) });
    } catch (cause) {
      throw storeError(cause, path);
    }
    try {
      database.pragma("journal_mode = MEMORY");
      database.exec("BEGIN EXCLUSIVE");
    } catch (cause) {
      database.close();
      if ((cause as { code?: string }).code === "SQLITE_BUSY") return undefined;
      throw storeError(cause, path);
    }
    // A holder may have removed the file while this process waited: then this lock is on a file nobody else sees.
    if (before === identity(path, false)) return lockOn(database, path);
    database.close();
  }
}

/** Which file lies at `path`; made first where asked. Never opens one that exists. */
function identity(path: string, make: boolean): string | undefined {
  try {
    if (make) mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    if (make) closeSync(openSync(path, "wx", 0o600));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw storeError(cause, path);
  }
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found && `${found.dev}:${found.ino}`;
}

function lockOn(database: Database.Database, path: string): FileLock {
  const release = ({ remove = false } = {}) => {
    if (!database.open) return;
    if (remove) rmSync(path, { force: true });
    database.close();
  };
  return { path, release, [Symbol.dispose]: () => release() };
}

/** Does some process hold the lock at `path`? False where there is no file. */
export function isLocked(path: string): boolean {
  if (!existsSync(path)) return false;
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: 0, readonly: true, fileMustExist: true });
    database.pragma("schema_version");
    return false;
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "SQLITE_BUSY") return true;
    if (code === "SQLITE_CANTOPEN" && !existsSync(path)) return false;
    throw storeError(error, path);
  } finally {
    database?.close();
  }
}
