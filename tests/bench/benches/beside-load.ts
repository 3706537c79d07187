// How long `1+1` takes in one session while another loads 2 GB, against the same session with nothing beside it.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { against, type Bench, type BenchContext, type Figure, timed } from "../bench.ts";
import { type ClocheServer, expectOk } from "../cloche-server.ts";
import type { ServingSandbox } from "../serving-sandboxes.ts";
import { quantile, spread } from "../statistics.ts";

const BYTES = 2_000_000_000;
const WARM_UP = 2_000;
const ROUNDS = 3;
const QUIET_CALLS = 500;
/** `milliseconds` between two calls: a person or a model does not ask without a pause. */
const PAUSE = 5;
/** The beside-a-load p99 over the quiet one. */
const TARGET = 10;

export const besideLoad: Bench = { name: "beside-load", title: "`1+1` beside a load of 2 GB", run };

async function run(context: BenchContext): Promise<Figure[]> {
  const csv = join(context.project, "beside.csv");
  context.say("Writing a CSV of 2 GB …");
  await (await context.python()).once("write_csv.py", { path: csv, bytes: BYTES });
  try {
    const figures: Figure[] = [];
    for (const sandbox of context.sandboxes) figures.push(await measure(context, sandbox));
    return figures;
  } finally {
    rmSync(csv, { force: true });
  }
}

async function measure({ serve }: BenchContext, sandbox: ServingSandbox): Promise<Figure> {
  await using server = await serve(sandbox);
  expectOk(await server.exec("1+1", "loads"), "2");
  for (let call = 0; call < WARM_UP; call++) await ask(server);
  const quiet: number[] = [];
  const beside: number[] = [];
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    quiet.push(quantile(await calls(server, (count) => count < QUIET_CALLS), 0.99));
    let loading = true;
    const load = server
      .callToTheEnd("load", { path: "beside.csv", name: "large", session: "loads" })
      .finally(() => {
        loading = false;
      });
    const times = await calls(server, () => loading);
    expectOk(await load);
    beside.push(quantile(times, 0.99));
    least = Math.min(least, times.length);
    await server.call("reset", { session: "loads" });
  }
  return {
    what: "`1+1` beside a load of 2 GB in another session, p99",
    sandbox: sandbox.kind,
    unit: "ms",
    value: spread(beside),
    against: against("the same with nothing beside it", beside, quiet),
    target: { ratio: TARGET },
    note: `at least ${least} calls a round while the load ran, ${PAUSE} ms apart`,
  };
}

async function calls(server: ClocheServer, goOn: (count: number) => boolean): Promise<number[]> {
  const times: number[] = [];
  while (goOn(times.length)) {
    times.push(await timed(() => ask(server)));
    await sleep(PAUSE);
  }
  return times;
}

async function ask(server: ClocheServer): Promise<void> {
  expectOk(await server.exec("1+1"), "2");
}
