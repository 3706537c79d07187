// The wire under fuzzing for two minutes, with seeds that are new every time.
import { test } from "vitest";
import { needing } from "../e2e/rows.ts";
import { fuzzBothSides, missingPython } from "../fuzz/both-sides.ts";
import { fuzzChannel } from "../fuzz/wire-fuzz.ts";

const MILLISECONDS = 120_000;
const BATCH = 5_000;

needing("python", "fuzzing the wire", missingPython, () => {
  test("finds nothing in two minutes", async () => {
    const until = Date.now() + MILLISECONDS;
    for (let seed = Math.floor(Math.random() * 2 ** 31); Date.now() < until; seed += BATCH) {
      console.info(`seeds from ${seed}`);
      const seeds = Array.from({ length: BATCH }, (_, n) => seed + n);
      fuzzBothSides(seeds);
      for (const one of seeds) await fuzzChannel(one);
    }
  });
});
