// The proof at the end of the set-up: one cell through the server that was just installed, over MCP as a client does it.
import { spawnSync } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

/** A cell whose answer needs the interpreter and the packages, and is known beforehand. */
const CELL = "import pandas as pd; int(pd.Series(range(1, 10)).sum() - 3)";
const EXPECTED = "42";
const DEADLINE_MS = 60_000;

export interface Proof {
  cell: string;
  answer: string;
  /** the sandbox that served */
  sandbox: string;
  /** from starting the server to the answer */
  coldMs: number;
  /** a second cell, with the session there */
  warmMs: number;
}

/** Runs the cell through `launcher serve` in a project of its own. Throws with the server's own words. */
export async function prove(launcher: string, sandbox: "docker" | "bubblewrap" | undefined): Promise<Proof> {
  const project = realpathSync(mkdtempSync(join(tmpdir(), "cloche-proof-")));
  const choice = ["--project", project, ...(sandbox ? ["--sandbox", sandbox] : [])];
  const transport = new StdioClientTransport({
    command: launcher,
    args: ["serve", ...choice],
    stderr: "pipe",
  });
  let complaints = "";
  transport.stderr?.on("data", (chunk) => {
    complaints = (complaints + chunk).slice(-2000);
  });
  const client = new Client({ name: "cloche-setup", version: "1" });
  try {
    const started = performance.now();
    await client.connect(transport);
    const answer = await cell(client, CELL);
    const coldMs = performance.now() - started;
    if (!answer.includes(EXPECTED)) throw new Error(`expected ${EXPECTED}, and the answer was: ${answer}`);
    const again = performance.now();
    await cell(client, "1+1");
    const warmMs = performance.now() - again;
    return { cell: CELL, answer: answer.trim(), sandbox: servingSandbox(launcher, choice), coldMs, warmMs };
  } catch (error) {
    throw new Error(`the first cell did not run: ${(error as Error).message}\n${complaints}`.trim());
  } finally {
    await client.close().catch(() => {});
    spawnSync(launcher, ["forget", "--project", project, "--yes"], { stdio: "ignore", timeout: 30_000 });
    rmSync(project, { recursive: true, force: true });
  }
}

/** The kind that the server chooses, by its own account. */
function servingSandbox(launcher: string, choice: string[]): string {
  const { stdout, stderr } = spawnSync(launcher, ["doctor", "--json", ...choice], {
    encoding: "utf8",
    timeout: DEADLINE_MS,
  });
  try {
    return (JSON.parse(stdout) as { serves: string }).serves;
  } catch {
    throw new Error(`cloche doctor does not answer: ${stderr}`);
  }
}

async function cell(client: Client, code: string): Promise<string> {
  const result = await client.callTool({ name: "exec", arguments: { code } }, { timeout: DEADLINE_MS });
  const blocks = result.content as { type: string; text?: string }[];
  const text = blocks.map((block) => block.text ?? `[${block.type}]`).join("\n");
  if (result.isError) throw new Error(text);
  return text;
}
