// What Docker's attach stream sends: stdout and stderr, interleaved in records. Pure: bytes in, pieces out.
//
//     +---------+---------+----------------+---------+
//     | u8 kind | 3 bytes | u32 big-endian | content |     kind 1 is stdout, 2 stderr, 3 an error of the engine
//     +---------+---------+----------------+---------+

const HEADER_BYTES = 8;
const STDOUT = 1;

/** A record may span any chunks; content is sliced, never copied. */
export class DockerStreamReader {
  readonly #onOther: (data: Buffer) => void;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  #contentLeft = 0;
  #stdout = false;

  /** `onOther` gets what is not stdout. */
  constructor(onOther: (data: Buffer) => void) {
    this.#onOther = onOther;
  }

  /** The stdout in `chunk`. */
  read(chunk: Buffer): Buffer[] {
    const pieces: Buffer[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#contentLeft === 0) {
        const taken = Math.min(HEADER_BYTES - this.#headerBytes, chunk.length - at);
        chunk.copy(this.#header, this.#headerBytes, at, at + taken);
        this.#headerBytes += taken;
        at += taken;
        if (this.#headerBytes < HEADER_BYTES) break;
        this.#headerBytes = 0;
        this.#stdout = this.#header[0] === STDOUT;
        this.#contentLeft = this.#header.readUInt32BE(4);
        continue;
      }
      const taken = Math.min(this.#contentLeft, chunk.length - at);
      const content = chunk.subarray(at, at + taken);
      if (this.#stdout) pieces.push(content);
      else this.#onOther(content);
      this.#contentLeft -= taken;
      at += taken;
    }
    return pieces;
  }
}
