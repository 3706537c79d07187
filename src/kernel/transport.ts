// Whole messages over a byte stream: {send, receive, abort}. The channel needs no more, so tests run it in memory.
import type { Duplex } from "node:stream";
import { asClocheError, type ClocheError } from "../shared/errors.ts";
import { encodeFrame, FrameReader, violation } from "./framing.ts";
import { type SandboxMessage, sandboxMessage } from "./messages.ts";

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

/** Takes the stream, also when it throws. */
export function streamTransport(stream: Duplex): Transport {
  const reader = new FrameReader();
  const waiting: Received[] = [];
  let failure: ClocheError | undefined;
  let ended = false;
  let wake: (() => void) | undefined;

  const notify = () => {
    wake?.();
    wake = undefined;
  };
  const end = () => {
    ended = true;
    notify();
  };
  stream.on("data", (chunk: Buffer) => {
    if (failure) return;
    try {
      for (const { header, payload } of reader.push(chunk)) {
        const parsed = sandboxMessage.safeParse(header);
        if (!parsed.success)
          throw violation(`a message that is not one (${parsed.error.issues[0]?.message})`);
        waiting.push({ message: parsed.data, payload });
      }
    } catch (error) {
      failure = asClocheError(error);
    }
    if (waiting.length > HIGH_WATER_MESSAGES) stream.pause();
    notify();
  });
  stream.on("end", end);
  stream.on("close", end);
  stream.on("error", end);

  return {
    send(header, payload) {
      const frame = encodeFrame(header, payload);
      if (!ended && stream.writable) stream.write(frame);
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
