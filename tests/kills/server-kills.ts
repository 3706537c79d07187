// Kills the server at every step of a checkpoint, a restore, a reset and a fork, and looks at what the next one finds.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SandboxKind } from "../../src/sandboxes/sandbox.ts";
import { Place } from "../e2e/place.ts";
import { Mortal } from "./mortal.ts";

/** Step of a checkpoint, the time it comes to it, and whether the state is kept that is being written then. */
const CHECKPOINT: [step: string, nth: number, kept: boolean][] = [
  ["journaled", 1, false],
  ["cell ended", 1, false],
  ["output kept", 1, false],
  ["chunk kept", 1, false],
  ["chunk kept", 4, false],
  ["manifest came", 1, false],
  ["commit begun", 1, false],
  ["packs synced", 1, false],
  ["rows written", 1, false],
  ["committed", 1, true],
  ["flushed", 1, true],
  ["kept", 1, true],
];
/** Bringing a session back goes through the steps of a reset {to}, at two servers a step: the long tests do it all. */
const long = process.env.CLOCHE_TEST_LONG === "1";
/** Steps of a restore, before which nothing of it is to be seen afterwards. */
const RESTORE = ["restore begun", "files held", "planned", "asked", "restored"];

export function serverKills(kind: SandboxKind, env: Record<string, string> = {}): void {
  let mortal: Mortal;
  beforeAll(async () => {
    mortal = await Mortal.open(new Place(kind), env);
  });
  afterAll(async () => mortal?.[Symbol.asyncDispose]());

  test.each(CHECKPOINT)(
    "a server killed in a checkpoint at %s (%i) comes back whole, that state kept: %s",
    async (step, nth, kept) => {
      const before = await mortal.advance();
      // The second cell comes while the first one's state is on its way.
      await mortal.dies(step, nth, () => mortal.hurry().then(() => mortal.hurry()));
      await mortal.expectAt(kept ? { n: before.n + 1, cell: before.cell + 1 } : before);
    },
  );

  test.each(RESTORE)(
    "a server killed in a reset {to} at %s comes back as if nobody had asked",
    async (step) => {
      const before = await mortal.advance();
      const now = await mortal.advance();
      await mortal.dies(step, 1, () => mortal.server.call("reset", { to: before.cell }));
      await mortal.expectAt(now);
    },
  );

  test("a server killed in a reset {to} once the head moved comes back there", async () => {
    const before = await mortal.advance();
    await mortal.advance();
    await mortal.dies("head moved", 1, () => mortal.server.call("reset", { to: before.cell }));
    await mortal.expectAt(before);
  });

  test.each(long ? RESTORE : RESTORE.slice(-1))(
    "a server killed at %s of bringing a session back leaves that to the next",
    async (step) => {
      const point = await mortal.advance();
      await mortal.kill();
      await mortal.start();
      await mortal.dies(step, 1, () => mortal.hurry());
      await mortal.expectAt(point);
    },
  );

  test("a server killed in a reset keeps the session until its head is dropped, and then what was before", async () => {
    const point = await mortal.advance();
    await mortal.dies("files cleared", 1, () => mortal.server.call("reset"));
    await mortal.expectAt(point);
    const again = await mortal.advance();
    await mortal.dies("head dropped", 1, () => mortal.server.call("reset"));
    expect((await mortal.server.exec("'n' in globals()")).text).toMatch(/^False$/m);
    await mortal.server.call("reset", { to: again.cell });
    expect((await mortal.server.exec("n")).text).toBe(String(again.n));
  });

  test("a server killed in a fork leaves the session alone, and the other whole or not begun", async () => {
    const point = await mortal.advance();
    const fork = (into: string) => mortal.server.call("reset", { to: point.cell, into });
    await mortal.dies("claimed for a fork", 1, () => fork("first"));
    await mortal.expectAt(point);
    expect((await fork("first")).isError).toBeFalsy();
    expect((await mortal.server.exec("n", { session: "first" })).text).toBe(String(point.n));
    const later = await mortal.advance();
    await mortal.dies("forked", 1, () => fork("second"));
    expect((await mortal.server.exec("n", { session: "second" })).text).toBe(String(point.n));
    await mortal.expectAt(later);
  });

  test("these were all the steps there are", () => {
    const named = [...CHECKPOINT.map(([step]) => step), ...RESTORE];
    const further = ["head moved", "files cleared", "head dropped", "claimed for a fork", "forked"];
    expect([...mortal.steps()].sort()).toEqual([...new Set([...named, ...further])].sort());
  });
}
