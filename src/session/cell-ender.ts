// Ends a running cell: interrupt, grace, then its kernel; when somebody asks for it, or its time is up.
import { within } from "../shared/async.ts";
import type { Logger } from "../shared/log.ts";
import type { Cell } from "./cell.ts";
import { type KernelSlot, RESTART_DEADLINE_MS } from "./kernel-slot.ts";

/** `milliseconds` between an interrupt and the end of a kernel that ignores it. */
export const GRACE_MS = 3_000;

export interface CellEnderOptions {
  slot: KernelSlot;
  log: Logger;
  /** adds a sentence to the next answer */
  note(sentence: string): void;
}

export class CellEnder {
  private readonly options: CellEnderOptions;
  private readonly endings = new WeakMap<Cell, Promise<void>>();

  constructor(options: CellEnderOptions) {
    this.options = options;
  }

  /** Resolves once the cell has ended, or nothing more can be done. Once for each cell. */
  end(cell: Cell): Promise<void> {
    let ending = this.endings.get(cell);
    if (!ending) {
      ending = this.endInSteps(cell);
      this.endings.set(cell, ending);
    }
    return ending;
  }

  /** Ends the cell `timeoutMs` after its code began. */
  limit(cell: Cell, timeoutMs: number | undefined): void {
    if (timeoutMs === undefined) return;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      void this.end(cell);
    }, timeoutMs);
    void cell.done.then(({ status }) => {
      clearTimeout(timer);
      const seconds = Number((timeoutMs / 1000).toPrecision(6));
      // It may have ended by itself in that moment.
      if (late && status !== "ok")
        this.options.note(`Cell ${cell.number} was interrupted after its timeout of ${seconds} s.`);
    });
  }

  private async endInSteps(cell: Cell): Promise<void> {
    const { slot, log } = this.options;
    cell.interrupt();
    // What runs on the host heeds its signal; ending the kernel would cost the variables and help nobody.
    if ((await within(cell.done, GRACE_MS)) || !cell.attached) return;
    log.warn("cell.killed", { cell: cell.number });
    await slot.restart({
      wipe: false,
      reason: `it ignored the interrupt for ${GRACE_MS / 1000} s`,
      unless: () => !cell.running,
    });
    await within(cell.done, RESTART_DEADLINE_MS);
  }
}
