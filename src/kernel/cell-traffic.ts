// What one running cell sends, message by message: handed on within its limits, and let go when it ends.
import { type Deferred, deferred } from "../shared/async.ts";
import { ClocheError } from "../shared/errors.ts";
import { CellAllowance } from "./allowance.ts";
import { CollectedBody, StreamedBody } from "./body.ts";
import type { CellListener, CellOutcome, IncomingCall } from "./channel.ts";
import { violation } from "./framing.ts";
import { type CellEnd, cellEnd, MAX_OPEN_CALLS, type SandboxMessage } from "./messages.ts";

type Of<T extends SandboxMessage["type"]> = Extract<SandboxMessage, { type: T }>;

interface OpenCall {
  body: StreamedBody | undefined;
  abort: AbortController;
}

/** Every method throws `wire.violation` where the sandbox breaks the protocol. */
export class CellTraffic {
  readonly outcome: Deferred<CellOutcome> = deferred();
  readonly number: number;
  private readonly listener: CellListener;
  private readonly allowance = new CellAllowance();
  private readonly displays = new Map<string, CollectedBody>();
  private readonly calls = new Map<string, OpenCall>();

  constructor(number: number, listener: CellListener) {
    this.number = number;
    this.listener = listener;
  }

  output(payload: Buffer): void {
    this.allowance.takeOutput(payload.length);
    this.listener.output(payload);
  }

  dropped(bytes: number): void {
    this.allowance.takeGap();
    this.listener.dropped(bytes);
  }

  progress(payload: Buffer): void {
    this.allowance.takeProgress();
    this.listener.progress(payload.toString("utf8").slice(0, 500));
  }

  display({ id, display, mime, body }: Of<"display">, payload: Buffer): void {
    if (this.displays.has(display)) throw violation("a display id used twice");
    this.allowance.takeDisplay();
    this.listener.imagePlaced(display);
    if (body) this.displays.set(display, new CollectedBody(id, mime));
    else {
      this.allowance.takeDisplayed(payload.length);
      this.listener.image(display, mime, payload);
    }
  }

  /** Takes the next piece of a body of this cell; false where it has none of that id. */
  body({ id, last }: Of<"body">, payload: Buffer): boolean {
    const display = this.displays.get(id);
    if (display) {
      this.allowance.takeDisplayed(payload.length);
      display.push(payload, last);
      if (last) {
        this.displays.delete(id);
        this.listener.image(id, display.mime, display.take());
      }
      return true;
    }
    const call = this.calls.get(id);
    call?.body?.push(payload, last);
    return call?.body !== undefined;
  }

  /** Opens a host call; `credit` is told the `bytes` of its body that were consumed. */
  open({ id, name, body }: Of<"call">, payload: Buffer, credit: (bytes: number) => void): IncomingCall {
    if (this.calls.has(id)) throw violation("a call id used twice");
    if (this.calls.size >= MAX_OPEN_CALLS) throw violation("too many host calls at once");
    const abort = new AbortController();
    const streamed = body ? new StreamedBody(credit) : undefined;
    this.calls.set(id, { body: streamed, abort });
    return {
      name,
      args: payload.toString("utf8"),
      body: streamed,
      cell: this.number,
      signal: abort.signal,
    };
  }

  /** Forgets a call that is answered. `live`: it was still open; `unread`: its body goes on arriving. */
  answered(id: string): { live: boolean; unread: boolean } {
    const call = this.calls.get(id);
    const live = this.calls.delete(id);
    return { live, unread: call?.body?.complete === false };
  }

  finished({ status }: Of<"finished">, payload: Buffer): CellOutcome {
    if (this.displays.size > 0) throw violation("a cell that finished before its displays");
    let end: CellEnd;
    try {
      end = cellEnd.parse(JSON.parse(payload.toString("utf8")));
    } catch (cause) {
      throw violation("a cell end that is not one", cause);
    }
    return { status, end };
  }

  /** Tells the handlers of its host calls that nobody waits any more; gives the calls whose bodies go on arriving. */
  end(outcome: CellOutcome): string[] {
    const unread: string[] = [];
    if (this.calls.size > 0) {
      const reason = new ClocheError("cancelled", { message: "the cell of this host call ended" });
      for (const [id, { abort, body }] of this.calls) {
        if (body?.complete === false) unread.push(id);
        abort.abort(reason);
        body?.fail(reason);
      }
      this.calls.clear();
    }
    this.outcome.resolve(outcome);
    return unread;
  }
}
