// One round of fuzzing the wire: what both readers and the channel may make of a stream, whatever it is.
import { expect } from "vitest";
import { KernelChannel } from "../../src/kernel/channel.ts";
import { type Frame, FrameReader } from "../../src/kernel/framing.ts";
import { MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES, sandboxMessage } from "../../src/kernel/messages.ts";
import type { ClocheError } from "../../src/shared/errors.ts";
import { ScriptedKernel } from "../kernel/scripted-kernel.ts";
import { seeded } from "../seeded.ts";
import { anyChunks, anyFrame, anyStream } from "./mutate.ts";

export interface Reading {
  frames: Frame[];
  refused: boolean;
  /** bytes of an unfinished frame, where nothing was refused */
  pending: number;
}

/** What the reader makes of chunks. Fails where it throws anything but a violation, or holds more than a frame. */
export function readAll(chunks: Buffer[]): Reading {
  const reader = new FrameReader();
  const frames: Frame[] = [];
  try {
    for (const chunk of chunks) {
      for (const frame of reader.push(chunk)) frames.push(frame);
      expect(reader.pending).toBeLessThanOrEqual(8 + MAX_HEADER_BYTES + MAX_PAYLOAD_BYTES);
    }
  } catch (error) {
    expect((error as ClocheError).code).toBe("wire.violation");
    return { frames, refused: true, pending: 0 };
  }
  return { frames, refused: false, pending: reader.pending };
}

/** However it is split, a stream gives the same frames and the same end. Returns that. */
export function fuzzFraming(seed: number): { stream: Buffer; reading: Reading } {
  const random = seeded(seed);
  const stream = anyStream(random);
  const reading = readAll([stream]);
  expect(readAll(anyChunks(random, stream)), `seed ${seed}`).toEqual(reading);
  for (const { header } of reading.frames) sandboxMessage.safeParse(header);
  return { stream, reading };
}

/** Whatever messages come in whatever order, a cell has one answer and the channel ends at most once, typed. */
export async function fuzzChannel(seed: number): Promise<void> {
  const random = seeded(seed);
  const kernel = new ScriptedKernel();
  const closed: string[] = [];
  const channel = new KernelChannel(kernel, {
    call: async () => ({ ok: true, result: 1 }),
    chunk() {},
    checkpoint() {},
    died() {},
    closed: ({ code }) => closed.push(code),
  });
  kernel.say({ type: "ready", id: "boot", python: "3" });
  const listener = { output() {}, dropped() {}, progress() {}, imagePlaced() {}, image() {} };
  let ends = 0;
  const cell = channel.execute(1, "x", listener);
  void cell.outcome.then(() => ends++);
  const asked = channel.inspect({ offset: 0, limit: 1 }).catch((error: ClocheError) => error.code);
  const names = { c: kernel.idOf("execute"), q: kernel.idOf("inspect") };
  for (let n = 1 + random.integer(12); n > 0; n--)
    for (const { header, payload } of readAll([anyFrame(random)]).frames) {
      const { id, cell: of, ...rest } = header as Record<string, string>;
      const named = (name: string | undefined) => (name === "c" || name === "q" ? names[name] : name);
      kernel.say(
        {
          ...rest,
          ...(id === undefined ? {} : { id: named(id) }),
          ...(of === undefined ? {} : { cell: named(of) }),
        },
        payload,
      );
    }
  kernel.end();
  await cell.outcome;
  await asked;
  await new Promise((resolve) => setImmediate(resolve));
  expect(ends, `seed ${seed}`).toBe(1);
  expect(closed, `seed ${seed}`).toHaveLength(1);
  expect(["wire.violation", "sandbox.lost"], `seed ${seed}`).toContain(closed[0]);
}
