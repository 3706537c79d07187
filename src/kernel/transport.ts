// Whole messages over a byte stream: {send, receive, abort}. The channel needs no more, so tests run it in memory.
import type { Duplex } from "node:stream";
import { asClocheError, type ClocheError } from "../shared/errors.ts";
import { encodeFrame, FrameReader, violation } from "./framing.ts";
import { MAX_PAYLOAD_BYTES, type SandboxMessage, sandboxMessage } from "./messages.ts";

export interface Received {
  message: SandboxMessage;
  payload: Buffer;
}

export interface Transport {
  /** Queues one message; delivery is in order. Throws only where the message is over a limit. */
  send(header: object, payload?: Uint8Array): void;
  /** The next message, or undefined once the stream ended. Rejects with `wire.violation`. One caller at a time. */
  receive(): Promise<Received | undefined>;
  /** Ends the stream; a pending `receive` resolves with undefined. Idempotent. */
  abort(): void;
}

/** Messages that may wait here before the stream is paused: a slow reader holds bounded memory. */
const HIGH_WATER_MESSAGES = 256;

/** Bytes the sandbox may leave unread, in `bytes`: sixteen of the longest messages. */
export const MAX_UNREAD_BYTES = 16 * MAX_PAYLOAD_BYTES;
/** `milliseconds` within which a message that was begun goes on. */
const STALL_MS = 30_000;

/**
 * Takes the stream, also when it throws. A peer that leaves a message half sent for `stallMs` milliseconds, or leaves
 * more than MAX_UNREAD_BYTES unread, breaks the protocol.
 */
export function streamTransport(stream: Duplex, { stallMs = STALL_MS } = {}): Transport {
  const reader = new FrameReader();
  const waiting: Received[] = [];
  let failure: ClocheError | undefined;
  let ended = false;
  let wake: (() => void) | undefined;
  let stalled: NodeJS.Timeout | undefined;

  const notify = () => {
    wake?.();
    wake = undefined;
  };
  const fail = (error: unknown) => {
    failure ??= asClocheError(error);
    notify();
  };
  const end = () => {
    ended = true;
    clearTimeout(stalled);
    notify();
  };
  stream.on("data", (chunk: Buffer) => {
    if (failure) return;
    try {
      for (const { header, payload } of reader.push(chunk)) {
        const parsed = sandboxMessage.safeParse(header);
        if (!parsed.success) throw violation(`a message that is not one (${parsed.error.issues[0]?.code})`);
        waiting.push({ message: parsed.data, payload });
      }
    } catch (error) {
      fail(error);
    }
    if (waiting.length > HIGH_WATER_MESSAGES) stream.pause();
    clearTimeout(stalled);
    if (reader.pending > 0 && !ended && !stream.isPaused())
      stalled = setTimeout(() => fail(violation("a message that stops halfway")), stallMs).unref();
    notify();
  });
  stream.on("end", end);
  stream.on("close", end);
  stream.on("error", end);

  return {
    send(header, payload) {
      const frame = encodeFrame(header, payload);
      if (ended || failure || !stream.writable) return;
      stream.write(frame);
      if (stream.writableLength > MAX_UNREAD_BYTES) fail(violation("it does not read what it is sent"));
    },
    async receive() {
      while (waiting.length === 0) {
        if (failure) throw failure;
        if (ended) return undefined;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const next = waiting.shift();
      if (waiting.length === 0 && stream.isPaused() && !ended) stream.resume();
      return next;
    },
    abort() {
      stream.destroy();
      end();
    },
  };
}
