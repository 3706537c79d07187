// A database with its prepared statements, and the kinds of transactions that the record uses.
import type Database from "better-sqlite3";

export class Statements {
  readonly database: Database.Database;
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

  /** One that survives the loss of power. */
  durably<T>(work: () => T): T {
    this.database.pragma("synchronous = FULL");
    try {
      return this.atomically(work);
    } finally {
      this.database.pragma("synchronous = NORMAL");
    }
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
