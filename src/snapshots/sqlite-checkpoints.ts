// Checkpoints in the project's record: manifests and small chunks in SQLite, large chunks in packs beside it.
import { isDeepStrictEqual } from "node:util";
import type Database from "better-sqlite3";
import { ClocheError } from "../shared/errors.ts";
import { CheckpointRows } from "./checkpoint-rows.ts";
import type { Checkpoint, CheckpointStore, LoadedFiles, Manifest, RestoreRequest } from "./checkpoints.ts";
import { chunksOf, sha256, toRow } from "./checksums.ts";
import { ChunkCheck, type PackedChunk, type Unchecked } from "./chunk-check.ts";
import { suspect } from "./database.ts";
import { Holdings } from "./holdings.ts";
import { Notices } from "./notices.ts";
import { PackWriter } from "./pack-writer.ts";
import { type Pending, PendingChunks } from "./pending-chunks.ts";
import { Planner } from "./restore-plan.ts";
import { Space } from "./space.ts";
import { damageSentence, touched } from "./state-words.ts";
import { Statements } from "./statements.ts";
import { storeError } from "./store-errors.ts";

/** Chunks of at least so many `bytes` go to a pack; SQLite's own advice puts the border at about 100 KB. */
const PACKED_BYTES = 65_536;

export interface CheckpointOptions {
  database: Database.Database;
  /** directory of packs, on the file system of the staging directories, so that they can be linked there */
  packs: string;
  /** directory of loaded files, to collect those that no state speaks of */
  loaded?: string;
  /** `bytes` that everything beside the packs and they may take */
  cap?: number;
  /** token under which whoever writes is known to be alive */
  writer: string;
  isAlive(token: string): boolean;
  /** told each step of a commit and of a collection, for tests that end the process there */
  step?: (name: string) => void;
}

export class SqliteCheckpoints implements CheckpointStore, Disposable {
  readonly #options: CheckpointOptions;
  readonly #statements: Statements;
  readonly #rows: CheckpointRows;
  readonly #check: ChunkCheck;
  readonly #planner: Planner;
  readonly #holdings: Holdings;
  readonly #packs: PackWriter;
  /** What the states take of the disk, and how that becomes less. */
  readonly space: Space;
  readonly #pending = new PendingChunks();
  /** the latest commit of each session: states are written in the order of their cells */
  readonly #turns = new Map<string, Promise<unknown>>();
  /** the head that each session's latest commit made, and its groups, which are known to be there */
  readonly #known = new Map<string, { head: Checkpoint; members: ReadonlySet<string> }>();
  /** the state each session is being brought to */
  readonly #pinned = new Map<string, number>();
  /** heads of whose damage was told */
  readonly #toldOf = new Map<string, number | undefined>();
  readonly #notices = new Notices();
  #closed = false;

  constructor(options: CheckpointOptions) {
    const { database, packs, writer } = options;
    const statements = new Statements(database);
    this.#options = options;
    this.#statements = statements;
    this.#rows = new CheckpointRows(statements);
    this.#check = new ChunkCheck(statements, packs);
    this.#planner = new Planner(statements, this.#check);
    this.#holdings = new Holdings(statements, this.#planner);
    this.#packs = new PackWriter(statements, packs, writer);
    this.space = new Space({
      ...options,
      statements,
      check: this.#check,
      packWriter: this.#packs,
      isExpected: (session, pack) => this.#pending.expects(session, pack),
      isPinned: (checkpoint) => [...this.#pinned.values()].includes(checkpoint),
    });
  }

  addChunk(session: string, name: string, data: Uint8Array): void {
    const pending = this.#pending.of(session);
    if (pending.has(name) || this.#holdings.has(session, name)) return;
    const common = { name, sha256: sha256(data), size: data.length };
    this.#guard(() => {
      this.space.budget.spend(data.length);
      if (data.length < PACKED_BYTES)
        pending.set(name, { ...common, pack: null, start: null, data: Buffer.from(data) });
      else pending.set(name, { ...common, ...this.#packs.append(session, data), data: null });
    });
  }

  async commit(session: string, cell: number, manifest: Manifest, data: LoadedFiles): Promise<Checkpoint> {
    // Taken now: what comes after belongs to the next state, and a kernel that dies takes nothing of this one with it.
    const added = this.#pending.take(session);
    const written = this.#inTurn(session, async () => {
      this.space.budget.spend(1_000 + 40 * manifest.members.length);
      this.#options.step?.("commit begun");
      await this.#packs.sync(session);
      this.#options.step?.("packs synced");
      const checkpoint = this.#statements.atomically(() => {
        const made = this.#insert(session, cell, { ...manifest, data }, added);
        this.#packs.seal(session, (pack) => this.#pending.expects(session, pack, added));
        this.#options.step?.("rows written");
        return made;
      });
      this.#options.step?.("committed");
      // A cell that changed nothing leaves nothing that power could take.
      if (added.size > 0 || manifest.groups.length > 0) await this.#statements.flush();
      this.#options.step?.("flushed");
      return checkpoint;
    });
    try {
      const checkpoint = await written;
      this.#known.set(session, { head: checkpoint, members: new Set(checkpoint.members) });
      this.#pinned.delete(session);
      for (const { pack, start } of added.values()) if (pack !== null) this.#check.trust(pack, start!);
      const notice = this.space.budget.notice();
      if (notice) this.#notices.add(session, notice);
      if (this.space.budget.isTight) this.space.relieve();
      return checkpoint;
    } catch (error) {
      throw this.#refused(session, error);
    } finally {
      this.#pending.written(session, added);
    }
  }

  async repeat(session: string, cell: number, data: LoadedFiles): Promise<Checkpoint> {
    try {
      const checkpoint = await this.#inTurn(session, () =>
        this.#statements.later(() => {
          const head = this.#known.get(session)?.head;
          if (!head || head.id !== this.#rows.headId(session)) throw unheld();
          if (!isDeepStrictEqual(data, head.data))
            return this.#makeHead(this.#rows.insert(session, head.id, cell, { ...head, data }));
          this.#rows.repeat(session, cell, head.id);
          return { ...head, cell };
        }),
      );
      if (checkpoint.id !== this.#known.get(session)?.head.id)
        this.#known.set(session, { head: checkpoint, members: new Set(checkpoint.members) });
      return checkpoint;
    } catch (error) {
      throw this.#refused(session, error);
    }
  }

  abandon(session: string): void {
    this.#pending.abandon(session);
  }

  head(session: string): Checkpoint | undefined {
    const id = this.#rows.headId(session);
    const { found, damaged } = this.#rows.nearest(id);
    if (found && found.id === id) found.cell = this.#rows.headCell(session) ?? found.cell;
    if (damaged.length > 0 && this.#toldOf.get(session) !== id) {
      this.#toldOf.set(session, id);
      this.#notices.add(
        session,
        found
          ? `The state after cell ${damaged[0]} is damaged on disk; the nearest before it that is whole is that after cell ${found.cell}.`
          : `The state after cell ${damaged[0]} is damaged on disk, and none before it is kept.`,
      );
    }
    return found;
  }

  after(session: string, cell: number): Checkpoint | undefined {
    const found = this.#rows.after(session, cell);
    if (found !== "damaged") return found;
    throw new ClocheError("store.damaged", {
      message: `the state after cell ${cell} is damaged on disk`,
      hint: "Take one before or after it.",
    });
  }

  prunedAt(session: string, cell: number): number | undefined {
    return this.#statements.get<{ at: number }>(
      "SELECT at FROM pruned WHERE session = ? AND cell = ?",
      session,
      cell,
    )?.at;
  }

  moveHead(session: string, checkpoint: Checkpoint | null): void {
    this.#guard(() =>
      this.#statements.atomically(() => {
        this.#statements.run("UPDATE session SET at_cell = ? WHERE id = ?", checkpoint?.cell ?? 0, session);
        if (!checkpoint) return this.#statements.run("DELETE FROM head WHERE session = ?", session);
        if (!this.#statements.get("SELECT 1 FROM checkpoint WHERE id = ?", checkpoint.id))
          throw new ClocheError("store.damaged", {
            message: `the state after cell ${checkpoint.cell} was pruned in this moment`,
            hint: "Take one before or after it.",
          });
        return this.#statements.run("INSERT OR REPLACE INTO head VALUES (?, ?)", session, checkpoint.id);
      }),
    );
    this.#pinned.delete(session);
  }

  fork(checkpoint: Checkpoint, session: string): Checkpoint {
    return this.#guard(() =>
      this.#statements.durably(() => {
        // What the parent adds from now on goes to a pack that the fork cannot read.
        this.#packs.retire(checkpoint.session);
        for (const digest of checkpoint.members)
          this.#holdings.copyGroup(checkpoint.session, digest, session);
        this.#statements.run(
          "UPDATE session SET forked_from = (SELECT name FROM session WHERE id = ?), forked_cell = ? WHERE id = ?",
          checkpoint.session,
          checkpoint.cell,
          session,
        );
        return this.#makeHead(this.#rows.insert(session, null, 0, checkpoint));
      }),
    );
  }

  async plan(
    checkpoint: Checkpoint,
    smallFile: string,
    held: ReadonlySet<string> = new Set(),
  ): Promise<RestoreRequest> {
    try {
      const { session, cell } = checkpoint;
      this.#pinned.set(session, checkpoint.id);
      const found = await this.#planner.plan(checkpoint, smallFile, held);
      const { request, damaged, nameless, unchecked } = found;
      this.#place(session, cell);
      if (damaged.length > 0 || nameless > 0)
        this.#notices.add(session, damageSentence(cell, damaged, nameless));
      if (unchecked.length > 0) void this.#checkBehind(session, cell, unchecked);
      return request;
    } catch (error) {
      throw this.#failure(error);
    }
  }

  takeNotices(session: string): string[] {
    return this.#notices.take(session);
  }

  bytes(session: string): number {
    return (
      this.#statements.get<{ bytes: number | null }>(
        "SELECT sum(size) AS bytes FROM chunk WHERE session = ?",
        session,
      )?.bytes ?? 0
    );
  }

  /** Checks every large chunk and takes those that are damaged out of use; returns how many that were. */
  async checkAll(): Promise<number> {
    let damaged = 0;
    const chunks = this.#statements.all<PackedChunk>(
      "SELECT pack, start, size FROM chunk WHERE pack IS NOT NULL AND damaged = 0 GROUP BY pack, start",
    );
    for (const chunk of chunks) {
      if (this.#closed || (await this.#check.isSound(chunk))) continue;
      this.#check.quarantine(chunk);
      damaged += 1;
    }
    return damaged;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.space[Symbol.dispose]();
    this.#packs[Symbol.dispose]();
  }

  /** Notes for the history which cell's state the session is in now; a full disk keeps nobody from coming back. */
  #place(session: string, cell: number): void {
    try {
      this.#statements.run("UPDATE session SET at_cell = ? WHERE id = ?", cell, session);
    } catch (error) {
      if (storeError(error, this.#options.packs).code !== "store.full") throw error;
    }
  }

  #insert(
    session: string,
    cell: number,
    manifest: Manifest & { data: LoadedFiles },
    added: Pending,
  ): Checkpoint {
    for (const chunk of added.values())
      this.#statements.run(
        `INSERT INTO chunk (session, name, sha256, size, pack, start, data) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (session, name) DO UPDATE SET sha256 = excluded.sha256, size = excluded.size, damaged = 0,
           pack = excluded.pack, start = excluded.start, data = excluded.data WHERE damaged = 1`,
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
        if (!added.has(name) && !this.#holdings.has(session, name)) throw unheld();
      this.#holdings.insertGroup(session, toRow(group));
    }
    const head = this.#rows.headId(session);
    const known = this.#known.get(session);
    const fresh = new Set(manifest.groups.map(({ digest }) => digest));
    for (const digest of manifest.members)
      if (!fresh.has(digest) && !(known?.head.id === head && known?.members.has(digest)))
        if (!this.#holdings.hasGroup(session, digest)) throw unheld();
    this.#statements.run(
      "UPDATE cell SET touched = ? WHERE session = ? AND cell = ?",
      JSON.stringify(touched(cell, manifest)),
      session,
      cell,
    );
    this.#statements.run("DELETE FROM pruned WHERE session = ? AND cell = ?", session, cell);
    return this.#makeHead(this.#rows.insert(session, head ?? null, cell, manifest));
  }

  /** Does `work` once what the session's earlier cells left is written, or has failed. */
  #inTurn<T>(session: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(session) ?? Promise.resolve();
    const written = before.then(work);
    this.#turns.set(
      session,
      written.catch(() => {}),
    );
    return written;
  }

  /** What is said of a state that could not be written. */
  #refused(session: string, error: unknown): ClocheError {
    this.#known.delete(session);
    const failure = this.#failure(error);
    if (failure.code === "store.full") this.space.relieve();
    return failure;
  }

  #makeHead(checkpoint: Checkpoint): Checkpoint {
    this.#statements.run("INSERT OR REPLACE INTO head VALUES (?, ?)", checkpoint.session, checkpoint.id);
    return checkpoint;
  }

  /** Looks at what a kernel was given unchecked, and says so where it was not what it had been. */
  async #checkBehind(session: string, cell: number, unchecked: readonly Unchecked[]): Promise<void> {
    const damaged = await this.#check.quarantineDamaged(unchecked, () => this.#closed);
    if (damaged.length > 0)
      this.#notices.add(
        session,
        `${damageSentence(cell, damaged, 0)} They were brought back before that was found: do not trust their values.`,
      );
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): ClocheError {
    const failure = storeError(error, this.#options.packs);
    if (String((error as { code?: unknown }).code).startsWith("SQLITE_CORRUPT"))
      suspect(this.#options.database.name);
    return failure;
  }
}

function unheld(): ClocheError {
  return new ClocheError("wire.violation", {
    message: "it names bytes that this session never sent, or that were freed meanwhile",
    hint: "The state after the next cell is kept whole.",
  });
}
