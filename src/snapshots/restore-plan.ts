// What a kernel is told to bring back: where the bytes of a checkpoint lie, checked, and what is too damaged to give.
import { appendFileSync, writeFileSync } from "node:fs";
import type { Checkpoint, Covariable, Lost, Piece, RestoreRequest } from "./checkpoints.ts";
import { type CovariableRow, fromRow, sha256 } from "./checksums.ts";
import type { ChunkCheck, PackedChunk } from "./chunk-check.ts";
import type { Statements } from "./statements.ts";

/** `milliseconds` that a plan spends on reading large chunks that were not checked yet. */
const CHECK_MS = 100;

interface ChunkRow {
  size: number;
  sha256: Buffer;
  damaged: number;
  pack: number | null;
  start: number | null;
  data: Buffer | null;
}

export interface Plan {
  request: RestoreRequest;
  /** names in groups that could not be given */
  damaged: string[];
  /** groups of which not even the names are known */
  nameless: number;
  /** large chunks that are given out without having been checked, with the variables they are part of */
  unchecked: { chunk: PackedChunk; names: string[] }[];
}

export class Planner {
  readonly #statements: Statements;
  readonly #check: ChunkCheck;

  constructor(statements: Statements, check: ChunkCheck) {
    this.#statements = statements;
    this.#check = check;
  }

  /** A group of a session; undefined where its row is missing or damaged. */
  covariable(session: string, digest: string): Covariable | undefined {
    const row = this.#statements.get<CovariableRow>(
      "SELECT digest, description, sha256, bytes FROM covariable WHERE session = ? AND digest = ?",
      session,
      digest,
    );
    return row && fromRow(row);
  }

  /** Small chunks are written to `smallFile`. */
  plan(checkpoint: Checkpoint, smallFile: string): Plan {
    const layout = new Layout(smallFile, this.#check);
    const plan: Plan = {
      request: {
        members: [],
        lost: { ...checkpoint.lost },
        tokens: { ...checkpoint.tokens },
        files: layout.files,
      },
      damaged: [],
      nameless: 0,
      unchecked: [],
    };
    const deadline = performance.now() + CHECK_MS;
    for (const digest of checkpoint.members) {
      const group = this.covariable(checkpoint.session, digest);
      if (!group) {
        plan.nameless += 1;
        continue;
      }
      const rows = this.#soundChunks(checkpoint.session, group, deadline, layout, plan);
      if (!rows) {
        plan.damaged.push(...group.names);
        // Process and files have no variable that a placeholder could stand for.
        for (const name of group.names.filter((each) => !each.startsWith("\0"))) {
          plan.request.lost[name] = lostToDamage(checkpoint.cell);
          plan.request.tokens[name] = group.digest;
        }
        continue;
      }
      const locate = (names: string[]) => joined(names.map((name) => layout.place(rows.get(name)!)));
      const at = { header: locate(group.header), buffers: group.buffers.map(locate) };
      plan.request.members.push({ ...group, at });
    }
    layout.flush();
    return plan;
  }

  /** Rows of all chunks of a group; undefined where one of them is damaged. */
  #soundChunks(
    session: string,
    group: Covariable,
    deadline: number,
    layout: Layout,
    plan: Plan,
  ): Map<string, ChunkRow> | undefined {
    const rows = new Map<string, ChunkRow>();
    const unchecked: Plan["unchecked"] = [];
    for (const name of [...group.header, ...group.buffers.flat()]) {
      if (rows.has(name)) continue;
      const row = this.#statements.get<ChunkRow>(
        "SELECT size, sha256, damaged, pack, start, data FROM chunk WHERE session = ? AND name = ?",
        session,
        name,
      );
      if (!row || row.damaged) return undefined;
      if (row.pack === null) {
        if (row.data!.length !== row.size || !sha256(row.data!).equals(row.sha256)) {
          this.#quarantine(session, name);
          return undefined;
        }
      } else {
        const chunk = { pack: row.pack, start: row.start!, size: row.size, sha256: row.sha256 };
        if (this.#check.isDamaged(chunk)) return undefined;
        const within = layout.lengthOf(row.pack) >= chunk.start + chunk.size;
        const early = performance.now() < deadline;
        const sound = within && (this.#check.isTrusted(chunk) || !early || this.#check.isSound(chunk));
        if (!sound) {
          this.#check.quarantine(chunk);
          return undefined;
        }
        if (!this.#check.isTrusted(chunk)) unchecked.push({ chunk, names: group.names });
      }
      rows.set(name, row);
    }
    plan.unchecked.push(...unchecked);
    return rows;
  }

  #quarantine(session: string, name: string): void {
    try {
      this.#statements.run("UPDATE chunk SET damaged = 1 WHERE session = ? AND name = ?", session, name);
    } catch {
      // On a full disk: it is found again whenever it is read.
    }
  }
}

/** The files a request speaks of. */
class Layout {
  readonly files: string[] = [];
  readonly #smallFile: string;
  readonly #check: ChunkCheck;
  readonly #packs = new Map<number, number>();
  readonly #lengths = new Map<number, number>();
  #small: number | undefined;
  #smallBytes = 0;
  #waiting: Buffer[] = [];

  constructor(smallFile: string, check: ChunkCheck) {
    this.#smallFile = smallFile;
    this.#check = check;
  }

  lengthOf(pack: number): number {
    let length = this.#lengths.get(pack);
    if (length === undefined) {
      length = this.#check.length(pack) ?? 0;
      this.#lengths.set(pack, length);
    }
    return length;
  }

  place({ pack, start, size, data }: ChunkRow): Piece {
    if (pack === null) {
      if (this.#small === undefined) {
        this.#small = this.files.push(this.#smallFile) - 1;
        writeFileSync(this.#smallFile, "", { mode: 0o644 });
      }
      this.#waiting.push(data!);
      if (this.#waiting.length > 1_000) this.flush();
      this.#smallBytes += size;
      return [this.#small, this.#smallBytes - size, size];
    }
    let index = this.#packs.get(pack);
    if (index === undefined) {
      index = this.files.push(this.#check.path(pack)!) - 1;
      this.#packs.set(pack, index);
    }
    return [index, start!, size];
  }

  flush(): void {
    if (this.#waiting.length > 0) appendFileSync(this.#smallFile, Buffer.concat(this.#waiting));
    this.#waiting = [];
  }
}

function lostToDamage(cell: number): Lost {
  return {
    type: "value",
    reason: `its bytes on disk are damaged in the state after cell ${cell}; run the cell that made it again`,
    cell: 0,
  };
}

/** Pieces that follow one another in a file become one, so that they can be mapped as one. */
function joined(pieces: Piece[]): Piece[] {
  const made: Piece[] = [];
  for (const [file, offset, length] of pieces) {
    const last = made.at(-1);
    if (last && last[0] === file && last[1] + last[2] === offset) last[2] += length;
    else made.push([file, offset, length]);
  }
  return made;
}
