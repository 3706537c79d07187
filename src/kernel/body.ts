// Bodies: what is too large for one frame. A display's body is collected; a call's body is streamed against credit.
import { violation } from "./framing.ts";
import { BODY_WINDOW_BYTES, MAX_BODY_PIECE_BYTES, MAX_DISPLAY_BYTES } from "./messages.ts";

/** Collects the pieces of a display. Throws `wire.violation` where it is over the limit. */
export class CollectedBody {
  readonly mime: string;
  readonly cell: string;
  private readonly pieces: Buffer[] = [];
  private bytes = 0;

  constructor(cell: string, mime: string) {
    this.cell = cell;
    this.mime = mime;
  }

  push(piece: Buffer, last: boolean): void {
    checkPiece(piece, last);
    this.bytes += piece.length;
    if (this.bytes > MAX_DISPLAY_BYTES) throw violation(`a display of more than ${MAX_DISPLAY_BYTES} bytes`);
    this.pieces.push(piece);
  }

  take(): Buffer {
    return Buffer.concat(this.pieces);
  }
}

/**
 * The body of a host call, read piece by piece by its handler; reading gives the sandbox credit for more, so at most
 * the window is held in memory. Throws `wire.violation` where the sandbox sends without credit.
 */
export class StreamedBody implements AsyncIterable<Buffer> {
  private readonly pieces: Buffer[] = [];
  private held = 0;
  private ended = false;
  private failure: unknown;
  private wake: (() => void) | undefined;
  private readonly credit: (bytes: number) => void;

  /** `credit` is called with the `bytes` that were consumed. */
  constructor(credit: (bytes: number) => void) {
    this.credit = credit;
  }

  /** All of it has arrived. */
  get complete(): boolean {
    return this.ended;
  }

  push(piece: Buffer, last: boolean): void {
    checkPiece(piece, last);
    if (this.ended) throw violation("a body that goes on after its end");
    this.held += piece.length;
    if (this.held > BODY_WINDOW_BYTES + MAX_BODY_PIECE_BYTES) throw violation("a body sent without credit");
    this.pieces.push(piece);
    this.ended = last;
    this.notify();
  }

  /** Ends the body early; its reader gets `reason`. */
  fail(reason: unknown): void {
    if (this.ended) return;
    this.failure = reason;
    this.notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    while (true) {
      const piece = this.pieces.shift();
      if (piece) {
        yield piece;
        this.held -= piece.length;
        this.credit(piece.length);
        continue;
      }
      if (this.failure !== undefined) throw this.failure;
      if (this.ended) return;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  private notify(): void {
    this.wake?.();
    this.wake = undefined;
  }
}

/** Only the last piece is short: many small ones would cost a multiple of their bytes. */
function checkPiece(piece: Buffer, last: boolean): void {
  if (last ? piece.length > MAX_BODY_PIECE_BYTES : piece.length !== MAX_BODY_PIECE_BYTES)
    throw violation(`a piece of ${piece.length} bytes`);
}
