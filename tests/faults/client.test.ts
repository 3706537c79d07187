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
