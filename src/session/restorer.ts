// Where a session goes back to: the state after a cell that somebody names, or, for a fresh kernel, what is kept.
import { asClocheError, ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import type { Checkpoint, CheckpointStore } from "../snapshots/checkpoints.ts";
import type { Store } from "../snapshots/store.ts";
import type { ServingKernel } from "./kernel-slot.ts";
import { type StateKeeper, shortcomings } from "./state-keeper.ts";

export interface RestorerOptions {
  session: { id: string; name: string };
  store: Store;
  checkpoints: CheckpointStore;
  keeper: StateKeeper;
  log: Logger;
  /** adds a sentence to the next answer */
  note(sentence: string): void;
  /** the cell that waits for the session or runs in it */
  running(): number | undefined;
  isServing(kernel: ServingKernel): boolean;
  step?: ((name: string) => void) | undefined;
}

/** `milliseconds` a reset waits for a running cell: its end, and the restart before. */
export const RESET_DEADLINE_MS = 20_000;
/** Kernels that may end while they are brought to what is kept, before one serves without it. */
const MOST_DEATHS = 2;

export class Restorer {
  private readonly options: RestorerOptions;
  /** kernels in a row that did not survive being brought to what is kept */
  private deaths = 0;

  constructor(options: RestorerOptions) {
    this.options = options;
  }

  /** The state after cell `number`, which may be on its way. Throws `cell.unknown`, `timeout`. */
  async stateAfter(number: number): Promise<Checkpoint> {
    const { session, store, checkpoints, running } = this.options;
    let checkpoint = checkpoints.after(session.id, number);
    if (!checkpoint && number < (running() ?? Number.POSITIVE_INFINITY)) {
      await this.settled();
      checkpoint = checkpoints.after(session.id, number);
    }
    if (checkpoint) return checkpoint;
    const pruned = checkpoints.prunedAt(session.id, number);
    if (pruned !== undefined)
      throw new ClocheError("cell.unknown", {
        message: `the state of session ${session.name} after cell ${number} was pruned on ${new Date(pruned).toISOString().slice(0, 10)} to free space`,
        hint: "`cloche sessions show` lists the cells whose states are kept.",
      });
    const last = store.lastCell(session.id);
    throw new ClocheError("cell.unknown", {
      message:
        number > last
          ? `session ${session.name} has no cell ${number}`
          : `the state of session ${session.name} after cell ${number} was not kept`,
      hint:
        number > last
          ? `Its cells are 1 to ${last}.`
          : "The cell was lost or never ended; take one before or after it.",
    });
  }

  /** Nothing is on its way to the disk any more. Throws `timeout`. */
  async settled(): Promise<void> {
    if (await this.options.keeper.settled(RESET_DEADLINE_MS)) return;
    throw new ClocheError("timeout", {
      message: "what the session holds is still being written down",
      hint: "Call again in a moment.",
    });
  }

  /** Makes this the session's state; resolves to what it could not bring, in a sentence each. */
  async goTo(kernel: ServingKernel, checkpoint: Checkpoint): Promise<string[]> {
    const { session, checkpoints, keeper, step } = this.options;
    const missing = shortcomings(await keeper.bring(kernel, checkpoint));
    checkpoints.moveHead(session.id, checkpoint);
    step?.("head moved");
    return missing;
  }

  /**
   * Brings a fresh kernel to what is kept, and says so. Resolves to false where the kernel did not survive it: the next
   * one tries once more, and the one after that serves empty.
   */
  async revive(kernel: ServingKernel): Promise<boolean> {
    const { session, store, keeper, log, note, running, isServing } = this.options;
    // What the last kernel sent whole is kept, though it ended since.
    await keeper.settled(RESET_DEADLINE_MS);
    const { head } = keeper;
    const { deaths } = this;
    this.deaths = 0;
    if (!head || deaths === MOST_DEATHS) return true;
    try {
      const missing = shortcomings(await keeper.bring(kernel, head));
      const unkept = store.lostSince(session.id, head.cell, running());
      this.noteBegin(head.cell);
      if (head.cell > 0)
        note(`The session is as it was after cell ${head.cell}${unkept ? `; ${unkept}` : ""}.`);
      for (const sentence of missing) note(sentence);
      return true;
    } catch (error) {
      const { code, sentence } = asClocheError(error);
      log.error("restore.failed", { code });
      const died = code === "sandbox.lost" || !isServing(kernel);
      if (died) this.deaths = deaths + 1;
      if (died && deaths + 1 < MOST_DEATHS) return false;
      note(
        `The session could not be brought back as it was after cell ${head.cell}: ${sentence} It starts empty; reset {to: ${head.cell}} tries again.`,
      );
      return !died;
    }
  }

  /** The cell that waits for the session begins in that state; a full disk keeps nobody from coming back. */
  private noteBegin(base: number): void {
    const { session, store, running, log } = this.options;
    const cell = running();
    try {
      if (cell !== undefined) store.beganIn(session.id, cell, base);
    } catch (error) {
      log.warn("history.unmarked", { code: asClocheError(error).code });
    }
  }
}
