// Keeping what is no array: the state after a small change of something large on disk, and what it takes there, against
// cloudpickle of the namespace written to disk; and what two hundred small cells leave.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { against, type Bench, type BenchContext, type Figure, interleave, timed } from "../bench.ts";
import { expectOk } from "../cloche-server.ts";
import { keptBytes } from "../kept-bytes.ts";
import type { ServingSandbox } from "../serving-sandboxes.ts";
import { spread } from "../statistics.ts";

interface Kind {
  what: string;
  /** makes it, in a session and in the reference */
  setup: string;
  /** changes a little of it, another way each time */
  change(turn: number): string;
  /** share of the reference's bytes that may be stored for that */
  stored?: number;
}

const KINDS: readonly Kind[] = [
  {
    what: "one of 2 million dicts",
    setup: "records = [{'n': n, 's': str(n)} for n in range(2_000_000)]",
    change: (turn) => `records[77]['n'] = ${-turn}`,
    stored: 0.2,
  },
  {
    what: "one of 2 million strings of a frame",
    setup: `import pandas as pd
frame = pd.DataFrame({"who": [f"customer {n}" for n in range(1_000_000)], "what": [f"note {n % 977} of {n}" for n in range(1_000_000)]})`,
    change: (turn) => `frame.loc[${turn * 7}, "what"] = "changed ${turn}"`,
  },
  {
    what: "a parameter of a fitted forest",
    setup: `import numpy as np
from sklearn.ensemble import RandomForestRegressor
_x = np.random.default_rng(7).random((20_000, 8))
model = RandomForestRegressor(n_estimators=40, random_state=7).fit(_x, _x.sum(axis=1))`,
    change: (turn) => `model.set_params(verbose=${turn % 2}, min_samples_leaf=${turn}) and None`,
  },
  {
    what: "one of 10,000 objects",
    setup: `class Thing:
    def __init__(self, n):
        self.n, self.tags, self.owner = n, [str(n), "tag"], {"name": f"owner {n % 50}"}
things = [Thing(n) for n in range(10_000)]`,
    change: (turn) => `things[${turn}].n = -${turn}`,
  },
];
const MANY = `import pandas as pd
rows = [{"n": n} for n in range(10_000)]
frame = pd.DataFrame({"n": range(100_000), "s": [f"row {n}" for n in range(100_000)]})
found, total = [], 0`;
const CELLS = 200;
const ROUNDS = 3;

export const keepKinds: Bench = { name: "kinds", title: "Keeping what is no array", run };

async function run(context: BenchContext): Promise<Figure[]> {
  const directory = mkdtempSync(join(context.state, "bench-kinds-"));
  const python = await context.python();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const peer = stack.use(python.peer("keep_session.py"));
  const ask = async (what: "durable" | "dill", setup: string) =>
    (await peer.ask({ what, setup, directory })) as { ms: number; bytes: number };
  const figures: Figure[] = [];
  for (const sandbox of context.sandboxes) {
    for (const kind of KINDS) figures.push(...(await keepKind(context, sandbox, kind, ask)));
    figures.push(await keepMany(context, sandbox, ask));
  }
  return figures;
}

type Ask = (what: "durable" | "dill", setup: string) => Promise<{ ms: number; bytes: number }>;

async function keepKind(
  context: BenchContext,
  sandbox: ServingSandbox,
  { what, setup, change, stored: share }: Kind,
  ask: Ask,
): Promise<Figure[]> {
  await using server = await context.serve(sandbox);
  await server.call("reset", {});
  expectOk(await server.callToTheEnd("exec", { code: setup }));
  const settled = () => server.callToTheEnd("exec", { code: "0", durable: true }).then(expectOk);
  await settled();
  let turn = 0;
  const changed = async () => {
    turn += 1;
    expectOk(await server.callToTheEnd("exec", { code: change(turn), durable: true }));
  };
  await changed();
  const stored: number[] = [];
  const written: number[] = [];
  const { durable, cloudpickle } = await interleave(ROUNDS, {
    durable: async () => {
      await settled();
      const before = keptBytes(context.state);
      const ms = await timed(changed);
      await settled();
      stored.push((keptBytes(context.state) - before) / 1e6);
      return ms;
    },
    cloudpickle: async () => {
      const { ms, bytes } = await ask("durable", setup);
      written.push(bytes / 1e6);
      return ms;
    },
  });
  const reference = "cloudpickle of the namespace, on disk";
  return [
    {
      what: `${what} changed, on disk`,
      sandbox: sandbox.kind,
      unit: "ms",
      value: spread(durable),
      against: against(reference, durable, cloudpickle),
    },
    {
      what: `stored for ${what}`,
      sandbox: sandbox.kind,
      unit: "MB",
      value: spread(stored),
      against: against(reference, stored, written),
      ...(share === undefined ? {} : { target: { ratio: share } }),
    },
  ];
}

async function keepMany(context: BenchContext, sandbox: ServingSandbox, ask: Ask): Promise<Figure> {
  await using server = await context.serve(sandbox);
  await server.call("reset", {});
  expectOk(await server.callToTheEnd("exec", { code: MANY, durable: true }));
  const before = keptBytes(context.state);
  for (let cell = 0; cell < CELLS; cell++) {
    const code = [
      `total = ${cell}`,
      `found.append({"cell": ${cell}})`,
      `rows[${cell * 37}]["n"] = -${cell}`,
      `frame.loc[${cell * 97}, "s"] = "seen ${cell}"`,
      "frame.n.sum()",
    ][cell % 5]!;
    expectOk(await server.callToTheEnd("exec", { code }));
  }
  expectOk(await server.callToTheEnd("exec", { code: "0", durable: true }));
  const stored = [(keptBytes(context.state) - before) / 1e6];
  const { bytes } = await ask("dill", MANY);
  return {
    what: `stored for ${CELLS} small cells`,
    sandbox: sandbox.kind,
    unit: "MB",
    value: spread(stored),
    against: against("one `dill.dump_module` of the namespace", stored, [bytes / 1e6]),
  };
}
