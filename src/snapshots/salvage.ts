// What can still be read of a damaged database, row by row around the damage, brought into a new one.
import { existsSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";

export interface Salvaged {
  sessions: number;
  cells: number;
  states: number;
}

/** Parents before those that speak of them; what servers hold is not worth bringing. */
const TABLES = [
  "session",
  "cell",
  "output",
  "image",
  "pack",
  "chunk",
  "covariable",
  "checkpoint",
  "head",
  "pruned",
] as const;
/** Readings of a table that may fail, before the rest of it is given up. */
const MOST_FAILURES = 2_000;

/**
 * Brings what is readable in the file at `damaged` into `database`, which is new. Whole states only: a row whose
 * parents are gone is left out. What its chunks and descriptions hold is compared with their sums when it is used.
 */
export function salvage(damaged: string, database: Database.Database): Salvaged {
  let source: Database.Database;
  try {
    source = new Database(damaged);
  } catch {
    return { sessions: 0, cells: 0, states: 0 };
  }
  try {
    database.pragma("foreign_keys = OFF");
    database.transaction(() => {
      for (const table of TABLES) copyTable(source, database, table);
      mend(database);
    })();
  } finally {
    database.pragma("foreign_keys = ON");
    source.close();
  }
  const count = (table: string) => database.prepare(`SELECT count(*) FROM ${table}`).pluck().get() as number;
  return { sessions: count("session"), cells: count("cell"), states: count("checkpoint") };
}

/** Moves packs that the record does not speak of into `aside`, where no collection removes them. */
export function setPacksAside(database: Database.Database, packs: string, aside: string): number {
  if (!existsSync(packs)) return 0;
  const known = new Set(database.prepare("SELECT file FROM pack").pluck().all() as string[]);
  const lost = readdirSync(packs).filter((name) => name.endsWith(".pack") && !known.has(name));
  if (lost.length > 0) mkdirSync(aside, { recursive: true, mode: 0o700 });
  for (const name of lost) renameSync(join(packs, name), join(aside, name));
  return lost.length;
}

function copyTable(source: Database.Database, target: Database.Database, table: string): void {
  const wanted = columnsOf(target, table);
  const columns = columnsOf(source, table).filter((column) => wanted.includes(column));
  if (columns.length === 0) return;
  const insert = target.prepare(
    `INSERT OR IGNORE INTO ${table} (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`,
  );
  const keep = (row: Record<string, unknown>) => {
    try {
      insert.run(columns.map((column) => row[column]));
    } catch {
      // A value of another type than the column's: the row is part of the damage.
    }
  };
  const hasRowid = !/WITHOUT ROWID/.test(String(sqlOf(target, table)));
  if (hasRowid) readRanges(source, table, columns, keep);
  else readPlain(source, table, columns, keep);
}

function readPlain(
  source: Database.Database,
  table: string,
  columns: string[],
  keep: (row: Record<string, unknown>) => void,
): void {
  for (const order of ["ASC", "DESC"])
    try {
      const rows = source.prepare(`SELECT ${columns.join(", ")} FROM ${table} ORDER BY 1 ${order}`).iterate();
      for (const row of rows) keep(row as Record<string, unknown>);
      return;
    } catch {
      // From the other end, up to the damage.
    }
}

/** Reads ranges of row ids, and halves those that fail until the damage is passed by. */
function readRanges(
  source: Database.Database,
  table: string,
  columns: string[],
  keep: (row: Record<string, unknown>) => void,
): void {
  const last = lastRowid(source, table);
  const statement = source.prepare(
    `SELECT rowid AS salvaged_rowid, ${columns.join(", ")} FROM ${table} NOT INDEXED WHERE rowid BETWEEN ? AND ? ORDER BY rowid`,
  );
  const ranges: [number, number][] = [[1, last]];
  for (let failures = 0; failures < MOST_FAILURES; ) {
    const range = ranges.pop();
    if (!range) return;
    let [from] = range;
    const [, to] = range;
    if (from > to) continue;
    try {
      for (const row of statement.iterate(from, to) as Iterable<Record<string, unknown>>) {
        keep(row);
        from = (row.salvaged_rowid as number) + 1;
      }
    } catch {
      failures += 1;
      if (from >= to) continue;
      const middle = Math.floor((from + to) / 2);
      ranges.push([middle + 1, to], [from, middle]);
    }
  }
}

/** The largest row id; where even that cannot be read, as many as anybody would have. */
function lastRowid(source: Database.Database, table: string): number {
  try {
    return (source.prepare(`SELECT max(rowid) FROM ${table}`).pluck().get() as number | null) ?? 0;
  } catch {
    return 1_000_000;
  }
}

/** Leaves out what speaks of rows that are gone, and gives each session without a head its latest state. */
function mend(database: Database.Database): void {
  // A session whose own row is gone has lost its name, not its cells.
  database.exec(`
    INSERT INTO session (id, name, created_at, last_used_at)
      SELECT session, 'saved-' || lower(substr(session, 1, 8)), min(started_at), max(started_at) FROM cell
      WHERE session NOT IN (SELECT id FROM session) GROUP BY session
  `);
  for (let round = 0; round < TABLES.length; round += 1) {
    const broken = database.pragma("foreign_key_check") as {
      table: string;
      rowid: number | null;
      parent: string;
    }[];
    if (broken.length === 0) break;
    for (const { table, rowid, parent } of broken) {
      if (table === "checkpoint" && parent === "checkpoint")
        database.prepare("UPDATE checkpoint SET parent = NULL WHERE rowid = ?").run(rowid);
      else if (rowid !== null) database.prepare(`DELETE FROM ${table} WHERE rowid = ?`).run(rowid);
      else if (table === "head")
        database.exec("DELETE FROM head WHERE checkpoint NOT IN (SELECT id FROM checkpoint)");
      else database.exec(`DELETE FROM ${table} WHERE session NOT IN (SELECT id FROM session)`);
    }
  }
  database.exec(`
    DELETE FROM head WHERE session NOT IN (SELECT id FROM session);
    INSERT OR IGNORE INTO head SELECT session, max(id) FROM checkpoint GROUP BY session;
    UPDATE cell SET status = 'lost' WHERE status = 'running';
    UPDATE session SET holder = NULL,
      next_cell = max(next_cell, 1 + coalesce((SELECT max(cell) FROM cell WHERE cell.session = session.id), 0));
  `);
}

function columnsOf(database: Database.Database, table: string): string[] {
  try {
    return (database.pragma(`table_info(${table})`) as { name: string }[]).map(({ name }) => name);
  } catch {
    return [];
  }
}

function sqlOf(database: Database.Database, table: string): unknown {
  return database.prepare("SELECT sql FROM sqlite_master WHERE name = ?").pluck().get(table);
}
