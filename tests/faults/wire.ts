// A server on its bare line, as a client that trusts nothing sees it: every byte it sends and receives is written and
// read here, answers are counted for each id, and what is no protocol is kept for the tests to complain about.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { type Answer, toAnswer } from "../e2e/answer.ts";
import type { Place } from "../e2e/place.ts";
import { serverCommand } from "../e2e/server.ts";

export type Id = string | number;

/** A JSON-RPC response as it came. */
export interface Reply {
  id: Id | null;
  result?: Record<string, unknown>;
  error?: { code: number; message: string };
}

/** Every call answers within this, cold start included, in `milliseconds`. */
export const ANSWER_BOUND = 50_000;

const MAX_STDERR = 20_000;

export class Wire implements AsyncDisposable {
  readonly place: Place;
  readonly process: ChildProcessByStdio<Writable, Readable, Readable>;
  /** resolves when the process is gone */
  readonly gone: Promise<void>;
  /** lines of stdout that are no JSON-RPC message */
  readonly foreign: string[] = [];
  /** id → answers it got */
  readonly answered = new Map<Id, number>();
  /** responses that name no request: what a server says to bytes it could not read */
  readonly unnamed: Reply[] = [];
  /** ids whose answer is owed */
  readonly owed = new Set<Id>();
  /** ids that were withdrawn: their answer may come or not */
  readonly withdrawn = new Set<Id>();
  /** the longest an answer took, in `milliseconds` */
  slowest = 0;
  stderr = "";
  private readonly waiting = new Map<Id, (reply: Reply) => void>();
  private rest = "";
  private lastId = 0;

  private constructor(place: Place, child: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.place = place;
    this.process = child;
    this.gone = once(child, "close").then(() => {});
    child.stdin.on("error", () => {}); // It ended: `gone` says so.
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => this.read(chunk));
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      this.stderr = (this.stderr + chunk).slice(-MAX_STDERR);
    });
  }

  /** Starts a server on the place's project; without `hello` it has not heard `initialize` yet. */
  static async start(place: Place, { hello = true, env = {} as Record<string, string> } = {}): Promise<Wire> {
    const { command, args } = serverCommand(place);
    const child = spawn(command, args, { env: { ...place.env, ...env }, stdio: ["pipe", "pipe", "pipe"] });
    const wire = new Wire(place, child);
    if (hello) await wire.hello();
    return wire;
  }

  get pid(): number {
    return this.process.pid!;
  }

  get alive(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  /** The handshake of the older protocol era. */
  async hello(): Promise<void> {
    await this.request("initialize", {
      protocolVersion: "2025-11-25",
      capabilities: {},
      clientInfo: { name: "cloche-tests", version: "1" },
    });
    this.notify("notifications/initialized");
  }

  /** Writes bytes as they are. */
  write(bytes: string | Buffer): void {
    this.process.stdin.write(bytes);
  }

  notify(method: string, params: Record<string, unknown> = {}): void {
    this.write(`${JSON.stringify({ jsonrpc: "2.0", method, params })}\n`);
  }

  /** An id that no request of this line has used. */
  nextId(): number {
    this.lastId += 1;
    return this.lastId;
  }

  /** Sends a request; resolves with its answer. Rejects where none comes within its bound, or the server ends. */
  request(method: string, params: Record<string, unknown> = {}, id: Id = this.nextId()): Promise<Reply> {
    const reply = this.reply(id);
    this.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    return reply;
  }

  /** The answer that `id` is owed from now on, for requests that are written by hand. */
  reply(id: Id): Promise<Reply> {
    const begun = performance.now();
    this.owed.add(id);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`request ${id} has no answer after ${ANSWER_BOUND / 1_000} s\n${this.stderr}`));
      }, ANSWER_BOUND);
      void this.gone.then(() => {
        clearTimeout(timer);
        reject(new Error(`the server ended before request ${id} was answered\n${this.stderr}`));
      });
      this.waiting.set(id, (reply) => {
        clearTimeout(timer);
        this.slowest = Math.max(this.slowest, performance.now() - begun);
        resolve(reply);
      });
    });
  }

  /** Calls a tool; resolves with its answer taken apart. Rejects for an error of the protocol too. */
  async call(tool: string, args: Record<string, unknown> = {}, id: Id = this.nextId()): Promise<Answer> {
    const { result, error } = await this.request("tools/call", { name: tool, arguments: args }, id);
    if (!result) throw new Error(`${tool} got a protocol error: ${error?.code} ${error?.message}`);
    return toAnswer(result as unknown as Parameters<typeof toAnswer>[0]);
  }

  exec(code: string, args: Record<string, unknown> = {}): Promise<Answer> {
    return this.call("exec", { code, ...args });
  }

  /** Withdraws a request, as a client does whose user pressed escape. */
  cancel(id: Id, reason = "the user withdrew it"): void {
    this.withdrawn.add(id);
    this.notify("notifications/cancelled", { requestId: id, reason });
  }

  /** Ends the server as a client does: closes its stdin. Idempotent. */
  async close(): Promise<void> {
    this.process.stdin.end();
    await this.gone;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private read(chunk: string): void {
    const lines = (this.rest + chunk).split("\n");
    this.rest = lines.pop()!;
    for (const line of lines) this.take(line);
  }

  private take(line: string): void {
    let message: Record<string, unknown>;
    try {
      message = JSON.parse(line);
    } catch {
      this.foreign.push(line.slice(0, 500));
      return;
    }
    if (message?.jsonrpc !== "2.0") {
      this.foreign.push(line.slice(0, 500));
      return;
    }
    if ("method" in message) return;
    const reply = message as unknown as Reply;
    if (reply.id === null || reply.id === undefined) {
      this.unnamed.push(reply);
      return;
    }
    this.answered.set(reply.id, (this.answered.get(reply.id) ?? 0) + 1);
    this.waiting.get(reply.id)?.(reply);
    this.waiting.delete(reply.id);
  }
}
