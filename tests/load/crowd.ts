// Many sessions of one server: all computing at once, and all idle for a while.
import { expect } from "vitest";
import { delay } from "../../src/shared/async.ts";
import { unbackedMemory } from "../bench/process-memory.ts";
import type { Place } from "../e2e/place.ts";
import type { Server } from "../e2e/server.ts";
import { sandboxesOf, sandboxMemory } from "./processes.ts";

/** The largest prime below `bound`, found slowly. */
const SLOW_PRIME = (bound: number) =>
  `own = max(n for n in range(${bound} - 200, ${bound}) if all(n % d for d in range(2, int(n ** 0.5) + 1)))\nown`;

/** Has `count` sessions compute at once, each something else, and each keep what it found. Opens those that are not. */
export async function computeAtOnce(server: Server, count: number): Promise<void> {
  const bounds = Array.from({ length: count }, (_, number) => 20_000 + 1_000 * number);
  const found = await Promise.all(
    bounds.map((bound, number) => follow(server, SLOW_PRIME(bound), session(number))),
  );
  expect(found).toEqual(bounds.map((bound) => String(largestPrimeBelow(bound))));
  const kept = await Promise.all(bounds.map((_, number) => server.exec("own", { session: session(number) })));
  expect(kept.map(({ text }) => text)).toEqual(found);
}

/** Memory of idle sessions, in `bytes`; the standby is in none. */
export interface Idle {
  first: number;
  /** mean of all that were opened after it */
  further: number;
  /** mean of the later half of those */
  last: number;
}

/** Opens `count` sessions one after the other, and looks at the memory of all sandboxes after each. */
export async function openOneByOne(place: Place, server: Server, count: number): Promise<Idle> {
  const looks: number[] = [];
  let whole = 0;
  for (let number = 0; number < count; number++) {
    expect((await server.exec("1+1", { session: session(number) })).text).toBe("2");
    await standby(place, number + 2);
    // Other sandboxes of this machine come and go, and with them those that share the pages of files.
    looks.push(sandboxMemory(place, server.pid, unbackedMemory));
    whole ||= sandboxMemory(place, server.pid);
  }
  const mean = (from: number) => (looks.at(-1)! - looks[from]!) / (looks.length - 1 - from);
  const further = mean(0);
  // A standby is a further session that nobody has taken.
  return { first: whole - further, further, last: mean(Math.floor(looks.length / 2)) };
}

/** Waits until every one of `count` sessions is paused. */
export async function allPaused(server: Server, count: number): Promise<void> {
  for (const until = Date.now() + 60_000; ; await delay(200)) {
    const { text } = await server.call("vars", { session: "*" });
    if ((text.match(/: paused/g) ?? []).length >= count) return;
    if (Date.now() > until) throw new Error(`not all are paused: ${text}`);
  }
}

/** Wakes every session, one after the other. */
export async function wakeAll(server: Server, count: number): Promise<void> {
  for (let number = 0; number < count; number++)
    expect((await server.exec("1+1", { session: session(number) })).text).toBe("2");
}

function session(number: number): string {
  return `crowd-${number}`;
}

async function follow(server: Server, code: string, name: string): Promise<string> {
  let answer = await server.exec(code, { session: name });
  while (answer.status.includes("running"))
    answer = await server.call("exec", { cell: answer.cell, session: name });
  return answer.text;
}

/** Waits for the standby that follows an opened session: half of one is in no figure. */
async function standby(place: Place, sandboxes: number): Promise<void> {
  const whole = () => sandboxesOf(place).filter(({ kernels }) => kernels.length > 0).length;
  for (const until = Date.now() + 60_000; whole() < sandboxes; await delay(100))
    if (Date.now() > until) throw new Error("no standby");
  await delay(200);
}

function largestPrimeBelow(bound: number): number {
  for (let n = bound - 1; ; n--) {
    let prime = true;
    for (let d = 2; d * d <= n && prime; d++) prime = n % d !== 0;
    if (prime) return n;
  }
}
