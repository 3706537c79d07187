// How much of the disk the project's state takes, when to speak of it, and when to take no more.
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { amount } from "../shared/disk-space.ts";
import { ClocheError } from "../shared/errors.ts";
import type { Statements } from "./statements.ts";

/** Parts of the cap: where a sentence is due, where old states are given up, and down to where they are. */
const SPEAK = 0.8;
const THIN = 0.95;
const THIN_TO = 0.85;
/** `milliseconds` for which a measurement holds, together with what was written since. */
const MEASURE_EVERY = 5_000;
const HINT = "`cloche sessions prune` frees space; `diskCap` in config.json sets the cap.";

export class DiskBudget {
  readonly cap: number;
  readonly #directory: string;
  readonly #statements: Statements;
  #measured = 0;
  #measuredAt = Number.NEGATIVE_INFINITY;
  #spent = 0;
  #spoken = false;

  /** `cap` in `bytes`, for everything below `directory`. */
  constructor(statements: Statements, directory: string, cap: number) {
    this.#statements = statements;
    this.#directory = directory;
    this.cap = cap;
  }

  /** `bytes` taken now, of which free pages of the database are none. */
  used(): number {
    if (performance.now() - this.#measuredAt > MEASURE_EVERY) this.measure();
    return this.#measured + this.#spent;
  }

  measure(): number {
    const free = this.#statements.database.pragma("freelist_count", { simple: true }) as number;
    const page = this.#statements.database.pragma("page_size", { simple: true }) as number;
    this.#measured = Math.max(0, sizeOf(this.#directory) - free * page);
    this.#spent = 0;
    this.#measuredAt = performance.now();
    return this.#measured;
  }

  /** Counts `bytes` that are about to be written. Throws `store.full` where they would pass the cap. */
  spend(bytes: number): void {
    if (this.used() + bytes > this.cap && this.measure() + bytes > this.cap)
      throw new ClocheError("store.full", {
        message: `the state of this project takes ${amount(this.#measured)}, and its cap is ${amount(this.cap)}`,
        hint: HINT,
      });
    this.#spent += bytes;
  }

  /** A sentence, once each time that most of the cap is taken. */
  notice(): string | undefined {
    const used = this.used();
    if (used < this.cap * SPEAK) this.#spoken = false;
    if (this.#spoken || used < this.cap * SPEAK) return undefined;
    this.#spoken = true;
    return `The state of this project takes ${amount(used)} of the ${amount(this.cap)} it may: at the cap, states are no longer kept. ${HINT}`;
  }

  get isTight(): boolean {
    return this.used() > this.cap * THIN;
  }

  get isRelieved(): boolean {
    return this.measure() <= this.cap * THIN_TO;
  }
}

function sizeOf(directory: string): number {
  let sum = 0;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) sum += sizeOf(path);
    else if (entry.isFile()) sum += statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  }
  return sum;
}
