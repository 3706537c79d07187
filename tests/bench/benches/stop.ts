// Stopping a running cell: from the request to the answer, for one that listens and for one that ignores SIGINT.
import { setTimeout as sleep } from "node:timers/promises";
import { GRACE_MS } from "../../../src/session/cell-ender.ts";
import { type Bench, type BenchContext, type Figure, timed } from "../bench.ts";
import { type ClocheServer, expectOk } from "../cloche-server.ts";
import { spread } from "../statistics.ts";

const CELLS = [
  {
    what: "stop of a cell that sleeps",
    code: "import time\ntime.sleep(600)",
    ends: "interrupted",
    target: 300,
    rounds: 20,
  },
  {
    what: "stop of a cell that computes",
    code: "while True: pass",
    ends: "interrupted",
    target: 300,
    rounds: 20,
  },
  {
    what: "stop of a cell that ignores SIGINT",
    code: "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    ends: "lost",
    target: GRACE_MS + 500,
    rounds: 3,
  },
];
/** `milliseconds` that a cell runs before it is stopped. */
const RUNNING = 200;

export const stop: Bench = { name: "stop", title: "Stopping a cell", run };

async function run({ sandboxes, serve }: BenchContext): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const sandbox of sandboxes) {
    await using server = await serve(sandbox);
    expectOk(await server.exec("1+1"), "2");
    for (const { what, code, ends, target, rounds } of CELLS) {
      const times: number[] = [];
      for (let round = 0; round < rounds; round++) times.push(await stopOnce(server, code, ends));
      const worst = spread(times);
      figures.push({ what, sandbox: sandbox.kind, unit: "ms", value: worst, target: { value: target } });
    }
  }
  return figures;
}

async function stopOnce(server: ClocheServer, code: string, ends: string): Promise<number> {
  const { text } = await server.call("exec", { code, wait_s: 0 });
  const cell = Number(/\[cell (\d+): running/.exec(text)?.[1]);
  await sleep(RUNNING);
  let ended = "";
  const time = await timed(async () => {
    ended = (await server.call("exec", { cell, stop: true })).text;
  });
  if (!ended.includes(`[cell ${cell}: ${ends}`)) throw new Error(`the cell was not ${ends}: ${ended}`);
  return time;
}
