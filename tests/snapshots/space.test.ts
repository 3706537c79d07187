// What frees space: states that are given up, chunks and packs that nobody speaks of, the cap, a full disk.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { endAt } from "./end-at.ts";
import { bytes, name, Project } from "./states.ts";

/** A private mount needs user namespaces, or root. */
const canMount = spawnSync("unshare", ["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).status === 0;
const LARGE = 100_000;
const HUGE = 1_000_000;
let project: Project;
let main: string;

beforeEach(() => {
  project = new Project();
  main = project.session();
});

afterEach(() => project[Symbol.dispose]());

const packs = () => readdirSync(project.packs).filter((file) => file.endsWith(".pack"));
const packBytes = () => packs().reduce((sum, file) => sum + statSync(join(project.packs, file)).size, 0);
const spare = () =>
  project.store
    .history(main)
    .states.filter(({ isHead }) => !isHead)
    .map(({ id }) => id);

/** `milliseconds` of processor time between two turns of the event loop, which other processes do not lengthen. */
function processorTimeOfTurns(): { end(): number[] } {
  const times: number[] = [];
  let running = true;
  let last = process.cpuUsage();
  const turn = () => {
    const { user, system } = process.cpuUsage(last);
    last = process.cpuUsage();
    times.push((user + system) / 1_000);
    if (running) setImmediate(turn);
  };
  setImmediate(turn);
  return {
    end() {
      running = false;
      return times;
    },
  };
}

describe("pruning", () => {
  test("what is pruned goes with its space, the head stays whole, and the cells stay readable", async () => {
    for (let n = 0; n < 10; n += 1) await project.cell(main, { a: String(n), big: bytes(LARGE, `${n}`) });
    project.reopen();
    expect(await project.states.space.prune(main, spare())).toBe(9);
    const freed = await project.states.space.collect([main]);
    expect(freed.bytes).toBe(9 * LARGE + 9);
    expect(packBytes()).toBe(LARGE);
    expect(packs()).toHaveLength(1);
    const head = project.states.head(main)!;
    expect(await project.restore(head)).toEqual({
      values: { a: name("9"), big: name(bytes(LARGE, "9")) },
      lost: [],
    });
    expect(project.states.after(main, 3)).toBeUndefined();
    expect(Math.abs(project.states.prunedAt(main, 3)! - Date.now())).toBeLessThan(60_000);
    expect(project.states.prunedAt(main, 10)).toBeUndefined();
    expect(project.store.cell(main, 3)?.code).toBe("a, big");
  });

  test("no head is ever given up, nor the state that a session is being brought to", async () => {
    const first = await project.cell(main, { a: "one" });
    const second = await project.cell(main, { a: "two" });
    const third = await project.cell(main, { a: "three" });
    await project.restore(first);
    expect(await project.states.space.prune(main, [first.id, second.id, third.id])).toBe(1);
    project.states.moveHead(main, first);
    expect(project.states.head(main)?.id).toBe(first.id);
    expect(project.states.after(main, 3)?.parent).toBe(first.id);
  });

  test("a session's states cannot be given up in another's name", async () => {
    const first = await project.cell(main, { a: "one" });
    await project.cell(main, { a: "two" });
    expect(await project.states.space.prune(project.session("other"), [first.id])).toBe(0);
  });

  test("a kernel that names what was freed meanwhile is refused once, and keeps everything again", async () => {
    await project.cell(main, { a: "one", b: "x" });
    await project.cell(main, { b: "x" });
    await project.states.space.prune(main, spare());
    await project.states.space.collect([main]);
    const { groups, members } = project.send(main, { b: "x" });
    const stale = {
      groups,
      members: [...members, `a:${name("one")}`],
      lost: {},
      tokens: {},
      versions: {},
    };
    await expect(project.states.commit(main, 3, stale, {})).rejects.toThrow("freed meanwhile");
    const again = await project.cell(main, { a: "one", b: "x" });
    expect((await project.restore(again)).values).toEqual({ a: name("one"), b: name("x") });
  });

  test("packs that a fork reads stay, thin ones are written anew, and both sessions read the same", async () => {
    for (let n = 0; n < 6; n += 1) await project.cell(main, { big: bytes(LARGE, `${n}`) });
    const side = project.session("side");
    const forked = project.states.fork(project.states.after(main, 2)!, side);
    project.reopen();
    await project.states.space.prune(main, spare());
    await project.states.space.collect([main, side]);
    expect(packBytes()).toBeLessThan(3 * LARGE);
    expect((await project.restore(forked)).values).toEqual({ big: name(bytes(LARGE, "1")) });
    expect((await project.restore(project.states.head(main)!)).values).toEqual({
      big: name(bytes(LARGE, "5")),
    });
    project.reopen();
    expect((await project.restore(forked)).lost).toEqual([]);
  });

  test("a pack that a living server adds to is left alone", async () => {
    await project.cell(main, { big: bytes(LARGE, "1") });
    await project.cell(main, { a: "x" });
    using other = new Project(project.directory);
    await other.states.space.prune(
      main,
      other.store
        .history(main)
        .states.filter(({ isHead }) => !isHead)
        .map(({ id }) => id),
    );
    await other.states.space.collect([main]);
    expect(packs()).toHaveLength(1);
    const state = await project.cell(main, { big: bytes(LARGE, "2") });
    expect((await project.restore(state)).lost).toEqual([]);
  });

  test("a collection lets other work in at least every ten milliseconds, but for the disk", async () => {
    for (let n = 0; n < 20; n += 1) {
      const values = Object.fromEntries(
        Array.from({ length: 200 }, (_, k) => [`v${k}`, `${n}:${k}:${"x".repeat(500)}`]),
      );
      await project.cell(main, { ...values, big: bytes(LARGE, `${n}`) });
    }
    project.reopen();
    await project.states.space.prune(main, spare());
    const turns = processorTimeOfTurns();
    const freed = await project.states.space.collect([main]);
    const times = turns.end().sort((one, other) => one - other);
    expect(freed.chunks).toBe(19 * 201);
    expect(times.length).toBeGreaterThan(20);
    expect(times[Math.floor(times.length * 0.95)]).toBeLessThan(15);
  });
});

describe("kill -9", () => {
  test.each([
    ["pruned", 1],
    ["deleted covariable", 1],
    ["deleted chunk", 1],
    ["swept", 1],
    ["dropped packs", 1],
    ["made a pack", 1],
    ["wrote a pack", 1],
    ["moved chunks", 1],
    ["dropped packs", 2],
    ["removed a pack", 1],
  ])("at %s (%i) leaves a store that is whole, and the next collection ends the work", async (step, nth) => {
    for (let n = 0; n < 8; n += 1)
      await project.cell(main, { a: String(n), big: bytes(LARGE, `${n}`), same: bytes(LARGE, "same") });
    project.store[Symbol.dispose]();
    project.lease[Symbol.dispose]();
    await endAt(project.directory, "prune", step, nth);
    const directory = project.directory;
    {
      using after = new Project(directory);
      expect(after.store.notice).toBeUndefined();
      const right = { a: name("7"), big: name(bytes(LARGE, "7")), same: name(bytes(LARGE, "same")) };
      expect(await after.restore(after.states.head(main)!)).toEqual({ values: right, lost: [] });
      for (const { cell } of after.store.history(main).states) {
        const found = await after.restore(after.states.after(main, cell)!);
        expect(found.lost).toEqual([]);
        expect(found.values.a).toBe(name(String(cell - 1)));
        expect(found.values.big).toBe(name(bytes(LARGE, String(cell - 1))));
      }
      const { states } = after.store.history(main);
      await after.states.space.prune(
        main,
        states.map(({ id }) => id),
      );
      await after.states.space.collect([main]);
      expect(await after.restore(after.states.head(main)!)).toEqual({ values: right, lost: [] });
      expect(packBytes()).toBeLessThan(2 * LARGE + 10_000);
    }
  });
});

describe("the cap", () => {
  test("near it a sentence is due once, at it states are refused with what frees space, cells go on", async () => {
    project.cap = 80_000_000;
    project.reopen();
    const notices: string[] = [];
    const members: string[] = [];
    let refused: { code: string; sentence: string } | undefined;
    for (let n = 0; n < 100 && !refused; n += 1)
      try {
        const added = project.send(main, { [`v${n}`]: bytes(HUGE, `${n}`) });
        // Every state holds all that came before: there is nothing to give up but the head.
        members.push(...added.members);
        await project.states.commit(main, n + 1, { ...added, members }, {});
        notices.push(...project.states.takeNotices(main));
      } catch (error) {
        refused = error as { code: string; sentence: string };
      }
    expect(notices).toHaveLength(1);
    expect(notices[0]).toMatch(/takes 6\d\.\d MB of the 80\.0 MB it may: .*`cloche sessions prune`/);
    expect(refused).toMatchObject({ code: "store.full" });
    expect(refused?.sentence).toMatch(/its cap is 80\.0 MB.*`cloche sessions prune` frees space/);
    expect(packBytes()).toBeLessThan(project.cap);
    const cell = project.store.beginCell(main, "exec", "1");
    project.store.saveOutput(main, cell, "still here", 0);
    expect(project.store.cell(main, cell)?.output).toBe("still here");
    expect((await project.restore(project.states.head(main)!)).lost).toEqual([]);
  });

  test("old states are given up before the cap is reached, the oldest first, and said to be", async () => {
    project.cap = 80_000_000;
    project.reopen();
    for (let n = 0; n < 150; n += 1) {
      await project.cell(main, { big: bytes(HUGE, `${n}`) });
      await project.states.space.settled();
    }
    const { states } = project.store.history(main);
    expect(states.length).toBeGreaterThan(15);
    expect(states.length).toBeLessThan(80);
    expect(states.map(({ cell }) => cell)).toEqual(
      Array.from({ length: states.length }, (_, n) => 151 - states.length + n),
    );
    expect(project.states.prunedAt(main, 1)).toBeDefined();
    expect((await project.restore(project.states.after(main, 150)!)).lost).toEqual([]);
  });
});

describe("a full disk", () => {
  test.skipIf(!canMount)("keeps what was kept, and the ballast makes room to clean up", () => {
    const script = `mount -t tmpfs -o size=100m none "$1" && exec "$2" "$3" "$1"`;
    const fill = join(import.meta.dirname, "fill-states.ts");
    const run = spawnSync(
      "unshare",
      ["-rm", "sh", "-c", script, "sh", project.packs.replace(/packs$/, "owners"), process.execPath, fill],
      { encoding: "utf8" },
    );
    expect(run.stderr).toBe("");
    const found = JSON.parse(run.stdout);
    expect(found.refused.code).toBe("store.full");
    expect(found.lostWhenFull).toEqual([]);
    expect(found.ballastBefore).toBe(true);
    expect(found.states).toBeGreaterThan(5);
    expect(found.freeAfter).toBeGreaterThan(50_000_000);
    expect(found.lostAfter).toEqual([]);
    expect(found.goesOn).toEqual([]);
  });

  test("the ballast is laid where there is room", () => {
    expect(statSync(join(project.directory, "ballast")).size).toBe(8 * 1024 * 1024);
    expect(existsSync(join(project.directory, "ballast"))).toBe(true);
  });
});
