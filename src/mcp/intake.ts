// What the client sends, on its way to the protocol. It can be held back without growing and without missing its end.
import { Readable } from "node:stream";

/** Requests held back before no more are read, in `bytes`: the client's pipe fills then, and it waits. */
const MOST_HELD = 16_777_216;

export class Intake extends Readable {
  readonly #source: Readable;

  /** Reads `source`, whose end it tells even while it is paused itself. */
  constructor(source: Readable) {
    super({ highWaterMark: MOST_HELD });
    this.#source = source;
    source.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) source.pause();
    });
    source.on("end", () => this.push(null));
    source.on("error", (error) => this.destroy(error));
  }

  override _read(): void {
    this.#source.resume();
  }
}
