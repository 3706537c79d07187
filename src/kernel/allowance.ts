// What one cell may send: counted, so that a kernel that never stops ends its session instead of filling this process.
import { violation } from "./framing.ts";
import {
  BODY_WINDOW_BYTES,
  MAX_BODY_PIECE_BYTES,
  MAX_CELL_DISPLAY_BYTES,
  MAX_CELL_OUTPUT_BYTES,
  MAX_DISPLAYS,
} from "./messages.ts";

/** Progress lines a second; the supervisor sends four. */
const PROGRESS_PER_SECOND = 20;
/** What an output message counts besides its bytes, in `bytes`: one for every byte costs more than it brings. */
const OUTPUT_MESSAGE_BYTES = 2;
const MOST_ORPHANS = 1_024;

/** The account of one cell. Every method throws `wire.violation` where the cell is over its limit. */
export class CellAllowance {
  private readonly began = performance.now();
  private output = 0;
  private gaps = 0;
  private progress = 0;
  private displays = 0;
  private displayed = 0;

  takeOutput(bytes: number): void {
    if (bytes === 0) throw violation("an output of no bytes");
    this.output += bytes + OUTPUT_MESSAGE_BYTES;
    if (this.output > MAX_CELL_OUTPUT_BYTES)
      throw violation(`more than ${MAX_CELL_OUTPUT_BYTES} bytes of output in one cell`);
  }

  /** A gap stands before an image and before the end, never elsewhere. */
  takeGap(): void {
    if (++this.gaps > MAX_DISPLAYS + 2) throw violation("more gaps in the output than can be");
  }

  takeProgress(): void {
    const seconds = (performance.now() - this.began) / 1_000;
    if (++this.progress > PROGRESS_PER_SECOND * (seconds + 1)) throw violation("too many progress lines");
  }

  takeDisplay(): void {
    if (++this.displays > MAX_DISPLAYS) throw violation(`more than ${MAX_DISPLAYS} displays in one cell`);
  }

  takeDisplayed(bytes: number): void {
    this.displayed += bytes;
    if (this.displayed > MAX_CELL_DISPLAY_BYTES)
      throw violation(`displays of more than ${MAX_CELL_DISPLAY_BYTES} bytes in one cell`);
  }
}

/** Bodies whose call was answered early or whose cell ended: what was under way still arrives, and has no taker. */
export class Orphans {
  private readonly left = new Map<string, number>();

  add(id: string): void {
    this.left.set(id, BODY_WINDOW_BYTES + MAX_BODY_PIECE_BYTES);
    const [oldest] = this.left.keys();
    if (this.left.size > MOST_ORPHANS && oldest !== undefined) this.left.delete(oldest);
  }

  /** Throws `wire.violation` for a body that nobody announced, or that goes on after what could be under way. */
  take(id: string, bytes: number, last: boolean): void {
    const left = (this.left.get(id) ?? -1) - bytes;
    if (left < 0) throw violation("a body that nobody announced");
    if (last) this.left.delete(id);
    else this.left.set(id, left);
  }

  clear(): void {
    this.left.clear();
  }
}
