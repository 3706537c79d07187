// What the project's states take of the disk: the cap, the ballast, and what frees space behind everything else.
import { dirname, join } from "node:path";
import { dropBallast, layBallast } from "./ballast.ts";
import type { ChunkCheck } from "./chunk-check.ts";
import { type Collected, Collector } from "./collect.ts";
import { DiskBudget } from "./disk-budget.ts";
import type { PackWriter } from "./pack-writer.ts";
import { Pruner } from "./prune.ts";
import type { Statements } from "./statements.ts";
import { storeError } from "./store-errors.ts";

/** `milliseconds` after which a server tidies up what an earlier one left. */
const TIDY_AFTER = 60_000;

export interface SpaceOptions {
  statements: Statements;
  packs: string;
  loaded?: string;
  cap?: number;
  writer: string;
  check: ChunkCheck;
  packWriter: PackWriter;
  isAlive(token: string): boolean;
  isPinned(checkpoint: number): boolean;
  /** a state of the session that is on its way names something in this pack */
  isExpected(session: string, pack: number): boolean;
  step?: (name: string) => void;
}

export class Space implements Disposable {
  readonly budget: DiskBudget;
  readonly #options: SpaceOptions;
  readonly #collector: Collector;
  readonly #pruner: Pruner;
  readonly #ballast: string;
  readonly #tidying: NodeJS.Timeout | undefined;
  #relief: Promise<void> | undefined;
  /** `milliseconds` on the monotonic clock before which another try would free nothing either */
  #futileUntil = 0;
  #closed = false;

  constructor(options: SpaceOptions) {
    const { statements, packs, cap = Number.POSITIVE_INFINITY, writer, packWriter } = options;
    this.#options = options;
    this.budget = new DiskBudget(statements, dirname(packs), cap);
    this.#collector = new Collector({ ...options, writer: packWriter });
    this.#pruner = new Pruner(options);
    this.#ballast = join(dirname(packs), "ballast");
    // Who only looks leaves everything as it is.
    if (!writer) return;
    layBallast(this.#ballast);
    this.#tidying = setTimeout(() => this.relieve(), TIDY_AFTER).unref();
  }

  /** Gives up these states of a session, but the one it is in; returns how many. `collect` frees their space. */
  prune(session: string, checkpoints: readonly number[]): Promise<number> {
    return this.#despiteFullDisk(() => this.#pruner.prune(session, checkpoints));
  }

  /** Deletes cells with their outputs and images; returns how many. */
  deleteCells(session: string, cells: readonly number[]): Promise<number> {
    return this.#despiteFullDisk(() => this.#pruner.deleteCells(session, cells));
  }

  /** Frees what no state of these sessions speaks of. */
  async collect(sessions: readonly string[]): Promise<Collected> {
    try {
      return await this.#despiteFullDisk(() => this.#collector.collect(sessions));
    } finally {
      if (!this.#closed) layBallast(this.#ballast);
    }
  }

  /** Frees space behind everything else: what is dead first, then the oldest states as long as the cap demands it. */
  relieve(): void {
    if (this.#closed || performance.now() < this.#futileUntil) return;
    this.#relief ??= this.#freeSpace()
      .catch(() => {
        // It is tried again with the next state, and what it could not free is no loss; or the record was closed meanwhile.
      })
      .finally(() => {
        this.#relief = undefined;
      });
  }

  /** Resolves once nothing is being freed. */
  async settled(): Promise<void> {
    await this.#relief;
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearTimeout(this.#tidying);
  }

  async #freeSpace(): Promise<void> {
    const own = this.#ownSessions();
    await this.collect(own);
    if (!this.budget.isTight) return;
    while (!this.#closed && !this.budget.isRelieved) {
      if ((await this.#pruner.thin(own)) === 0) {
        this.#futileUntil = performance.now() + TIDY_AFTER;
        return;
      }
      await this.collect(own);
    }
  }

  /** Sessions that no other server holds. */
  #ownSessions(): string[] {
    const { statements, writer, isAlive } = this.#options;
    return statements
      .all<{ id: string; holder: string | null }>("SELECT id, holder FROM session")
      .filter(({ holder }) => holder === null || holder === writer || !isAlive(holder))
      .map(({ id }) => id);
  }

  /** Deleting writes too: where the disk takes nothing, the ballast makes way. */
  async #despiteFullDisk<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (storeError(error, this.#options.packs).code !== "store.full") throw error;
      dropBallast(this.#ballast);
      return await work();
    }
  }
}
