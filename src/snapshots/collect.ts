// Frees what no checkpoint speaks of any more: groups, chunks, packs, loaded files. In small steps, each a transaction
// that leaves a whole record, so that it may end anywhere. No pack is cut: what lives in a thin one moves to another.
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as breathe } from "node:timers/promises";
import { type CovariableRow, chunksOf, fromRow } from "./checksums.ts";
import type { ChunkCheck } from "./chunk-check.ts";
import { takeLock } from "./file-lock.ts";
import type { PackWriter } from "./pack-writer.ts";
import type { Statements } from "./statements.ts";

export interface CollectOptions {
  statements: Statements;
  /** directory of packs */
  packs: string;
  /** directory of loaded files, where they are collected too */
  loaded?: string;
  check: ChunkCheck;
  writer: PackWriter;
  /** is a server behind this token alive? */
  isAlive(token: string): boolean;
  /** a state of the session that is on its way names something in this pack */
  isExpected(session: string, pack: number): boolean;
  /** told each step, for tests that end the process there */
  step?: (name: string) => void;
}

export interface Collected {
  /** `bytes` of chunks that no state spoke of */
  bytes: number;
  chunks: number;
  /** `bytes` of packs that were removed, of which what lived was moved */
  packBytes: number;
  loadedBytes: number;
}

interface PackRow {
  id: number;
  session: string;
  file: string;
  writer: string | null;
}

interface Piece {
  start: number;
  size: number;
}

/** Longest stretch without a breath, in `milliseconds`. */
const STEP_MS = 4;
/** Rows deleted in one transaction. */
const BATCH = 25;
/** Groups looked at without a breath. */
const MARKED_AT_ONCE = 50;
/** Pages given back to the file system in one step. */
const VACUUM_PAGES = 50;
/** A file that was linked this short a while ago may belong to a state that is just being written, in `milliseconds`. */
const YOUNG_MS = 600_000;

export class Collector {
  readonly #options: CollectOptions;
  #running: Promise<Collected> | undefined;

  constructor(options: CollectOptions) {
    this.#options = options;
  }

  /** Collects `sessions`, then packs and files. One at a time on each store; where another is at it, nothing. */
  collect(sessions: readonly string[]): Promise<Collected> {
    this.#running ??= this.#collect(sessions).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #collect(sessions: readonly string[]): Promise<Collected> {
    const { packs, step } = this.#options;
    using lock = takeLock(join(packs, "collect.lock"));
    const collected: Collected = { bytes: 0, chunks: 0, packBytes: 0, loadedBytes: 0 };
    if (!lock) return collected;
    for (const session of sessions) await this.#sweep(session, collected);
    step?.("swept");
    await this.#dropPacks(collected);
    await this.#movePacks(collected);
    await this.#dropLoaded(collected);
    await this.#vacuum();
    return collected;
  }

  /** Deletes groups and chunks of a session that no checkpoint of its reaches. */
  async #sweep(session: string, collected: Collected): Promise<void> {
    const { statements, step } = this.#options;
    const live = new LiveSet(statements, session);
    const pace = new Pace();
    while (live.mark()) await pace.breathe();
    for (const table of ["covariable", "chunk"] as const) {
      const key = table === "chunk" ? "name" : "digest";
      let after = 0;
      for (;;) {
        const rows = statements.all<{ id: number; key: string }>(
          `SELECT id, ${key} AS key FROM ${table} WHERE session = ? AND id > ? ORDER BY id LIMIT 200`,
          session,
          after,
        );
        if (rows.length === 0) break;
        after = rows.at(-1)!.id;
        const dead = rows.filter((row) => !live.has(table, row.key));
        for (let start = 0; start < dead.length; start += BATCH) {
          statements.atomically(() => {
            // What was written since the marking may speak of something that looked dead.
            while (live.mark());
            for (const { id, key: name } of dead.slice(start, start + BATCH)) {
              if (live.has(table, name)) continue;
              if (table === "chunk") {
                collected.bytes +=
                  statements.get<{ size: number }>("SELECT size FROM chunk WHERE id = ?", id)?.size ?? 0;
                collected.chunks += 1;
              }
              statements.run(`DELETE FROM ${table} WHERE id = ?`, id);
            }
          });
          step?.(`deleted ${table}`);
          await pace.breathe();
        }
        await pace.breathe();
      }
    }
  }

  async #dropPacks(collected: Collected): Promise<void> {
    const { statements, packs, isAlive, step } = this.#options;
    const dead = deadPacks(statements, packs, isAlive);
    step?.("dropped packs");
    for (const path of dead) {
      collected.packBytes += statSync(path, { throwIfNoEntry: false })?.size ?? 0;
      await rm(path, { force: true });
      step?.("removed a pack");
    }
  }

  /** Copies what lives in packs that are mostly dead to new ones. */
  async #movePacks(collected: Collected): Promise<void> {
    const { statements, packs, isAlive } = this.#options;
    this.#retireThin();
    for (const pack of unwritten(statements, isAlive)) {
      const size = statSync(join(packs, pack.file), { throwIfNoEntry: false })?.size ?? 0;
      const pieces = this.#livePieces(pack);
      if (pieces.length > 0 && sum(pieces) * 2 < size) await this.#move(pack, pieces);
    }
    await this.#dropPacks(collected);
  }

  /** Ends the packs this server adds to where most of them is dead: what follows goes to another. */
  #retireThin(): void {
    const { statements, packs, writer, isExpected } = this.#options;
    for (const pack of statements.all<PackRow>("SELECT id, session, file, writer FROM pack")) {
      const session = writer.ownerOf(pack.id);
      if (session === undefined) continue;
      const size = statSync(join(packs, pack.file), { throwIfNoEntry: false })?.size ?? 0;
      if (sum(this.#livePieces(pack)) * 2 >= size) continue;
      writer.retire(session);
      writer.seal(session, (id) => isExpected(session, id));
    }
  }

  #livePieces(pack: PackRow): Piece[] {
    return this.#options.statements.all<Piece>(
      "SELECT start, size FROM chunk WHERE pack = ? AND damaged = 0 GROUP BY start ORDER BY start",
      pack.id,
    );
  }

  async #move(pack: PackRow, pieces: Piece[]): Promise<void> {
    const { statements, packs, check, writer, step } = this.#options;
    const made = writer.create(pack.session);
    const moved: { from: number; to: number }[] = [];
    step?.("made a pack");
    try {
      await using source = await open(join(packs, pack.file), "r");
      for (const piece of pieces) {
        const chunk = { ...piece, pack: pack.id };
        if (!(await check.isSound(chunk))) {
          check.quarantine(chunk);
          continue;
        }
        const data = Buffer.allocUnsafe(piece.size);
        await source.read(data, 0, piece.size, piece.start);
        moved.push({ from: piece.start, to: made.file.append(data) });
        await breathe();
      }
      await made.file.sync();
      step?.("wrote a pack");
      // Either place of a chunk serves, so this may end after any batch.
      for (let start = 0; start < moved.length; start += BATCH) {
        statements.atomically(() => {
          for (const { from, to } of moved.slice(start, start + BATCH))
            statements.run(
              "UPDATE chunk SET pack = ?, start = ? WHERE pack = ? AND start = ? AND damaged = 0",
              made.id,
              to,
              pack.id,
              from,
            );
        });
        step?.("moved chunks");
        await breathe();
      }
      for (const { to } of moved) check.trust(made.id, to);
    } finally {
      made.file[Symbol.dispose]();
      statements.run("UPDATE pack SET writer = NULL WHERE id = ?", made.id);
    }
  }

  /** Removes loaded files that no checkpoint speaks of. */
  async #dropLoaded(collected: Collected): Promise<void> {
    const { statements, loaded, step } = this.#options;
    if (loaded === undefined || !existsSync(loaded)) return;
    const pace = new Pace();
    for (const name of readdirSync(loaded)) {
      const path = join(loaded, name);
      const found = statSync(path, { throwIfNoEntry: false });
      // Its change time is that of its link; a clock that jumped makes it young, or its removal late.
      if (!found || Math.abs(Date.now() - found.ctimeMs) < YOUNG_MS) continue;
      const used = statements.get(
        "SELECT 1 FROM checkpoint, json_each(checkpoint.data) AS file WHERE file.value = ? LIMIT 1",
        name,
      );
      if (used) continue;
      rmSync(path, { force: true });
      collected.loadedBytes += found.size;
      step?.("removed a loaded file");
      await pace.breathe();
    }
  }

  /** Gives free pages back to the file system, where the database was made for that. */
  async #vacuum(): Promise<void> {
    const { database } = this.#options.statements;
    if (database.pragma("auto_vacuum", { simple: true }) !== 2) return;
    while ((database.pragma("freelist_count", { simple: true }) as number) > VACUUM_PAGES) {
      database.exec(`PRAGMA incremental_vacuum(${VACUUM_PAGES})`);
      await breathe();
    }
  }
}

/** Drops packs in which nothing lives from the record; returns the files that belong to no pack, to be removed. */
export function deadPacks(
  statements: Statements,
  packs: string,
  isAlive: (token: string) => boolean,
): string[] {
  if (!existsSync(packs)) return [];
  const dead = unwritten(statements, isAlive).filter(
    ({ id }) => !statements.get("SELECT 1 FROM chunk WHERE pack = ? LIMIT 1", id),
  );
  // Once a file is gone, no loss of power may bring back the rows that spoke of it.
  if (dead.length > 0)
    statements.durably(() => {
      for (const { id } of dead)
        statements.run(
          "DELETE FROM pack WHERE id = ? AND NOT EXISTS (SELECT 1 FROM chunk WHERE chunk.pack = pack.id)",
          id,
        );
    });
  return readdirSync(packs)
    .filter((name) => name.endsWith(".pack") && !statements.get("SELECT 1 FROM pack WHERE file = ?", name))
    .map((name) => join(packs, name));
}

/** Packs to which nobody adds any more. */
function unwritten(statements: Statements, isAlive: (token: string) => boolean): PackRow[] {
  return statements
    .all<PackRow>("SELECT id, session, file, writer FROM pack")
    .filter(({ writer }) => writer === null || !isAlive(writer));
}

function sum(pieces: Piece[]): number {
  return pieces.reduce((bytes, { size }) => bytes + size, 0);
}

/** What the checkpoints of a session reach; marking goes on where it ended. */
class LiveSet {
  readonly #statements: Statements;
  readonly #session: string;
  readonly #digests = new Set<string>();
  readonly #chunks = new Set<string>();
  #last = 0;
  /** of the checkpoint being marked from, not looked at yet */
  #ahead: string[] = [];

  constructor(statements: Statements, session: string) {
    this.#statements = statements;
    this.#session = session;
  }

  has(table: "covariable" | "chunk", key: string): boolean {
    return (table === "chunk" ? this.#chunks : this.#digests).has(key);
  }

  /** Marks a little more; false where there is nothing more to mark. */
  mark(): boolean {
    if (this.#ahead.length === 0) {
      const next = this.#statements.get<{ id: number; members: string }>(
        "SELECT id, members FROM checkpoint WHERE session = ? AND id > ? ORDER BY id LIMIT 1",
        this.#session,
        this.#last,
      );
      if (!next) return false;
      this.#last = next.id;
      this.#ahead = digestsIn(next.members).filter((digest) => !this.#digests.has(digest));
    }
    for (const digest of this.#ahead.splice(0, MARKED_AT_ONCE)) {
      this.#digests.add(digest);
      const row = this.#statements.get<CovariableRow>(
        "SELECT digest, description, sha256, bytes FROM covariable WHERE session = ? AND digest = ?",
        this.#session,
        digest,
      );
      const group = row && fromRow(row);
      if (group) for (const name of chunksOf(group)) this.#chunks.add(name);
    }
    return true;
  }
}

/** Digests in a list as it is kept; none where it is damaged. */
function digestsIn(members: string): string[] {
  try {
    return JSON.parse(members) as string[];
  } catch {
    return [];
  }
}

/** Lets other work in once a step has lasted long enough. */
class Pace {
  #since = performance.now();

  async breathe(): Promise<void> {
    if (performance.now() - this.#since < STEP_MS) return;
    await breathe();
    this.#since = performance.now();
  }
}
