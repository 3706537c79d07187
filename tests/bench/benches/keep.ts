// Keeping a session of 1.1 GB: the state after a small cell on disk, a small change of something large, going back,
// opening a state beside the other; against writing the session down whole.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { against, type Bench, type BenchContext, type Figure, interleave, timed } from "../bench.ts";
import { type ClocheServer, expectOk } from "../cloche-server.ts";
import { packedBytes } from "../kept-bytes.ts";
import type { PythonPeer } from "../reference-python.ts";
import type { ServingSandbox } from "../serving-sandboxes.ts";
import { median, spread } from "../statistics.ts";

const LARGE =
  "import numpy as np\nbig = np.random.default_rng(7).random(134_217_728)\nsmall = [{'n': n} for n in range(10_000)]\nx = 0";
const DICTS = "records = [{'n': n, 's': str(n)} for n in range(2_000_000)]";
const ROUNDS = 5;
const CALLS = 40;
/** `milliseconds` and ratios that the project wants to reach. */
const TARGETS = {
  ofDill: 1 / 500,
  ofSync: 3,
  ofPass: 1,
  undo: 20,
  ofRead: 1,
  fork: 250,
  stored: 1.05,
  dicts: 0.2,
};

export const keep: Bench = { name: "keep", title: "Keeping a session of 1.1 GB", run };

async function run(context: BenchContext): Promise<Figure[]> {
  const directory = mkdtempSync(join(context.state, "bench-keep-"));
  const reference = await context.python();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const peer = stack.use(reference.peer("keep_session.py"));
  const figures: Figure[] = [];
  for (const sandbox of context.sandboxes)
    figures.push(...(await keepIn(context, sandbox, (what, setup) => ask(peer, directory, what, setup))));
  return figures;
}

type Reference = (
  what: "dill" | "cloudpickle" | "fdatasync" | "read" | "pass" | "sum",
  setup: string,
) => Promise<number>;

async function keepIn(
  context: BenchContext,
  sandbox: ServingSandbox,
  reference: Reference,
): Promise<Figure[]> {
  await using server = await context.serve(sandbox);
  const run = (code: string, durable = false) =>
    server.call("exec", { code, ...(durable ? { durable } : {}) }).then(expectOk);
  await server.call("reset", {});
  expectOk(await server.callToTheEnd("exec", { code: LARGE }));
  await run("0", true);
  let last = 0;
  const next = () => {
    last += 1;
    return last;
  };
  const small = async (durable: boolean) => {
    const times: number[] = [];
    for (let call = 0; call < CALLS; call++) times.push(await timed(() => run(`x = ${next()}`, durable)));
    return median(times);
  };
  await small(true);
  const { durable, answered, dill, fdatasync } = await interleave(ROUNDS, {
    durable: () => small(true),
    answered: () => small(false),
    dill: () => reference("dill", LARGE),
    fdatasync: () => reference("fdatasync", LARGE),
  });
  const after = durable.map((ms, round) => Math.max(0, ms - answered[round]!));

  const before = packedBytes(context.state);
  // Another value each time: bytes that an earlier run stored would not be stored again.
  const value = 1 + Math.random();
  await run(`big[1_000] = ${value}`, true);
  const stored = (packedBytes(context.state) - before) / 1e6;

  const { looked, sum } = await interleave(ROUNDS, {
    looked: async () => {
      await run("float(big[7])");
      return timed(() => run("0"));
    },
    sum: () => reference("sum", LARGE),
  });
  await run("0", true);

  const cell = cellOf(await server.call("exec", { code: "x = 'here'", durable: true }));
  await run("x = 'there'", true);
  const undo = await times(10, async () => {
    await timed(() => server.call("exec", { code: "x = 'there'", durable: true }));
    return timed(() => server.call("reset", { to: cell }));
  });
  const back = async (pass: boolean) => {
    await run("big = None", true);
    const ms = await timed(async () => {
      await server.call("reset", { to: cell });
      if (pass) await run("big.sum()");
    });
    expectOk(await server.exec(`float(big[1_000]) == ${value}`), "True");
    return ms;
  };
  const { restored, read, passed, pass } = await interleave(ROUNDS, {
    restored: () => back(false),
    read: () => reference("read", LARGE),
    passed: () => back(true),
    pass: () => reference("pass", LARGE),
  });
  const fork = await times(3, async (round) => {
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    const into = `beside-${process.pid}-${sandbox.kind}-${round}`;
    return timed(async () => {
      await server.call("reset", { to: cell, into });
      expectOk(await server.exec(`float(big[1_000]) == ${value}`, into), "True");
    });
  });

  await server.call("reset", {});
  expectOk(await server.callToTheEnd("exec", { code: DICTS }));
  await server.callToTheEnd("exec", { code: "0" });
  const { dicts, cloudpickle } = await interleave(3, {
    dicts: async () => {
      await run(`records[77]['n'] = ${-next()}`);
      return timed(() => server.callToTheEnd("exec", { code: "0" }));
    },
    cloudpickle: () => reference("cloudpickle", DICTS),
  });
  const common = { sandbox: sandbox.kind, unit: "ms" as const };
  return [
    {
      ...common,
      what: "a small cell, on disk",
      value: spread(durable),
      against: against("`dill.dump_module` of the same", durable, dill),
      target: { ratio: TARGETS.ofDill },
    },
    {
      ...common,
      what: "from its answer to the disk",
      value: spread(after),
      against: against("write and `fdatasync` of 4 KiB", after, fdatasync),
      target: { ratio: TARGETS.ofSync },
    },
    {
      ...common,
      what: "stored for one element of 1 GiB",
      unit: "MB",
      value: spread([stored]),
      target: { value: TARGETS.stored },
    },
    {
      ...common,
      what: "the cell after one that reads of 1 GiB",
      value: spread(looked),
      against: against("a sum over it", looked, sum),
      target: { ratio: TARGETS.ofPass },
    },
    {
      ...common,
      what: "`reset {to}` over a small cell",
      value: spread(undo),
      target: { value: TARGETS.undo },
    },
    {
      ...common,
      what: "restore of 1 GiB that is gone",
      value: spread(restored),
      against: against("a plain read of as many bytes", restored, read),
      target: { ratio: TARGETS.ofRead },
    },
    {
      ...common,
      what: "the same, and a sum over it",
      value: spread(passed),
      against: against("a plain read, and a sum over it", passed, pass),
    },
    {
      ...common,
      what: "`reset {to, into}` and a first result there",
      value: spread(fork),
      target: { value: TARGETS.fork },
    },
    {
      ...common,
      what: "the cell after a change of one of 2 million dicts",
      value: spread(dicts),
      against: against("cloudpickle of the namespace", dicts, cloudpickle),
      target: { ratio: TARGETS.dicts },
    },
  ];
}

async function ask(peer: PythonPeer, directory: string, what: string, setup: string): Promise<number> {
  return ((await peer.ask({ what, setup, directory })) as { ms: number }).ms;
}

async function times(count: number, work: (round: number) => Promise<number>): Promise<number[]> {
  const found: number[] = [];
  for (let round = 0; round < count; round++) found.push(await work(round));
  return found;
}

function cellOf({ text }: Awaited<ReturnType<ClocheServer["call"]>>): number {
  return Number(/\[cell (\d+):/.exec(text)![1]);
}
