// Loading a large CSV, profile included, against pandas.read_csv in a plain environment plus one copy of the file.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { against, type Bench, type BenchContext, type Figure, interleave, timed } from "../bench.ts";
import { type ClocheServer, expectOk } from "../cloche-server.ts";
import { spread } from "../statistics.ts";

/** What a session may have at most, and what the reference has. */
const all = availableParallelism();
const BYTES = 1_000_000_000;
const ROUNDS = 3;

export const load: Bench = { name: "load", title: "A CSV of 1 GB, profile included", run };

async function run(context: BenchContext): Promise<Figure[]> {
  const { sandboxes, python, serve, project, state, say } = context;
  // pandas reads in parallel, so a session with fewer processors than the reference is slower by that alone.
  const processors = [...new Set([context.sessionCpus, all])];
  const reference = await python();
  const csv = join(project, "large.csv");
  say("Writing a CSV of 1 GB …");
  const { rows } = (await reference.once("write_csv.py", { path: csv, bytes: BYTES })) as { rows: number };
  const copies = mkdtempSync(join(state, "bench-"));
  try {
    await using stack = new AsyncDisposableStack();
    const turns: Record<string, () => Promise<number>> = {
      reference: async () => {
        const read = (await reference.once("read_csv.py", { path: csv })) as { ms: number; rows: number };
        if (read.rows !== rows) throw new Error(`pandas read ${read.rows} of ${rows} rows`);
        const copy = join(copies, "copy.csv");
        const copying = await timed(async () => execFileSync("cp", [csv, copy]));
        rmSync(copy);
        return (read.ms + copying) / 1_000;
      },
    };
    const variants = sandboxes.flatMap((sandbox) =>
      processors.map((cpus) => ({ sandbox, cpus, name: `${sandbox.kind} ${cpus}` })),
    );
    let lazily = false;
    for (const { sandbox, cpus, name } of variants) {
      const server = stack.use(await serve(sandbox, { cpus }));
      // Starting the session is measured elsewhere, and the standby that follows it must not share the processors.
      const cold = await timed(async () => expectOk(await server.exec("1+1"), "2"));
      await sleep(1_000 + 2 * cold);
      turns[name] = async () => {
        const { seconds, lazy } = await loadOnce(server, rows);
        lazily ||= lazy;
        return seconds;
      };
    }
    const times = await interleave(ROUNDS, turns);
    const size = (statSync(csv).size / 1e9).toFixed(1);
    return variants.map(({ sandbox, cpus, name }) => ({
      what: `\`load\` of ${size} GB of CSV with ${cpus} processor${cpus === 1 ? "" : "s"}`,
      sandbox: sandbox.kind,
      unit: "s",
      value: spread(times[name]!),
      against: against(`\`pandas.read_csv\` with ${all} + \`cp\``, times[name]!, times.reference!),
      target: { ratio: 1.2 },
      note: `${rows.toLocaleString("en-US")} rows${lazily ? ", as a DuckDB relation: the frame would not fit half of the free memory" : ""}`,
    }));
  } finally {
    rmSync(copies, { recursive: true, force: true });
    rmSync(csv, { force: true });
  }
}

async function loadOnce(server: ClocheServer, rows: number): Promise<{ seconds: number; lazy: boolean }> {
  const started = performance.now();
  const answer = await server.callToTheEnd("load", { path: "large.csv", name: "large" });
  const seconds = (performance.now() - started) / 1_000;
  expectOk(answer, rows.toLocaleString("en-US"));
  const kind = await server.exec("type(large).__name__");
  await server.call("reset", {});
  return { seconds, lazy: !kind.text.includes("DataFrame") };
}
