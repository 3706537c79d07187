// What is on record of a session's past, for people: its cells with what each touched, and the states that are kept.

import type { Statements } from "./statements.ts";
import type { CellKind, CellStatus } from "./store.ts";

/** A cell without its output. */
export interface PastCell {
  cell: number;
  kind: CellKind;
  code: string;
  status: CellStatus;
  /** milliseconds since the epoch */
  startedAt: number;
  /** `milliseconds`, once it ended */
  duration: number | null;
  error: string | null;
  /** the cell whose state it began in; null where that was not recorded */
  base: number | null;
  /** variables it made or changed; null where its state was not kept */
  touched: string[] | null;
  /** its state is kept */
  kept: boolean;
  images: number;
}

/** A kept state. */
export interface PastState {
  id: number;
  cell: number;
  /** milliseconds since the epoch */
  at: number;
  isHead: boolean;
}

export interface History {
  /** in the order they ran */
  cells: PastCell[];
  /** in the order they were made */
  states: PastState[];
  /** the cell whose state the session is in; 0 where it is empty */
  at: number;
  /** of which session it began as a copy, and after which cell of that */
  forked?: { from: string; cell: number };
  /** `bytes` of what is kept: states, with what is shared with a fork, and outputs */
  bytes: { states: number; outputs: number };
}

type CellRow = Omit<PastCell, "touched" | "kept"> & { touched: string | null; kept: number };

export function readHistory(statements: Statements, session: string): History {
  const place = statements.get<{ at: number; from: string | null; cell: number | null }>(
    "SELECT at_cell AS at, forked_from AS 'from', forked_cell AS cell FROM session WHERE id = ?",
    session,
  );
  const cells = statements.all<CellRow>(
    `SELECT cell, kind, code, status, started_at AS startedAt, duration, error, base, touched,
       EXISTS (SELECT 1 FROM checkpoint WHERE session = cell.session AND checkpoint.cell = cell.cell)
         OR EXISTS (SELECT 1 FROM checkpoint WHERE id = cell.state) AS kept,
       (SELECT count(*) FROM image WHERE session = cell.session AND image.cell = cell.cell) AS images
     FROM cell WHERE session = ? ORDER BY cell`,
    session,
  );
  const states = statements.all<Omit<PastState, "isHead"> & { isHead: number }>(
    `SELECT id, cell, at, id IN (SELECT checkpoint FROM head) AS isHead FROM checkpoint WHERE session = ? ORDER BY id`,
    session,
  );
  const sum = (sql: string) => statements.get<{ bytes: number | null }>(sql, session)?.bytes ?? 0;
  return {
    cells: cells.map((row) => ({
      ...row,
      touched: row.touched === null ? null : (JSON.parse(row.touched) as string[]),
      kept: row.kept === 1,
    })),
    states: states.map((row) => ({ ...row, isHead: row.isHead === 1 })),
    at: place?.at ?? 0,
    ...(place?.from ? { forked: { from: place.from, cell: place.cell ?? 0 } } : {}),
    bytes: {
      states: sum("SELECT sum(size) AS bytes FROM chunk WHERE session = ?"),
      outputs:
        sum("SELECT sum(length(text)) AS bytes FROM output WHERE session = ?") +
        sum("SELECT sum(length(data)) AS bytes FROM image WHERE session = ?"),
    },
  };
}
