// A database with its prepared statements, and the kinds of transactions that the record uses.
import { closeSync, fdatasync, openSync } from "node:fs";
import { promisify } from "node:util";
import type Database from "better-sqlite3";
import { type Deferred, deferred } from "../shared/async.ts";

const datasync = promisify(fdatasync);

/** `milliseconds` that a write which nobody waits for may stay in memory. */
const LATER_MS = 2;

interface Later {
  work: () => unknown;
  done: Deferred<unknown>;
}

export class Statements {
  readonly database: Database.Database;
  #later: Later[] = [];
  #timer: NodeJS.Timeout | undefined;
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

  /**
   * A transaction that takes the write lock first, so that what it reads stays true until it commits. What was put off
   * is done before `work`, and is kept where that fails.
   */
  atomically<T>(work: () => T): T {
    if (this.#later.length === 0 || this.database.inTransaction)
      return this.#transaction.immediate(work) as T;
    const due = this.#later;
    let tell: (() => void)[] = [];
    try {
      const result = this.#transaction.immediate(() => {
        tell = this.#doEach(due);
        return work();
      }) as T;
      this.#forget(due);
      for (const say of tell) say();
      return result;
    } catch (error) {
      this.catchUp();
      throw error;
    }
  }

  /** Such a transaction that does not wait for what comes `later`, which then follows it at once. */
  ahead<T>(work: () => T): T {
    if (this.#later.length > 0) setImmediate(() => this.catchUp());
    return this.#transaction.immediate(work) as T;
  }

  /**
   * Does `work` in a transaction within milliseconds, together with what else was put off: for what the record should
   * have soon and no answer waits for. A failure of one is its own.
   */
  later<T>(work: () => T): Promise<T> {
    const done = deferred<unknown>();
    this.#later.push({ work, done });
    this.#timer ??= setTimeout(() => this.catchUp(), LATER_MS);
    return done.promise as Promise<T>;
  }

  /** Does now what was put off. */
  catchUp(): void {
    if (this.#later.length === 0 || this.database.inTransaction) return;
    const due = this.#later;
    this.#forget(due);
    let tell: (() => void)[] = [];
    try {
      this.#transaction.immediate(() => {
        tell = this.#doEach(due);
      });
    } catch (error) {
      tell = due.map(
        ({ done }) =>
          () =>
            done.reject(error),
      );
    }
    for (const say of tell) say();
  }

  #forget(due: readonly Later[]): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#later = this.#later.slice(due.length);
  }

  /** Does each within a transaction, in a part of its own; what to tell those who wait, once that is committed. */
  #doEach(due: readonly Later[]): (() => void)[] {
    return due.map(({ work, done }) => {
      try {
        const result = this.#transaction(work);
        return () => done.resolve(result);
      } catch (error) {
        // A full disk takes the whole transaction back, and then every part of it failed.
        if (!this.database.inTransaction) throw error;
        return () => done.reject(error);
      }
    });
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
    this.catchUp();
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
