// The last line of a test run: it counts what ran, and a run with no tests is not a pass.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";

const script = resolve(import.meta.dirname, "../../scripts/closing-line.mjs");

function closing(testResults: { status: string; tests: string[] }[]) {
  const folder = mkdtempSync(join(tmpdir(), "cloche-closing-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const results = testResults.map(({ status, tests }) => ({
    status,
    assertionResults: tests.map((one) => ({ status: one })),
  }));
  const path = join(folder, "results.json");
  writeFileSync(path, JSON.stringify({ testResults: results }));
  const { stdout, status } = spawnSync(process.execPath, [script, path], { encoding: "utf8" });
  return [stdout, status];
}

test("passed, failed and skipped tests of all files are counted", () => {
  const files = [
    { status: "passed", tests: ["passed", "passed", "skipped"] },
    { status: "failed", tests: ["passed", "failed"] },
  ];
  expect(closing(files)).toEqual(["3 passed, 1 failed, 1 skipped\n", 1]);
});

test("without a skipped test the line names none", () => {
  expect(closing([{ status: "passed", tests: ["passed"] }])).toEqual(["1 passed, 0 failed\n", 0]);
});

test("a file that cannot be loaded counts as failed", () => {
  const files = [
    { status: "passed", tests: ["passed"] },
    { status: "failed", tests: [] },
  ];
  expect(closing(files)).toEqual(["1 passed, 1 failed\n", 1]);
});

test("a run in which nothing ran fails", () => {
  expect(closing([])).toEqual(["0 passed, 0 failed\n", 1]);
  expect(closing([{ status: "passed", tests: ["skipped"] }])).toEqual(["0 passed, 0 failed, 1 skipped\n", 1]);
});
