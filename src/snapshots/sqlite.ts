// The project's record in SQLite: sessions and who holds them, cells, outputs, images.
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { ClocheError } from "../shared/errors.ts";
import { CheckpointRows } from "./checkpoint-rows.ts";
import { deadPacks } from "./collect.ts";
import { damageOf, openDatabase, suspect } from "./database.ts";
import { type History, readHistory } from "./history.ts";
import type { Owners } from "./lease.ts";
import { type CheckpointOptions, SqliteCheckpoints } from "./sqlite-checkpoints.ts";
import { Statements } from "./statements.ts";
import type { CellImage, CellKind, CellRecord, CellResult, Claim, SessionRecord, Store } from "./store.ts";
import { storeError } from "./store-errors.ts";

const MAX_NAME = 40;

const CELL = `
  SELECT cell.session, cell.cell, kind, code, status, started_at AS startedAt, duration, error,
         coalesce(output.text, '') AS output, coalesce(output.dropped, 0) AS dropped
  FROM cell LEFT JOIN output ON output.session = cell.session AND output.cell = cell.cell
`;

interface SessionRow extends Omit<SessionRecord, "hadState"> {
  hadState: number;
}
const SESSION = `
  SELECT id, name, next_cell AS nextCell, holder, created_at AS createdAt, last_used_at AS lastUsedAt,
         had_state AS hadState
  FROM session
`;

/** Where the states lie, and how much they may take; who writes them, where that is not the server itself. */
export type StateOptions = Pick<CheckpointOptions, "packs" | "loaded" | "cap" | "step"> &
  Partial<Pick<CheckpointOptions, "writer">>;

export class SqliteStore implements Store {
  readonly path: string;
  /** A sentence for the first answer, where the earlier record could not be used. */
  readonly notice: string | undefined;
  readonly #statements: Statements;
  readonly #owners: Owners;
  readonly #token: string;
  #checkpoints: SqliteCheckpoints | undefined;

  /**
   * Opens the record at `path`. A server passes its lease's `token`, so that
   * `cloche forget` sees it. Throws `store.newer`, `store.readonly`, `store.full` or `store.busy`.
   */
  constructor(path: string, owners: Owners, token?: string) {
    const { database, notice } = openDatabase(path, {
      prepare: (opened) => {
        if (token !== undefined) register(new Statements(opened), owners, token);
      },
    });
    this.path = path;
    this.notice = notice;
    this.#statements = new Statements(database);
    this.#owners = owners;
    this.#token = token ?? "";
  }

  claim(name: string, holder: string): Claim {
    return this.#write(() => {
      const again = this.#get<SessionRow>(
        `${SESSION} WHERE holder = ? AND id = (SELECT session FROM claim WHERE holder = ? AND asked = ?)`,
        holder,
        holder,
        name,
      );
      if (again) return { session: toSession(again), displaced: again.name !== name, inherited: false };
      for (let number = 1; ; number += 1) {
        const candidate = numbered(name, number);
        const found = this.#get<SessionRow>(`${SESSION} WHERE name = ?`, candidate);
        const previous = found?.holder ?? null;
        if (previous !== null && previous !== holder && this.#owners.isAlive(previous)) continue;
        const id = found?.id ?? this.#create(candidate);
        this.#run("DELETE FROM claim WHERE session = ? AND holder <> ?", id, holder);
        this.#run("INSERT OR REPLACE INTO claim (holder, asked, session) VALUES (?, ?, ?)", holder, name, id);
        this.#run("UPDATE session SET holder = ?, last_used_at = ? WHERE id = ?", holder, Date.now(), id);
        return {
          session: toSession(this.#get<SessionRow>(`${SESSION} WHERE id = ?`, id)!),
          displaced: candidate !== name,
          inherited: previous !== null && previous !== holder,
        };
      }
    });
  }

  release(session: string, holder: string): void {
    this.#write(() => {
      this.#run("DELETE FROM claim WHERE session = ? AND holder = ?", session, holder);
      this.#run("UPDATE session SET holder = NULL WHERE id = ? AND holder = ?", session, holder);
    });
  }

  remove(name: string): void {
    this.#write(() => {
      const found = this.#get<SessionRow>(`${SESSION} WHERE name = ?`, name);
      if (!found)
        throw new ClocheError("input.invalid", {
          message: `there is no session ${name}`,
          hint: "`cloche sessions` lists them.",
        });
      if (found.holder !== null && this.#owners.isAlive(found.holder))
        throw new ClocheError("store.busy", {
          message: `a running server holds session ${name}`,
          hint: "Close the Claude session or client that uses it, then run this again.",
        });
      this.#run("DELETE FROM session WHERE id = ?", found.id);
    });
    this.#read(() => {
      const packs = join(dirname(this.path), "packs");
      const isAlive = (token: string) => this.#owners.isAlive(token);
      for (const path of deadPacks(this.#statements, packs, isAlive)) rmSync(path, { force: true });
      this.vacuum();
    });
  }

  /** Reads every page; returns the first damage, which whoever opens the file next repairs. */
  check(): string | undefined {
    const found = this.#read(() => damageOf(this.#statements.database));
    if (found !== undefined) suspect(this.path);
    return found;
  }

  /** Writes the file anew without its free pages. */
  vacuum(): void {
    const { database } = this.#statements;
    // A deleted row stays readable in the file's free pages and in the log until both are written anew.
    database.exec("VACUUM");
    database.pragma("wal_checkpoint(TRUNCATE)");
  }

  sessions(): SessionRecord[] {
    return this.#read(() =>
      this.#all<SessionRow>(`${SESSION} ORDER BY last_used_at DESC, name`).map(toSession),
    );
  }

  isAlive(holder: string): boolean {
    return this.#owners.isAlive(holder);
  }

  /** Tokens of the living servers that have this record open. */
  servers(): string[] {
    return this.#read(() => this.#all<{ token: string }>("SELECT token FROM server ORDER BY started_at"))
      .map(({ token }) => token)
      .filter((token) => this.#owners.isAlive(token));
  }

  beginCell(session: string, kind: CellKind, code: string): number {
    return this.#ahead(() => {
      const now = Date.now();
      const begun = this.#get<{ cell: number }>(
        `INSERT INTO cell (session, cell, kind, code, status, started_at, base)
         SELECT id, next_cell, ?, ?, 'running', ?, at_cell FROM session WHERE id = ? RETURNING cell`,
        kind,
        code,
        now,
        session,
      );
      if (!begun)
        throw new ClocheError("store.damaged", {
          message: `the record of this session is gone from ${this.path}`,
          hint: "Restart the client, so that the server opens the project afresh.",
        });
      const { cell } = begun;
      this.#run(
        "UPDATE session SET next_cell = ?, at_cell = ?, had_state = 1, last_used_at = ? WHERE id = ?",
        cell + 1,
        cell,
        now,
        session,
      );
      return cell;
    });
  }

  beganIn(session: string, cell: number, base: number): void {
    this.#write(() => {
      this.#run("UPDATE cell SET base = ? WHERE session = ? AND cell = ?", base, session, cell);
      this.#run("UPDATE session SET at_cell = ? WHERE id = ?", cell, session);
    });
  }

  saveOutput(session: string, cell: number, output: string, dropped: number): void {
    this.#write(() => this.#saveOutput(session, cell, output, dropped));
  }

  endCell(session: string, cell: number, result: CellResult): Promise<void> {
    return this.#soon(() => {
      this.#run(
        "UPDATE cell SET status = ?, duration = ?, error = ? WHERE session = ? AND cell = ?",
        result.status,
        result.duration,
        result.error,
        session,
        cell,
      );
      this.#saveOutput(session, cell, result.output, result.dropped);
      for (const { mime, data, at } of result.images)
        this.#run(
          "INSERT INTO image (session, cell, mime, data, at) VALUES (?, ?, ?, ?, ?)",
          session,
          cell,
          mime,
          data,
          at,
        );
      this.#run("UPDATE session SET last_used_at = ? WHERE id = ?", Date.now(), session);
    });
  }

  cell(session: string, cell: number): CellRecord | undefined {
    return this.#read(() =>
      this.#get<CellRecord>(`${CELL} WHERE cell.session = ? AND cell.cell = ?`, session, cell),
    );
  }

  lastCell(session: string): number {
    const found = this.#read(() =>
      this.#get<{ last: number }>("SELECT next_cell - 1 AS last FROM session WHERE id = ?", session),
    );
    return found?.last ?? 0;
  }

  lostSince(session: string, kept: number, running: number | undefined): string {
    const rows = this.#read(() =>
      this.#all<{ cell: number; status: string }>(
        "SELECT cell, status FROM cell WHERE session = ? AND cell > ? AND cell IS NOT ? ORDER BY cell",
        session,
        kept,
        running ?? null,
      ),
    );
    // Cells run one after another: all but the last have ended, and that one perhaps, a moment before.
    const last = rows.at(-1);
    const cut = last && (last.status === "running" || last.status === "lost") ? last.cell : undefined;
    const ran = rows.map(({ cell }) => cell).filter((cell) => cell !== cut);
    return [
      ...(ran.length > 0
        ? [`what ${ran.length === 1 ? "cell" : "cells"} ${ran.join(", ")} did is not in it`]
        : []),
      ...(cut === undefined ? [] : [`cell ${cut} was running then, or had just ended`]),
    ].join("; ");
  }

  /** The same record's checkpoints, beside it in `packs`. Owned by this store. */
  checkpoints(options: StateOptions): SqliteCheckpoints {
    this.#checkpoints ??= new SqliteCheckpoints({
      writer: this.#token,
      ...options,
      database: this.#statements.database,
      isAlive: (token) => this.#owners.isAlive(token),
    });
    return this.#checkpoints;
  }

  /** What is on record of a session's past. */
  history(session: string): History {
    return this.#read(() => readHistory(this.#statements, session));
  }

  images(session: string, cell: number): CellImage[] {
    return this.#read(() =>
      this.#all<CellImage>(
        "SELECT mime, data, at FROM image WHERE session = ? AND cell = ? ORDER BY id",
        session,
        cell,
      ),
    );
  }

  markEmpty(session: string): CellRecord[] {
    return this.#write(() => {
      const lost = this.#all<CellRecord>(
        `${CELL} WHERE cell.session = ? AND status = 'running' ORDER BY cell.cell`,
        session,
      );
      this.#run("UPDATE cell SET status = 'lost' WHERE session = ? AND status = 'running'", session);
      // It comes back to its head, where it has one.
      this.#run(
        `UPDATE session SET had_state = 0, at_cell = ? WHERE id = ?`,
        new CheckpointRows(this.#statements).headCell(session) ?? 0,
        session,
      );
      return lost.map((cell) => ({ ...cell, status: "lost" as const }));
    });
  }

  [Symbol.dispose](): void {
    this.#checkpoints?.[Symbol.dispose]();
    this.#statements.close();
  }

  #create(name: string): string {
    const id = randomBytes(8).toString("hex");
    const now = Date.now();
    this.#run(
      "INSERT INTO session (id, name, created_at, last_used_at) VALUES (?, ?, ?, ?)",
      id,
      name,
      now,
      now,
    );
    return id;
  }

  #saveOutput(session: string, cell: number, output: string, dropped: number): void {
    this.#run(
      "INSERT OR REPLACE INTO output (session, cell, text, dropped) VALUES (?, ?, ?, ?)",
      session,
      cell,
      output,
      dropped,
    );
  }

  /** One transaction that takes the write lock first, so that what it reads stays true until it commits. */
  #write<T>(work: () => T): T {
    try {
      return this.#statements.atomically(work);
    } catch (cause) {
      throw this.#failure(cause);
    }
  }

  /** A transaction that somebody waits for, while what was put off does not matter to it. */
  #ahead<T>(work: () => T): T {
    try {
      return this.#statements.ahead(work);
    } catch (cause) {
      throw this.#failure(cause);
    }
  }

  /** A transaction that nobody waits for. */
  #soon<T>(work: () => T): Promise<T> {
    return this.#statements.later(work).catch((cause: unknown) => {
      throw this.#failure(cause);
    });
  }

  #read<T>(work: () => T): T {
    try {
      this.#statements.catchUp();
      return work();
    } catch (cause) {
      throw this.#failure(cause);
    }
  }

  #failure(cause: unknown): ClocheError {
    const failure = storeError(cause, this.path);
    if (failure.code === "store.damaged") suspect(this.path);
    return failure;
  }

  #get<Row>(sql: string, ...values: unknown[]): Row | undefined {
    return this.#statements.get<Row>(sql, ...values);
  }

  #all<Row>(sql: string, ...values: unknown[]): Row[] {
    return this.#statements.all<Row>(sql, ...values);
  }

  #run(sql: string, ...values: unknown[]): void {
    this.#statements.run(sql, ...values);
  }
}

/** Puts a server on record, and takes off those that are gone. */
function register(statements: Statements, owners: Owners, token: string): void {
  statements.atomically(() => {
    for (const { token: other } of statements.all<{ token: string }>("SELECT token FROM server"))
      if (!owners.isAlive(other)) statements.run("DELETE FROM server WHERE token = ?", other);
    statements.run("INSERT OR IGNORE INTO server (token, started_at) VALUES (?, ?)", token, Date.now());
  });
}

function toSession(row: SessionRow): SessionRecord {
  return { ...row, hadState: row.hadState === 1 };
}

/** `main`, `main-2`, `main-3`…, never longer than a name may be. */
function numbered(name: string, number: number): string {
  if (number === 1) return name;
  const suffix = `-${number}`;
  return name.slice(0, MAX_NAME - suffix.length) + suffix;
}
