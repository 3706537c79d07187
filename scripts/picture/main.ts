// Records the picture in the README: drives the real server through an MCP client and draws its calls and answers.
// usage: npm run picture      needs a set-up Cloche and a Chromium
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { readSurroundings } from "../../src/config/surroundings.ts";
import { drawPage, findBrowser } from "./browser.ts";
import { pageOf, type Step } from "./page.ts";
import { writeTrips } from "./trips.ts";

const clone = resolve(import.meta.dirname, "../..");
const main = join(clone, "dist/main.js");
const picture = join(clone, "docs/session.png");
const ROWS = 2_000_000;
const WIDTH = 920;
const SCALE = 1.25;
/** Largest picture a page should make a reader load, in `bytes`. */
const LARGEST = 300_000;
const CALL_MS = 60_000;

const CALLS: [tool: string, args: Record<string, unknown>][] = [
  ["load", { path: "trips.csv" }],
  [
    "exec",
    {
      code: `import pandas as pd
trips["started"] = pd.to_datetime(trips.started)
trips["weekend"] = trips.started.dt.day_of_week >= 5
trips.groupby("station").agg(rides=("minutes", "size"), median_minutes=("minutes", "median"),
                             on_weekends=("weekend", "mean")).sort_values("rides").round(2)`,
    },
  ],
  [
    "exec",
    {
      code: `hourly = trips.groupby(["weekend", trips.started.dt.hour]).size().unstack("weekend") / [261, 104]
hourly.columns = ["workday", "weekend"]
hourly.plot(figsize=(7, 2.2), xlabel="hour", ylabel="rides", color=["#35602c", "#d08a2e"]);`,
    },
  ],
  ["exec", { code: `hourly.round(1).to_csv("hourly.csv")\npublish("hourly.csv")` }],
];

async function record(project: string): Promise<Step[]> {
  const env = Object.entries(readSurroundings().env).filter(([, value]) => value !== undefined);
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [main, "serve", "--project", project],
    env: Object.fromEntries(env) as Record<string, string>,
  });
  const client = new Client({ name: "cloche-picture", version: "1" });
  await client.connect(transport);
  try {
    const steps: Step[] = [];
    for (const [tool, sent] of CALLS) {
      const result = await client.callTool({ name: tool, arguments: sent }, { timeout: CALL_MS });
      const answer = result.content as Step["answer"];
      const text = answer.map((block) => block.text ?? "").join("\n");
      if (result.isError || !/\[cell \d+: ok/.test(text)) throw new Error(`${tool} did not succeed: ${text}`);
      steps.push({ tool, sent, answer });
    }
    return steps;
  } finally {
    await client.close();
    spawnSync(process.execPath, [main, "forget", "--project", project, "--yes"], { stdio: "ignore" });
  }
}

const browser = findBrowser(readSurroundings().env.PATH);
// The project's path shows in the picture, so it is a short one.
const work = realpathSync(mkdtempSync(join(tmpdir(), "bikes-")));
try {
  const project = join(work, "bikes");
  mkdirSync(project);
  await writeTrips(join(project, "trips.csv"), ROWS);
  const page = join(work, "session.html");
  writeFileSync(page, pageOf(await record(project)));
  mkdirSync(join(clone, "docs"), { recursive: true });
  drawPage(browser, page, picture, WIDTH, SCALE);
} finally {
  rmSync(work, { recursive: true, force: true });
}
const { size } = statSync(picture);
if (size > LARGEST)
  throw new Error(`${picture} has ${size} bytes, more than ${LARGEST}: draw less, or smaller.`);
console.error(`Drew ${picture} (${Math.round(size / 1000)} KB).`);
