// The history tree: what leads to where a session is, and what was left.
import { expect, test } from "vitest";
import { abandoned, timeline } from "../../src/session/timeline.ts";

const steps = (...bases: (number | null)[]) => bases.map((base, index) => ({ cell: index + 1, base }));

test("a session that never went back is one branch", () => {
  expect(timeline(steps(0, 1, 2), 3)).toEqual({
    current: [1, 2, 3],
    branches: [{ from: 0, cells: [1, 2, 3], isCurrent: true }],
  });
});

test("what was undone is a branch of its own, in the order it ran", () => {
  const { current, branches } = timeline(steps(0, 1, 2, 1, 4), 5);
  expect(current).toEqual([1, 4, 5]);
  expect(branches).toEqual([
    { from: 0, cells: [1, 4, 5], isCurrent: true },
    { from: 1, cells: [2, 3], isCurrent: false },
  ]);
});

test("a branch can leave a branch that was left", () => {
  expect(timeline(steps(0, 1, 2, 2, 1), 5).branches).toEqual([
    { from: 0, cells: [1, 5], isCurrent: true },
    { from: 1, cells: [2, 3], isCurrent: false },
    { from: 2, cells: [4], isCurrent: false },
  ]);
});

test("right after going back, nothing follows the cell gone back to", () => {
  const past = timeline(steps(0, 1, 2), 1);
  expect(past.current).toEqual([1]);
  expect(abandoned(past)).toEqual([2, 3]);
});

test("an emptied session has left everything, and begins anew", () => {
  expect(abandoned(timeline(steps(0, 1), 0))).toEqual([1, 2]);
  expect(timeline(steps(0, 1, 0), 3)).toEqual({
    current: [3],
    branches: [
      { from: 0, cells: [3], isCurrent: true },
      { from: 0, cells: [1, 2], isCurrent: false },
    ],
  });
});

test("cells of a time that recorded nothing follow one another", () => {
  expect(timeline(steps(null, null, 2), 3).current).toEqual([1, 2, 3]);
});

test("where cells in between were pruned, the nearest before stands in", () => {
  const past = timeline(
    [
      { cell: 1, base: 0 },
      { cell: 5, base: 4 },
    ],
    5,
  );
  expect(past.current).toEqual([1, 5]);
});

test("no base, however wrong, makes a circle", () => {
  expect(
    timeline(
      [
        { cell: 1, base: 2 },
        { cell: 2, base: 2 },
        { cell: 3, base: 99 },
      ],
      3,
    ).current,
  ).toEqual([1, 2, 3]);
});
