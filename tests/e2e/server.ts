// The real server over stdio, as a client starts it, with a client connected to it.
import { join } from "node:path";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { type Answer, toAnswer } from "./answer.ts";
import { CLONE, type Place } from "./place.ts";

/** How the client finds its protocol era. */
export type Era = "legacy" | "auto" | { pin: string };

export interface StartOptions {
  era?: Era;
  /** further arguments of `cloche serve` */
  args?: string[];
  /** further variables of its environment */
  env?: Record<string, string>;
  /** starts it in this directory, and does not tell it its project */
  cwd?: string;
  /** runs this file instead of the built program */
  program?: string;
}

export interface CallOptions {
  onProgress?: (message: string) => void;
  signal?: AbortSignal;
}

/** Every call answers within 50 s, cold start included. */
const CALL_TIMEOUT = 50_000;

export class Server implements AsyncDisposable {
  readonly client: Client;
  readonly pid: number;
  private readonly complaints: () => string;
  private closing: Promise<void> | undefined;

  constructor(client: Client, pid: number, complaints: () => string) {
    this.client = client;
    this.pid = pid;
    this.complaints = complaints;
  }

  /** What it wrote to stderr. */
  get stderr(): string {
    return this.complaints();
  }

  async call(tool: string, args: Record<string, unknown> = {}, options: CallOptions = {}): Promise<Answer> {
    const { onProgress, signal } = options;
    const result = await this.client.callTool(
      { name: tool, arguments: args },
      {
        timeout: CALL_TIMEOUT,
        ...(signal ? { signal } : {}),
        ...(onProgress ? { onprogress: ({ message }) => onProgress(message ?? "") } : {}),
      },
    );
    return toAnswer(result as Parameters<typeof toAnswer>[0]);
  }

  exec(code: string, args: Record<string, unknown> = {}, options?: CallOptions): Promise<Answer> {
    return this.call("exec", { code, ...args }, options);
  }

  /** Ends it as a client does: its stdin is closed. Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.client.close();
    return this.closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Starts `cloche serve` on the place's project. */
export async function startServer(place: Place, options: StartOptions): Promise<Server> {
  const { era = "auto", args = [], env = {}, cwd, program } = options;
  const transport = new StdioClientTransport({
    ...serverCommand(place, args, cwd, program),
    env: { ...place.env, ...env },
    stderr: "pipe",
  });
  let complaints = "";
  transport.stderr?.on("data", (chunk) => {
    complaints = (complaints + chunk).slice(-20_000);
  });
  const client = new Client({ name: "cloche-tests", version: "1" }, { versionNegotiation: { mode: era } });
  try {
    await client.connect(transport);
  } catch (error) {
    throw new Error(`no connection: ${(error as Error).message}\n${complaints}`, { cause: error });
  }
  return new Server(client, transport.pid!, () => complaints);
}

/** The command line that serves the place, for clients that start it themselves. */
export function serverCommand(
  place: Place,
  args: string[] = [],
  cwd?: string,
  program = join(CLONE, "dist/main.js"),
) {
  const project = cwd === undefined ? ["--project", place.project] : [];
  const choice = ["--sandbox", place.kind];
  return {
    command: process.execPath,
    args: [program, "serve", ...project, ...choice, ...args],
    ...(cwd === undefined ? {} : { cwd }),
  };
}
