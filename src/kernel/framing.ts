// Bytes in, frames out, and back. Pure: no streams, timers or logs. Layout and limits: messages.ts.
import { ClocheError } from "../shared/errors.ts";
import { MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES } from "./messages.ts";

const PREFIX_BYTES = 8;
/** Chunks of one frame kept apart: a peer that sends byte by byte would make each byte cost a few hundred. */
const MOST_CHUNKS = 512;
const EMPTY = Buffer.alloc(0);

export interface Frame {
  /** parsed JSON header, not yet validated */
  header: unknown;
  /** `bytes`, a copy-free view of what arrived */
  payload: Buffer;
}

/** Bytes of one frame. Throws `wire.too_large` where a limit of messages.ts is passed. */
export function encodeFrame(header: object, payload: Uint8Array = EMPTY): Buffer {
  const json = Buffer.from(JSON.stringify(header), "utf8");
  if (json.length > MAX_HEADER_BYTES || payload.length > MAX_PAYLOAD_BYTES)
    throw new ClocheError("wire.too_large", {
      message: `a frame of ${json.length} + ${payload.length} bytes is over the limit`,
    });
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + json.length + payload.length);
  frame.writeUInt32BE(json.length, 0);
  frame.writeUInt32BE(payload.length, 4);
  json.copy(frame, PREFIX_BYTES);
  frame.set(payload, PREFIX_BYTES + json.length);
  return frame;
}

/**
 * Reassembles frames from chunks split anywhere. Lengths are checked as soon as the prefix is there, so a lying peer
 * makes it hold at most one frame; it throws `wire.violation` and must not be used afterwards.
 */
export class FrameReader {
  private chunks: Buffer[] = [];
  private buffered = 0;
  private needed = PREFIX_BYTES;

  /** Adds bytes and yields every frame they complete. */
  *push(chunk: Buffer): Generator<Frame> {
    this.chunks.push(chunk);
    if (this.chunks.length > MOST_CHUNKS) this.chunks = [Buffer.concat(this.chunks)];
    this.buffered += chunk.length;
    while (this.buffered >= this.needed) {
      const prefix = this.peek(PREFIX_BYTES);
      const headerLength = prefix.readUInt32BE(0);
      const payloadLength = prefix.readUInt32BE(4);
      if (headerLength < 2 || headerLength > MAX_HEADER_BYTES)
        throw violation(`a header of ${headerLength} bytes`);
      if (payloadLength > MAX_PAYLOAD_BYTES) throw violation(`a payload of ${payloadLength} bytes`);
      this.needed = PREFIX_BYTES + headerLength + payloadLength;
      if (this.buffered < this.needed) return;
      const bytes = this.take(this.needed);
      this.needed = PREFIX_BYTES;
      const split = PREFIX_BYTES + headerLength;
      yield { header: parseHeader(bytes.subarray(PREFIX_BYTES, split)), payload: bytes.subarray(split) };
    }
  }

  /** `bytes` of an unfinished frame. */
  get pending(): number {
    return this.buffered;
  }

  private peek(length: number): Buffer {
    const first = this.chunks[0]!;
    if (first.length >= length) return first.subarray(0, length);
    const joined = Buffer.concat(this.chunks);
    this.chunks = [joined];
    return joined.subarray(0, length);
  }

  private take(length: number): Buffer {
    let first = this.chunks[0]!;
    if (first.length < length) {
      first = Buffer.concat(this.chunks);
      this.chunks = [first];
    }
    this.buffered -= length;
    if (first.length === length) this.chunks.shift();
    else this.chunks[0] = first.subarray(length);
    return first.subarray(0, length);
  }
}

function parseHeader(bytes: Buffer): unknown {
  let header: unknown;
  try {
    header = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw violation("a header that is not JSON", cause);
  }
  if (typeof header === "object" && header !== null)
    for (const value of Object.values(header))
      if (typeof value === "object" && value !== null) throw violation("a nested header");
  return header;
}

/** The one error a peer that breaks the protocol gets; it ends that session only. */
export function violation(what: string, cause?: unknown): ClocheError {
  return new ClocheError("wire.violation", {
    message: `the sandbox broke the protocol: ${what}`,
    hint: "This session was ended; the next call starts a fresh one.",
    cause,
  });
}
