// `1+1` from request to answer through MCP, against a bare ipykernel and against IPython in process.
import { against, type Bench, type BenchContext, type Figure, interleave } from "../bench.ts";
import { type ClocheServer, expectOk } from "../cloche-server.ts";
import { median, quantile, spread } from "../statistics.ts";

/** V8 is done compiling the road of a call after about this many. */
const WARM_UP = 2_000;
const ROUNDS = 20;
const CALLS = 100;
const TARGETS = { bubblewrap: 0.25, docker: 0.3 };
/** p99 over p50. */
const TAIL = 5;

export const onePlusOne: Bench = { name: "1+1", title: "`1+1`, from request to answer", run };

async function run({ sandboxes, python, serve }: BenchContext): Promise<Figure[]> {
  const reference = await python();
  await using stack = new AsyncDisposableStack();
  const kernel = stack.use(reference.peer("ipykernel_round_trip.py"));
  const shell = stack.use(reference.peer("run_cell.py"));
  const takers: Record<string, (count: number) => Promise<number[]>> = {
    ipykernel: async (count) => (await kernel.ask({ count })) as number[],
    run_cell: async (count) => (await shell.ask({ count })) as number[],
  };
  for (const sandbox of sandboxes) {
    const server = stack.use(await serve(sandbox));
    takers[sandbox.kind] = (count) => roundTrips(server, count);
  }
  for (const take of Object.values(takers)) await take(WARM_UP);

  const times: Record<string, number[]> = {};
  const medians = await interleave(
    ROUNDS,
    Object.fromEntries(
      Object.entries(takers).map(([name, take]) => [
        name,
        async () => {
          const round = await take(CALLS);
          times[name] = (times[name] ?? []).concat(round);
          return median(round);
        },
      ]),
    ),
  );
  const ipykernel = medians.ipykernel!;
  const inProcess = medians.run_cell!;
  return sandboxes.flatMap(({ kind }) => {
    const own = medians[kind]!;
    const tail = quantile(times[kind]!, 0.99);
    return [
      {
        what: "`1+1` through MCP, p50",
        sandbox: kind,
        unit: "ms" as const,
        value: spread(own),
        against: against("`jupyter_client` + `ipykernel`", own, ipykernel),
        target: { ratio: TARGETS[kind] },
      },
      {
        what: "`1+1` through MCP, p50",
        sandbox: kind,
        unit: "ms" as const,
        value: spread(own),
        against: against("`InteractiveShell.run_cell` in process", own, inProcess),
      },
      {
        what: "`1+1` through MCP, p99",
        sandbox: kind,
        unit: "ms" as const,
        value: { median: tail, min: tail, max: tail },
        target: { value: TAIL * median(times[kind]!) },
        note: `of ${times[kind]!.length} calls; ipykernel's is ${quantile(times.ipykernel!, 0.99).toFixed(1)} ms`,
      },
    ];
  });
}

async function roundTrips(server: ClocheServer, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let call = 0; call < count; call++) {
    const started = performance.now();
    const answer = await server.exec("1+1");
    times.push(performance.now() - started);
    expectOk(answer, "2");
  }
  return times;
}
