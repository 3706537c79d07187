// A sandbox's end of the wire, in memory: it records what the host says and says what a test tells it to.

import { violation } from "../../src/kernel/framing.ts";
import type { SandboxMessage } from "../../src/kernel/messages.ts";
import { sandboxMessage } from "../../src/kernel/messages.ts";
import type { Received, Transport } from "../../src/kernel/transport.ts";

export interface Said {
  header: { type: string; id?: string; [key: string]: unknown };
  payload: Buffer;
}

export class ScriptedKernel implements Transport {
  readonly said: Said[] = [];
  aborted = false;
  private readonly waiting: (Received | Error | undefined)[] = [];
  private wake: (() => void) | undefined;

  send(header: object, payload: Uint8Array = Buffer.alloc(0)): void {
    this.said.push({ header: header as Said["header"], payload: Buffer.from(payload) });
  }

  async receive(): Promise<Received | undefined> {
    while (this.waiting.length === 0) {
      if (this.aborted) return undefined;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    const next = this.waiting.shift();
    if (next instanceof Error) throw next;
    return next;
  }

  abort(): void {
    this.aborted = true;
    this.wake?.();
  }

  /** Says a message; one that the schema refuses arrives as the violation the real transport makes of it. */
  say(message: Record<string, unknown>, payload: string | Buffer = ""): void {
    const parsed = sandboxMessage.safeParse(message);
    this.waiting.push(
      parsed.success
        ? { message: parsed.data as SandboxMessage, payload: Buffer.from(payload) }
        : violation("not a message"),
    );
    this.wake?.();
  }

  /** Ends the stream, as a sandbox that died. */
  end(): void {
    this.waiting.push(undefined);
    this.wake?.();
  }

  /** The id of the last message of that type. */
  idOf(type: string): string {
    return this.said.findLast(({ header }) => header.type === type)!.header.id!;
  }
}
