// Streams a hostile peer might send: true messages, and mutations of them that keep, bend or break their structure.
import { readFileSync } from "node:fs";
import { encodeFrame } from "../../src/kernel/framing.ts";
import type { Seeded } from "../seeded.ts";

const golden: { frame: string }[] = JSON.parse(
  readFileSync(new URL("../golden/frames.json", import.meta.url), "utf8"),
);
const GOLDEN = golden.map(({ frame }) => Buffer.from(frame, "hex"));

/** One message of every kind that a sandbox may say. */
const MESSAGES: Record<string, unknown>[] = [
  { type: "hello", version: 1, nonce: "n" },
  { type: "ready", id: "boot", python: "3.12.1" },
  { type: "output", id: "c" },
  { type: "dropped", id: "c", bytes: 7 },
  { type: "progress", id: "c" },
  { type: "display", id: "c", display: "d", mime: "image/png", body: true },
  { type: "body", id: "d", last: true },
  { type: "finished", id: "c", status: "ok" },
  { type: "answer", id: "q", ok: true },
  { type: "stack", id: "q" },
  { type: "call", id: "k", cell: "c", name: "publish", body: true },
  { type: "exited", id: "c", reason: "it crashed" },
];
const PAYLOADS = ["", "{}", "[1]", '{"text":"x"}', "\u{1f331}", "\0", '{"error":"e","errorName":"E"}'];
/** Values that a field may hold instead; as JSON text, because some have no value that would print as them. */
const VALUES = [
  "null",
  "true",
  "-1",
  "0",
  "0.5",
  "1e400",
  "-0",
  "9007199254740993",
  "NaN",
  "Infinity",
  '""',
  '"x"',
  "[]",
  "{}",
  '"\\ud800"',
  '"\\u0000"',
  "[[[[]]]]",
  '{"a":{"b":1}}',
  `"${"x".repeat(70)}"`,
  `"${"é".repeat(9_000)}"`,
  "01",
  "'x'",
];
const KEYS = ["__proto__", "constructor", "type", "id", "cell", "", "bytes", "toString"];

/** One frame: golden, true, or with its header bent. */
export function anyFrame(random: Seeded): Buffer {
  if (random.integer(4) === 0) return random.pick(GOLDEN);
  const message = random.pick(MESSAGES);
  const payload = Buffer.from(random.pick(PAYLOADS));
  if (random.integer(2) === 0) return encodeFrame(message, payload);
  const fields = Object.entries(message).map(([key, value]) => [JSON.stringify(key), JSON.stringify(value)]);
  for (let bends = 1 + random.integer(2); bends > 0; bends--) {
    const at = random.integer(fields.length);
    const bend = random.integer(5);
    if (bend === 0) fields.splice(at, 1);
    else if (bend === 1) fields.push([...fields[at]!]);
    else if (bend === 2) fields.push([JSON.stringify(random.pick(KEYS)), random.pick(VALUES)]);
    else if (fields[at]) fields[at][1] = random.pick(VALUES);
    if (fields.length === 0) break;
  }
  return framed(`{${fields.map(([key, value]) => `${key}:${value}`).join(",")}}`, payload);
}

/** A stream of frames with, most often, something wrong in its bytes. */
export function anyStream(random: Seeded): Buffer {
  const frames = Array.from({ length: 1 + random.integer(6) }, () => anyFrame(random));
  const stream = Buffer.concat(frames);
  switch (random.integer(7)) {
    case 0: // some bytes changed
      for (let n = 1 + random.integer(4); n > 0; n--)
        stream[random.integer(stream.length)] = random.integer(256);
      return stream;
    case 1: // cut short
      return stream.subarray(0, random.integer(stream.length));
    case 2: // bytes put in
      return splice(stream, random.integer(stream.length), 0, random.bytes(1 + random.integer(12)));
    case 3: // bytes taken out
      return splice(stream, random.integer(stream.length), 1 + random.integer(12), Buffer.alloc(0));
    case 4: // a length that lies
      stream.writeUInt32BE(
        random.pick([0, 1, 2, 16_384, 16_385, 1_048_576, 1_048_577, 2 ** 32 - 1]),
        random.pick([0, 4]),
      );
      return stream;
    case 5: // nothing but noise
      return random.bytes(1 + random.integer(64));
    default:
      return stream;
  }
}

/** The same bytes in chunks of any sizes, single bytes and empty ones too. */
export function anyChunks(random: Seeded, stream: Buffer): Buffer[] {
  const most = random.pick([1, 3, 20, 500, 65_536]);
  const chunks: Buffer[] = [];
  for (let at = 0; at < stream.length; ) {
    const end = Math.min(stream.length, at + random.integer(most + 1));
    chunks.push(stream.subarray(at, end));
    at = end;
  }
  return chunks;
}

function framed(header: string, payload: Buffer): Buffer {
  const text = Buffer.from(header);
  const prefix = Buffer.alloc(8);
  prefix.writeUInt32BE(text.length, 0);
  prefix.writeUInt32BE(payload.length, 4);
  return Buffer.concat([prefix, text, payload]);
}

function splice(bytes: Buffer, at: number, gone: number, put: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + gone)]);
}
