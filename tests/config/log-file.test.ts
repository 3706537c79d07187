// The log on disk: who may read it, what never gets into it, and several servers writing it at once.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { logFiles, openLogFile } from "../../src/config/log-file.ts";
import { ClocheError } from "../../src/shared/errors.ts";

let directory: string;
let path: string;
let complaints: string[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cloche-log-"));
  path = join(directory, "logs", "cloche.jsonl");
  complaints = [];
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

const open = (options = {}) =>
  openLogFile({ path, level: "info", env: {}, stderr: (line) => complaints.push(line), ...options });
const lines = () =>
  readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

test("every line is one JSON object with time, level, event and the fields of its logger", () => {
  const log = open().child({ session: "main" });
  log.info("cell.ended", { cell: 3, note: "two\nlines\u001b[31m \u202e \u009b \u{e0041}" });
  expect(lines()).toEqual([
    {
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      level: "info",
      event: "cell.ended",
      pid: process.pid,
      session: "main",
      cell: 3,
      note: "two\nlines\u001b[31m \u202e \u009b \u{e0041}",
    },
  ]);
  expect(readFileSync(path, "utf8")).toMatch(/^[\n\x20-\x7e]+$/);
});

test("the log is the person's alone", () => {
  open().info("start");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(join(directory, "logs")).mode & 0o777).toBe(0o700);
});

test("what is below the level is not written, and warnings go to stderr too", () => {
  const log = open({ level: "warn" });
  log.info("quiet");
  log.warn("loud");
  expect(lines().map(({ event }) => event)).toEqual(["loud"]);
  expect(complaints.map((line) => JSON.parse(line).event)).toEqual(["loud"]);
});

test("values of secret variables are nowhere in the log, however they got there", () => {
  const env = {
    ANTHROPIC_API_KEY: "sk-ant-abcdef123456",
    GITHUB_TOKEN: "ghp_(with.special*chars)",
    DB_PASSWORD: "hunter2-hunter2",
    SHORT_KEY: "abc",
    PLAIN: "visible-value",
  };
  const log = open({ env, level: "debug" });
  const cause = new Error(`connect failed with ${env.DB_PASSWORD}`);
  log.error("failed", {
    header: `Bearer ${env.ANTHROPIC_API_KEY}`,
    nested: { list: [`x${env.GITHUB_TOKEN}y`] },
    error: new ClocheError("internal", { message: `bad ${env.ANTHROPIC_API_KEY}`, cause }),
    apiKey: "not in the environment",
    url: "postgres://me:s3cret@host/db",
    plain: env.PLAIN,
    short: "abc",
  });
  const text = readFileSync(path, "utf8") + complaints.join("");
  for (const secret of [
    env.ANTHROPIC_API_KEY,
    env.GITHUB_TOKEN,
    env.DB_PASSWORD,
    "s3cret",
    "not in the environment",
  ])
    expect(text).not.toContain(secret);
  expect(lines()[0]).toMatchObject({
    header: "Bearer [redacted]",
    nested: { list: ["x[redacted]y"] },
    apiKey: "[redacted]",
    url: "postgres://me:[redacted]@host/db",
    plain: "visible-value",
    short: "abc",
    error: { code: "internal", cause: { message: "connect failed with [redacted]" } },
  });
});

test("code and output are logged as lengths, an error's code as itself", () => {
  const log = open();
  log.info("cell", { code: "import os\nprint(1)", output: "42 rows of somebody's data" });
  log.info("failed", { code: "sandbox.start_failed" });
  expect(lines()).toMatchObject([
    { code: "[18 characters]", output: "[26 characters]" },
    { code: "sandbox.start_failed" },
  ]);
});

test("a line stays small, whatever it is given", () => {
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  const wide = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [n, circular]));
  const deep = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [n, wide]));
  open().info("odd", {
    deep,
    circular,
    long: "x".repeat(100_000),
    bytes: Buffer.alloc(9),
    big: 10n,
    nan: Number.NaN,
  });
  expect(statSync(path).size).toBeLessThan(20_000);
});

test("a log that cannot be written is reported once and stops nothing", () => {
  mkdirSync(path, { recursive: true });
  const log = open();
  log.info("one");
  log.info("two");
  expect(complaints.map((line) => JSON.parse(line).event)).toEqual(["log.unwritable"]);
});

test("rotation keeps five files, none far above the limit, newest lines last", () => {
  const log = open({ maxBytes: 1_000 });
  for (let n = 0; n < 200; n += 1) log.info("line", { n });
  const files = logFiles(path);
  expect(files).toEqual([4, 3, 2, 1].map((n) => `${path}.${n}`).concat(path));
  for (const file of files) expect(statSync(file).size).toBeLessThanOrEqual(1_000);
  const numbers = files
    .flatMap((file) => readFileSync(file, "utf8").trimEnd().split("\n"))
    .map((line) => JSON.parse(line).n);
  expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, index) => 200 - numbers.length + index));
});

test("a rotation whose process died is taken up by the next one", () => {
  const log = open({ maxBytes: 500 });
  log.info("before");
  writeFileSync(`${path}.rotating`, "");
  for (let n = 0; n < 20; n += 1) log.info("line", { n });
  expect(logFiles(path)).toEqual([path]);
  const longAgo = new Date(Date.now() - 60_000);
  utimesSync(`${path}.rotating`, longAgo, longAgo);
  for (let n = 0; n < 20; n += 1) log.info("line", { n });
  expect(logFiles(path).length).toBeGreaterThan(1);
});

test("four servers write one log through rotations, and every line is whole", async () => {
  const count = 120;
  const writers = ["a", "b", "c", "d"].map((name) =>
    spawn(process.execPath, [join(import.meta.dirname, "log-writer.ts"), path, name, String(count)], {
      stdio: "inherit",
    }),
  );
  const ended = await Promise.all(writers.map((writer) => once(writer, "exit")));
  expect(ended.map(([code]) => code)).toEqual([0, 0, 0, 0]);
  const all = logFiles(path).flatMap((file) => readFileSync(file, "utf8").trimEnd().split("\n"));
  const parsed = all.map((line) => JSON.parse(line) as { writer: string; n: number });
  expect(logFiles(path).length).toBeGreaterThan(1);
  expect(parsed).toHaveLength(4 * count);
  for (const name of ["a", "b", "c", "d"])
    expect(new Set(parsed.filter(({ writer }) => writer === name).map(({ n }) => n)).size).toBe(count);
});
