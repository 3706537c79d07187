// A server as a client has it: the built program over real stdio, driven by the SDK's client.
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const MAIN = fileURLToPath(new URL("../../dist/main.js", import.meta.url));
const CALL_TIMEOUT_MS = 120_000;

export interface Answer {
  text: string;
  images: number;
}

export class ClocheServer implements AsyncDisposable {
  private readonly client: Client;
  private readonly transport: StdioClientTransport;

  private constructor(client: Client, transport: StdioClientTransport) {
    this.client = client;
    this.transport = transport;
  }

  /** Starts `cloche serve` and shakes hands. Throws with what the server complained of. */
  static async start(project: string, sandbox: string, options: string[] = []): Promise<ClocheServer> {
    const transport = new StdioClientTransport({
      command: process.execPath,
      args: [MAIN, "serve", "--project", project, "--sandbox", sandbox, ...options],
      env: process.env as Record<string, string>,
      stderr: "pipe",
    });
    let complaints = "";
    transport.stderr?.on("data", (chunk) => {
      complaints = (complaints + chunk).slice(-2_000);
    });
    const client = new Client({ name: "cloche-bench", version: "1" });
    try {
      await client.connect(transport);
    } catch (error) {
      throw new Error(`the server did not start: ${(error as Error).message}\n${complaints}`.trim());
    }
    return new ClocheServer(client, transport);
  }

  /** Process id of the server. */
  get pid(): number {
    return this.transport.pid!;
  }

  exec(code: string, session = "main"): Promise<Answer> {
    return this.call("exec", { code, session });
  }

  /** Calls a tool. Throws with the answer's text where the tool refused. */
  async call(name: string, args: Record<string, unknown>): Promise<Answer> {
    const result = await this.client.callTool({ name, arguments: args }, { timeout: CALL_TIMEOUT_MS });
    const blocks = result.content as { type: string; text?: string }[];
    const text = blocks.flatMap((block) => block.text ?? []).join("\n");
    if (result.isError) throw new Error(text);
    return { text, images: blocks.filter(({ type }) => type === "image").length };
  }

  /** Calls a tool and follows the cell it started to its end. */
  async callToTheEnd(name: string, args: Record<string, unknown>): Promise<Answer> {
    let answer = await this.call(name, args);
    for (;;) {
      const running = /\[cell (\d+): running/.exec(answer.text);
      if (!running) return answer;
      answer = await this.call("exec", { cell: Number(running[1]), session: args.session ?? "main" });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
  }
}

/** Throws unless a cell ended well: a figure of something that failed is no figure. */
export function expectOk({ text }: Answer, expected = ""): void {
  if (!/\[cell \d+: ok/.test(text) || !text.includes(expected))
    throw new Error(`the cell did not do what is measured: ${text.slice(0, 500)}`);
}
