// Records of other formats: an older one is brought up and goes on, a newer one is refused and left alone.
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { endAt } from "./end-at.ts";
import { name, Project } from "./states.ts";

const SCHEMA = join(import.meta.dirname, "../../src/snapshots/schema/1.sql");
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cloche-migration-"));
  mkdirSync(join(directory, "owners"));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** A record as the first format had it, with two cells. */
function oldRecord(): void {
  const database = new Database(join(directory, "cloche.sqlite"));
  database.pragma("journal_mode = WAL");
  database.exec(readFileSync(SCHEMA, "utf8"));
  database.pragma(`application_id = ${0x434c4f43}`);
  database.pragma("user_version = 1");
  database.exec(`
    INSERT INTO session (id, name, next_cell, created_at, last_used_at) VALUES ('s1', 'main', 3, 1, 2);
    INSERT INTO cell VALUES ('s1', 1, 'exec', 'x = 1', 'ok', 1, 1.5, NULL);
    INSERT INTO cell VALUES ('s1', 2, 'exec', 'x', 'ok', 2, 1.5, NULL);
    INSERT INTO output VALUES ('s1', 2, '1', 0);
    INSERT INTO image (session, cell, mime, data, at) VALUES ('s1', 2, 'image/png', x'00', 0);
  `);
  database.close();
}

async function goesOn(): Promise<void> {
  using project = new Project(directory);
  expect(project.store.notice).toBeUndefined();
  expect(project.store.cell("s1", 2)).toMatchObject({ code: "x", output: "1" });
  expect(project.store.images("s1", 2)).toHaveLength(1);
  expect(project.store.history("s1").cells.map(({ base }) => base)).toEqual([null, null]);
  expect(project.session()).toBe("s1");
  expect(project.states.head("s1")).toBeUndefined();
  const state = await project.cell("s1", { y: "two" });
  expect(state.cell).toBe(3);
  expect((await project.restore(state)).values).toEqual({ y: name("two") });
}

test("a record of the first format opens with its cells, outputs and images, and keeps states from now on", async () => {
  oldRecord();
  await goesOn();
});

test.each(["format 2", "format 3", "migrated"])(
  "a server killed in a migration at %s leaves a record that opens",
  async (step) => {
    oldRecord();
    await endAt(directory, "open", step);
    const database = new Database(join(directory, "cloche.sqlite"), { readonly: true });
    expect([1, 3]).toContain(database.pragma("user_version", { simple: true }));
    database.close();
    await goesOn();
  },
);

test("a record of the second format opens with its states", async () => {
  {
    using project = new Project(directory);
    await project.cell(project.session(), { x: "one" });
  }
  const database = new Database(join(directory, "cloche.sqlite"));
  database.exec("ALTER TABLE cell DROP COLUMN state");
  database.pragma("user_version = 2");
  database.close();
  using project = new Project(directory);
  expect(project.store.notice).toBeUndefined();
  const head = project.states.head(project.session())!;
  expect(head.cell).toBe(1);
  expect((await project.restore(head)).values).toEqual({ x: name("one") });
});

test("a record of a newer format is refused plainly, and not a byte of it changes", () => {
  new Project(directory)[Symbol.dispose]();
  const path = join(directory, "cloche.sqlite");
  const database = new Database(path);
  database.pragma("user_version = 9");
  database.close();
  const before = readFileSync(path);
  expect(() => new Project(directory)).toThrow(/newer Cloche \(format 9; this one knows 3\)/);
  expect(readFileSync(path)).toEqual(before);
});
