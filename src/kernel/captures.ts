// The states that a kernel sends after its cells: in the order of the cells, one each, in chunks and then a manifest.
// One may come while the next cell runs already, and before the state of that.
import { violation } from "./framing.ts";
import {
  type Capture,
  capture,
  MAX_BODY_PIECE_BYTES,
  MAX_MANIFEST_BYTES,
  type SandboxMessage,
} from "./messages.ts";

/** Cells that may have ended without their state: one whose state is being taken down, and the one that ran meanwhile. */
const MOST_DUE = 2;

export class Captures {
  /** cells that ended and whose state has not come yet, oldest first */
  private readonly due: number[] = [];
  private pieces: Buffer[] = [];
  private bytes = 0;

  /** Cell `number` ended in a kernel that lives: its state follows, before the cell after the next ends. Throws `wire.violation`. */
  expect(number: number): void {
    if (this.due.length >= MOST_DUE)
      throw violation("a cell that ended before the state after the one before the last came");
    this.due.push(number);
  }

  /** The kernel is gone: nothing of it comes any more. */
  clear(): void {
    this.due.length = 0;
    this.pieces = [];
    this.bytes = 0;
  }

  /** Checks a chunk. Throws `wire.violation`. */
  chunk({ cell }: Extract<SandboxMessage, { type: "chunk" }>, payload: Buffer): void {
    this.check(cell);
    if (payload.length === 0 || payload.length > MAX_BODY_PIECE_BYTES)
      throw violation(`a chunk of ${payload.length} bytes`);
  }

  /** Takes a piece of a manifest; the whole one with the last. Throws `wire.violation`. */
  manifest(
    { cell, last }: Extract<SandboxMessage, { type: "checkpoint" }>,
    payload: Buffer,
  ): Capture | undefined {
    this.check(cell);
    this.bytes += payload.length;
    if (this.bytes > MAX_MANIFEST_BYTES) throw violation("a description of the session's state without end");
    this.pieces.push(payload);
    if (!last) return undefined;
    const text = Buffer.concat(this.pieces).toString("utf8");
    this.due.shift();
    this.pieces = [];
    this.bytes = 0;
    try {
      return capture.parse(JSON.parse(text));
    } catch (cause) {
      throw violation("a description of the session's state that is not one", cause);
    }
  }

  private check(cell: number): void {
    if (this.due[0] !== cell) throw violation("the state after a cell that did not just end");
  }
}
