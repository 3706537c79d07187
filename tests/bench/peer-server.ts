// The peer that the round trip is held against: jupyter-mcp-server with a Jupyter server of its own, as its makers
// describe it, driven by the same client as Cloche.
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

/** What its environment holds, pinned. */
export const PEER_PACKAGES = ["jupyter-mcp-server==2.2.4", "ipykernel==7.4.0"];
export const PEER = "`jupyter-mcp-server` 2.2.4";
/**
 * It asks once in a fifth of this, in `seconds` and at most every second, whether the cell has ended; its default of 5
 * makes every call last a second. One is the least it takes.
 */
const PROGRESS_INTERVAL = 1;
const START_DEADLINE_MS = 60_000;
const CALL_TIMEOUT_MS = 60_000;

export class PeerServer implements AsyncDisposable {
  private readonly client: Client;
  private readonly jupyter: ChildProcess;
  private readonly home: string;

  private constructor(client: Client, jupyter: ChildProcess, home: string) {
    this.client = client;
    this.jupyter = jupyter;
    this.home = home;
  }

  /** Starts both servers on loopback from the environment of `python`. Throws with what they complained of. */
  static async start(python: string): Promise<PeerServer> {
    const home = mkdtempSync(join(tmpdir(), "cloche-bench-"));
    const token = randomBytes(16).toString("hex");
    const port = await freePort();
    const env = { PATH: process.env.PATH ?? "", HOME: home, JUPYTER_TOKEN: token };
    const address = `http://127.0.0.1:${port}`;
    const options = ["--allow-root", "--no-browser", "--ip=127.0.0.1", `--port=${port}`];
    const jupyter = spawn(python, ["-m", "jupyter_server", ...options, `--ServerApp.root_dir=${home}`], {
      env,
      stdio: ["ignore", "ignore", "pipe"],
    });
    let complaints = "";
    const listen = (chunk: unknown) => {
      complaints = `${complaints}${chunk}`.slice(-2_000);
    };
    jupyter.stderr.on("data", listen);
    const transport = new StdioClientTransport({
      command: python,
      args: [
        "-m",
        "jupyter_mcp_server",
        "start",
        "--transport",
        "stdio",
        "--jupyterlab",
        "False",
        "--jupyter-url",
        address,
      ],
      env,
      stderr: "pipe",
    });
    transport.stderr?.on("data", listen);
    const client = new Client({ name: "cloche-bench", version: "1" });
    const peer = new PeerServer(client, jupyter, home);
    try {
      await answering(`${address}/api/status?token=${token}`, jupyter);
      await client.connect(transport);
      return peer;
    } catch (error) {
      await peer[Symbol.asyncDispose]();
      throw new Error(`the peer did not start: ${(error as Error).message}\n${complaints}`.trim());
    }
  }

  /** Runs one cell in its kernel and gives its text. Throws where it refuses. */
  async exec(code: string): Promise<string> {
    const args = { code, progress_interval: PROGRESS_INTERVAL };
    const result = await this.client.callTool(
      { name: "execute_code", arguments: args },
      { timeout: CALL_TIMEOUT_MS },
    );
    const text = JSON.stringify(result.content);
    if (result.isError) throw new Error(`the peer refused: ${text.slice(0, 500)}`);
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
    const gone = new Promise((resolve) => this.jupyter.on("exit", resolve));
    this.jupyter.kill("SIGTERM");
    if (this.jupyter.exitCode === null && this.jupyter.signalCode === null) await gone;
    rmSync(this.home, { recursive: true, force: true });
  }
}

async function answering(url: string, jupyter: ChildProcess): Promise<void> {
  for (const until = Date.now() + START_DEADLINE_MS; ; await sleep(100)) {
    const status = await fetch(url).then(
      (response) => response.status,
      () => 0,
    );
    if (status === 200) return;
    if (jupyter.exitCode !== null) throw new Error(`Jupyter ended with status ${jupyter.exitCode}`);
    if (Date.now() > until) throw new Error("Jupyter did not answer");
  }
}

/** A port of loopback that nobody listens on now. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}
