// What is kept of a session: it comes back after any kill, goes back to any cell, and opens beside itself.
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Place } from "./place.ts";
import { eachSandbox } from "./rows.ts";
import type { Server } from "./server.ts";

/** Two variables and a file that each cell changes together: a mix of two states shows. */
const PAIR = "import numpy as np\nn = 0; pair = {'n': 0}; grid = np.zeros(50_000)";
const STEP = "n += 1; pair['n'] = n; grid[:] = n; open('n.txt', 'w').write(str(n))";
const LOOK = "n, pair['n'], int(grid.min()), int(grid.max()), int(open('n.txt').read())";

eachSandbox("checkpoints", (kind) => {
  let place: Place;
  let server: Server;
  beforeAll(async () => {
    place = new Place(kind);
    server = await place.start();
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());

  async function restart(): Promise<void> {
    process.kill(server.pid, "SIGKILL");
    server = await place.start();
  }

  describe("going back", () => {
    test("reset {to} puts variables, files and what they share back, as often as one likes", async () => {
      const session = "undo";
      const run = (code: string) => server.exec(code, { session });
      const { cell } = await run("a = [1]; b = a; open('f.txt', 'w').write('one')");
      await run("a.append(2); open('f.txt', 'w').write('two'); c = 3");
      for (const [to, found] of [
        [cell, "([1], True, 'one', False)"],
        [cell + 1, "([1, 2], True, 'two', True)"],
        [cell, "([1], True, 'one', False)"],
      ] as const) {
        const answer = await server.call("reset", { to, session });
        expect(answer.text).toBe(`Session undo is as it was after cell ${to}.`);
        expect((await run("a, a is b, open('f.txt').read(), 'c' in globals()")).text).toBe(found);
      }
    });

    test("a reset is undone, loaded data included", async () => {
      const session = "reset";
      place.write("kept.csv", "a,b\n1,2\n3,4\n");
      await server.call("load", { path: "kept.csv", session });
      const { cell } = await server.exec("total = int(kept.a.sum())", { session });
      await server.call("reset", { session });
      expect((await server.exec("'total' in globals()", { session })).text).toBe("False");
      await server.call("reset", { to: cell, session });
      const { text } = await server.exec("total, len(kept), open('/data/kept.csv').read()", { session });
      expect(text).toBe("(4, 2, 'a,b\\n1,2\\n3,4\\n')");
    });

    test("an array that lies over several packs comes back whole, and what is written to it stays its own", async () => {
      const session = "scattered";
      const run = (code: string, of = session) => server.exec(code, { session: of, durable: true });
      const seen = "big[0], big[500_000], big[-1], float(big.sum())";
      const right = "(np.float64(-1.0), np.float64(-2.0), np.float64(-3.0), 499997999995.0)";
      await run("import numpy as np\nbig = np.arange(1_000_000, dtype=float)");
      await run("big[0] = -1; big[-1] = -3");
      // Another pack begins: the fork may read the one before.
      await server.call("reset", { to: 2, into: "beside-scattered", session });
      const { cell } = await run("big[500_000] = -2; big[1] = 1 - 1 + 1");
      await run("big = None");
      for (let round = 0; round < 3; round += 1) {
        expect(await server.call("reset", { to: cell, session })).toMatchObject({ isError: false });
        expect((await run(seen)).text).toBe(right);
        await run("big[:] = 7");
      }
      await server.call("reset", { to: cell, into: "more-scattered", session });
      expect((await run(seen, "more-scattered")).text).toBe(right);
      await run("big[2] += 1", "more-scattered");
      await restart();
      expect((await run("float(big.sum())", "more-scattered")).text).toContain("499997999996.0");
      expect((await run("big[500_000], big[0]", "beside-scattered")).text).toContain(
        "(np.float64(500000.0), np.float64(-1.0))",
      );
      await server.call("reset", { to: cell, session });
      expect((await run(seen)).text).toContain(right);
    });

    test("variables that lead to a module whose file goes back lead to the one it was", async () => {
      const session = "modules";
      const run = (code: string) => server.exec(code, { session });
      await run("open('mine.py', 'w').write('held = [1]\\ndef f(): return 1')");
      const { cell } = await run("import mine; from mine import f; mine.held.append(2); big = [0] * 100_000");
      await run("import importlib; open('mine.py', 'w').write('held = [3]\\ndef f(): return 2   ')");
      await run("importlib.reload(mine); from mine import f; mine.held.append(4)");
      await server.call("reset", { to: cell, session });
      expect((await run("mine.held, mine.f(), f(), mine.f is f, len(big)")).text).toBe(
        "([1, 2], 1, 1, True, 100000)",
      );
    });

    test("the directory is put back, also from one that is gone", async () => {
      const session = "directory";
      const { cell } = await server.exec("import os", { session });
      await server.exec("os.mkdir('d'); os.chdir('d'); os.rmdir('../d')", { session });
      await server.call("reset", { to: cell, session });
      expect((await server.exec("os.getcwd()", { session })).text).toBe("'/workspace'");
    });

    test("under a running cell it ends that cell and says so", async () => {
      const session = "busy";
      const { cell } = await server.exec("x = 1", { session });
      const running = await server.exec("x = 2\nimport time\ntime.sleep(100)", { session, wait_s: 0.3 });
      const answer = await server.call("reset", { to: cell, session });
      expect(answer.text).toContain(`Cell ${running.cell}, which was running, was ended.`);
      expect((await server.exec("x", { session })).text).toBe("1");
    });

    test("what cannot be had is refused by a sentence, and nothing changes", async () => {
      const session = "refused";
      const { cell } = await server.exec("x = 1", { session });
      for (const [args, sentence] of [
        [{ to: cell + 5 }, /has no cell 6/],
        [{ into: "elsewhere" }, /into goes with to/],
        [{ to: cell, into: "refused" }, /is a session refused already/],
      ] as const) {
        const answer = await server.call("reset", { ...args, session });
        expect(answer).toMatchObject({ isError: true });
        expect(answer.text).toMatch(sentence);
      }
      expect((await server.exec("x", { session })).text).toBe("1");
    });
  });

  test("reset {to, into} opens the state beside the other, and a fork of a fork", async () => {
    const { cell } = await server.exec("base = [1]; import numpy as np; big = np.arange(200_000)", {
      session: "trunk",
    });
    await server.exec("base.append(2)", { session: "trunk" });
    await server.call("reset", { to: cell, into: "twig", session: "trunk" });
    const grown = await server.exec("base.append('twig'); big[0] = 9; base", { session: "twig" });
    expect(grown.text).toBe("[1, 'twig']");
    await server.call("reset", { to: grown.cell, into: "leaf", session: "twig" });
    expect((await server.exec("base, int(big[0])", { session: "leaf" })).text).toBe("([1, 'twig'], 9)");
    expect((await server.exec("base, int(big[0])", { session: "trunk" })).text).toBe("([1, 2], 0)");
    await restart();
    expect((await server.exec("base", { session: "leaf" })).text).toMatch(/\[1, 'twig'\]$/);
    expect((await server.exec("base, int(big[0])", { session: "trunk" })).text).toMatch(/\(\[1, 2\], 0\)$/);
  });

  test("what cannot be kept is named with its cell, and says so when it is used", async () => {
    const session = "unkept";
    const made = await server.exec("kept = 1; walk = (i for i in range(3)); next(walk)", {
      session,
      durable: true,
    });
    const { cell } = made;
    expect(made.status).toMatch(/Not kept when the session is saved: walk \(generator\): a generator.*\.\]$/);
    expect((await server.exec("kept", { session })).status).not.toContain("Not kept");
    expect((await server.call("vars", { session })).text).toMatch(/^walk: generator, cell \d+, not kept: /m);
    await restart();
    const { text } = await server.exec("kept, next(walk)", { session });
    expect(text).toContain(`walk (generator), made in cell ${cell}, was not kept`);
    expect((await server.exec("kept", { session })).text).toBe("1");
  });

  describe("a server that is killed", () => {
    test.each([0, 1, 2, 4, 8, 16, 40])(
      "%d ms after its answer leaves one state, and what is not in it is named",
      async (ms) => {
        const session = `killed-${ms}`;
        await server.exec(PAIR, { session });
        const durable = await server.exec(STEP, { session, durable: true });
        const answered = [await server.exec(STEP, { session }), await server.exec(STEP, { session })];
        await delay(ms);
        await restart();
        const { text } = await server.exec(LOOK, { session });
        const [, found] = /\((\d), \1, \1, \1, \1\)$/.exec(text) ?? [];
        expect(text).toMatch(/\((\d), \1, \1, \1, \1\)$/);
        const kept = durable.cell + Number(found) - 1;
        expect(text).toContain(`as it was after cell ${kept}`);
        expect(Number(found)).toBeGreaterThanOrEqual(1);
        for (const { cell } of answered)
          if (cell > kept)
            expect(text).toMatch(
              new RegExp(
                `what cells? .*\\b${cell}\\b.* did is not|cell ${cell} was running then, or had just ended`,
              ),
            );
      },
    );

    test("in the middle of a cell brings back what was before it", async () => {
      const session = "middle";
      await server.exec(PAIR, { session });
      const { cell } = await server.exec(STEP, { session });
      const running = await server.exec(`${STEP}\nimport time\ntime.sleep(100)`, { session, wait_s: 0.5 });
      await restart();
      const { text } = await server.exec(LOOK, { session });
      expect(text).toMatch(/\(1, 1, 1, 1, 1\)$/);
      expect(text).toContain(`as it was after cell ${cell}; cell ${running.cell} was running then`);
    });
  });

  test("a kernel that is killed comes back with the next call", async () => {
    const session = "kernel";
    await server.exec(PAIR, { session });
    const { cell } = await server.exec(STEP, { session });
    const lost = await server.exec(`${STEP}\nimport os\nos._exit(3)`, { session });
    expect(lost.text).toMatch(new RegExp(`kernel ended: .*status 3.*as it was after cell ${cell}`, "s"));
    expect((await server.exec(LOOK, { session })).text).toMatch(/\(1, 1, 1, 1, 1\)$/);
  });

  test("idle sessions beyond what the server runs at once are saved, and come back by themselves", async () => {
    await using small = new Place(kind, { settings: { sessions: 1 } });
    const one = await small.start();
    for (const [number, session] of ["a", "b"].entries()) await one.exec(`mine = [${number}]`, { session });
    const { text } = await one.call("vars", { session: "*" });
    expect(text.match(/: saved/g)).toHaveLength(1);
    for (const [number, session] of ["a", "b"].entries())
      expect((await one.exec("mine", { session })).text).toMatch(new RegExp(`\\[${number}\\]$`));
  });
});
