// Writes that are put off: done soon, in order and with the next transaction, each failing for itself.
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Statements } from "../../src/snapshots/statements.ts";

let statements: Statements;

beforeEach(() => {
  statements = new Statements(new Database(":memory:"));
  statements.database.exec("CREATE TABLE kept (word TEXT UNIQUE)");
});

afterEach(() => statements.close());

const put = (word: string) => () => statements.run("INSERT INTO kept VALUES (?)", word).changes;
const words = () => statements.all<{ word: string }>("SELECT word FROM kept").map(({ word }) => word);

test("it is done by itself", async () => {
  const done = statements.later(put("a"));
  expect(words()).toEqual([]);
  expect(await done).toBe(1);
  expect(words()).toEqual(["a"]);
});

test("the next transaction finds it done, one that goes ahead is followed by it", async () => {
  const first = statements.later(put("a"));
  expect(statements.atomically(() => words())).toEqual(["a"]);
  expect(await first).toBe(1);
  const second = statements.later(put("c"));
  statements.ahead(put("b"));
  expect(words()).toEqual(["a", "b"]);
  await second;
  expect(words()).toEqual(["a", "b", "c"]);
});

test("what fails of it fails alone, and keeps no transaction from being made", async () => {
  const good = statements.later(put("a"));
  const bad = statements.later(put("a"));
  const after = statements.later(put("b"));
  statements.atomically(put("c"));
  await expect(bad).rejects.toThrow(/UNIQUE/);
  expect(await Promise.all([good, after])).toEqual([1, 1]);
  expect(words()).toEqual(["a", "b", "c"]);
});

test("it is kept where the transaction that took it along fails", async () => {
  const put1 = statements.later(put("a"));
  expect(() =>
    statements.atomically(() => {
      put("b")();
      put("a")();
    }),
  ).toThrow(/UNIQUE/);
  expect(await put1).toBe(1);
  expect(words()).toEqual(["a"]);
});

test("closing does it first", async () => {
  const last = statements.later(put("a"));
  statements.close();
  expect(await last).toBe(1);
});
