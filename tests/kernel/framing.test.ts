// Framing: the same bytes as Python's, whatever the splits; and nothing a peer sends makes it hold more than a frame.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { encodeFrame, type Frame, FrameReader } from "../../src/kernel/framing.ts";
import { MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES } from "../../src/kernel/messages.ts";
import { seeded } from "../seeded.ts";

interface Golden {
  name: string;
  header: Record<string, unknown>;
  payload: string;
  frame: string;
}
const golden: Golden[] = JSON.parse(readFileSync(new URL("../golden/frames.json", import.meta.url), "utf8"));

const prefix = (header: number, payload: number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(header, 0);
  bytes.writeUInt32BE(payload, 4);
  return bytes;
};
const raw = (header: string, payload = Buffer.alloc(0)) =>
  Buffer.concat([prefix(Buffer.byteLength(header), payload.length), Buffer.from(header), payload]);
const read = (...chunks: Buffer[]): Frame[] => {
  const reader = new FrameReader();
  return chunks.flatMap((chunk) => [...reader.push(chunk)]);
};

describe("golden frames", () => {
  test.each(golden)(
    "$name has the bytes that Python writes, and reads back",
    ({ header, payload, frame }) => {
      const bytes = encodeFrame(header, Buffer.from(payload, "hex"));
      expect(bytes.toString("hex")).toBe(frame);
      expect(read(bytes)).toEqual([{ header, payload: Buffer.from(payload, "hex") }]);
    },
  );
});

describe("chunks", () => {
  test("a stream split anywhere gives the same frames", () => {
    const stream = Buffer.concat(golden.map(({ frame }) => Buffer.from(frame, "hex")));
    const whole = read(stream);
    expect(whole).toHaveLength(golden.length);
    for (let seed = 1; seed <= 200; seed++) {
      const random = seeded(seed);
      const chunks: Buffer[] = [];
      for (let at = 0; at < stream.length; ) {
        const end = Math.min(stream.length, at + 1 + random.integer(40));
        chunks.push(stream.subarray(at, end));
        at = end;
      }
      expect(read(...chunks), `seed ${seed}`).toEqual(whole);
    }
  });

  test("byte by byte nothing comes before its frame is whole", () => {
    const frame = Buffer.from(golden[0]!.frame, "hex");
    const reader = new FrameReader();
    for (const byte of frame.subarray(0, -1)) expect([...reader.push(Buffer.from([byte]))]).toEqual([]);
    expect(reader.pending).toBe(frame.length - 1);
    expect([...reader.push(frame.subarray(-1))]).toHaveLength(1);
    expect(reader.pending).toBe(0);
  });
});

describe("a lying peer", () => {
  const refused = { code: "wire.violation" };

  test.each([
    ["a header of no bytes", prefix(0, 0)],
    ["a header of one byte", prefix(1, 0)],
    ["a header over the limit", prefix(MAX_HEADER_BYTES + 1, 0)],
    ["a header of 4 GiB", prefix(0xffff_ffff, 0)],
    ["a payload over the limit", prefix(2, MAX_PAYLOAD_BYTES + 1)],
    ["a payload of 4 GiB", prefix(2, 0xffff_ffff)],
  ])("%s is refused on its prefix alone", (_, bytes) => {
    expect(() => read(bytes)).toThrowError(expect.objectContaining(refused));
  });

  test.each([
    ["not JSON", "{no}"],
    ["half JSON", '{"type":"ping"'],
    ["nested", '{"type":{"type":"ping"}}'],
    ["deeply nested", "[".repeat(10_000)],
    ["an array inside", '{"type":[1]}'],
    ["two objects", "{}{}"],
  ])("a header that is %s is refused", (_, header) => {
    expect(() => read(raw(header))).toThrowError(expect.objectContaining(refused));
  });

  test("braces inside strings are text, not depth", () => {
    expect(read(raw('{"type":"exited","reason":"{[\\"{["}'))[0]?.header).toEqual({
      type: "exited",
      reason: '{["{[',
    });
  });

  test("what we send is bounded too", () => {
    const tooMuch = Buffer.alloc(MAX_PAYLOAD_BYTES + 1);
    expect(() => encodeFrame({ type: "execute" }, tooMuch)).toThrowError(
      expect.objectContaining({ code: "wire.too_large" }),
    );
  });
});
