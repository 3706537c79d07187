// Checkpoints in the project's record: manifests and small chunks in SQLite, large chunks in packs beside it.
import { createHash, randomBytes } from "node:crypto";
import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type Database from "better-sqlite3";
import { ClocheError } from "../shared/errors.ts";
import type {
  Checkpoint,
  CheckpointStore,
  Covariable,
  LoadedFiles,
  Manifest,
  Piece,
  RestoreRequest,
} from "./checkpoints.ts";
import { Pack } from "./pack.ts";
import { storeError } from "./store-errors.ts";

/** Chunks of at least so many `bytes` go to a pack; SQLite's own advice puts the border at about 100 KB. */
const PACKED_BYTES = 65_536;
/** A pack that is longer than this is followed by another, so that collection frees space in steps, in `bytes`. */
const PACK_BYTES = 4 * 1024 ** 3;

interface Added {
  name: string;
  sha256: Buffer;
  size: number;
  pack: number | null;
  start: number | null;
  data: Uint8Array | null;
}

interface OpenPack {
  id: number;
  file: Pack;
  bytes: number;
}

interface ChunkRow {
  size: number;
  pack: number | null;
  start: number | null;
  data: Buffer | null;
}

/** Parts of a checkpoint that are kept as JSON. */
type Described = "members" | "lost" | "tokens" | "versions" | "data";
type CheckpointRow = Omit<Checkpoint, Described> & Record<Described, string>;

const CHECKPOINT =
  "SELECT id, session, parent, cell, at, members, lost, tokens, versions, data FROM checkpoint";

export class SqliteCheckpoints implements CheckpointStore, Disposable {
  readonly #database: Database.Database;
  readonly #directory: string;
  readonly #statements = new Map<string, Database.Statement>();
  readonly #pending = new Map<string, Map<string, Added>>();
  readonly #packs = new Map<string, OpenPack>();
  /** the latest commit of each session: states are written in the order of their cells */
  readonly #turns = new Map<string, Promise<unknown>>();

  /** Packs lie in `directory`, on the file system of the staging directories, so that they can be linked there. */
  constructor(database: Database.Database, directory: string) {
    this.#database = database;
    this.#directory = directory;
  }

  addChunk(session: string, name: string, data: Uint8Array): void {
    const pending = this.#pendingOf(session);
    if (pending.has(name) || this.#has(session, name)) return;
    const sha256 = createHash("sha256").update(data).digest();
    const common = { name, sha256, size: data.length };
    this.#guard(() => {
      if (data.length < PACKED_BYTES) {
        pending.set(name, { ...common, pack: null, start: null, data: Buffer.from(data) });
        return;
      }
      const pack = this.#packOf(session);
      const start = pack.file.append(data);
      pack.bytes = start + data.length;
      pending.set(name, { ...common, pack: pack.id, start, data: null });
    });
  }

  async commit(session: string, cell: number, manifest: Manifest, data: LoadedFiles): Promise<Checkpoint> {
    // Taken now: what comes after belongs to the next state, and a kernel that dies takes nothing of this one with it.
    const added = this.#pendingOf(session);
    this.#pending.delete(session);
    const before = this.#turns.get(session) ?? Promise.resolve();
    const written = before.then(async () => {
      await this.#packs.get(session)?.file.sync();
      return this.#guard(() =>
        this.#durably(() => this.#insert(session, cell, { ...manifest, data }, added)),
      );
    });
    this.#turns.set(
      session,
      written.catch(() => {}),
    );
    try {
      return await written;
    } catch (error) {
      throw storeError(error, this.#directory);
    }
  }

  abandon(session: string): void {
    this.#pending.delete(session);
  }

  head(session: string): Checkpoint | undefined {
    const row = this.#get<CheckpointRow>(
      `${CHECKPOINT} WHERE id = (SELECT checkpoint FROM head WHERE session = ?)`,
      session,
    );
    return row && toCheckpoint(row);
  }

  after(session: string, cell: number): Checkpoint | undefined {
    const row = this.#get<CheckpointRow>(
      `${CHECKPOINT} WHERE session = ? AND cell = ? ORDER BY id DESC LIMIT 1`,
      session,
      cell,
    );
    return row && toCheckpoint(row);
  }

  moveHead(session: string, checkpoint: Checkpoint | null): void {
    this.#guard(() => {
      if (checkpoint) this.#run("INSERT OR REPLACE INTO head VALUES (?, ?)", session, checkpoint.id);
      else this.#run("DELETE FROM head WHERE session = ?", session);
    });
  }

  fork(checkpoint: Checkpoint, session: string): Checkpoint {
    return this.#guard(() =>
      this.#durably(() => {
        // What the parent adds from now on goes to a pack that the fork cannot read.
        this.#seal(checkpoint.session);
        for (const digest of checkpoint.members) {
          const group = this.#covariable(checkpoint.session, digest);
          for (const name of chunksOf(group))
            this.#run(
              `INSERT OR IGNORE INTO chunk (session, name, sha256, size, pack, start, data)
               SELECT ?, name, sha256, size, pack, start, data FROM chunk WHERE session = ? AND name = ?`,
              session,
              checkpoint.session,
              name,
            );
          this.#insertCovariable(session, group);
        }
        return this.#insertCheckpoint(session, null, 0, checkpoint);
      }),
    );
  }

  plan(checkpoint: Checkpoint, smallFile: string): RestoreRequest {
    const files = new Map<number, number>();
    const paths: string[] = [];
    let small: number | undefined;
    let smallBytes = 0;
    const place = (name: string): Piece => {
      const chunk = this.#get<ChunkRow>(
        "SELECT size, pack, start, data FROM chunk WHERE session = ? AND name = ?",
        checkpoint.session,
        name,
      );
      if (!chunk) throw damaged(`chunk ${name} of the state after cell ${checkpoint.cell} is missing`);
      if (chunk.pack === null) {
        if (small === undefined) {
          small = paths.push(smallFile) - 1;
          writeFileSync(smallFile, "", { mode: 0o444 });
        }
        appendFileSync(smallFile, chunk.data!);
        smallBytes += chunk.size;
        return [small, smallBytes - chunk.size, chunk.size];
      }
      let index = files.get(chunk.pack);
      if (index === undefined) {
        index = paths.push(this.#packPath(chunk.pack)) - 1;
        files.set(chunk.pack, index);
      }
      return [index, chunk.start!, chunk.size];
    };
    const locate = (names: string[]) => joined(names.map(place));
    const members = checkpoint.members.map((digest) => {
      const group = this.#covariable(checkpoint.session, digest);
      return { ...group, at: { header: locate(group.header), buffers: group.buffers.map(locate) } };
    });
    return { members, lost: checkpoint.lost, tokens: checkpoint.tokens, files: paths };
  }

  [Symbol.dispose](): void {
    for (const { file } of this.#packs.values()) file[Symbol.dispose]();
    this.#packs.clear();
  }

  #insert(
    session: string,
    cell: number,
    manifest: Manifest & { data: LoadedFiles },
    added: Map<string, Added>,
  ): Checkpoint {
    for (const chunk of added.values())
      this.#run(
        "INSERT OR IGNORE INTO chunk (session, name, sha256, size, pack, start, data) VALUES (?, ?, ?, ?, ?, ?, ?)",
        session,
        chunk.name,
        chunk.sha256,
        chunk.size,
        chunk.pack,
        chunk.start,
        chunk.data,
      );
    for (const group of manifest.groups) {
      for (const name of chunksOf(group))
        if (!this.#has(session, name))
          throw new ClocheError("wire.violation", { message: "a state that names bytes which never came" });
      this.#insertCovariable(session, group);
    }
    for (const digest of manifest.members)
      if (!this.#get("SELECT 1 FROM covariable WHERE session = ? AND digest = ?", session, digest))
        throw new ClocheError("wire.violation", { message: "a state of variables that never came" });
    const head = this.#get<{ checkpoint: number }>("SELECT checkpoint FROM head WHERE session = ?", session);
    return this.#insertCheckpoint(session, head?.checkpoint ?? null, cell, manifest);
  }

  #insertCovariable(session: string, { digest, bytes, ...description }: Covariable): void {
    this.#run(
      "INSERT OR IGNORE INTO covariable (session, digest, description, bytes) VALUES (?, ?, ?, ?)",
      session,
      digest,
      JSON.stringify(description),
      bytes,
    );
  }

  #insertCheckpoint(
    session: string,
    parent: number | null,
    cell: number,
    { members, lost, tokens, versions, data }: Pick<Checkpoint, Described>,
  ): Checkpoint {
    const at = Date.now();
    const id = Number(
      this.#run(
        "INSERT INTO checkpoint (session, parent, cell, at, members, lost, tokens, versions, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        session,
        parent,
        cell,
        at,
        JSON.stringify(members),
        JSON.stringify(lost),
        JSON.stringify(tokens),
        JSON.stringify(versions),
        JSON.stringify(data),
      ).lastInsertRowid,
    );
    this.#run("INSERT OR REPLACE INTO head VALUES (?, ?)", session, id);
    return { id, session, parent, cell, at, members, lost, tokens, versions, data };
  }

  #covariable(session: string, digest: string): Covariable {
    const row = this.#get<{ description: string; bytes: number }>(
      "SELECT description, bytes FROM covariable WHERE session = ? AND digest = ?",
      session,
      digest,
    );
    if (!row) throw damaged(`a group of variables (${digest}) is missing`);
    return {
      ...(JSON.parse(row.description) as Omit<Covariable, "digest" | "bytes">),
      digest,
      bytes: row.bytes,
    };
  }

  #has(session: string, name: string): boolean {
    return this.#get("SELECT 1 FROM chunk WHERE session = ? AND name = ?", session, name) !== undefined;
  }

  #pendingOf(session: string): Map<string, Added> {
    let pending = this.#pending.get(session);
    if (!pending) {
      pending = new Map();
      this.#pending.set(session, pending);
    }
    return pending;
  }

  #packOf(session: string): OpenPack {
    let pack = this.#packs.get(session);
    if (pack && pack.bytes < PACK_BYTES) return pack;
    this.#seal(session);
    const file = `${randomBytes(8).toString("hex")}.pack`;
    const { lastInsertRowid } = this.#run("INSERT INTO pack (session, file) VALUES (?, ?)", session, file);
    pack = { id: Number(lastInsertRowid), file: new Pack(join(this.#directory, file)), bytes: 0 };
    this.#packs.set(session, pack);
    return pack;
  }

  #seal(session: string): void {
    this.#packs.get(session)?.file[Symbol.dispose]();
    this.#packs.delete(session);
    this.#run("UPDATE pack SET sealed = 1 WHERE session = ?", session);
  }

  #packPath(id: number): string {
    const row = this.#get<{ file: string }>("SELECT file FROM pack WHERE id = ?", id);
    if (!row) throw damaged(`pack ${id} is missing`);
    return join(this.#directory, row.file);
  }

  /** Runs `work` in a transaction that survives the loss of power. */
  #durably<T>(work: () => T): T {
    this.#database.pragma("synchronous = FULL");
    try {
      return this.#database.transaction(work).immediate();
    } finally {
      this.#database.pragma("synchronous = NORMAL");
    }
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw storeError(error, this.#directory);
    }
  }

  #run(sql: string, ...parameters: unknown[]): Database.RunResult {
    return this.#statement(sql).run(...parameters);
  }

  #get<Row>(sql: string, ...parameters: unknown[]): Row | undefined {
    return this.#statement(sql).get(...parameters) as Row | undefined;
  }

  #statement(sql: string): Database.Statement {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
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

function chunksOf({ header, buffers }: Covariable): string[] {
  return [...header, ...buffers.flat()];
}

function toCheckpoint(row: CheckpointRow): Checkpoint {
  return {
    ...row,
    members: JSON.parse(row.members),
    lost: JSON.parse(row.lost),
    tokens: JSON.parse(row.tokens),
    versions: JSON.parse(row.versions),
    data: JSON.parse(row.data),
  };
}

function damaged(message: string): ClocheError {
  return new ClocheError("store.damaged", { message });
}
