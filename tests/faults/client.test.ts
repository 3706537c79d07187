// The client is killed, silent, slow, or reads nothing: it gets each answer once when it reads again, the server holds
// a bounded amount meanwhile, and ends when nobody is left.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { delay } from "../../src/shared/async.ts";
import { Place } from "../e2e/place.ts";
import { anySandbox, eachSandbox } from "../e2e/rows.ts";
import { expectAnswered, expectGone, expectUsable } from "./invariants.ts";
import { Wire } from "./wire.ts";

/** How long the client reads nothing, in `milliseconds`: a minute in the long run. */
const UNREAD_MS = process.env.CLOCHE_TEST_LONG === "1" ? 60_000 : 3_000;

eachSandbox("a client", (kind) => {
  let place: Place;
  beforeAll(() => {
    place = new Place(kind);
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());

  test("that is gone in the middle of a call takes the server and its cell with it", async () => {
    const wire = await Wire.start(place);
    void wire.exec("while True: pass").catch(() => {});
    await delay(1_500);
    wire.process.stdout.destroy();
    wire.process.stdin.destroy();
    await expectGone(wire);
  });

  test("that closes only what it reads from ends the server at its next answer", async () => {
    const wire = await Wire.start(place);
    await wire.exec("1");
    wire.process.stdout.destroy();
    void wire.exec("2").catch(() => {});
    await wire.gone;
    await expectGone(wire);
  });

  test("that sends half a request and then nothing keeps nobody waiting", async () => {
    const wire = await Wire.start(place);
    await expectUsable(wire);
    const id = wire.nextId();
    const line = `${JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params: { name: "exec", arguments: { code: "'whole'" } } })}\n`;
    wire.write(line.slice(0, 40));
    await delay(300);
    const whole = wire.reply(id);
    for (const byte of line.slice(40)) {
      wire.write(byte);
      await delay(1);
    }
    expect(JSON.stringify(await whole)).toContain("whole");
    wire.write(line.slice(0, 40));
    await expectGone(wire);
  });
});

anySandbox("a client that writes what is no request", (kind) => {
  let place: Place;
  let wire: Wire;
  beforeAll(async () => {
    place = new Place(kind);
    wire = await Wire.start(place);
    await wire.exec("kept = 1");
  });
  afterAll(async () => {
    await wire?.close();
    await place?.[Symbol.asyncDispose]();
  });
  const request = (fields: string) => `{"jsonrpc":"2.0",${fields}}`;
  const call = (rest: string) =>
    `"method":"tools/call","params":{"name":"exec","arguments":{"code":"1"}${rest}}`;
  const large = JSON.stringify("x".repeat(17_000_000));

  test.each([
    ["half of one", (id: number) => request(`"id":${id},${call("")}`).slice(0, -2), false, /not JSON/],
    ["words", () => "GET / HTTP/1.1", false, /not JSON/],
    ["what is no text", () => Buffer.from([0xff, 0xfe, 0x00, 0x80]), false, /not JSON/],
    ["100,000 open brackets", () => "[".repeat(100_000), false, /not JSON/],
    ["several in an array", (id: number) => `[${request(`"id":${id},${call("")}`)}]`, false, /one array/],
    ["null", () => "null", false, /no JSON-RPC/],
    ["an object for an id", () => request(`"id":{},${call("")}`), false, /no JSON-RPC/],
    ["an id without its last digits", () => request(`"id":1e30,${call("")}`), false, /no JSON-RPC/],
    [
      "a list of parameters",
      (id: number) => request(`"id":${id},"method":"tools/call","params":[]`),
      true,
      /no JSON-RPC/,
    ],
    [
      "an object for a progress token",
      (id: number) => request(`"id":${id},${call(',"_meta":{"progressToken":{}}')}`),
      true,
      /no JSON-RPC/,
    ],
    ["another version", (id: number) => `{"jsonrpc":"1.0","id":${id},${call("")}}`, true, /no JSON-RPC/],
    [
      "17 MB, its id first",
      (id: number) => request(`"id":${id},${call(`,"x":${large}`)}`),
      true,
      /17,000,\d+ bytes, of 16,777,216/,
    ],
    [
      "17 MB, its id last",
      (id: number) => `{${call(`,"x":${large}`)},"jsonrpc":"2.0","id":${id}}`,
      true,
      /17,000,\d+ bytes, of 16,777,216/,
    ],
    ["17 MB of nothing", () => "x".repeat(17_000_000), false, /17,000,000 bytes, of 16,777,216/],
  ] as const)(
    "%s: has one sentence for an answer, and the session goes on",
    async (_, line, named, sentence) => {
      const id = wire.nextId();
      const unnamed = wire.unnamed.length;
      const answered = named ? wire.reply(id) : undefined;
      wire.write(line(id));
      wire.write("\n");
      expect((await wire.exec("kept + 1")).text).toBe("2");
      expect(wire.unnamed.length - unnamed).toBe(named ? 0 : 1);
      const { error } = named ? (await answered)! : wire.unnamed.at(-1)!;
      expect(error?.message).toMatch(sentence);
      expectAnswered(wire);
    },
  );
});

anySandbox("a client that reads nothing", (kind) => {
  let place: Place;
  let wire: Wire;
  beforeAll(async () => {
    place = new Place(kind);
    wire = await Wire.start(place);
    await wire.exec("import os, time\ntext = 'x' * 44_000");
  });
  afterAll(async () => {
    await wire?.close();
    await place?.[Symbol.asyncDispose]();
  });

  test("makes the server neither grow nor forget an answer", { timeout: UNREAD_MS + 60_000 }, async () => {
    await Promise.all(Array.from({ length: 60 }, () => wire.exec("print(text)", { max_chars: 45_000 })));
    const before = memory(wire.pid);
    wire.process.stdout.pause();
    const calls: Promise<unknown>[] = [];
    const until = Date.now() + UNREAD_MS;
    let most = before;
    const numbers: number[] = [];
    // As fast as it takes them, and on when it takes no more.
    for (let number = 0; Date.now() < until; number += 1) {
      if (wire.process.stdin.writableLength < 1_000_000 && number < 20_000) {
        numbers.push(number);
        calls.push(wire.exec(`print(text); ${number}`, { max_chars: 45_000 }));
      }
      if (number % 10 === 0 || number >= 20_000) await delay(5);
      most = Math.max(most, memory(wire.pid));
    }
    wire.process.stdout.resume();
    const answers = await Promise.all(calls);
    expectAnswered(wire);
    expect(answers.length).toBe(numbers.length);
    expect(most - before).toBeLessThan(200_000_000);
  });

  test("and then closes what it writes to, ends the server", async () => {
    wire.process.stdout.pause();
    for (let call = 0; call < 400; call++)
      void wire.exec("print(text)", { max_chars: 45_000 }).catch(() => {});
    await delay(1_500);
    wire.process.stdin.end();
    for (const end = Date.now() + 10_000; wire.alive && Date.now() < end; ) await delay(50);
    expect(wire.alive).toBe(false);
    wire.process.stdout.resume();
    await expectGone(wire);
  });
});

/** Resident `bytes` of a process. */
function memory(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1_024;
}
