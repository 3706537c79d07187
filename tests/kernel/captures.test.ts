// The order in which states may come after their cells: one cell late, and never out of turn.
import { expect, test } from "vitest";
import { Captures } from "../../src/kernel/captures.ts";

const SAME = Buffer.from('{"same":true}');
const state = (cell: number) => ({ type: "checkpoint", cell, last: true }) as const;
const violation = expect.objectContaining({ code: "wire.violation" });

test("a state may come after the next cell ended, and the state of that after it", () => {
  const captures = new Captures();
  captures.expect(1);
  captures.beside(1);
  captures.expect(2);
  expect(captures.manifest(state(1), SAME)).toEqual({ same: true });
  captures.beside(2);
  captures.expect(3);
  expect(captures.manifest(state(2), SAME)).toEqual({ same: true });
  expect(captures.manifest(state(3), SAME)).toEqual({ same: true });
});

test("a state that overtakes another, or belongs to no cell, is a violation", () => {
  const captures = new Captures();
  captures.expect(1);
  captures.beside(1);
  captures.expect(2);
  expect(() => captures.manifest(state(2), SAME)).toThrow(violation);
  expect(() => captures.chunk({ type: "chunk", cell: 2, name: "0".repeat(32) }, SAME)).toThrow(violation);
  expect(() => captures.manifest(state(3), SAME)).toThrow(violation);
});

test("two states that are late at once are a violation", () => {
  const captures = new Captures();
  captures.expect(1);
  captures.beside(1);
  captures.expect(2);
  expect(() => captures.beside(2)).toThrow(violation);
  expect(() => captures.expect(3)).toThrow(violation);
  captures.clear();
  captures.expect(4);
  expect(captures.manifest(state(4), SAME)).toEqual({ same: true });
});

test("a state that nobody said is late has to come before the next cell ends", () => {
  const captures = new Captures();
  expect(() => captures.beside(1)).toThrow(violation);
  captures.expect(1);
  expect(() => captures.beside(2)).toThrow(violation);
  expect(() => captures.expect(2)).toThrow(violation);
});
