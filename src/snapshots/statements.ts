// A database with its prepared statements, and the kinds of transactions that the record uses.
import { closeSync, fdatasync, openSync } from "node:fs";
import { promisify } from "node:util";
import type Database from "better-sqlite3";

const datasync = promisify(fdatasync);

export class Statements {
  readonly database: Database.Database;
  #log: number | undefined;
  readonly #prepared = new Map<string, Database.Statement>();
  /** Made once, because making one takes longer than a small write. */
  readonly #transaction: Database.Transaction<(work: () => unknown) => unknown>;

  constructor(database: Database.Database) {
    this.database = database;
    this.#transaction = database.transaction((work) => work());
  }

  run(sql: string, ...values: unknown[]): Database.RunResult {
    return this.#prepare(sql).run(...values);
  }

  get<Row>(sql: string, ...values: unknown[]): Row | undefined {
    return this.#prepare(sql).get(...values) as Row | undefined;
  }

  all<Row>(sql: string, ...values: unknown[]): Row[] {
    return this.#prepare(sql).all(...values) as Row[];
  }

  /** A transaction that takes the write lock first, so that what it reads stays true until it commits. */
  atomically<T>(work: () => T): T {
    return this.#transaction.immediate(work) as T;
  }

  /**
   * Resolves once every transaction so far survives the loss of power. The log is synced beside the event loop, which
   * serves calls meanwhile; SQLite itself would hold it up for as long as the disk takes.
   */
  async flush(): Promise<void> {
    // Only the log: a descriptor of the database itself would give up SQLite's locks when it is closed.
    this.#log ??= openSync(`${this.database.name}-wal`, "r+");
    await datasync(this.#log);
  }

  /** A transaction that survives the loss of power when it returns. */
  durably<T>(work: () => T): T {
    this.database.pragma("synchronous = FULL");
    try {
      return this.atomically(work);
    } finally {
      this.database.pragma("synchronous = NORMAL");
    }
  }

  close(): void {
    if (this.#log !== undefined) closeSync(this.#log);
    this.#log = undefined;
    this.database.close();
  }

  #prepare(sql: string): Database.Statement {
    let statement = this.#prepared.get(sql);
    if (!statement) {
      statement = this.database.prepare(sql);
      this.#prepared.set(sql, statement);
    }
    return statement;
  }
}
