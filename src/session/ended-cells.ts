// Cells that ended: put on record, and read back from there. What the record does not take stays in memory a while.
import { asClocheError, ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import type { Store } from "../snapshots/store.ts";
import type { Cell, CellView } from "./cell.ts";

export interface EndedCellsOptions {
  session: { id: string; name: string };
  store: Store;
  log: Logger;
  /** adds a sentence to the next answer */
  note(sentence: string): void;
  step?: ((name: string) => void) | undefined;
}

/** Ended cells held in memory because the store takes nothing, each up to a few megabytes. */
const MOST_HELD = 20;

export class EndedCells {
  private readonly options: EndedCellsOptions;
  /** those that are not in the store yet, or could not be put there */
  private readonly held = new Map<number, Cell>();

  constructor(options: EndedCellsOptions) {
    this.options = options;
  }

  /** Puts a cell that ended on record; until it is there, it is held. */
  async record(cell: Cell): Promise<void> {
    this.held.set(cell.number, cell);
    const { session, store, note, step } = this.options;
    const { status, duration, text, error, dropped, images } = cell.view();
    try {
      const result = { status, duration, output: text, error: error ?? null, dropped, images };
      await store.endCell(session.id, cell.number, result);
      this.held.delete(cell.number);
      step?.("output kept");
    } catch (failure) {
      note(`The output of cell ${cell.number} could not be kept: ${asClocheError(failure).sentence}`);
      const [oldest] = this.held.keys();
      if (this.held.size > MOST_HELD && oldest !== undefined) this.held.delete(oldest);
    }
  }

  /** Puts on record what a running cell wrote so far. */
  saveSoFar(cell: Cell, text: string, dropped: number): void {
    const { session, store, log } = this.options;
    try {
      store.saveOutput(session.id, cell.number, text, dropped);
    } catch (error) {
      // Its end is kept by itself, and told of where that fails too.
      log.warn("output.unsaved", { cell: cell.number, code: asClocheError(error).code });
    }
  }

  /** Throws `cell.unknown`. */
  view(number: number): CellView {
    const { session, store } = this.options;
    const held = this.held.get(number);
    if (held) return held.view();
    const record = store.cell(session.id, number);
    if (!record) {
      const last = store.lastCell(session.id);
      throw new ClocheError("cell.unknown", {
        message: `session ${session.name} has no cell ${number}`,
        hint: last > 0 ? `Its cells are 1 to ${last}.` : "It has run no cell yet.",
      });
    }
    return {
      cell: number,
      kind: record.kind,
      code: record.code,
      status: record.status,
      text: record.output,
      settled: record.output.length,
      images: store.images(session.id, number),
      dropped: record.dropped,
      imagesLeftOut: 0,
      error: record.error ?? undefined,
      duration: record.duration ?? 0,
      suspect: false,
    };
  }
}
