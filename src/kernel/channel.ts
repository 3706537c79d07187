// One kernel seen from the host: correlates what is asked with what comes back, and ends the session on a violation.
// It knows messages and ids; it does not know sandboxes, sessions or stores.
import { within } from "../shared/async.ts";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import { Orphans } from "./allowance.ts";
import type { StreamedBody } from "./body.ts";
import { Captures } from "./captures.ts";
import { CellTraffic } from "./cell-traffic.ts";
import { violation } from "./framing.ts";
import { Looks, textual } from "./looks.ts";
import {
  type Capture,
  type CellEnd,
  type LoadRequest,
  MAX_CODE_BYTES,
  MAX_PAYLOAD_BYTES,
  type Restored,
  restored,
  type SandboxMessage,
} from "./messages.ts";
import { nonce } from "./nonce.ts";
import { Questions } from "./questions.ts";
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
  /** the kernel died under it, or (`unbegun`) before it was given the cell */
  | { status: "lost"; reason: string; unbegun?: true };

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
  checkpoint(cell: number, capture: Capture): void;
  /** the kernel died outside of a cell; a fresh one is on its way */
  died(reason: string): void;
  /** the channel is unusable from now on; called exactly once */
  closed(reason: ClocheError): void;
}

const INSPECT_DEADLINE_MS = 20_000;
const STACK_DEADLINE_MS = 1_000;

export class KernelChannel {
  private readonly transport: Transport;
  private readonly handlers: ChannelHandlers;
  private readonly cells = new Map<string, CellTraffic>();
  private readonly questions = new Questions();
  private readonly orphans = new Orphans();
  /** a fresh kernel is on its way that nobody asked for: the first one, or the one after a death */
  private kernelDue = true;
  /** kernels whose end was told */
  private deaths = 0;
  /** cells that were on their way to a kernel that had ended, with why it did */
  private readonly missed = new Map<string, string>();
  private readonly looks = new Looks({
    ask: (type, request, deadlineMs, what) =>
      this.ask("answer", (id) => this.send({ type, id, deaths: this.deaths }, request), deadlineMs, what),
    broken: (reason) => this.close(reason),
  });
  private readonly captures = new Captures();
  private reason: ClocheError | undefined;

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
    const payload = Buffer.from(JSON.stringify(request));
    const found = await this.looks.look(
      "inspect",
      payload,
      textual,
      INSPECT_DEADLINE_MS,
      "looking at the variables",
    );
    return found.ok ? { ok: true, text: found.value.text } : found;
  }

  /**
   * Makes the session what the request at `path`, a file below /cloche, says. Throws `timeout`, `sandbox.lost`, and
   * `state.unreadable` where the kernel cannot; then it is as it was.
   */
  async restore(path: string, deadlineMs: number): Promise<Restored> {
    const payload = Buffer.from(JSON.stringify({ path }));
    const found = await this.looks.look(
      "restore",
      payload,
      restored,
      deadlineMs,
      "bringing the session back",
    );
    if (!found.ok) throw new ClocheError("state.unreadable", { message: found.text });
    return found.value;
  }

  /** The host keeps nothing of this session: the next checkpoint has to bring everything. */
  recapture(): void {
    this.send({ type: "recapture" });
  }

  /** Does a kernel without a cell answer within `ms` milliseconds? */
  async responds(ms: number): Promise<boolean> {
    const answer = await within(
      this.inspect({ offset: 0, limit: 0 }).catch(() => undefined),
      ms,
    );
    return answer !== undefined;
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
      await this.ask(
        "ready",
        (id) => this.send({ type: "restart", id, wipe }),
        deadlineMs,
        "restarting the kernel",
      );
    } catch (error) {
      this.close(asClocheError(error));
      throw error;
    }
    this.loseCells(reason);
    this.looks.lose(reason);
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
    this.questions.fail(reason);
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
    const cell = new CellTraffic(number, listener);
    this.cells.set(id, cell);
    this.send({ type, id, cell: number, deaths: this.deaths }, payload);
    return {
      outcome: cell.outcome.promise,
      interrupt: () => this.send({ type: "interrupt", id }),
      stack: async () => {
        const asked = this.ask(
          "stack",
          (key) => this.send({ type: "stack", id: key }),
          STACK_DEADLINE_MS,
          "the stack",
        );
        return (await asked.then((answer) => answer.payload.toString("utf8"))).slice(0, 16_384);
      },
    };
  }

  private async ask(
    type: "ready" | "answer" | "stack",
    send: (id: string) => void,
    deadlineMs: number,
    what: string,
  ): Promise<Received> {
    if (this.reason) throw this.reason;
    const id = nonce();
    return this.questions.ask(id, type, () => send(id), deadlineMs, what);
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
        this.cell(message.id).output(payload);
        return;
      case "dropped":
        this.cell(message.id).dropped(message.bytes);
        return;
      case "progress":
        this.cell(message.id).progress(payload);
        return;
      case "display":
        this.cell(message.id).display(message, payload);
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
      case "chunk":
        this.captures.chunk(message, payload);
        this.handlers.chunk(message.name, payload);
        return;
      case "beside":
        this.captures.beside(message.cell);
        return;
      case "checkpoint": {
        const found = this.captures.manifest(message, payload);
        if (found) this.handlers.checkpoint(message.cell, found);
        return;
      }
      case "exited":
        this.onExited(message.id, message.reason);
        return;
      case "ready":
        this.orphans.clear();
        this.captures.clear();
        if (message.id !== "boot") this.questions.take(message.id, received);
        else if (!this.kernelDue) throw violation("a kernel that nobody waits for");
        this.kernelDue = false;
        for (const [cell, reason] of this.missed)
          this.finish(cell, { status: "lost", reason, unbegun: true });
        this.missed.clear();
        return;
      case "answer":
      case "stack":
        this.questions.take(message.id, received);
        return;
      case "hello":
        throw violation("a second hello");
    }
  }

  /** The cell of that id. Only one that runs has anything to say. */
  private cell(id: string): CellTraffic {
    const cell = this.cells.get(id);
    if (!cell) throw violation("a message for a cell that does not run");
    return cell;
  }

  private onFinished(message: Extract<SandboxMessage, { type: "finished" }>, payload: Buffer): void {
    const cell = this.cell(message.id);
    const outcome = cell.finished(message, payload);
    this.captures.expect(cell.number);
    this.finish(message.id, outcome);
  }

  private onExited(id: string | undefined, reason: string): void {
    this.deaths += 1;
    if (id !== undefined) {
      this.cell(id);
      this.kernelDue = true;
      this.finish(id, { status: "lost", reason });
      return;
    }
    if (this.kernelDue) throw violation("the end of a kernel that was not there");
    this.kernelDue = true;
    this.looks.lose(reason);
    this.handlers.died(reason);
    for (const cell of this.cells.keys()) this.missed.set(cell, reason);
  }

  private onBody(message: Extract<SandboxMessage, { type: "body" }>, payload: Buffer): void {
    for (const cell of this.cells.values()) if (cell.body(message, payload)) return;
    this.orphans.take(message.id, payload.length, message.last);
  }

  private onCall(message: Extract<SandboxMessage, { type: "call" }>, payload: Buffer): void {
    const cell = this.cell(message.cell);
    const { id } = message;
    const call = cell.open(message, payload, (bytes) => this.send({ type: "credit", id, bytes }));
    const failed = (thrown: unknown): CallReply => {
      const { code, sentence } = asClocheError(thrown);
      return { ok: false, code, message: sentence };
    };
    void this.handlers
      .call(call)
      .catch(failed)
      .then((reply) => {
        const { live, unread } = cell.answered(id);
        if (unread) this.orphans.add(id);
        if (live) this.reply(id, reply);
      });
  }

  private reply(id: string, reply: CallReply): void {
    const result = reply.ok ? reply.result : { code: reply.code, message: reply.message };
    const payload = Buffer.from(JSON.stringify(result ?? null), "utf8");
    if (payload.length <= MAX_PAYLOAD_BYTES) this.send({ type: "reply", id, ok: reply.ok }, payload);
    else
      this.reply(id, {
        ok: false,
        code: "wire.too_large",
        message: `The host's answer of ${payload.length} bytes is over the limit of ${MAX_PAYLOAD_BYTES}.`,
      });
  }

  private loseCells(reason: string): void {
    for (const cell of [...this.cells.keys()]) this.finish(cell, { status: "lost", reason });
  }

  private finish(id: string, outcome: CellOutcome): void {
    const cell = this.cells.get(id);
    this.cells.delete(id);
    for (const call of cell?.end(outcome) ?? []) this.orphans.add(call);
  }
}
