// What a session has sent and may name: chunks and groups of variables, each session's own.
import { type CovariableRow, chunksOf, toRow } from "./checksums.ts";
import type { Planner } from "./restore-plan.ts";
import type { Statements } from "./statements.ts";

export class Holdings {
  readonly #statements: Statements;
  readonly #planner: Planner;

  constructor(statements: Statements, planner: Planner) {
    this.#statements = statements;
    this.#planner = planner;
  }

  /** A group that is there stays as it is: a kernel cannot rewrite what an earlier state means. */
  insertGroup(session: string, { digest, description, sha256: sum, bytes }: CovariableRow): void {
    const insert = (how: "IGNORE" | "REPLACE") =>
      this.#statements.run(
        `INSERT OR ${how} INTO covariable (session, digest, description, sha256, bytes) VALUES (?, ?, ?, ?, ?)`,
        session,
        digest,
        description,
        sum,
        bytes,
      ).changes > 0;
    if (!insert("IGNORE") && !this.#planner.covariable(session, digest)) insert("REPLACE");
  }

  copyGroup(from: string, digest: string, to: string): void {
    const group = this.#planner.covariable(from, digest);
    if (!group) return;
    this.#statements.run(
      `INSERT OR IGNORE INTO chunk (session, name, sha256, size, damaged, pack, start, data)
       SELECT ?, name, sha256, size, damaged, pack, start, data FROM chunk
       WHERE session = ? AND name IN (SELECT value FROM json_each(?))`,
      to,
      from,
      JSON.stringify(chunksOf(group)),
    );
    this.insertGroup(to, toRow(group));
  }

  has(session: string, name: string): boolean {
    return (
      this.#statements.get(
        "SELECT 1 FROM chunk WHERE session = ? AND name = ? AND damaged = 0",
        session,
        name,
      ) !== undefined
    );
  }

  hasGroup(session: string, digest: string): boolean {
    return (
      this.#statements.get("SELECT 1 FROM covariable WHERE session = ? AND digest = ?", session, digest) !==
      undefined
    );
  }
}
