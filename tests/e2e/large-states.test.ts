// States that take long to take down: the next cell does not wait for them, and whatever dies meanwhile, none is a mix.
import { afterAll, beforeAll, expect, test } from "vitest";
import { Place } from "./place.ts";
import { eachSandbox } from "./rows.ts";
import type { Server } from "./server.ts";

const RECORDS = "records = [{'n': n, 's': str(n)} for n in range(300_000)]";
/** Finds the process that takes down the last cell's state, while the cell with this code runs. */
const FIND = `import os, signal, time
def taking_down():
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for pid in os.listdir('/proc'):
            try:
                if pid.isdigit() and open(f'/proc/{pid}/oom_score_adj').read().strip() == '1000':
                    return int(pid)
            except OSError:
                pass`;
const LOOK = "kept, len(records), records[7]['n'], records[-1]['s']";

eachSandbox("large states", (kind) => {
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

  test("the next cell runs while the state after the last is taken down, and what was not kept is named", async () => {
    const session = "under-way";
    const run = (code: string, args = {}) => server.exec(code, { session, ...args });
    await run(FIND);
    const durable = await run("kept = [1]", { durable: true });
    const large = await run(`kept.append(2); ${RECORDS}`);
    const running = await run(
      "pid = taking_down(); os.kill(pid, signal.SIGSTOP); print('found'); time.sleep(100)",
      { wait_s: 5 },
    );
    expect(running.text).toBe("found");
    await restart();
    const answer = await run("kept, 'records' in globals(), 'pid' in globals()");
    expect(answer.text).toMatch(/\(\[1\], False, False\)$/);
    const all = `${answer.text}\n${answer.status}`;
    expect(all).toContain(`as it was after cell ${durable.cell}`);
    for (const { cell } of [large, running]) expect(all).toMatch(new RegExp(`cells? [\\d, ]*\\b${cell}\\b`));
  });

  test("durable waits for it, and a change of one of many comes back", async () => {
    const session = "durable";
    const run = (code: string, args = {}) => server.exec(code, { session, ...args });
    await run(`kept = [1]; ${RECORDS}`);
    await run("records[7]['n'] = 'seven'; kept.append(2)");
    const { status } = await run("records[-1]['s'] = 'last'; kept.append(3)", { durable: true });
    expect(status).not.toContain("not on disk");
    await restart();
    expect((await run(LOOK)).text).toMatch(/\(\[1, 2, 3\], 300000, 'seven', 'last'\)$/);
  });

  test("code that ends it loses that one state, which is said, and the next is whole", async () => {
    const session = "ended";
    const run = (code: string, args = {}) => server.exec(code, { session, ...args });
    await run(FIND);
    const large = await run(`kept = [1]; ${RECORDS}`);
    const ended = await run("os.kill(taking_down(), signal.SIGKILL); kept.append(2)");
    const after = await run("kept.append(3)", { durable: true });
    const said = [ended, after].map(({ text, status }) => `${text}\n${status}`).join("\n");
    expect(said).toMatch(
      new RegExp(`The state after cell ${large.cell} could not be kept: the process that took it`),
    );
    expect(after.status).not.toContain("not on disk");
    await restart();
    expect((await run(LOOK)).text).toMatch(/\(\[1, 2, 3\], 300000, 7, '299999'\)$/);
    await server.call("reset", { to: ended.cell, session });
    expect((await run("kept, len(records)")).text).toBe("([1, 2], 300000)");
  });

  test("a session at three fifths of its memory limit is kept, changed and brought back", async () => {
    const limited = await place.start({ args: ["--memory", "512MB"] });
    const full = (code: string, args = {}) => limited.exec(code, { session: "full", ...args });
    await full(`import numpy as np
big = np.random.default_rng(7).random(20_000_000)
records = [{'n': n, 's': str(n)} for n in range(150_000)]
total = float(big.sum())`);
    const used = await full("round(int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e9, 2)");
    expect(Number(used.text)).toBeGreaterThan(0.3);
    for (const change of ["records[7]['n'] = 'seven'", "big[5] = 0.5", "records[-1]['s'] = 'last'"]) {
      const { status } = await full(change, { durable: true });
      expect(status).toMatch(/: ok/);
      expect(status).not.toContain("not on disk");
    }
    process.kill(limited.pid, "SIGKILL");
    const again = await place.start({ args: ["--memory", "512MB"] });
    const found = await again.exec(
      "len(records), records[7]['n'], records[-1]['s'], float(big[5]), big.size",
      {
        session: "full",
      },
    );
    expect(found.text).toMatch(/\(150000, 'seven', 'last', 0\.5, 20000000\)$/);
  });

  test("a reset beside a running state waits for it or ends it, and going back to it works", async () => {
    const session = "reset";
    const run = (code: string, args = {}) => server.exec(code, { session, ...args });
    const large = await run(`kept = [1]; ${RECORDS}`);
    await run("kept.append(2)");
    await server.call("reset", { to: large.cell, session });
    expect((await run(LOOK)).text).toBe("([1], 300000, 7, '299999')");
    await run("records.clear(); kept.append(4)");
    await server.call("reset", { session });
    expect((await run("'records' in globals()")).text).toBe("False");
  });
});
