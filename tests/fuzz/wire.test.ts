// The wire under fuzzing: fixed seeds, the seeds of failures that were found, and one that is new every time.
import { test } from "vitest";
import { needing } from "../e2e/rows.ts";
import { fuzzBothSides, missingPython } from "./both-sides.ts";
import { fuzzChannel, fuzzFraming } from "./wire-fuzz.ts";

const ROUNDS = 1_000;
const FRESH = Math.floor(Math.random() * 2 ** 31);
/** Seeds whose streams once were read wrongly. */
const FOUND = [442];

const from = (seed: number, count = ROUNDS) => Array.from({ length: count }, (_, n) => seed + n);
const runs: [string, number[]][] = [
  ["fixed seeds", from(1)],
  ["seeds that once failed", FOUND],
  [`seeds from ${FRESH}`, from(FRESH)],
];

test.each(runs)("a stream is read the same however it is split: %s", (_, seeds) => {
  for (const seed of seeds) fuzzFraming(seed);
});

test.each(runs)("a cell has one answer whatever is said: %s", async (_, seeds) => {
  for (const seed of seeds) await fuzzChannel(seed);
});

needing("python", "both readers", missingPython, () => {
  test.each(runs.filter(([, seeds]) => seeds.length > 0))(
    "agree on what they let through: %s",
    (_, seeds) => {
      fuzzBothSides(seeds);
    },
  );
});
