// Several sessions and several servers: what each sees of the other, and what a dead server's session leaves behind.
import { afterAll, beforeAll, expect, test } from "vitest";
import { delay } from "../../src/shared/async.ts";
import { expectNothingRunning } from "./left-behind.ts";
import { Place } from "./place.ts";
import { eachSandbox } from "./rows.ts";
import type { Server } from "./server.ts";

eachSandbox("sessions", (kind) => {
  let place: Place;
  let first: Server;
  beforeAll(async () => {
    place = new Place(kind);
    first = await place.start();
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());

  test("sessions share no variable, no file and no process", async () => {
    await first.exec("secret = 1; open('/tmp/mine', 'w').write('x'); open('/scratch/mine', 'w').write('x')");
    await first.exec("import subprocess; child = subprocess.Popen(['sleep', '77'])");
    const other = await first.exec(
      [
        "import glob, os",
        "cmds = [open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/cmdline')]",
        "'secret' in globals(), 'mine' in os.listdir('/tmp') + os.listdir('/scratch'), any(b'77' in c for c in cmds)",
      ].join("\n"),
      { session: "other" },
    );
    expect(other.text).toBe("(False, False, False)");
    expect(other.cell).toBe(1);
  });

  test("a session's queue does not hold up another", async () => {
    const long = first.exec("import time; time.sleep(3)");
    const started = performance.now();
    await first.exec("1", { session: "other" });
    expect(performance.now() - started).toBeLessThan(2_000);
    await long;
  });

  test("a second server on the project works in a session of its own, and is told so once", async () => {
    const second = await place.start();
    const told = await second.exec("mine = 2");
    expect(told.text).toMatch(/Another window.*session main.*works in main-2/s);
    const after = await second.exec("'secret' in globals(), mine");
    expect(after.text).toBe("(False, 2)");
    expect((await first.exec("secret")).text).toBe("1");
    const { text } = await second.call("vars", { session: "*" });
    expect(text).toMatch(/^main: held by another window/m);
    expect(text).toMatch(/^main-2: idle/m);
    await second.close();
    const third = await place.start();
    const again = await third.exec("mine");
    expect(again.text).toMatch(/main-2/);
    expect(again.text).toMatch(/as it was after cell 2\.\]\n2$/);
    expect(again.cell).toBe(3);
    await third.close();
  });

  test("two servers that fight over a session each keep their own, and its next owner finds what it held", async () => {
    const fighters = await Promise.all([place.start(), place.start()]);
    const claims = await Promise.all(
      fighters.map((server, number) => server.exec(`mine, count = ${number}, 0`, { session: "fought" })),
    );
    expect(claims.filter(({ text }) => text.includes("works in fought-2"))).toHaveLength(1);
    const rounds = Array.from({ length: 10 }, (_, round) => round + 1);
    for (const round of rounds) {
      const counts = fighters.map((server) => server.exec("count += 1; mine, count", { session: "fought" }));
      const texts = (await Promise.all(counts)).map(({ text }) => text);
      expect(texts).toEqual([`(0, ${round})`, `(1, ${round})`]);
    }
    const winner = claims.findIndex(({ text }) => !text.includes("works in fought-2"));
    const [holder, other] = [fighters[winner]!, fighters[1 - winner]!];
    const last = await holder.exec("import time\ntime.sleep(100)", { session: "fought", wait_s: 0.2 });
    process.kill(holder.pid, "SIGKILL");
    const heir = await place.start();
    const [inherited, kept] = await Promise.all([
      heir.exec("mine, count", { session: "fought" }),
      other.exec("mine, count", { session: "fought" }),
    ]);
    expect(kept.text).toBe(`(${1 - winner}, 10)`);
    expect(inherited.text.split("\n").at(-1)).toBe(`(${winner}, 10)`);
    expect(inherited.text).toContain(`as it was after cell ${last.cell - 1}`);
    expect(inherited.text).toContain(`cell ${last.cell} was running`);
    expect(inherited.cell).toBe(last.cell + 1);
    await Promise.all([heir.close(), other.close()]);
  });

  test("an idle session is paused and goes on where it was", async () => {
    await using idle = new Place(kind, { settings: { idlePauseMinutes: 0.03 } });
    const server = await idle.start();
    await server.exec("kept = 1\nimport threading, time\nticks = []");
    await server.exec(
      "def tick():\n    while True:\n        ticks.append(1)\n        time.sleep(0.02)\nthreading.Thread(target=tick, daemon=True).start()",
    );
    const state = async () => (await server.call("vars", { session: "*" })).text;
    for (const until = Date.now() + 20_000; !/^main: paused/m.test(await state()); await delay(100))
      expect(Date.now()).toBeLessThan(until);
    await delay(3_000);
    const { text } = await server.exec("kept, len(ticks)");
    const [, kept, ticks] = /\((\d), (\d+)\)/.exec(text)!;
    expect(kept).toBe("1");
    // Two seconds until the pause are a hundred ticks; the three seconds after it would be as many again and more.
    expect(Number(ticks)).toBeLessThan(150);
  });

  test("after kill -9 the next server brings the session back, says what is not in it, and no cell number comes twice", async () => {
    const before = await first.exec("print('kept on the host')");
    const running = await first.exec("print('half way')\nimport time\ntime.sleep(100)", { wait_s: 0.5 });
    expect(running.cell).toBe(before.cell + 1);
    process.kill(first.pid, "SIGKILL");
    await expectNothingRunning(place);

    const next = await place.start();
    const answer = await next.exec("secret");
    expect(answer.text).toContain(`as it was after cell ${before.cell}`);
    expect(answer.text).toMatch(new RegExp(`cell ${running.cell} was running`));
    expect(answer.text).toMatch(/\n1$/);
    expect(answer.cell).toBe(running.cell + 1);
    expect((await next.call("exec", { cell: before.cell })).text).toBe("kept on the host");
    expect((await next.call("exec", { cell: running.cell })).status).toContain("lost");
  });
});
