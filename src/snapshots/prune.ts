// Gives states up: those the person named, or the oldest where the disk cap demands it. Never one that a session is in.
import { setImmediate as breathe } from "node:timers/promises";
import type { Statements } from "./statements.ts";

/** States given up in one transaction. */
const BATCH = 50;

export interface PruneOptions {
  statements: Statements;
  /** a state that a session is just being brought to */
  isPinned(checkpoint: number): boolean;
  step?: (name: string) => void;
}

export class Pruner {
  readonly #options: PruneOptions;

  constructor(options: PruneOptions) {
    this.#options = options;
  }

  /** Gives up these states of a session, but those that it is in or brought to; returns how many. */
  async prune(session: string, checkpoints: readonly number[]): Promise<number> {
    const { statements, step } = this.#options;
    let count = 0;
    for (let start = 0; start < checkpoints.length; start += BATCH) {
      statements.atomically(() => {
        for (const id of checkpoints.slice(start, start + BATCH)) if (this.#give(session, id)) count += 1;
      });
      step?.("pruned");
      await breathe();
    }
    return count;
  }

  /** Gives up the oldest tenth of what these sessions could do without; returns how many states that were. */
  async thin(sessions: readonly string[]): Promise<number> {
    const { statements } = this.#options;
    const spare = statements
      .all<{ id: number; session: string }>(
        "SELECT id, session FROM checkpoint WHERE id NOT IN (SELECT checkpoint FROM head) ORDER BY id",
      )
      .filter(({ session }) => sessions.includes(session));
    let count = 0;
    for (const { id, session } of spare.slice(0, Math.max(5, Math.ceil(spare.length / 10))))
      count += await this.prune(session, [id]);
    return count;
  }

  /** Deletes cells of a session with their outputs and images; those that run stay. */
  async deleteCells(session: string, cells: readonly number[]): Promise<number> {
    const { statements, step } = this.#options;
    let count = 0;
    for (let start = 0; start < cells.length; start += BATCH) {
      statements.atomically(() => {
        for (const cell of cells.slice(start, start + BATCH))
          count += statements.run(
            "DELETE FROM cell WHERE session = ? AND cell = ? AND status <> 'running'",
            session,
            cell,
          ).changes;
      });
      step?.("deleted cells");
      await breathe();
    }
    return count;
  }

  #give(session: string, id: number): boolean {
    const { statements, isPinned } = this.#options;
    if (isPinned(id)) return false;
    const row = statements.get<{ cell: number; parent: number | null }>(
      "SELECT cell, parent FROM checkpoint WHERE id = ? AND session = ? AND id NOT IN (SELECT checkpoint FROM head)",
      id,
      session,
    );
    if (!row) return false;
    // What came after it comes after what came before it now.
    statements.run("UPDATE checkpoint SET parent = ? WHERE parent = ?", row.parent, id);
    statements.run("DELETE FROM checkpoint WHERE id = ?", id);
    // It may have been the state after later cells too, and one of them may have another by now.
    const same = statements.all<{ cell: number }>(
      "SELECT cell FROM cell WHERE session = ? AND state = ?",
      session,
      id,
    );
    for (const { cell } of [row, ...same]) {
      const again = statements.get("SELECT 1 FROM checkpoint WHERE session = ? AND cell = ?", session, cell);
      if (!again) statements.run("INSERT OR REPLACE INTO pruned VALUES (?, ?, ?)", session, cell, Date.now());
    }
    return true;
  }
}
