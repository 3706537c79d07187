// What a sandbox can make its host hold, however much it offers: measured over gigabytes, against the bound that
// SECURITY.md states.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, expect, test } from "vitest";
import { encodeFrame, FrameReader } from "../../src/kernel/framing.ts";
import { MAX_BODY_PIECE_BYTES, MAX_DISPLAYS, MAX_OPEN_CALLS } from "../../src/kernel/messages.ts";
import { House, type Lie } from "./lying-sandbox.ts";

const MIB = 2 ** 20;
/** What one session may cost its server, in `bytes`: 100 MiB of displays, 80 of calls' bodies, 16 unread, and frames. */
const BOUND = 256 * MIB;
const OFFERED = 2 ** 31;
/** What an honest one sends through a host call, in `bytes`. */
const BODY = 2 ** 29;
const WAIT = { waitMs: 40_000 };

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const held = () => {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

const piece = Buffer.alloc(MAX_BODY_PIECE_BYTES);

let house: House;
let most: number;
let before: number;
let last: number;
beforeEach(() => {
  house = new House();
  before = most = held();
  last = 0;
});
afterEach(() => house[Symbol.dispose]());

/** Looks ten times a second: collecting garbage takes its time. */
const watch = () => {
  if (performance.now() - last < 100) return;
  last = performance.now();
  most = Math.max(most, held());
};

const floods: [string, Lie][] = [
  [
    "output",
    (line, id) => void line.flood(encodeFrame({ type: "output", id }, Buffer.alloc(MIB)), OFFERED, watch),
  ],
  [
    "displays, all at once",
    (line, id) => {
      const names = Array.from({ length: MAX_DISPLAYS }, (_, n) => `d${n}`);
      for (const display of names) line.say({ type: "display", id, display, mime: "image/png", body: true });
      const round = Buffer.concat(
        names.map((name) => encodeFrame({ type: "body", id: name, last: false }, piece)),
      );
      void line.flood(round, OFFERED, watch);
    },
  ],
  [
    "bodies of calls that nobody reads",
    (line, id) => {
      const names = Array.from({ length: MAX_OPEN_CALLS }, (_, n) => `k${n}`);
      for (const call of names)
        line.say({ type: "call", id: call, cell: id, name: "never", body: true }, "{}");
      const round = Buffer.concat(
        names.map((name) => encodeFrame({ type: "body", id: name, last: false }, piece)),
      );
      void line.flood(round, OFFERED, watch);
    },
  ],
  [
    "payloads that are no message",
    (line) => void line.flood(encodeFrame({ type: "x" }, Buffer.alloc(MIB)), OFFERED, watch),
  ],
  [
    "calls whose answers it never reads",
    (line, id) => {
      line.deafen();
      for (let n = 0; n < MAX_OPEN_CALLS; n++)
        line.say({ type: "call", id: `k${n}`, cell: id, name: "large" }, "{}");
    },
  ],
];

test.each(floods)("a flood of %s costs the server less than its bound", async (_, flood) => {
  house.answer = ({ name }) =>
    name === "large" ? Promise.resolve({ ok: true, result: "x".repeat(1_000_000) }) : new Promise(() => {});
  const session = house.session("flooding", flood);
  expect((await session.exec("flood", WAIT)).status).toBe("lost");
  watch();
  expect(most - before).toBeLessThan(BOUND);
  expect(house.closed).toHaveLength(1);
  expect((await session.exec("1+1", WAIT)).text).toBe("2\n");
  await session.close();
  // What it cost is given back.
  await expect.poll(() => held() - before, { timeout: 10_000 }).toBeLessThan(32 * MIB);
});

test("half a gigabyte through a host call's body cost the server its window", async () => {
  let taken = 0;
  house.answer = async ({ body }) => {
    for await (const bytes of body!) {
      taken += bytes.length;
      watch();
    }
    return { ok: true, result: taken };
  };
  const session = house.session("publishing", async (line, id) => {
    line.say({ type: "call", id: "k", cell: id, name: "publish", body: true }, "{}");
    let room = 4;
    line.heard.on("credit", () => room++);
    const frame = encodeFrame({ type: "body", id: "k", last: false }, piece);
    for (let sent = 0; sent < BODY; sent += piece.length) {
      while (room === 0) await new Promise((resolve) => line.heard.once("credit", resolve));
      room--;
      line.raw(frame);
    }
    line.heard.once("reply", () => line.say({ type: "finished", id, status: "ok" }, "{}"));
    line.say({ type: "body", id: "k", last: true });
  });
  expect((await session.exec("publish", WAIT)).status).toBe("ok");
  expect(taken).toBe(BODY);
  expect(most - before).toBeLessThan(64 * MIB);
  await session.close();
});

test("a message that comes byte by byte costs its size, not a buffer for every byte", async () => {
  const reader = new FrameReader();
  const frame = encodeFrame({ type: "output", id: "x" }, Buffer.alloc(MIB));
  for (const byte of frame.subarray(0, -1))
    for (const _ of reader.push(Buffer.alloc(1, byte))) throw new Error();
  expect(reader.pending).toBe(frame.length - 1);
  // Freed buffers are counted until the collector has come round to them.
  await expect.poll(() => held() - before, { timeout: 10_000 }).toBeLessThan(8 * MIB);
  expect(reader.pending).toBe(frame.length - 1);
});
