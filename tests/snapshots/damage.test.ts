// Stores whose bytes are not what they were: what is damaged is named and given to nobody, and the rest comes back.
import {
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ClocheError } from "../../src/shared/errors.ts";
import { seeded } from "../seeded.ts";
import { bytes, name, Project } from "./states.ts";

const LARGE = 100_000;
let project: Project;
let main: string;

beforeEach(() => {
  project = new Project();
  main = project.session();
});

afterEach(() => project[Symbol.dispose]());

const pack = () => join(project.packs, readdirSync(project.packs).find((file) => file.endsWith(".pack"))!);

function flip(path: string, at: number): void {
  const data = readFileSync(path);
  data[at]! ^= 0x10;
  writeFileSync(path, data);
}

/** Changes the record as a failing disk would: behind its back. */
function change(sql: string): void {
  const database = new Database(project.database);
  database.exec(sql);
  database.close();
}

async function twoLarge() {
  return project.cell(main, { first: bytes(LARGE, "1"), second: bytes(LARGE, "2"), small: "s" });
}

describe("packs", () => {
  test.each([
    ["with a flipped bit", () => flip(pack(), 5_000), ["first"], ["second", "small"]],
    ["that is cut off", () => truncateSync(pack(), 150_000), ["second"], ["first", "small"]],
    ["that is gone", () => rmSync(pack()), ["first", "second"], ["small"]],
    ["that is empty", () => truncateSync(pack(), 0), ["first", "second"], ["small"]],
  ])("a pack %s costs the variables in it, by name, and no others", async (_, harm, lost, kept) => {
    const state = await twoLarge();
    project.reopen();
    harm();
    const found = await project.restore(state);
    expect(found.lost).toEqual(lost);
    expect(Object.keys(found.values)).toEqual(kept);
    expect(project.states.takeNotices(main)).toEqual([
      `In the state after cell 1, damaged on disk and not brought back: the bytes of ${lost.join(", ")}.`,
    ]);
    expect(project.states.takeNotices(main)).toEqual([]);
  });

  test("what is damaged is kept again when it comes again, and every state that names it is whole", async () => {
    const state = await twoLarge();
    project.reopen();
    flip(pack(), 5_000);
    expect((await project.restore(state)).lost).toEqual(["first"]);
    await project.cell(main, { first: bytes(LARGE, "1") });
    expect(await project.restore(state)).toEqual({
      values: { first: name(bytes(LARGE, "1")), second: name(bytes(LARGE, "2")), small: name("s") },
      lost: [],
    });
  });

  test("a placeholder's reason says what to do", async () => {
    const state = await twoLarge();
    project.reopen();
    rmSync(pack());
    const { lost } = await project.states.plan(state, join(project.directory, "small"));
    expect(lost.first?.reason).toBe(
      "its bytes on disk are damaged in the state after cell 1; run the cell that made it again",
    );
  });

  test("what is too much to check at once is checked behind, and said", async () => {
    const values = Object.fromEntries(
      Array.from({ length: 8 }, (_, n) => [`v${n}`, bytes(16 * 1024 * 1024, `${n}`)]),
    );
    const state = await project.cell(main, values);
    project.reopen();
    const descriptor = openSync(pack(), "r+");
    writeSync(descriptor, "damage", 8 * 16 * 1024 * 1024 - 100);
    const { lost } = await project.states.plan(state, join(project.directory, "small"));
    if (lost.v7) return expect(Object.keys(lost)).toEqual(["v7"]);
    await expect
      .poll(() => project.states.takeNotices(main), { timeout: 20_000 })
      .toEqual([expect.stringMatching(/bytes of v7\. They were brought back before .* do not trust/)]);
    expect(Object.keys((await project.states.plan(state, join(project.directory, "small"))).lost)).toEqual([
      "v7",
    ]);
  });

  test("a look at everything finds what no restore has asked for", async () => {
    await twoLarge();
    await project.cell(main, {});
    project.reopen();
    flip(pack(), 5_000);
    expect(await project.states.checkAll()).toBe(1);
    expect(await project.states.checkAll()).toBe(0);
  });
});

describe("rows", () => {
  test("a small chunk with a flipped bit costs its variable alone", async () => {
    const state = await project.cell(main, { a: "one", b: "two" });
    change("UPDATE chunk SET data = x'6f6e66' WHERE data = x'6f6e65'");
    expect(await project.restore(state)).toEqual({ values: { b: name("two") }, lost: ["a"] });
  });

  test("a description with a flipped bit names no other variable", async () => {
    const state = await project.cell(main, { a: "one", b: "two" });
    change(`UPDATE covariable SET description = replace(description, '"a"', '"c"')`);
    expect(await project.restore(state)).toEqual({ values: { b: name("two") }, lost: [] });
    expect(project.states.takeNotices(main)[0]).toContain("1 groups of variables whose names are lost");
  });

  test("where the head's row is damaged, the state before it is given, and said", async () => {
    const first = await project.cell(main, { a: "one" });
    await project.cell(main, { a: "two" });
    change("UPDATE checkpoint SET members = replace(members, 'a', 'b') WHERE cell = 2");
    expect(project.states.head(main)).toEqual(first);
    expect(project.states.takeNotices(main)).toEqual([
      "The state after cell 2 is damaged on disk; the nearest before it that is whole is that after cell 1.",
    ]);
    expect(() => project.states.after(main, 2)).toThrow("the state after cell 2 is damaged on disk");
  });
});

describe("the record's file", () => {
  async function filled() {
    for (let n = 0; n < 20; n += 1)
      await project.cell(main, { n: String(n), text: bytes(3_000, `${n}`), big: bytes(LARGE, `${n % 3}`) });
    project.store[Symbol.dispose]();
    change("PRAGMA wal_checkpoint(TRUNCATE)");
  }

  test("wherever a page is overwritten, it opens, tells no lies, and most of it is there", async () => {
    await filled();
    const sound = join(project.directory, "sound");
    copyFileSync(project.database, sound);
    const pages = readFileSync(sound).length / 4_096;
    const random = seeded(7);
    let kept = 0;
    for (let round = 0; round < 8; round += 1) {
      copyFileSync(sound, project.database);
      const page = 1 + random.integer(pages - 1);
      const data = readFileSync(project.database);
      bytes(4_096, `noise ${round}`).copy(data, page * 4_096);
      writeFileSync(project.database, data);
      writeFileSync(`${project.database}.suspect`, "");
      project.open();
      for (const [variable, value] of Object.entries(await allValues()))
        expect(`${variable}:${value}`).toBe("");
      kept += project.store.sessions().length === 1 ? project.store.history(main).states.length : 0;
      project.store[Symbol.dispose]();
      for (const file of readdirSync(project.directory))
        if (/cloche\.sqlite/.test(file)) rmSync(join(project.directory, file), { recursive: true });
    }
    expect(kept / (8 * 20)).toBeGreaterThan(0.7);
    copyFileSync(sound, project.database);
    project.open();

    /** Values that come back and are not what they were. */
    async function allValues(): Promise<Record<string, string>> {
      const wrong: Record<string, string> = {};
      const [session] = project.store.sessions();
      if (!session) return wrong;
      for (let cell = 1; cell <= 20; cell += 1) {
        let state: ReturnType<typeof project.states.after>;
        try {
          state = project.states.after(session.id, cell);
        } catch {
          continue;
        }
        if (!state) continue;
        const n = cell - 1;
        const right: Record<string, string> = {
          n: name(String(n)),
          text: name(bytes(3_000, `${n}`)),
          big: name(bytes(LARGE, `${n % 3}`)),
        };
        for (const [variable, value] of Object.entries((await project.restore(state)).values))
          if (value !== right[variable]) wrong[`${variable} after cell ${cell}`] = value;
      }
      return wrong;
    }
  });

  test("a damaged page that is met while serving is looked into when the record is opened next", async () => {
    await filled();
    const sound = readFileSync(project.database);
    let met = 0;
    for (let page = 2; page < sound.length / 4_096 && met < 3; page += 1) {
      const data = Buffer.from(sound);
      bytes(4_096, `noise ${page}`).copy(data, page * 4_096);
      rmSync(`${project.database}-wal`, { force: true });
      writeFileSync(project.database, data);
      project.open();
      let code: string | undefined;
      try {
        if (project.store.notice === undefined)
          for (let cell = 1; cell <= 20; cell += 1) await project.restore(project.states.after(main, cell)!);
      } catch (error) {
        code = (error as ClocheError).code;
      }
      if (code !== undefined) {
        met += 1;
        expect(code).toBe("store.damaged");
        expect(existsSync(`${project.database}.suspect`)).toBe(true);
        project.reopen();
        expect(project.store.notice).toMatch(
          /was damaged .* set aside as .* with what could be read: 1 sessions/,
        );
        expect(existsSync(`${project.database}.suspect`)).toBe(false);
        const [saved] = project.store.sessions();
        expect(saved?.id).toBe(main);
        expect(project.store.beginCell(main, "exec", "1")).toBe(21);
      }
      project.store[Symbol.dispose]();
    }
    project.open();
    expect(met).toBe(3);
  });

  test("packs of a record that cannot be read at all are put aside, not removed", async () => {
    await twoLarge();
    project.store[Symbol.dispose]();
    writeFileSync(project.database, bytes(50_000, "noise"));
    rmSync(`${project.database}-wal`, { force: true });
    project.open();
    const aside = /lie in (\S+)\.$/.exec(project.store.notice!)![1]!;
    expect(readdirSync(aside)).toHaveLength(1);
    await project.states.space.collect([]);
    expect(readdirSync(aside)).toHaveLength(1);
  });

  test("a record that is cut off is opened with what is left", async () => {
    await filled();
    truncateSync(project.database, 4_096 * 40);
    project.open();
    expect(project.store.notice ?? "").toMatch(/damaged|^$/);
    expect(project.session()).toBeTruthy();
  });
});
