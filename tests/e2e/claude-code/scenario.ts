// The promise in one piece: setup registers Cloche with Claude Code, and Claude Code loads a file larger than the session's
// memory, answers a grouped question about it, gets a figure and has a file written out.
import { execFile, spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { pathsFor } from "../../../src/config/paths.ts";
import { readSurroundings } from "../../../src/config/surroundings.ts";
import type { SandboxKind } from "../../../src/sandboxes/sandbox.ts";
import { pngSize } from "../answer.ts";
import { expectNothingRunning, processesOf } from "../left-behind.ts";
import { CLONE, Place } from "../place.ts";
import { claudeDirectory } from "./binary.ts";
import { MessagesApi, type Script, type ToolResult, type ToolUse } from "./messages-api.ts";
import { type SalesFile, writeSales } from "./sales-file.ts";

export interface Scale {
  /** size of the CSV file, in `bytes` */
  file: number;
  /** setting `memory` of the session */
  memory: string;
  /** the same, in `bytes` */
  memoryBytes: number;
}

const QUESTION =
  "Load sales.csv, tell me the units sold by region, show a chart and write me the table as a file.";
/** Most memory that the server may ever have had, in `bytes`: the file passes it by. */
const SERVER_MEMORY = 300_000_000;

const CELLS = {
  group: `import duckdb
answer = duckdb.sql("""
    SELECT region, count(*) AS rows, CAST(sum(units) AS BIGINT) AS units
    FROM sales GROUP BY region ORDER BY region
""").df()
print(answer.to_csv(index=False))`,
  limit: "import resource\nresource.getrlimit(resource.RLIMIT_DATA)[0]",
  figure:
    "import matplotlib.pyplot as plt\nplt.bar(answer.region, answer.units)\nplt.title('Units by region');",
  publish: 'answer.to_csv("units-by-region.csv", index=False)\npublish("units-by-region.csv")',
};

/** Plays the whole scenario in a sandbox of `kind` and checks it; leaves nothing behind. */
export async function playScenario(kind: SandboxKind, { file, memory, memoryBytes }: Scale): Promise<void> {
  await using place = new Place(kind, { settings: { memory } });
  const sales = writeSales(join(place.project, "sales.csv"), file);
  await setUp(place);
  await using api = new MessagesApi(script);
  const { said, serverPeak } = await ask(place, await api.listen());
  if (api.failure) throw api.failure;
  // Claude Code gives its servers half a second: what has not gone by then is swept up by the next server.
  await expectNothingRunning(place);
  await (await place.start()).exec("1");
  expect(said).toContain("I have loaded the file");
  const [profile, limit, grouped, figure, published] = finished(api.results);
  const table = expectedTable(sales);

  expect(profile!.text).toContain(`${sales.rows.toLocaleString("en-US")} rows`);
  expect(profile!.text).toMatch(/lazy DuckDB relation/);
  expect(profile!.text.length).toBeLessThan(10_000);
  expect(Number(limit!.text.split("\n")[0])).toBeLessThanOrEqual(memoryBytes);
  expect(grouped!.text.split("\n[cell")[0]!.trim()).toBe(table.trim());
  const images = figure!.blocks.flatMap((block) => (block.type === "image" ? [block.source] : []));
  expect(images.map(({ media_type }) => media_type)).toEqual(["image/png"]);
  expect(pngSize(Buffer.from(images[0]!.data, "base64")).width).toBeGreaterThan(300);
  const path = join(place.project, "cloche-out/units-by-region.csv");
  expect(published!.text).toContain(path);
  expect(readFileSync(path, "utf8")).toBe(table);
  expect(serverPeak).toBeGreaterThan(0);
  expect(serverPeak).toBeLessThan(SERVER_MEMORY);
}

/** What the model does: it finds the tools among those it was offered, and follows what takes longer than a call. */
const script: Script = function* (tools) {
  const named = (name: string) => {
    const found = tools.find((tool) => tool.name === `mcp__cloche__${name}`);
    if (!found) throw new Error(`no tool ${name} among ${tools.map((tool) => tool.name).join(", ")}`);
    return found.name;
  };
  const exec = (input: Record<string, unknown>): ToolUse => ({ name: named("exec"), input });
  function* toTheEnd(use: ToolUse): Generator<ToolUse, void, ToolResult> {
    for (let result = yield use; isRunning(result); )
      result = yield exec({ cell: Number(/\[cell (\d+): running/.exec(result.text)![1]) });
  }
  yield* toTheEnd({ name: named("load"), input: { path: "sales.csv" } });
  yield* toTheEnd(exec({ code: CELLS.limit }));
  yield* toTheEnd(exec({ code: CELLS.group }));
  yield* toTheEnd(exec({ code: CELLS.figure }));
  yield* toTheEnd(exec({ code: CELLS.publish }));
  return "I have loaded the file; the table and the chart are done.";
};

function isRunning({ text }: ToolResult): boolean {
  return /\[cell \d+: running/.test(text);
}

/** The last result of each step: the one in which its cell had ended. */
function finished(results: ToolResult[]): ToolResult[] {
  for (const { isError, text } of results) if (isError) throw new Error(`a tool failed: ${text}`);
  return results.filter((result) => !isRunning(result));
}

function expectedTable({ totals }: SalesFile): string {
  const lines = [...totals].map(([region, { rows, units }]) => `${region},${rows},${units}\n`);
  return `region,rows,units\n${lines.join("")}`;
}

/** Sets Cloche up for the place's home with the environments that are already made: launcher, registration, proof. */
async function setUp(place: Place): Promise<void> {
  const prepared = pathsFor(CLONE, readSurroundings()).python;
  const own = join(place.state, "python");
  mkdirSync(own);
  for (const name of readdirSync(prepared)) symlinkSync(join(prepared, name), join(own, name));
  const main = join(CLONE, "scripts/install/main.ts");
  const args = ["--disable-warning=ExperimentalWarning", main, "--yes", "--sandbox", place.kind];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { env: environment(place) });
  expect(`${stdout}${stderr}`).toContain("Claude Code: registered for this user.");
  expect(`${stdout}${stderr}`).toContain(`in the ${place.kind} sandbox`);
}

function environment(place: Place): NodeJS.ProcessEnv {
  const path = [join(place.env.HOME!, ".local/bin"), claudeDirectory, place.env.PATH].join(":");
  return { ...place.env, PATH: path };
}

/** Asks Claude Code the question; resolves with its last word and the most memory Cloche's server had, in `bytes`. */
async function ask(place: Place, url: string): Promise<{ said: string; serverPeak: number }> {
  const child = spawn(join(claudeDirectory, "claude"), ["-p", QUESTION, "--allowedTools", "mcp__cloche"], {
    cwd: place.project,
    env: {
      ...environment(place),
      ANTHROPIC_BASE_URL: url,
      ANTHROPIC_API_KEY: "no-key",
      DISABLE_AUTOUPDATER: "1",
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  let complaints = "";
  let serverPeak = 0;
  child.stdout.on("data", (chunk) => {
    said += chunk;
  });
  child.stderr.on("data", (chunk) => {
    complaints += chunk;
  });
  const watch = setInterval(() => {
    for (const { peak } of processesOf(place.root, "dist/main.js serve"))
      serverPeak = Math.max(serverPeak, peak);
  }, 250);
  const code = await new Promise((resolve, reject) => child.on("error", reject).on("close", resolve));
  clearInterval(watch);
  if (code !== 0) throw new Error(`Claude Code ended with ${code}: ${complaints}${said}`);
  return { said, serverPeak };
}
