// Checkpoints as rows: written with a sum over all that is in them, read back only where it still fits.
import type { Checkpoint } from "./checkpoints.ts";
import { sha256 } from "./checksums.ts";
import type { Statements } from "./statements.ts";

/** Parts of a checkpoint that are kept as JSON, in the order of their sum. */
const DESCRIBED = ["members", "lost", "tokens", "versions", "data"] as const;
export type Described = (typeof DESCRIBED)[number];
type Row = Omit<Checkpoint, Described> & Record<Described, string> & { sha256: Buffer };

const SELECT =
  "SELECT id, session, parent, cell, at, members, lost, tokens, versions, data, sha256 FROM checkpoint";

export class CheckpointRows {
  readonly #statements: Statements;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  insert(
    session: string,
    parent: number | null,
    cell: number,
    state: Pick<Checkpoint, Described>,
  ): Checkpoint {
    const at = Date.now();
    const texts = DESCRIBED.map((part) => JSON.stringify(state[part]));
    const { lastInsertRowid } = this.#statements.run(
      `INSERT INTO checkpoint (session, parent, cell, at, members, lost, tokens, versions, data, sha256)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      session,
      parent,
      cell,
      at,
      ...texts,
      sha256(texts.join("\n")),
    );
    const { members, lost, tokens, versions, data } = state;
    return {
      id: Number(lastInsertRowid),
      session,
      parent,
      cell,
      at,
      members,
      lost,
      tokens,
      versions,
      data,
    };
  }

  /** The head's id, whatever became of its row. */
  headId(session: string): number | undefined {
    return this.#statements.get<{ id: number }>(
      "SELECT checkpoint AS id FROM head WHERE session = ?",
      session,
    )?.id;
  }

  /** The cell that the session was in when its head was its state: that of the head, or a later one that left it so. */
  headCell(session: string): number | undefined {
    return this.#statements.get<{ cell: number }>(
      `SELECT coalesce(
         (SELECT max(cell.cell) FROM cell JOIN session ON session.id = cell.session
          WHERE cell.session = head.session AND cell.state = head.checkpoint AND cell.cell <= session.at_cell),
         checkpoint.cell) AS cell
       FROM head JOIN checkpoint ON checkpoint.id = head.checkpoint WHERE head.session = ?`,
      session,
    )?.cell;
  }

  /** Says of a cell that it left everything as it is in `checkpoint`. */
  repeat(session: string, cell: number, checkpoint: number): void {
    this.#statements.run(
      "UPDATE cell SET touched = '[]', state = ? WHERE session = ? AND cell = ?",
      checkpoint,
      session,
      cell,
    );
  }

  /** A checkpoint, or the nearest before it that is not damaged; `damaged` are the cells of those passed over. */
  nearest(id: number | undefined): { found: Checkpoint | undefined; damaged: number[] } {
    const damaged: number[] = [];
    let next: number | null | undefined = id;
    while (next !== undefined && next !== null) {
      const row: Row | undefined = this.#statements.get<Row>(`${SELECT} WHERE id = ?`, next);
      if (!row) break;
      const found = parse(row);
      if (found) return { found, damaged };
      damaged.push(row.cell);
      next = row.parent;
    }
    return { found: undefined, damaged };
  }

  /** The latest state after `cell`; "damaged" where its row is. */
  after(session: string, cell: number): Checkpoint | "damaged" | undefined {
    const row = this.#statements.get<Row>(
      `${SELECT} WHERE session = ? AND cell = ? ORDER BY id DESC LIMIT 1`,
      session,
      cell,
    );
    if (row) return parse(row) ?? "damaged";
    const same = this.#statements.get<Row>(
      `${SELECT} WHERE id = (SELECT state FROM cell WHERE session = ? AND cell = ?)`,
      session,
      cell,
    );
    const found = same && parse(same);
    return found ? { ...found, cell } : same && "damaged";
  }
}

function parse(row: Row): Checkpoint | undefined {
  const { sha256: sum, ...rest } = row;
  if (!sha256(DESCRIBED.map((part) => row[part]).join("\n")).equals(sum)) return undefined;
  const parsed = Object.fromEntries(DESCRIBED.map((part) => [part, JSON.parse(row[part])]));
  return { ...rest, ...parsed } as unknown as Checkpoint;
}
