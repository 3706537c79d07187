// Every kind of lie a sandbox can tell: it ends its own session with one typed error, the cell has one answer, and the
// session beside it and the next cell of this one compute.

import { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encodeFrame } from "../../src/kernel/framing.ts";
import {
  BODY_WINDOW_BYTES,
  MAX_BODY_PIECE_BYTES,
  MAX_DISPLAYS,
  MAX_OPEN_CALLS,
} from "../../src/kernel/messages.ts";
import { streamTransport } from "../../src/kernel/transport.ts";
import { House, type Lie, type LyingLine } from "./lying-sandbox.ts";

const WAIT = { waitMs: 45_000 };
const piece = Buffer.alloc(MAX_BODY_PIECE_BYTES);
const png = { mime: "image/png", body: true };
const prefix = (header: number, payload: number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(header, 0);
  bytes.writeUInt32BE(payload, 4);
  return bytes;
};
const raw = (header: string, payload = "") =>
  Buffer.concat([prefix(Buffer.byteLength(header), payload.length), Buffer.from(header + payload)]);
const finish = (line: LyingLine, id: string) => line.finish(id);
const repeat = (count: number, say: (n: number) => void) => {
  for (let n = 0; n < count; n++) say(n);
};

/** name, what is said, and how the cell ended that was running: lost, or already answered */
const lies: [string, Lie, ("lost" | "ok")?][] = [
  // malformed
  ["bytes that are no frame", (line) => line.raw(Buffer.from("Traceback (most recent call last):\n"))],
  ["a header that is not JSON", (line) => line.raw(raw("{type}"))],
  ["a header that is an array", (line) => line.raw(raw('["finished"]'))],
  ["a header that is null", (line) => line.raw(raw("null"))],
  ["a nested header", (line, id) => line.raw(raw(`{"type":"output","id":{"id":"${id}"}}`))],
  ["no type", (line, id) => line.raw(raw(`{"id":"${id}"}`))],
  ["a type that is none", (line) => line.say({ type: "shutdown" })],
  ["a message of the host's", (line, id) => line.say({ type: "execute", id, cell: 9 }, "1")],
  ["a further field", (line, id) => line.say({ type: "output", id, path: "/etc/passwd" }, "x")],
  ["a prototype", (line, id) => line.raw(raw(`{"type":"output","id":"${id}","__proto__":1}`, "x"))],
  ["an id that is a number", (line) => line.say({ type: "output", id: 1 }, "x")],
  ["a negative count", (line, id) => line.say({ type: "dropped", id, bytes: -1 })],
  ["a count that is no integer", (line, id) => line.say({ type: "dropped", id, bytes: 0.5 })],
  ["a count past all counting", (line, id) => line.raw(raw(`{"type":"dropped","id":"${id}","bytes":1e400}`))],
  ["a status that is none", (line, id) => line.say({ type: "finished", id, status: "lost" }, "{}")],
  ["an end that is no JSON", (line, id) => line.say({ type: "finished", id, status: "ok" }, "{")],
  ["an end that is an array", (line, id) => line.say({ type: "finished", id, status: "ok" }, "[1]")],
  [
    "an end with a further field",
    (line, id) => line.say({ type: "finished", id, status: "ok" }, '{"text":""}'),
  ],
  [
    "an end as deep as it is long",
    (line, id) => line.say({ type: "finished", id, status: "ok" }, "[".repeat(1e6)),
  ],
  ["an output of no bytes", (line, id) => line.say({ type: "output", id })],
  ["a second hello", (line) => line.say({ type: "hello", version: 1, nonce: "n" }, "{}")],
  // oversized
  ["a header of 4 GiB", (line) => line.raw(prefix(0xffff_ffff, 0))],
  ["a payload of 4 GiB", (line) => line.raw(prefix(20, 0xffff_ffff))],
  ["a header of no bytes", (line) => line.raw(prefix(0, 0))],
  ["an id of 16,000 characters", (line) => line.say({ type: "output", id: "x".repeat(16_000) }, "x")],
  [
    "a reason of 10,000 characters",
    (line, id) => line.say({ type: "exited", id, reason: "x".repeat(10_000) }),
  ],
  [
    "too large a piece",
    (line, id) => {
      line.say({ type: "display", id, display: "d", ...png });
      line.say({ type: "body", id: "d", last: true }, Buffer.alloc(MAX_BODY_PIECE_BYTES + 1));
    },
  ],
  [
    "a body in crumbs",
    (line, id) => {
      line.say({ type: "display", id, display: "d", ...png });
      line.say({ type: "body", id: "d", last: false }, "x");
    },
  ],
  // replayed
  [
    "the end of its cell twice",
    (line, id) => {
      finish(line, id);
      line.say({ type: "finished", id, status: "error" }, '{"error":"another"}');
    },
    "ok",
  ],
  // states
  [
    "a state after a cell that did not end",
    (line) => line.say({ type: "checkpoint", cell: 1, last: true }, "{}"),
  ],
  [
    "bytes of a state after a cell that did not end",
    (line) => line.say({ type: "chunk", cell: 1, name: "0".repeat(32) }, "x"),
  ],
  [
    "a state after another cell",
    (line, id) => {
      line.say({ type: "finished", id, status: "ok" }, "{}");
      line.say({ type: "checkpoint", cell: 77, last: true }, "{}");
    },
    "ok",
  ],
  [
    "a state that is none",
    (line, id) => {
      line.say({ type: "finished", id, status: "ok" }, "{}");
      line.say({ type: "checkpoint", cell: line.cell, last: true }, '{"members":7}');
    },
    "ok",
  ],
  [
    "bytes of a state that are none",
    (line, id) => {
      line.say({ type: "finished", id, status: "ok" }, "{}");
      line.say({ type: "chunk", cell: line.cell, name: "0".repeat(32) });
    },
    "ok",
  ],
  [
    "a state twice",
    (line, id) => {
      finish(line, id);
      line.say({ type: "checkpoint", cell: line.cell, last: true }, "{}");
    },
    "ok",
  ],
  ["its first ready again", (line) => line.say({ type: "ready", id: "boot", python: "3" })],
  [
    "a display id twice",
    (line, id) => repeat(2, () => line.say({ type: "display", id, display: "d", ...png })),
  ],
  [
    "a call id twice",
    (line, id) => repeat(2, () => line.say({ type: "call", id: "k", cell: id, name: "never" }, "{}")),
  ],
  ["a death it has already told", (line) => repeat(2, () => line.say({ type: "exited", reason: "again" }))],
  // reordered
  [
    "output after its end",
    (line, id) => {
      finish(line, id);
      line.say({ type: "output", id }, "late");
    },
    "ok",
  ],
  [
    "a display after its end",
    (line, id) => {
      finish(line, id);
      line.say({ type: "display", id, display: "d", ...png });
    },
    "ok",
  ],
  [
    "a host call after its end",
    (line, id) => {
      finish(line, id);
      line.say({ type: "call", id: "k", cell: id, name: "publish" }, "{}");
    },
    "ok",
  ],
  [
    "its death after its end",
    (line, id) => {
      finish(line, id);
      line.say({ type: "exited", id, reason: "it crashed" });
    },
    "ok",
  ],
  [
    "its end before its displays",
    (line, id) => {
      line.say({ type: "display", id, display: "d", ...png });
      finish(line, id);
    },
  ],
  ["a body before its display", (line) => line.say({ type: "body", id: "d", last: false }, piece)],
  [
    "a body after its end",
    (line, id) => {
      line.say({ type: "display", id, display: "d", ...png });
      repeat(2, () => line.say({ type: "body", id: "d", last: true }, "x"));
    },
  ],
  // forged
  ["output of a cell that is not", (line) => line.say({ type: "output", id: "forged" }, "lie")],
  ["progress of a cell that is not", (line) => line.say({ type: "progress", id: "forged" }, "lie")],
  ["the end of a cell that is not", (line) => finish(line, "forged")],
  ["the death of a cell that is not", (line) => line.say({ type: "exited", id: "forged", reason: "lie" })],
  [
    "a call of a cell that is not",
    (line) => line.say({ type: "call", id: "k", cell: "forged", name: "x" }, "{}"),
  ],
  [
    "an answer that nobody asked for",
    (line) => line.say({ type: "answer", id: "forged", ok: true }, '{"text":""}'),
  ],
  ["a stack that nobody asked for", (line) => line.say({ type: "stack", id: "forged" }, "lie")],
  ["a restart that nobody asked for", (line) => line.say({ type: "ready", id: "forged", python: "3" })],
  [
    "an answer with the id of its cell",
    (line, id) => line.say({ type: "answer", id, ok: true }, '{"text":""}'),
  ],
  // flooding
  [
    "output without end",
    (line, id) => void line.flood(encodeFrame({ type: "output", id }, Buffer.alloc(65_536, "x")), 2 ** 28),
  ],
  [
    "output byte by byte without end",
    (line, id) =>
      void line.flood(
        Buffer.concat(Array(4_096).fill(encodeFrame({ type: "output", id }, piece.subarray(0, 1)))),
        2 ** 30,
      ),
  ],
  ["gaps without end", (line, id) => repeat(500, () => line.say({ type: "dropped", id, bytes: 1 }))],
  ["progress without end", (line, id) => repeat(5_000, () => line.say({ type: "progress", id }, "50 %"))],
  [
    "displays without end",
    (line, id) =>
      repeat(MAX_DISPLAYS + 1, (n) =>
        line.say({ type: "display", id, display: `d${n}`, mime: "image/png" }, "x"),
      ),
  ],
  [
    "a display without end",
    (line, id) => {
      line.say({ type: "display", id, display: "d", ...png });
      void line.flood(encodeFrame({ type: "body", id: "d", last: false }, piece), 2 ** 28);
    },
  ],
  [
    "many large displays at once",
    (line, id) => {
      repeat(MAX_DISPLAYS, (n) => line.say({ type: "display", id, display: `d${n}`, ...png }));
      const pieces = Array.from({ length: MAX_DISPLAYS }, (_, n) =>
        encodeFrame({ type: "body", id: `d${n}`, last: false }, piece),
      );
      void line.flood(Buffer.concat(pieces), 2 ** 29);
    },
  ],
  [
    "a body without credit",
    (line, id) => {
      line.say({ type: "call", id: "k", cell: id, name: "never", body: true }, "{}");
      repeat(BODY_WINDOW_BYTES / MAX_BODY_PIECE_BYTES + 2, () =>
        line.say({ type: "body", id: "k", last: false }, piece),
      );
    },
  ],
  [
    "more host calls than can be open",
    (line, id) =>
      repeat(MAX_OPEN_CALLS + 1, (n) =>
        line.say({ type: "call", id: `k${n}`, cell: id, name: "never" }, "{}"),
      ),
  ],
  [
    "host calls without end, and no answer read",
    (line, id) => {
      line.deafen();
      let n = 0;
      const call = () =>
        encodeFrame({ type: "call", id: `k${n++}`, cell: id, name: "large" }, Buffer.from("{}"));
      repeat(60, () => line.raw(call()));
    },
  ],
  // half sent
  [
    "half a message, then the end of the line",
    (line, id) => {
      line.raw(encodeFrame({ type: "output", id }, piece).subarray(0, 5_000));
      line.hangUp();
    },
  ],
];

let house: House;
beforeEach(() => {
  house = new House();
  house.answer = ({ name }) =>
    name === "large" ? Promise.resolve({ ok: true, result: "x".repeat(1_000_000) }) : new Promise(() => {});
});
afterEach(() => house[Symbol.dispose]());

describe("a sandbox that sends", () => {
  test.each(lies)("%s ends its session with one error", async (name, lie, ended = "lost") => {
    const lying = house.session("lying", lie);
    const honest = house.session("honest");
    expect((await honest.exec("1+1", WAIT)).text).toBe("2\n");
    const [cell, beside] = await Promise.all([lying.exec("lie", WAIT), honest.exec("1+1", WAIT)]);
    expect(beside.text).toBe("2\n");
    expect(cell.status).toBe(ended);
    await expect.poll(() => house.closed).toHaveLength(1);
    const reason = name.startsWith("half a message") ? "the sandbox ended" : "the sandbox broke the protocol";
    expect(house.closed[0]).toContain(reason);
    const next = await lying.exec("1+1", WAIT);
    expect(next).toMatchObject({ status: "ok", text: "2\n" });
    const told = [cell.error ?? "", ...lying.takeNotes()].filter((text) => text.includes(reason));
    expect(told).toHaveLength(1);
    expect((await honest.exec("1+1", WAIT)).text).toBe("2\n");
    expect(honest.takeNotes()).toEqual([]);
    expect(house.launched.toSorted()).toEqual(["honest", "lying", "lying"]);
    await Promise.all([lying.close(), honest.close()]);
  });

  test("an answer about variables that is none ends its session with one error", async () => {
    for (const lie of ["{", "[]", '{"text":1}', '{"text":"","more":1}']) {
      const lying = house.session("lying", (line, id) => {
        line.heard.on("inspect", (header: { id: string }) =>
          line.say({ type: "answer", id: header.id, ok: true }, lie),
        );
        finish(line, id);
      });
      await lying.exec("lie", WAIT);
      // The honest answer follows the lie and comes too late.
      await expect(lying.inspect({ offset: 0, limit: 10 }, WAIT)).rejects.toMatchObject({
        code: "wire.violation",
      });
      expect((await lying.exec("1+1", WAIT)).text).toBe("2\n");
      await lying.close();
    }
  });
});

test("a message that stops halfway is an error once it has not gone on for its time", async () => {
  const stream = new Duplex({ read() {}, write: (_, __, done) => done() });
  const transport = streamTransport(stream, { stallMs: 50 });
  stream.push(encodeFrame({ type: "stack", id: "x" }, Buffer.alloc(100)).subarray(0, 60));
  await expect(transport.receive()).rejects.toMatchObject({
    code: "wire.violation",
    message: "the sandbox broke the protocol: a message that stops halfway",
  });
  transport.abort();
});
