// States as they are kept: what comes back, what a session may name, how forks and history hang together.
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Checkpoint } from "../../src/snapshots/checkpoints.ts";
import { bytes, covariable, name, Project } from "./states.ts";

const LARGE = 100_000;
let project: Project;
let main: string;

beforeEach(() => {
  project = new Project();
  main = project.session();
});

afterEach(() => {
  vi.restoreAllMocks();
  project[Symbol.dispose]();
});

const packs = () => readdirSync(project.packs).filter((file) => file.endsWith(".pack"));

describe("keeping", () => {
  test("every state comes back with just the bytes it had, small and large, also in another process", async () => {
    const first = await project.cell(main, { a: "one", big: bytes(LARGE, "x") });
    const second = await project.cell(main, { a: "two", big: bytes(LARGE, "x"), more: bytes(LARGE, "y") });
    for (let round = 0; round < 2; round += 1) {
      expect(await project.restore(first)).toEqual({
        values: { a: name("one"), big: name(bytes(LARGE, "x")) },
        lost: [],
      });
      expect((await project.restore(second)).values.a).toBe(name("two"));
      expect(Object.keys((await project.restore(second)).values)).toEqual(["a", "big", "more"]);
      project.reopen();
    }
    expect(project.states.head(main)?.id).toBe(second.id);
  });

  test("what a kernel holds is neither looked up nor described to it again", async () => {
    const state = await project.cell(main, { a: "one", big: bytes(LARGE, "x"), more: bytes(LARGE, "y") });
    const [a, big, more] = state.members;
    rmSync(join(project.packs, packs()[0]!));
    const smallFile = join(project.directory, "small");
    const plan = await project.states.plan(state, smallFile, new Set([big!, more!, "of another state"]));
    expect(plan.held).toEqual([big, more]);
    expect(plan.members.map(({ digest }) => digest)).toEqual([a]);
    expect(plan.files).toEqual([smallFile]);
    expect(plan.lost).toEqual({});
  });

  test("large chunks start at pages and are kept once, however many states name them", async () => {
    for (let n = 0; n < 5; n += 1) await project.cell(main, { n: String(n), big: bytes(LARGE, "x") });
    const [pack] = packs();
    expect(statSync(join(project.packs, pack!)).size).toBe(LARGE);
    await project.cell(main, { big: bytes(LARGE, "y") });
    const database = new Database(project.database, { readonly: true });
    const starts = database.prepare("SELECT start FROM chunk WHERE pack IS NOT NULL").pluck().all();
    database.close();
    expect(starts).toEqual([0, 102_400]);
  });

  test("a cell that changed nothing has the state before it, under its own number", async () => {
    const first = await project.cell(main, { a: "one" });
    const same = [await project.idleCell(main), await project.idleCell(main)];
    expect(same.map(({ id, cell }) => [id, cell])).toEqual([
      [first.id, 2],
      [first.id, 3],
    ]);
    for (let round = 0; round < 2; round += 1) {
      expect(project.states.head(main)).toEqual({ ...first, cell: 3 });
      expect(project.states.after(main, 2)).toEqual({ ...first, cell: 2 });
      expect(project.store.lostSince(main, 3, undefined)).toBe("");
      const { cells, states } = project.store.history(main);
      expect(cells.map(({ kept, touched }) => [kept, touched])).toEqual([
        [true, ["a"]],
        [true, []],
        [true, []],
      ]);
      expect(states).toHaveLength(1);
      project.reopen();
    }
    const second = await project.cell(main, { a: "two" });
    expect(project.states.after(main, 3)).toEqual({ ...first, cell: 3 });
    project.states.moveHead(main, project.states.after(main, 2)!);
    expect(project.states.head(main)).toEqual({ ...first, cell: 2 });
    expect(project.store.history(main).at).toBe(2);
    const beside = project.session("beside");
    expect(
      (await project.restore(project.states.fork(project.states.after(main, 3)!, beside))).values,
    ).toEqual({
      a: name("one"),
    });
    expect((await project.restore(second)).values).toEqual({ a: name("two") });
  });

  test("a cell that changed nothing since a state that was not kept has none either", async () => {
    await expect(project.idleCell(main)).rejects.toMatchObject({ code: "wire.violation" });
    await project.cell(main, { a: "one" });
    const ghost = covariable("ghost", Buffer.from("never sent"));
    const forged = { groups: [ghost], members: [ghost.digest], lost: {}, tokens: {}, versions: {} };
    await expect(project.states.commit(main, 3, forged, {})).rejects.toThrow();
    await expect(project.idleCell(main)).rejects.toMatchObject({ code: "wire.violation" });
    await project.cell(main, { a: "two" });
    project.states.moveHead(main, project.states.after(main, 2)!);
    await expect(project.idleCell(main)).rejects.toMatchObject({ code: "wire.violation" });
  });

  test("a state of several cells that is given up is given up for all of them", async () => {
    const first = await project.cell(main, { a: "one" });
    await project.idleCell(main);
    await project.cell(main, { a: "two" });
    await project.states.space.prune(main, [first.id]);
    for (const cell of [1, 2]) {
      expect(project.states.after(main, cell)).toBeUndefined();
      expect(project.states.prunedAt(main, cell)).toBeDefined();
    }
    expect(project.store.history(main).cells.map(({ kept }) => kept)).toEqual([false, false, true]);
  });

  test("files that were loaded since make a state of their own", async () => {
    const first = await project.cell(main, { a: "one" });
    const cell = project.store.beginCell(main, "load", "data.csv");
    const loaded = await project.states.repeat(main, cell, { "data.csv": "kept" });
    expect(loaded).toMatchObject({ parent: first.id, cell, data: { "data.csv": "kept" } });
    expect(project.states.head(main)).toEqual(loaded);
  });

  test("a state whose bytes never came is refused, and nothing of it is kept", async () => {
    await project.cell(main, { a: "one" });
    const before = project.states.head(main);
    const group = covariable("ghost", Buffer.from("never sent"));
    const forged = { groups: [group], members: [group.digest], lost: {}, tokens: {}, versions: {} };
    await expect(project.states.commit(main, 2, forged, {})).rejects.toMatchObject({
      code: "wire.violation",
    });
    expect(project.states.head(main)).toEqual(before);
  });

  test("a session cannot name what another session sent, large or small, nor another's groups", async () => {
    const secrets = { small: "a secret", large: bytes(LARGE, "secret") };
    await project.cell(main, secrets);
    const thief = project.session("thief");
    await project.cell(thief, { own: "x" });
    for (const [variable, value] of Object.entries(secrets)) {
      const group = covariable(variable, Buffer.from(value));
      project.states.addChunk(thief, group.header[0]!, Buffer.from(`header of ${variable}`));
      const forged = { groups: [group], members: [group.digest], lost: {}, tokens: {}, versions: {} };
      await expect(project.states.commit(thief, 2, forged, {})).rejects.toMatchObject({
        code: "wire.violation",
      });
      const bare = { ...forged, groups: [] };
      await expect(project.states.commit(thief, 2, bare, {})).rejects.toMatchObject({
        code: "wire.violation",
      });
    }
    expect(Object.keys((await project.restore(project.states.head(thief)!)).values)).toEqual(["own"]);
  });

  test("a kernel cannot rewrite what an earlier state means", async () => {
    const first = await project.cell(main, { a: "one" });
    const honest = covariable("a", Buffer.from("one"));
    const other = covariable("a", Buffer.from("two"));
    project.states.addChunk(main, other.buffers[0]![0]!, Buffer.from("two"));
    const forged = { ...other, digest: honest.digest };
    const manifest = { groups: [forged], members: [honest.digest], lost: {}, tokens: {}, versions: {} };
    await project.states.commit(main, 2, manifest, {});
    expect((await project.restore(first)).values).toEqual({ a: name("one") });
  });

  test("bytes of a kernel that died before its manifest came are in no state", async () => {
    await project.cell(main, { a: "one" });
    project.send(main, { b: bytes(LARGE, "lost") });
    project.states.abandon(main);
    const group = covariable("b", bytes(LARGE, "lost"));
    const manifest = { groups: [group], members: [group.digest], lost: {}, tokens: {}, versions: {} };
    await expect(project.states.commit(main, 2, manifest, {})).rejects.toMatchObject({
      code: "wire.violation",
    });
  });

  test("the order of states is that in which they were made, whatever the clock does", async () => {
    const clock = vi.spyOn(Date, "now").mockReturnValue(2_000_000_000_000);
    await project.cell(main, { a: "one" });
    clock.mockReturnValue(1_000);
    const second = await project.cell(main, { a: "two" });
    await project.states.commit(main, 2, project.send(main, { a: "again" }), {});
    expect(project.states.head(main)?.parent).toBe(second.id);
    expect((await project.restore(project.states.after(main, 2)!)).values).toEqual({ a: name("again") });
    expect((await project.restore(project.states.after(main, 1)!)).values).toEqual({ a: name("one") });
  });
});

describe("forks", () => {
  test("a fork holds what its parent held, and neither sees what the other adds", async () => {
    const first = await project.cell(main, { a: "one", big: bytes(LARGE, "x") });
    const side = project.session("side");
    const forked = project.states.fork(first, side);
    expect(await project.restore(forked)).toEqual(await project.restore(first));
    await project.cell(main, { big: bytes(LARGE, "of main") });
    await project.cell(side, { big: bytes(LARGE, "of side") });
    const contents = async (state: Checkpoint) => {
      const { files } = await project.states.plan(state, join(project.directory, "small"));
      return files.filter((file) => existsSync(file)).map((file) => readFileSync(file));
    };
    const inMain = await contents(project.states.head(main)!);
    const inSide = [...(await contents(project.states.head(side)!)), ...(await contents(forked))];
    expect(inMain.some((file) => file.includes(bytes(LARGE, "of side").subarray(0, 64)))).toBe(false);
    expect(inSide.some((file) => file.includes(bytes(LARGE, "of main").subarray(0, 64)))).toBe(false);
    expect(inSide.some((file) => file.includes(bytes(LARGE, "of side").subarray(0, 64)))).toBe(true);
  });

  test("a fork lives on when its parent is removed, and its parent's packs go when it goes too", async () => {
    const first = await project.cell(main, { big: bytes(LARGE, "x") });
    const side = project.session("side");
    project.states.fork(first, side);
    project.reopen();
    project.store.release(main, project.lease.token);
    project.store.remove("main");
    expect((await project.restore(project.states.head(side)!)).values).toEqual({
      big: name(bytes(LARGE, "x")),
    });
    project.store.release(side, project.lease.token);
    project.lease[Symbol.dispose]();
    project.store.remove("side");
    expect(packs()).toEqual([]);
  });

  test("history knows what a cell touched, where it began, and of what the session is a fork", async () => {
    await project.cell(main, { a: "one" });
    const second = await project.cell(main, { a: "one", b: "two" });
    await project.cell(main, { a: "three" });
    project.states.moveHead(main, second);
    await project.cell(main, { c: "four" });
    const { cells, at, bytes: size } = project.store.history(main);
    expect(cells.map(({ base }) => base)).toEqual([0, 1, 2, 2]);
    expect(cells.map(({ touched }) => touched)).toEqual([["a"], ["a", "b"], ["a"], ["c"]]);
    expect(at).toBe(4);
    expect(size.states).toBeGreaterThan(0);
    const side = project.session("side");
    project.states.fork(second, side);
    expect(project.store.history(side).forked).toEqual({ from: "main", cell: 2 });
  });

  test("after an empty reset, cells begin a branch of their own", async () => {
    await project.cell(main, { a: "one" });
    project.states.moveHead(main, null);
    await project.cell(main, { b: "two" });
    expect(project.store.history(main).cells.map(({ base }) => base)).toEqual([0, 0]);
  });
});
