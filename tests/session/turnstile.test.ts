// The queue of a session: one at a time, in order, and nobody is forgotten or let in twice.
import { expect, test } from "vitest";
import { Turnstile } from "../../src/session/turnstile.ts";

test("calls enter one at a time, in the order they came", async () => {
  const turnstile = new Turnstile();
  const order: number[] = [];
  let inside = 0;
  await Promise.all(
    Array.from({ length: 20 }, async (_, number) => {
      const release = await turnstile.enter(10_000);
      expect(++inside).toBe(1);
      order.push(number);
      await new Promise((resolve) => setImmediate(resolve));
      inside--;
      release!();
      release!();
    }),
  );
  expect(order).toEqual(Array.from({ length: 20 }, (_, number) => number));
});

test("whose time is up leaves, and the next one is let in", async () => {
  const turnstile = new Turnstile();
  const release = await turnstile.enter(0);
  const late = turnstile.enter(20);
  const patient = turnstile.enter(10_000);
  expect(await late).toBeUndefined();
  release!();
  expect(await patient).toBeTypeOf("function");
});

test("a withdrawn call leaves the queue with its reason", async () => {
  const turnstile = new Turnstile();
  const release = await turnstile.enter(0);
  const withdrawal = new AbortController();
  const waiting = turnstile.enter(10_000, withdrawal.signal);
  withdrawal.abort(new Error("withdrawn"));
  await expect(waiting).rejects.toThrow("withdrawn");
  await expect(turnstile.enter(10, withdrawal.signal)).rejects.toThrow("withdrawn");
  release!();
  expect(await turnstile.enter(0)).toBeTypeOf("function");
});

test("who goes ahead passes all who wait, and nobody who is inside", async () => {
  const turnstile = new Turnstile();
  const order: string[] = [];
  const enter = (name: string, ahead = false) =>
    turnstile.enter(10_000, undefined, ahead).then((release) => {
      order.push(name);
      release!();
    });
  const release = await turnstile.enter(0);
  expect(turnstile.busy).toBe(true);
  const all = [enter("first"), enter("second"), enter("ahead", true)];
  expect(order).toEqual([]);
  release!();
  await Promise.all(all);
  expect(order).toEqual(["ahead", "first", "second"]);
  expect(turnstile.busy).toBe(false);
});
