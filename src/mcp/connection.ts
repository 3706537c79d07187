// MCP's line to the client: one message a line each way, each request answered, also one that cannot be read.
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import type { JSONRPCMessage, Transport } from "@modelcontextprotocol/server";
import { printable } from "../shared/printable.ts";
import { withoutImitations } from "./imitations.ts";
import { Intake } from "./intake.ts";
import { RequestLines } from "./request-lines.ts";

/** Largest request, in `bytes`: holds the longest text that load takes, with its quotes and newlines escaped. */
const MAX_REQUEST_BYTES = 16_777_216;
/** Answers that wait for the client to read them, in `bytes`, before its further requests wait too. */
const MAX_UNREAD_BYTES = 4_194_304;
/** Characters of one error of the protocol. */
const MAX_ERROR_CHARS = 2_000;

export class StdioConnection implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: Transport["onmessage"];
  private readonly intake: Intake;
  private readonly output: Writable;
  private readonly closed: () => void;
  private isClosed = false;

  /** `closed` is called when either side has closed it. */
  constructor(input: Readable, output: Writable, closed: () => void) {
    this.intake = new Intake(input);
    this.output = output;
    this.closed = closed;
    // Every answer that waits listens for the end of the wait.
    this.output.setMaxListeners(0);
  }

  async start(): Promise<void> {
    const lines = new RequestLines(MAX_REQUEST_BYTES, {
      message: (message) => this.onmessage?.(message),
      refused: ({ id, code, message }) => {
        this.onerror?.(new Error(message));
        const answer = {
          jsonrpc: "2.0" as const,
          ...(id === undefined ? {} : { id }),
          error: { code, message },
        };
        this.send(answer as JSONRPCMessage).catch(() => {}); // It is closed: nobody waits for it.
      },
    });
    this.intake.on("data", (chunk: Buffer) => {
      if (!this.isClosed) lines.take(chunk);
    });
    this.intake.on("error", (error) => this.onerror?.(error));
    for (const event of ["end", "close"]) this.intake.on(event, () => void this.close());
    this.output.on("error", (error) => {
      if (!this.isClosed) this.onerror?.(error);
      void this.close();
    });
  }

  /** Resolves when the client's pipe has room for more. Rejects where it is closed or broken. */
  async send(message: JSONRPCMessage): Promise<void> {
    if (this.isClosed) throw new Error("the connection to the client is closed");
    if (this.output.writableLength > MAX_UNREAD_BYTES) {
      // Progress is for those who watch.
      if ("method" in message) return;
      if (!this.intake.isPaused()) {
        this.intake.pause();
        this.output.once("drain", () => this.intake.resume());
      }
    }
    if ("error" in message) message.error.message = harmless(message.error.message);
    if (this.output.write(`${JSON.stringify(message)}\n`)) return;
    await once(this.output, "drain");
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.intake.pause();
    this.onclose?.();
    this.closed();
  }
}

/** What the protocol's own errors repeat of the client's words, made fit to read. */
function harmless(error: string): string {
  const lines = error.slice(0, MAX_ERROR_CHARS).split("\n");
  return withoutImitations(lines.map((line) => printable(line)).join("\n"));
}
