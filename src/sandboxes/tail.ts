// The last bytes of a stream: what a sandbox said on stderr before it ended.

/** Bytes kept, in `bytes`: a Python traceback fits, a flood does not. */
const KEPT = 8_192;

export class Tail {
  #bytes = Buffer.alloc(0);

  add(chunk: Buffer): void {
    const joined = Buffer.concat([this.#bytes, chunk.subarray(-KEPT)]);
    this.#bytes = joined.subarray(-KEPT);
  }

  get text(): string {
    return this.#bytes.toString("utf8");
  }
}
