// One session: its kernel, its queue, its cells. It decides what runs when, and what is said when something dies.
import type { CallReply, IncomingCall } from "../kernel/channel.ts";
import type { Kernel } from "../kernel/launch.ts";
import { within } from "../shared/async.ts";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import type { CellKind, SessionRecord, Store } from "../snapshots/store.ts";
import type { StageRequest } from "../staging/request.ts";
import type { StageProgress, StagingArea } from "../staging/stage.ts";
import { Cell, type CellView, type CellWork } from "./cell.ts";
import { type Release, Turnstile } from "./turnstile.ts";

export interface SessionOptions {
  record: SessionRecord;
  store: Store;
  /** a kernel of its own: the warm standby, or a new one */
  openKernel(signal?: AbortSignal): Promise<Kernel>;
  /** the area that files are loaded into, for a kernel whose staging directory this is */
  openFiles(directory: string): StagingArea;
  /** answers the session's host calls */
  door(call: IncomingCall): Promise<CallReply>;
  log: Logger;
}

export interface WaitOptions {
  /** `milliseconds` the caller waits, queue and start included */
  waitMs: number;
  signal?: AbortSignal;
  /** told the last line of output now and then */
  onProgress?: (line: string) => void;
}

export interface RunOptions extends WaitOptions {
  /** `milliseconds` after which the cell is ended */
  timeoutMs?: number;
}

/** `milliseconds` between an interrupt and the end of a kernel that ignores it. */
export const GRACE_MS = 3_000;
const RESTART_DEADLINE_MS = 5_000;
const PROGRESS_EVERY_MS = 500;
const SAVE_EVERY_MS = 5_000;

export class Session {
  readonly id: string;
  readonly name: string;
  private readonly options: SessionOptions;
  private readonly turnstile = new Turnstile();
  private readonly log: Logger;
  private kernel: Kernel | undefined;
  private files: StagingArea | undefined;
  private opening: Promise<Kernel> | undefined;
  private current: Cell | undefined;
  private readonly notes: string[] = [];
  private paused = false;
  private closed = false;
  private lastUsed = Date.now();

  constructor(options: SessionOptions) {
    this.options = options;
    this.id = options.record.id;
    this.name = options.record.name;
    this.log = options.log.child({ session: this.name });
  }

  /** Adds a sentence to the next answer. */
  note(sentence: string): void {
    if (!this.notes.includes(sentence)) this.notes.push(sentence);
  }

  /** The sentences the next answer has to carry; each is given once. */
  takeNotes(): string[] {
    return this.notes.splice(0);
  }

  /** Runs one cell and waits for it, or for as long as the caller waits. */
  async exec(code: string, options: RunOptions): Promise<CellView> {
    return this.runCell("exec", code, options, async (cell) => {
      const kernel = await this.ready(cell.stopping.signal);
      return cell.attach(kernel.channel.execute(cell.number, code, cell.listener));
    });
  }

  /** Loads files as a cell of its own: copying them in can be followed and stopped like any code. */
  async load(request: StageRequest, options: RunOptions): Promise<CellView> {
    return this.runCell("load", describe(request), options, async (cell) => {
      const { signal } = cell.stopping;
      const kernel = await this.ready(signal);
      const staged = await this.files!.stage(request, signal, (progress) =>
        cell.log.progress(copied(progress)),
      );
      signal.throwIfAborted();
      for (const note of staged.notes) cell.log.write(Buffer.from(`${note}\n`));
      return cell.attach(kernel.channel.load(cell.number, staged.request, cell.listener));
    });
  }

  /** Waits for a cell that runs, or gives one that ended. Throws `cell.unknown`. */
  async follow(number: number, options: WaitOptions): Promise<CellView> {
    this.touch();
    const cell = this.current;
    if (cell?.number === number) return this.watch(cell, options.waitMs, options);
    return this.remembered(number);
  }

  /** Ends a running cell: interrupt, grace, then its kernel. Throws `cell.unknown`. */
  async stop(number: number): Promise<CellView> {
    this.touch();
    const cell = this.current;
    if (cell?.number !== number) return this.remembered(number);
    await this.end(cell);
    return cell.done;
  }

  /** A table of variables, or one in detail. Waits for its turn. */
  async inspect(request: { name?: string; offset: number; limit: number }, options: WaitOptions) {
    const release = await this.enter(options, "This look at the variables");
    try {
      if (!this.kernel) return { ok: request.name === undefined, text: "No variables yet." };
      const kernel = await this.ready();
      return await kernel.channel.inspect(request);
    } finally {
      release();
    }
  }

  /** Clears the session: ends a running cell, then every process, and empties its files and loaded data. */
  async reset(): Promise<{ stopped: number | undefined }> {
    this.touch();
    const running = this.current;
    running?.interrupt();
    const kernel = this.kernel;
    this.notes.length = 0;
    if (kernel) {
      try {
        await kernel.channel.restart({
          wipe: true,
          reason: "reset ended it",
          deadlineMs: RESTART_DEADLINE_MS,
        });
        this.paused = false;
        await this.files?.clear();
      } catch (error) {
        await this.drop(asClocheError(error));
      }
    }
    if (running) await within(running.done, RESTART_DEADLINE_MS);
    this.options.store.markEmpty(this.id);
    this.notes.length = 0;
    return { stopped: running?.number };
  }

  /** `milliseconds` since the last call, 0 while a cell runs. */
  get idleFor(): number {
    return this.current ? 0 : Date.now() - this.lastUsed;
  }

  get state(): "running" | "idle" | "paused" | "not started" {
    if (this.current) return "running";
    if (!this.kernel) return "not started";
    return this.paused ? "paused" : "idle";
  }

  /** Stops its processes from using the processor; the next call lets them go on. */
  pause(): void {
    if (!this.kernel || this.current || this.paused) return;
    this.kernel.channel.pause();
    this.paused = true;
    this.log.info("session.paused");
  }

  /** Ends the kernel and gives the session up; its record stays. Idempotent. */
  async close(): Promise<void> {
    this.closed = true;
    await this.opening?.catch(() => {});
    await this.drop(new ClocheError("wire.closed", { message: "the server is ending" }));
  }

  private async runCell(
    kind: CellKind,
    code: string,
    options: RunOptions,
    work: CellWork,
  ): Promise<CellView> {
    const started = performance.now();
    const release = await this.enter(options, kind === "exec" ? "This code" : "This load");
    let cell: Cell;
    try {
      cell = new Cell(this.options.store.beginCell(this.id, kind, code), kind);
    } catch (error) {
      release();
      throw error;
    }
    this.current = cell;
    const told: CellWork = async (running) => {
      const outcome = await work(running);
      return outcome.status === "lost" ? { ...outcome, reason: this.describeLoss(outcome.reason) } : outcome;
    };
    void cell.run(told).then(() => this.settle(cell, release));
    const timer =
      options.timeoutMs === undefined
        ? undefined
        : setTimeout(() => this.expire(cell, options.timeoutMs!), options.timeoutMs);
    void cell.done.then(() => clearTimeout(timer));
    return this.watch(cell, options.waitMs - (performance.now() - started), options);
  }

  /** Makes room for the next cell at once, and keeps what this one wrote after its answer is out. */
  private settle(cell: Cell, release: Release): void {
    this.current = undefined;
    this.touch();
    release();
    setImmediate(() => {
      const view = cell.view();
      try {
        this.options.store.endCell(this.id, cell.number, {
          status: view.status,
          duration: view.duration,
          output: view.text,
          error: view.error ?? null,
          dropped: view.dropped,
          images: view.images,
        });
      } catch (error) {
        this.note(`The output of cell ${cell.number} could not be kept: ${asClocheError(error).sentence}`);
      }
      this.log.info("cell.ended", { cell: cell.number, status: view.status, ms: Math.round(view.duration) });
    });
  }

  /** Waits for a cell, at most `waitMs`, passing on its last line; a withdrawn call interrupts it. */
  private async watch(cell: Cell, waitMs: number, { signal, onProgress }: WaitOptions): Promise<CellView> {
    let said = "";
    const tell =
      onProgress &&
      setInterval(() => {
        const line = cell.log.lastLine;
        if (line && line !== said) onProgress(line);
        said = line;
      }, PROGRESS_EVERY_MS);
    let saved = 0;
    const save = setInterval(() => {
      const { text, dropped } = cell.log.snapshot();
      if (text.length !== saved) this.options.store.saveOutput(this.id, cell.number, text, dropped);
      saved = text.length;
    }, SAVE_EVERY_MS);
    const withdraw = () => {
      // A client that gave up waiting can still follow the cell; one that cancels wants it to end.
      if (!/tim(ed?|e-?) ?out/i.test(String(signal?.reason))) void this.end(cell);
    };
    signal?.addEventListener("abort", withdraw, { once: true });
    try {
      const view = cell.running ? await within(cell.done, Math.max(0, waitMs), signal) : await cell.done;
      if (view) return view;
      const line = await cell.position();
      return { ...cell.view(), ...(line ? { line } : {}) };
    } finally {
      clearInterval(tell);
      clearInterval(save);
      signal?.removeEventListener("abort", withdraw);
    }
  }

  private expire(cell: Cell, timeoutMs: number): void {
    this.note(`Cell ${cell.number} was ended after its timeout of ${timeoutMs / 1000} s.`);
    void this.end(cell);
  }

  /** Interrupt, grace, kill: resolves once the cell has ended. */
  private async end(cell: Cell): Promise<void> {
    if (!cell.running) return;
    cell.interrupt();
    if (await within(cell.done, GRACE_MS)) return;
    this.log.warn("cell.killed", { cell: cell.number });
    const reason = `it ignored the interrupt for ${GRACE_MS / 1000} s`;
    try {
      await this.kernel?.channel.restart({ wipe: false, reason, deadlineMs: RESTART_DEADLINE_MS });
    } catch (error) {
      await this.drop(asClocheError(error));
    }
    await within(cell.done, RESTART_DEADLINE_MS);
  }

  private async enter(options: WaitOptions, what: string): Promise<Release> {
    if (this.closed) throw new ClocheError("wire.closed", { message: "the server is ending" });
    this.touch();
    const release = await this.turnstile.enter(options.waitMs, options.signal);
    if (release) return release;
    const cell = this.current;
    throw new ClocheError("cell.busy", {
      message: cell
        ? `cell ${cell.number} has run ${Math.round(cell.age / 1000)} s`
        : "other calls are ahead",
      hint: cell
        ? `Follow it with exec {cell: ${cell.number}}, or end it with exec {cell: ${cell.number}, stop: true}. ${what} did not run and will not.`
        : `Call again. ${what} did not run and will not.`,
    });
  }

  /** The kernel, opened or woken where necessary. */
  private async ready(signal?: AbortSignal): Promise<Kernel> {
    this.kernel ??= await this.open(signal);
    if (this.paused) {
      this.kernel.channel.resume();
      this.paused = false;
    }
    return this.kernel;
  }

  private async open(signal?: AbortSignal): Promise<Kernel> {
    this.opening ??= this.options.openKernel(signal).finally(() => {
      this.opening = undefined;
    });
    const kernel = await this.opening;
    this.files = this.options.openFiles(kernel.directories.staging);
    kernel.adopt({
      call: (call) => this.options.door(call),
      died: (reason) => this.note(this.describeLoss(reason)),
      closed: (reason) => {
        if (this.kernel !== kernel) return;
        this.log.warn("kernel.closed", {
          reason: reason.message,
          said: kernel.sandbox.diagnostics().slice(-2_000),
        });
        this.kernel = undefined;
        this.paused = false;
        void kernel.end(reason);
        if (!this.closed && !this.current) this.note(this.describeLoss(reason.message));
      },
    });
    if (this.closed) {
      await kernel.end(new ClocheError("wire.closed", { message: "the server is ending" }));
      throw new ClocheError("wire.closed", { message: "the server is ending" });
    }
    return kernel;
  }

  /** What the loss of the kernel means for the session, which starts over with it. */
  private describeLoss(reason: string): string {
    this.options.store.markEmpty(this.id);
    const kept = this.kernel
      ? "The session's variables are gone; files in /workspace and loaded data in /data are still there."
      : "The session's variables, files and loaded data are gone.";
    return `The session's kernel ended: ${reason}. ${kept} A fresh one serves the next cell.`;
  }

  private async drop(reason: ClocheError): Promise<void> {
    const kernel = this.kernel;
    this.kernel = undefined;
    this.paused = false;
    await kernel?.end(reason);
  }

  private remembered(number: number): CellView {
    const record = this.options.store.cell(this.id, number);
    if (!record) {
      const last = this.options.store.lastCell(this.id);
      throw new ClocheError("cell.unknown", {
        message: `session ${this.name} has no cell ${number}`,
        hint: last > 0 ? `Its cells are 1 to ${last}.` : "It has run no cell yet.",
      });
    }
    return {
      cell: number,
      kind: record.kind,
      status: record.status,
      text: record.output,
      images: this.options.store.images(this.id, number),
      dropped: record.dropped,
      imagesLeftOut: 0,
      error: record.error ?? undefined,
      duration: record.duration ?? 0,
    };
  }

  private touch(): void {
    this.lastUsed = Date.now();
  }
}

/** What a load brings, for the record. */
function describe({ path, paths, text, name }: StageRequest): string {
  const what = text === undefined ? (paths ?? [path]).join(", ") : `text of ${text.length} characters`;
  return `load ${what}${name === undefined ? "" : ` as ${name}`}`;
}

function copied({ bytes, total }: StageProgress): string {
  const megabytes = (count: number) => Math.round(count / 1e6).toLocaleString("en-US");
  return `copied ${megabytes(bytes)} of ${megabytes(total)} MB`;
}
