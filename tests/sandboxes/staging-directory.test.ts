// Staging and scratch belong to one sandbox, are closed to everybody else, and are swept once their owner is dead.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createStagingDirectory, sweepStagingDirectories } from "../../src/sandboxes/staging-directory.ts";

let places: { run: string; scratch: string };
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "cloche-staging-"));
  places = { run: join(root, "run"), scratch: join(root, "scratch") };
  mkdirSync(places.run);
  mkdirSync(places.scratch);
});
afterEach(() => rmSync(root, { recursive: true }));

test("both are made for the server alone, with data/ in staging, and the socket's path stays short", () => {
  const { staging, scratch, name } = createStagingDirectory(places, "me");
  expect([staging, scratch].map((path) => statSync(path).mode & 0o777)).toEqual([0o700, 0o700]);
  expect(statSync(join(staging, "data")).mode & 0o777).toBe(0o755);
  expect(name).toMatch(/^[0-9a-f]{8}$/);
});

test("removing takes everything, twice without complaint", async () => {
  const { staging, scratch, remove } = createStagingDirectory(places, "me");
  mkdirSync(join(scratch, "deep/deeper"), { recursive: true });
  writeFileSync(join(staging, "data/file.csv"), "1");
  await remove();
  await remove();
  expect([...readdirSync(places.run), ...readdirSync(places.scratch)]).toEqual([]);
});

test("a sweep takes what dead owners left and leaves the living alone", async () => {
  const dead = [createStagingDirectory(places, "dead"), createStagingDirectory(places, "dead")];
  const living = createStagingDirectory(places, "living");
  writeFileSync(join(dead[0]!.scratch, "spill"), "x");
  expect(await sweepStagingDirectories(places, (owner) => owner === "living")).toBe(2);
  expect(dead.filter(({ staging, scratch }) => existsSync(staging) || existsSync(scratch))).toEqual([]);
  expect(existsSync(join(living.staging, "data")) && existsSync(living.scratch)).toBe(true);
});

test("a directory without an owner's name is taken once it is old, and what is not ours never", async () => {
  mkdirSync(join(places.scratch, "0badcafe"));
  mkdirSync(join(places.scratch, "1badcafe"));
  mkdirSync(join(places.scratch, "notes"));
  const old = new Date(Date.now() - 3_600_000);
  for (const name of ["0badcafe", "notes"]) utimesSync(join(places.scratch, name), old, old);
  expect(await sweepStagingDirectories(places, () => false)).toBe(1);
  expect(readdirSync(places.scratch).sort()).toEqual(["1badcafe", "notes"]);
});

test("a place that cannot be written is named and nothing is left", () => {
  rmSync(places.scratch, { recursive: true });
  expect(() => createStagingDirectory(places, "me")).toThrow(/could not be made/);
  expect(readdirSync(places.run)).toEqual([]);
});
