// Forgetting a project: gone when nobody uses it, untouched while a living server does.
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { forgetProject } from "../../src/snapshots/forget.ts";
import { Owners } from "../../src/snapshots/lease.ts";
import { SqliteStore } from "../../src/snapshots/sqlite.ts";

let root: string;
let directory: string;
let database: string;
let owners: Owners;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "cloche-forget-"));
  directory = join(root, "projects", "p-12345678");
  database = join(directory, "cloche.sqlite");
  owners = new Owners(join(root, "owners"));
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

test("a project that a living server has open is left as it is, session or not", () => {
  using lease = owners.lease();
  using store = new SqliteStore(database, owners, lease.token);
  expect(() => forgetProject(directory, database, owners)).toThrow("a server is using this project");
  expect(store.claim("main", lease.token).session.name).toBe("main");
});

test("a project whose servers are gone is removed, and starts afresh", () => {
  const lease = owners.lease();
  const store = new SqliteStore(database, owners, lease.token);
  const { id } = store.claim("main", lease.token).session;
  store.beginCell(id, "exec", "1");
  store[Symbol.dispose]();
  lease[Symbol.dispose]();
  writeFileSync(join(directory, "staged"), Buffer.alloc(1_000));
  forgetProject(directory, database, owners);
  expect(readdirSync(join(root, "projects"))).toEqual([]);
  using again = new SqliteStore(database, owners);
  expect(again.sessions()).toEqual([]);
  expect(again.notice).toBeUndefined();
});

test("a damaged record does not keep a project from being forgotten", () => {
  new SqliteStore(database, owners)[Symbol.dispose]();
  writeFileSync(database, "no database at all");
  forgetProject(directory, database, owners);
  expect(existsSync(directory)).toBe(false);
});
