// One kernel seen from the host: correlates what is asked with what comes back, and ends the session on a violation.
// It knows messages and ids; it does not know sandboxes, sessions or stores.
import { randomBytes } from "node:crypto";
import { type Deferred, deferred, withDeadline } from "../shared/async.ts";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import { CollectedBody, StreamedBody } from "./body.ts";
import { violation } from "./framing.ts";
import { type CellEnd, cellEnd, type LoadRequest, MAX_CODE_BYTES } from "./messages.ts";
import type { Received, Transport } from "./transport.ts";

/** What a running cell tells as it goes. */
export interface CellListener {
  output(chunk: Buffer): void;
  /** `bytes` of the middle of the output are gone */
  dropped(bytes: number): void;
  /** the last line, while output is being dropped or overwritten */
  progress(line: string): void;
  /** an image has its place here; its data follows */
  imagePlaced(id: string): void;
  image(id: string, mime: string, data: Buffer): void;
}

export type CellOutcome =
  | { status: "ok" | "error" | "interrupted"; end: CellEnd }
  /** the kernel died under it */
  | { status: "lost"; reason: string };

export interface RunningCell {
  readonly outcome: Promise<CellOutcome>;
  interrupt(): void;
  /** the innermost frames as faulthandler prints them; empty where there is nothing to see */
  stack(): Promise<string>;
}

/** A host call as it arrives. The signal fires when its cell ends. */
export interface IncomingCall {
  name: string;
  /** JSON text, not yet parsed */
  args: string;
  body: StreamedBody | undefined;
  cell: number;
  signal: AbortSignal;
}

export type CallReply = { ok: true; result: unknown } | { ok: false; code: string; message: string };

export interface ChannelHandlers {
  call(call: IncomingCall): Promise<CallReply>;
  /** bytes of the state after a cell that ended */
  chunk(name: string, data: Buffer): void;
  /** what the session holds after that cell */
  checkpoint(cell: number, manifest: Manifest): void;
  /** the kernel died outside of a cell; a fresh one is on its way */
  died(reason: string): void;
  /** the channel is unusable from now on; called exactly once */
  closed(reason: ClocheError): void;
}

interface CellState {
  number: number;
  listener: CellListener;
  outcome: Deferred<CellOutcome>;
  displays: Map<string, CollectedBody>;
  calls: Map<string, OpenCall>;
}

interface OpenCall {
  body: StreamedBody | undefined;
  abort: AbortController;
}

/** Host calls one cell may have under way; the router's quotas are tighter, this bounds memory. */
const MAX_OPEN_CALLS = 256;
const INSPECT_DEADLINE_MS = 20_000;
const STACK_DEADLINE_MS = 1_000;

export class KernelChannel {
  private readonly transport: Transport;
  private readonly handlers: ChannelHandlers;
  private readonly cells = new Map<string, CellState>();
  private readonly pending = new Map<string, Deferred<Received>>();
  /** inspections under way, each with how to end it where its kernel dies */
  private readonly looks = new Set<Deferred<never>>();
  private reason: ClocheError | undefined;
  /** the cell whose state is on its way, and what has come of its manifest */
  private capturing: { cell: number; pieces: Buffer[]; bytes: number } | undefined;

  /** Takes the transport. Starts reading at once. */
  constructor(transport: Transport, handlers: ChannelHandlers) {
    this.transport = transport;
    this.handlers = handlers;
    void this.read();
  }

  /** Runs code as cell `number`. Throws `wire.too_large` where it is over 1 MB, `wire.closed` where nobody is there. */
  execute(number: number, code: string, listener: CellListener): RunningCell {
    const payload = Buffer.from(code, "utf8");
    if (payload.length > MAX_CODE_BYTES)
      throw new ClocheError("wire.too_large", {
        message: `the code is ${payload.length} bytes long; a cell holds at most ${MAX_CODE_BYTES}`,
      });
    return this.begin("execute", number, payload, listener);
  }

  load(number: number, request: LoadRequest, listener: CellListener): RunningCell {
    return this.begin("load", number, Buffer.from(JSON.stringify(request), "utf8"), listener);
  }

  /** Why the channel is unusable, once it is. */
  get closedFor(): ClocheError | undefined {
    return this.reason;
  }

  /**
   * Text about the variables. Throws `timeout` where a value's own code does not come back, `sandbox.lost` where it
   * ends the kernel.
   */
  async inspect(request: {
    name?: string;
    offset: number;
    limit: number;
  }): Promise<{ ok: boolean; text: string }> {
    const lost = deferred<never>();
    this.looks.add(lost);
    const asked = this.ask(
      (id) => this.send({ type: "inspect", id }, Buffer.from(JSON.stringify(request))),
      INSPECT_DEADLINE_MS,
      "looking at the variables",
    );
    const { message, payload } = await Promise.race([asked, lost.promise]).finally(() => {
      this.looks.delete(lost);
      asked.catch(() => {});
    });
    const answer: unknown = JSON.parse(payload.toString("utf8"));
    const text = typeof answer === "object" && answer !== null && "text" in answer ? String(answer.text) : "";
    return { ok: message.type === "answer" && message.ok, text };
  }

  /**
   * Ends every process of the session and brings up a fresh kernel; with `wipe` its files go too. A running cell is
   * lost for `reason` once the fresh kernel is there. Where none comes before the deadline, the channel is closed
   * with what is thrown. One restart at a time.
   */
  async restart({
    wipe,
    reason,
    deadlineMs,
  }: {
    wipe: boolean;
    reason: string;
    deadlineMs: number;
  }): Promise<void> {
    try {
      await this.ask((id) => this.send({ type: "restart", id, wipe }), deadlineMs, "restarting the kernel");
    } catch (error) {
      this.close(asClocheError(error));
      throw error;
    }
    this.loseCells(reason);
    this.loseLooks(reason);
  }

  pause(): void {
    this.send({ type: "pause" });
  }

  resume(): void {
    this.send({ type: "resume" });
  }

  ping(): void {
    this.send({ type: "ping" });
  }

  /** Fails everything pending with one reason and ends the stream. Idempotent. */
  close(reason: ClocheError): void {
    if (this.reason) return;
    this.reason = reason;
    this.transport.abort();
    this.loseCells(reason.message);
    for (const waiting of this.pending.values()) waiting.reject(reason);
    this.pending.clear();
    this.handlers.closed(reason);
  }

  private begin(
    type: "execute" | "load",
    number: number,
    payload: Buffer,
    listener: CellListener,
  ): RunningCell {
    if (this.reason) throw this.reason;
    const id = nonce();
    const outcome = deferred<CellOutcome>();
    this.cells.set(id, { number, listener, outcome, displays: new Map(), calls: new Map() });
    this.send({ type, id, cell: number }, payload);
    return {
      outcome: outcome.promise,
      interrupt: () => this.send({ type: "interrupt", id }),
      stack: async () => {
        const asked = this.ask(
          (key) => this.send({ type: "stack", id: key }),
          STACK_DEADLINE_MS,
          "the stack",
        );
        return (await asked.then((answer) => answer.payload.toString("utf8"))).slice(0, 16_384);
      },
    };
  }

  private async ask(send: (id: string) => void, deadlineMs: number, what: string): Promise<Received> {
    if (this.reason) throw this.reason;
    const id = nonce();
    const answer = deferred<Received>();
    this.pending.set(id, answer);
    try {
      send(id);
      return await withDeadline(answer.promise, deadlineMs, what);
    } finally {
      this.pending.delete(id);
    }
  }

  private send(header: { type: string; [key: string]: unknown }, payload?: Uint8Array): void {
    if (!this.reason) this.transport.send(header, payload);
  }

  private async read(): Promise<void> {
    try {
      for (let next = await this.transport.receive(); next; next = await this.transport.receive())
        this.on(next);
      this.close(new ClocheError("sandbox.lost", { message: "the sandbox ended" }));
    } catch (error) {
      this.close(asClocheError(error));
    }
  }

  private on(received: Received): void {
    const { message, payload } = received;
    switch (message.type) {
      case "output":
        this.cells.get(message.id)?.listener.output(payload);
        return;
      case "dropped":
        this.cells.get(message.id)?.listener.dropped(message.bytes);
        return;
      case "progress":
        this.cells.get(message.id)?.listener.progress(payload.toString("utf8").slice(0, 500));
        return;
      case "display":
        this.onDisplay(message, payload);
        return;
      case "body":
        this.onBody(message, payload);
        return;
      case "call":
        this.onCall(message, payload);
        return;
      case "finished":
        this.onFinished(message, payload);
        return;
      case "exited":
        if (message.id !== undefined) this.finish(message.id, { status: "lost", reason: message.reason });
        else {
          // A cell that is on its way now finds the fresh kernel.
          this.loseLooks(message.reason);
          this.handlers.died(message.reason);
        }
        return;
      case "ready":
      case "answer":
      case "stack":
        // An answer whose asker has given up is late, not wrong.
        this.pending.get(message.id)?.resolve(received);
        return;
      case "hello":
        throw violation("a second hello");
    }
  }

  private onDisplay(
    message: { id: string; display: string; mime: string; body?: boolean | undefined },
    payload: Buffer,
  ): void {
    const cell = this.cells.get(message.id);
    if (!cell) return;
    if (cell.displays.has(message.display)) throw violation("a display id used twice");
    if (cell.displays.size >= MAX_OPEN_CALLS) throw violation("too many displays at once");
    cell.listener.imagePlaced(message.display);
    if (message.body) cell.displays.set(message.display, new CollectedBody(message.id, message.mime));
    else cell.listener.image(message.display, message.mime, payload);
  }

  private onBody(message: { id: string; last: boolean }, payload: Buffer): void {
    for (const cell of this.cells.values()) {
      const display = cell.displays.get(message.id);
      if (display) {
        display.push(payload);
        if (!message.last) return;
        cell.displays.delete(message.id);
        cell.listener.image(message.id, display.mime, display.take());
        return;
      }
      const call = cell.calls.get(message.id);
      if (call?.body) {
        call.body.push(payload, message.last);
        return;
      }
    }
    // What is left under way of a call that was answered early, or of a cell that ended, has no taker any more.
  }

  private onCall(
    message: { id: string; cell: string; name: string; body?: boolean | undefined },
    payload: Buffer,
  ): void {
    const cell = this.cells.get(message.cell);
    if (!cell) return;
    if (cell.calls.has(message.id)) throw violation("a call id used twice");
    if (cell.calls.size >= MAX_OPEN_CALLS) throw violation("too many host calls at once");
    const body = message.body
      ? new StreamedBody((bytes) => this.send({ type: "credit", id: message.id, bytes }))
      : undefined;
    const abort = new AbortController();
    cell.calls.set(message.id, { body, abort });
    const call = {
      name: message.name,
      args: payload.toString("utf8"),
      body,
      cell: cell.number,
      signal: abort.signal,
    };
    void this.handlers.call(call).then((reply) => {
      if (cell.calls.delete(message.id)) this.reply(message.id, reply);
    });
  }

  private reply(id: string, reply: CallReply): void {
    const result = reply.ok ? reply.result : { code: reply.code, message: reply.message };
    this.send({ type: "reply", id, ok: reply.ok }, Buffer.from(JSON.stringify(result ?? null), "utf8"));
  }

  private onFinished(message: { id: string; status: "ok" | "error" | "interrupted" }, payload: Buffer): void {
    const cell = this.cells.get(message.id);
    if (!cell) return;
    if (cell.displays.size > 0) throw violation("a cell that finished before its displays");
    let end: CellEnd;
    try {
      end = cellEnd.parse(JSON.parse(payload.toString("utf8")));
    } catch (cause) {
      throw violation("a cell end that is not one", cause);
    }
    this.finish(message.id, { status: message.status, end });
  }

  private loseCells(reason: string): void {
    for (const cell of [...this.cells.keys()]) this.finish(cell, { status: "lost", reason });
  }

  private loseLooks(reason: string): void {
    for (const look of this.looks)
      look.reject(
        new ClocheError("sandbox.lost", { message: `the kernel ended while it was looked at: ${reason}` }),
      );
  }

  private finish(id: string, outcome: CellOutcome): void {
    const cell = this.cells.get(id);
    if (!cell) return;
    this.cells.delete(id);
    if (cell.calls.size > 0) abandon(cell.calls.values());
    cell.calls.clear();
    cell.outcome.resolve(outcome);
  }
}

/** Tells the handlers of host calls that nobody waits for them any more. */
function abandon(calls: Iterable<OpenCall>): void {
  const reason = new ClocheError("cancelled", { message: "the cell of this host call ended" });
  for (const call of calls) {
    call.abort.abort(reason);
    call.body?.fail(reason);
  }
}

const NONCE_BYTES = 9;
/** Random bytes in store: asking the system for nine at a time costs every cell a twentieth of its time. */
let store = Buffer.alloc(0);

/** An id nobody inside can guess before they see it. */
export function nonce(): string {
  if (store.length < NONCE_BYTES) store = randomBytes(256 * NONCE_BYTES);
  const drawn = store.subarray(0, NONCE_BYTES);
  store = store.subarray(NONCE_BYTES);
  return drawn.toString("base64url");
}
