// What a kernel is told to bring back: where the bytes of a checkpoint lie, checked, and what is too damaged to give.
import { appendFileSync, writeFileSync } from "node:fs";
import type { Checkpoint, Covariable, Lost, Piece, RestoreRequest } from "./checkpoints.ts";
import { type CovariableRow, chunksOf, fromRow, sha256 } from "./checksums.ts";
import type { ChunkCheck, PackedChunk, Unchecked } from "./chunk-check.ts";
import type { Statements } from "./statements.ts";

/** `milliseconds` that a plan spends on reading large chunks that were not checked yet, and how many it reads at least. */
const CHECK_MS = 50;
const CHECKED_ALWAYS = 32;
/** Chunks that are checked side by side: as many as small machines have processors. */
const CHECKS = 2;
/** Rows of a group that are asked for one by one; more are quicker asked for together. */
const FEW = 8;

interface ChunkRow {
  name: string;
  size: number;
  /** of bytes that are here and not in a pack: the others' are looked up where they are checked */
  sha256: Buffer | null;
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
  unchecked: Unchecked[];
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

  /** What a kernel is to read that has the groups `held`. Small chunks are written to `smallFile`. */
  async plan(checkpoint: Checkpoint, smallFile: string, held: ReadonlySet<string>): Promise<Plan> {
    const layout = new Layout(smallFile, this.#check);
    const plan: Plan = {
      request: {
        members: [],
        held: checkpoint.members.filter((digest) => held.has(digest)),
        lost: { ...checkpoint.lost },
        tokens: { ...checkpoint.tokens },
        files: layout.files,
      },
      damaged: [],
      nameless: 0,
      unchecked: [],
    };
    const found: { group: Covariable; rows: Map<string, ChunkRow> | undefined }[] = [];
    for (const digest of checkpoint.members) {
      if (held.has(digest)) continue;
      const group = this.covariable(checkpoint.session, digest);
      if (group) found.push({ group, rows: this.#rows(checkpoint.session, group, layout) });
      else plan.nameless += 1;
    }
    await this.#checkSome(found.flatMap(({ rows }) => (rows ? packed(rows) : [])));
    for (const { group, rows } of found) {
      const chunks = rows && packed(rows);
      if (!chunks || chunks.some((chunk) => this.#check.isDamaged(chunk))) {
        plan.damaged.push(...group.names);
        // Process and files have no variable that a placeholder could stand for.
        for (const name of group.names.filter((each) => !each.startsWith("\0"))) {
          plan.request.lost[name] = lostToDamage(checkpoint.cell);
          plan.request.tokens[name] = group.digest;
        }
        continue;
      }
      for (const chunk of chunks)
        if (!this.#check.isTrusted(chunk)) plan.unchecked.push({ chunk, names: group.names });
      const locate = (names: string[]) => joined(names.map((name) => layout.place(rows.get(name)!)));
      const at = { header: locate(group.header), buffers: group.buffers.map(locate) };
      plan.request.members.push({ ...group, at });
    }
    layout.flush();
    return plan;
  }

  /** Rows of all chunks of a group; undefined where one of them is damaged, as far as can be told without reading. */
  #rows(session: string, group: Covariable, layout: Layout): Map<string, ChunkRow> | undefined {
    const names = new Set(chunksOf(group));
    const rows = new Map<string, ChunkRow>();
    for (const row of this.#chunks(session, [...names])) {
      if (row.damaged) return undefined;
      if (row.pack === null) {
        if (row.data!.length !== row.size || !sha256(row.data!).equals(row.sha256!)) {
          this.#quarantine(session, row.name);
          return undefined;
        }
      } else if (layout.lengthOf(row.pack) < row.start! + row.size) {
        this.#check.quarantine({ pack: row.pack, start: row.start! });
        return undefined;
      }
      rows.set(row.name, row);
    }
    return rows.size === names.size ? rows : undefined;
  }

  #chunks(session: string, names: string[]): ChunkRow[] {
    const select =
      "SELECT name, size, sha256, damaged, pack, start, data FROM chunk WHERE session = ? AND name";
    if (names.length > FEW)
      return this.#statements.all<ChunkRow>(
        `${select} IN (SELECT value FROM json_each(?))`,
        session,
        JSON.stringify(names),
      );
    return names.flatMap((name) => this.#statements.get<ChunkRow>(`${select} = ?`, session, name) ?? []);
  }

  /** Reads chunks that were not checked yet, for as long as a plan may take that; what is damaged is taken out of use. */
  async #checkSome(chunks: PackedChunk[]): Promise<void> {
    const deadline = performance.now() + CHECK_MS;
    const due = chunks.filter((chunk) => !this.#check.isTrusted(chunk) && !this.#check.isDamaged(chunk));
    const queue = due.entries();
    const work = async () => {
      for (const [index, chunk] of queue) {
        if (index >= CHECKED_ALWAYS && performance.now() >= deadline) return;
        if (!(await this.#check.isSound(chunk))) this.#check.quarantine(chunk);
      }
    };
    await Promise.all(Array.from({ length: CHECKS }, work));
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

/** Those of a group's chunks that lie in packs. */
function packed(rows: Map<string, ChunkRow>): PackedChunk[] {
  const found: PackedChunk[] = [];
  for (const { pack, start, size } of rows.values())
    if (pack !== null) found.push({ pack, start: start!, size });
  return found;
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
