// npm run bench [-- name …]: runs the benchmarks and prints what they found. Figures never decide the exit code; a
// benchmark that could not run does.
import { mkdirSync, realpathSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { resolveConfig } from "../../src/config/config.ts";
import { prepareState } from "../../src/config/paths.ts";
import { forgetProject } from "../../src/snapshots/forget.ts";
import { Owners } from "../../src/snapshots/lease.ts";
import type { BenchContext } from "./bench.ts";
import { ClocheServer } from "./cloche-server.ts";
import { peerPython, ReferencePython, referencePython } from "./reference-python.ts";
import { asMarkdown, asText, readReports, thisMachine, writeReport } from "./report.ts";
import { servingSandboxes } from "./serving-sandboxes.ts";
import { suite } from "./suite.ts";

const CACHE = resolve(import.meta.dirname, "../../.cache/bench");
const USAGE = `usage: npm run bench [-- [option …] [name …]]

  names              ${suite.map(({ name }) => name).join(", ")}; all of them by default
  --sandbox KIND     docker or bubblewrap; both by default, as far as they serve here
  --python PATH      run the references in this interpreter instead of an environment made for them
  --markdown         measure nothing: print the table of the last runs for the README`;

const say = (line: string) => console.log(line);

async function main(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      sandbox: { type: "string", default: "all" },
      python: { type: "string" },
      markdown: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return say(USAGE);
  if (values.markdown)
    return say(
      asMarkdown(
        readReports(
          CACHE,
          suite.map(({ name }) => name),
        ),
      ),
    );
  const unknown = positionals.filter((name) => !suite.some((bench) => bench.name === name));
  if (unknown.length > 0) throw new Error(`there is no benchmark ${unknown.join(", ")}\n${USAGE}`);

  const project = join(CACHE, "project");
  mkdirSync(project, { recursive: true });
  const config = resolveConfig({ project: realpathSync(project) });
  prepareState(config.paths, config.uid);
  const sandboxes = await servingSandboxes(config, values.sandbox, say);
  if (sandboxes.length === 0) throw new Error("no sandbox serves here; run ./setup.sh first");
  const context: BenchContext = {
    sandboxes,
    project,
    state: config.paths.state,
    python: async () =>
      values.python ? new ReferencePython(resolve(values.python)) : referencePython(CACHE, say),
    peerPython: async () => peerPython(CACHE, say),
    sessionCpus: config.cpus,
    serve: ({ kind }, limits) =>
      ClocheServer.start(config.project, kind, limits ? ["--cpus", String(limits.cpus)] : []),
    say,
  };
  const machine = thisMachine();
  if (machine.load > machine.cpus / 2)
    say(
      `This machine is busy (load ${machine.load.toFixed(1)} on ${machine.cpus} processors): trust ratios, not times.`,
    );
  try {
    for (const bench of suite) {
      if (positionals.length > 0 && !positionals.includes(bench.name)) continue;
      const load = thisMachine();
      try {
        const figures = await bench.run(context);
        const { name, title } = bench;
        const report = { name, title, at: new Date().toISOString(), machine: load, figures };
        writeReport(CACHE, report);
        say(asText(report));
      } catch (error) {
        say(`\n${bench.title}\n  could not be measured: ${(error as Error).message}`);
        process.exitCode = 1;
      }
    }
  } finally {
    forgetProject(config.paths.projectState, config.paths.database, new Owners(config.paths.owners));
    rmSync(project, { recursive: true, force: true });
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 2;
}
