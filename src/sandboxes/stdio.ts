// A sandboxed process's stdin and stdout as one Duplex. It ends quietly with the process: `exited` tells the story.
import { Duplex, type Readable, type Writable } from "node:stream";

export class Stdio extends Duplex {
  readonly #input: Writable;
  readonly #output: Readable;

  /**
   * Takes both streams, which may be one: destroys them with itself.
   * `select` picks what is stdout out of a chunk, where the stream carries more than that.
   */
  constructor(
    input: Writable,
    output: Readable,
    select: (chunk: Buffer) => Iterable<Buffer> = (chunk) => [chunk],
  ) {
    super({ allowHalfOpen: true });
    this.#input = input;
    this.#output = output;
    output.on("data", (chunk: Buffer) => {
      let room = true;
      for (const piece of select(chunk)) room = this.push(piece);
      if (!room) output.pause();
    });
    let ended = false;
    const end = () => {
      if (!ended) this.push(null);
      ended = true;
    };
    output.on("end", end);
    output.on("close", end);
    output.on("error", end);
    input.on("error", () => {});
  }

  override _read(): void {
    this.#output.resume();
  }

  /** A write to a process that is gone is dropped: what was still to be read must not be lost to its error. */
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#input.write(chunk, () => done());
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#input.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#input.destroy();
    this.#output.destroy();
    done(error);
  }
}
