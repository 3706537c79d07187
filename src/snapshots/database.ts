// Opens a project's database file: makes it, checks that it is ours and of our format, sets a damaged one aside.
import { chmodSync, closeSync, existsSync, openSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { ClocheError } from "../shared/errors.ts";
import { type FileLock, takeLock } from "./file-lock.ts";
import { type Salvaged, salvage, setPacksAside } from "./salvage.ts";
import { storeError } from "./store-errors.ts";

/** "CLOC": tells our files from other SQLite databases. */
const APPLICATION_ID = 0x434c4f43;
/** Raised with each file added to schema/; an older record is brought up to it when it is opened. */
const FORMAT = 3;
/** Longest wait for another server's transaction, in `milliseconds`; each lasts well under one. */
const BUSY_TIMEOUT = 5_000;
/** Pages in the log after which it is moved into the database, which waits for the disk: about every 500 small cells. */
const CHECKPOINT_PAGES = 4_000;
/** The log file is cut back to this size, in `bytes`, so that one large output does not keep its space. */
const WAL_SIZE_LIMIT = 16_777_216;

export interface OpenedDatabase {
  database: Database.Database;
  /** a sentence for the person where the file that was there could not be used */
  notice?: string;
}

export interface Opening {
  /** what is done first with a database that opened; damage that it meets is damage of the file */
  prepare?(database: Database.Database): void;
  /** told each step of a migration, for tests that end the process there */
  step?(name: string): void;
}

/**
 * Opens the database at `path`. Throws `store.newer`, `store.readonly`, `store.full` or
 * `store.busy`; a file that is damaged or not ours is renamed and replaced, with what can be saved of it.
 */
export function openDatabase(path: string, opening: Opening = {}): OpenedDatabase {
  using _lock = lockOpening(path);
  try {
    const database = openFile(path, opening);
    rmSync(suspicion(path), { force: true });
    return { database };
  } catch (cause) {
    const failure = storeError(cause, path);
    if (failure.code !== "store.damaged") throw failure;
    const aside = setAside(path);
    const database = openFile(path, opening);
    const saved = salvage(aside, database);
    const packs = setPacksAside(database, join(dirname(path), "packs"), `${aside}.packs`);
    return { database, notice: damageNotice(failure.message, aside, saved, packs) };
  }
}

/** A statement failed on damage: whoever opens the file next looks at all of it. */
export function suspect(path: string): void {
  try {
    closeSync(openSync(suspicion(path), "w", 0o600));
  } catch {
    // On a disk that takes nothing, the next failure says so again.
  }
}

function suspicion(path: string): string {
  return `${path}.suspect`;
}

function damageNotice(message: string, aside: string, saved: Salvaged, packs: number): string {
  const { sessions, cells, states } = saved;
  const kept =
    sessions > 0
      ? `, with what could be read: ${sessions} sessions, ${cells} cells, ${states} states; what else there was of earlier sessions is not in it`
      : ": earlier sessions, cells and outputs are not in it";
  const left =
    packs > 0 ? ` ${packs} files of states that nothing speaks of any more lie in ${aside}.packs.` : "";
  return `The record of this project's sessions was damaged (${message}). It was set aside as ${aside} and a new one was started${kept}.${left}`;
}

/** Servers and `cloche forget` open or remove a record one at a time. */
export function lockOpening(path: string): FileLock {
  const lock = takeLock(join(dirname(path), "open.lock"), BUSY_TIMEOUT);
  if (lock) return lock;
  throw new ClocheError("store.busy", { message: `another server has been opening ${path} for too long` });
}

function openFile(path: string, { prepare, step }: Opening): Database.Database {
  if (existsSync(path)) chmodSync(path, 0o600);
  else closeSync(openSync(path, "wx", 0o600));
  const database = new Database(path, { timeout: BUSY_TIMEOUT });
  try {
    refuseNewer(database, path);
    // Space of what is deleted can be given back in small steps; a file with tables stays as it was made.
    if (database.pragma("page_count", { simple: true }) === 0) database.pragma("auto_vacuum = INCREMENTAL");
    database.pragma("journal_mode = WAL");
    database.pragma("synchronous = NORMAL");
    database.pragma("foreign_keys = ON");
    database.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    database.pragma(`journal_size_limit = ${WAL_SIZE_LIMIT}`);
    checkFormat(database, path, step);
    if (existsSync(suspicion(path))) checkPages(database, path);
    prepare?.(database);
    return database;
  } catch (failure) {
    database.close();
    throw failure;
  }
}

/** Before anything is written, the kind of the journal included. */
function refuseNewer(database: Database.Database, path: string): void {
  const format = database.pragma("user_version", { simple: true }) as number;
  const applicationId = database.pragma("application_id", { simple: true });
  if (applicationId !== APPLICATION_ID || format <= FORMAT) return;
  throw new ClocheError("store.newer", {
    message: `${path} was written by a newer Cloche (format ${format}; this one knows ${FORMAT})`,
  });
}

function checkFormat(database: Database.Database, path: string, step: Opening["step"]): void {
  const tables = tableNames(database);
  const applicationId = database.pragma("application_id", { simple: true });
  const format = database.pragma("user_version", { simple: true }) as number;
  const isNew = tables.length === 0 && applicationId === 0 && format === 0;
  const damaged = (message: string) => new ClocheError("store.damaged", { message });
  if (!isNew && applicationId !== APPLICATION_ID) throw damaged(`${path} is another program's database`);
  for (let step = 1; step <= format; step += 1) {
    const missing = [...schema(step).matchAll(/^CREATE TABLE (\w+)/gm)]
      .map(([, name]) => name!)
      .filter((name) => !tables.includes(name));
    if (missing.length > 0) throw damaged(`${path} lacks ${missing.join(", ")}`);
  }
  if (format === FORMAT) return;
  // All steps or none: whoever is interrupted finds the format it had.
  database.transaction(() => {
    for (let next = format + 1; next <= FORMAT; next += 1) {
      database.exec(schema(next));
      step?.(`format ${next}`);
    }
    database.pragma(`application_id = ${APPLICATION_ID}`);
    database.pragma(`user_version = ${FORMAT}`);
    step?.("migrated");
  })();
}

/** Reads every page and says what is wrong with the first that is damaged. */
export function damageOf(database: Database.Database): string | undefined {
  const found = String(database.pragma("quick_check(1)", { simple: true }));
  return found === "ok"
    ? undefined
    : found.replace("*** in database main ***", "").trim().replace(/\s+/g, " ");
}

function checkPages(database: Database.Database, path: string): void {
  const found = damageOf(database);
  if (found !== undefined)
    throw new ClocheError("store.damaged", { message: `${path} is damaged: ${found}` });
}

/** What leads from the format before to format `step`. */
function schema(step: number): string {
  return readFileSync(join(import.meta.dirname, "schema", `${step}.sql`), "utf8");
}

function tableNames(database: Database.Database): string[] {
  return database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all() as string[];
}

/** Renames the database and its companions; returns the new path. */
function setAside(path: string): string {
  const stamp = new Date().toISOString().replace(/[:.]/g, "-");
  rmSync(suspicion(path), { force: true });
  for (const suffix of ["-wal", "-shm", ""])
    if (existsSync(path + suffix)) renameSync(path + suffix, `${path}.damaged-${stamp}${suffix}`);
  return `${path}.damaged-${stamp}`;
}
