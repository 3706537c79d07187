// What the host asked its sandbox and waits for: every answer goes to its own question, once, and is of its kind.
import { type Deferred, deferred, withDeadline } from "../shared/async.ts";
import type { ClocheError } from "../shared/errors.ts";
import { violation } from "./framing.ts";
import type { SandboxMessage } from "./messages.ts";
import type { Received } from "./transport.ts";

type AnswerType = Extract<SandboxMessage, { type: "ready" | "answer" | "stack" }>["type"];

/** Questions nobody waits for any more whose answer may still come. */
const MOST_LATE = 1_000;

export class Questions {
  private readonly waiting = new Map<string, { type: AnswerType; answer: Deferred<Received> }>();
  private readonly late = new Map<string, AnswerType>();

  /** Sends question `id` and waits for its answer of `type`. Throws `timeout`, or what `fail` is given. */
  async ask(
    id: string,
    type: AnswerType,
    send: () => void,
    deadlineMs: number,
    what: string,
  ): Promise<Received> {
    const answer = deferred<Received>();
    this.waiting.set(id, { type, answer });
    try {
      send();
      return await withDeadline(answer.promise, deadlineMs, what);
    } finally {
      if (this.waiting.delete(id)) this.remember(id, type);
    }
  }

  /** Hands an answer to its question. Throws `wire.violation` for one that nobody asked for, or not for that. */
  take(id: string, received: Received): void {
    const asked = this.waiting.get(id);
    const type = asked?.type ?? this.late.get(id);
    if (type !== received.message.type) throw violation("an answer to nothing that was asked");
    // An answer whose asker has given up is late, not wrong.
    this.late.delete(id);
    this.waiting.delete(id);
    asked?.answer.resolve(received);
  }

  fail(reason: ClocheError): void {
    for (const { answer } of this.waiting.values()) answer.reject(reason);
    this.waiting.clear();
    this.late.clear();
  }

  private remember(id: string, type: AnswerType): void {
    this.late.set(id, type);
    const [oldest] = this.late.keys();
    if (this.late.size > MOST_LATE && oldest !== undefined) this.late.delete(oldest);
  }
}
