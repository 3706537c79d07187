// One session: its queue, its cells, what the next answer has to say. It decides what runs when, and how it is ended.
import type { CallReply, CellOutcome, IncomingCall } from "../kernel/channel.ts";
import { within } from "../shared/async.ts";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import type { Checkpoint, CheckpointStore } from "../snapshots/checkpoints.ts";
import type { CellKind, SessionRecord, Store } from "../snapshots/store.ts";
import type { StageRequest } from "../staging/request.ts";
import type { StageProgress } from "../staging/stage.ts";
import { Cell, type CellView, type CellWork } from "./cell.ts";
import { cleanText } from "./clean-text.ts";
import {
  KernelSlot,
  type KernelSource,
  RESET,
  RESTART_DEADLINE_MS,
  type ServingKernel,
} from "./kernel-slot.ts";
import { type LoadedFilesKeeper, StateKeeper, shortcomings } from "./state-keeper.ts";
import { type Release, Turnstile } from "./turnstile.ts";

/** Answers a session's host calls; `tell` adds a line to the answer of the cell that calls. */
export type SessionDoor = (call: IncomingCall, tell: (line: string) => void) => Promise<CallReply>;

export interface SessionOptions extends Omit<KernelSource, "door"> {
  door: SessionDoor;
  record: SessionRecord;
  store: Store;
  checkpoints: CheckpointStore;
  loaded: LoadedFilesKeeper;
  log: Logger;
  /** told each step of what is kept and brought back, for tests that end the process there */
  step?: ((name: string) => void) | undefined;
}

export interface WaitOptions {
  /** `milliseconds` the caller waits, queue and start included */
  waitMs: number;
  signal?: AbortSignal;
  /** told the last line of output now and then */
  onProgress?: (line: string) => void;
}

export interface FollowOptions extends WaitOptions {
  /** characters of output that are enough: where there are that many, nobody waits for more */
  until?: number;
}

export interface RunOptions extends WaitOptions {
  /** `milliseconds` after which the cell is ended */
  timeoutMs?: number;
}

/** `milliseconds` between an interrupt and the end of a kernel that ignores it. */
export const GRACE_MS = 3_000;
const PROGRESS_EVERY_MS = 500;
const SAVE_EVERY_MS = 5_000;
/** `milliseconds` a reset waits for a running cell: its end, and the restart before. */
const RESET_DEADLINE_MS = 20_000;
/** `milliseconds` the end of the server waits for a state that is on its way: clients give half a second. */
const SETTLE_MS = 300;
/** `milliseconds` a reset, or a session that gives back its memory, waits for a state that is on its way. */
const UNDER_WAY_MS = 2_000;
/** `milliseconds` an answer waits to hear which values of its cell cannot be kept, where it may be some. */
const UNKEPT_MS = 1_000;
/** Ended cells held in memory because the store takes nothing, each up to a few megabytes. */
const MOST_UNKEPT = 20;
/** Kernels that may end while they are brought to what is kept, before one serves without it. */
const MOST_DEATHS = 2;

export class Session {
  readonly id: string;
  readonly name: string;
  private readonly options: SessionOptions;
  private readonly turnstile = new Turnstile();
  private readonly log: Logger;
  private readonly slot: KernelSlot;
  private readonly keeper: StateKeeper;
  private current: Cell | undefined;
  /** ended cells that are not in the store yet, or could not be put there */
  private readonly unkept = new Map<number, Cell>();
  private readonly endings = new WeakMap<Cell, Promise<void>>();
  private readonly notes: string[] = [];
  private closed = false;
  /** kernels in a row that did not survive being brought to what is kept */
  private deathsOfRevival = 0;
  private lastUsed = Date.now();

  constructor(options: SessionOptions) {
    this.options = options;
    this.id = options.record.id;
    this.name = options.record.name;
    this.log = options.log.child({ session: this.name });
    this.keeper = new StateKeeper({
      session: this.id,
      store: options.checkpoints,
      loaded: options.loaded,
      log: this.log,
      note: (sentence) => this.note(sentence),
      kernel: () => this.slot.open,
      step: options.step,
    });
    this.slot = new KernelSlot({
      ...options,
      door: (call) => options.door(call, (line) => this.tell(call.cell, line)),
      log: this.log,
      lost: (sentence) => this.note(sentence),
      emptied: () => this.markEmpty(),
      revive: (kernel) => this.revive(kernel),
      kept: () => this.keeper.head?.cell ?? 0,
      chunk: (name, data) => this.keeper.chunk(name, data),
      checkpoint: (cell, capture) => this.keeper.checkpoint(cell, capture),
      uncaptured: () => this.keeper.lost(),
    });
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
      /** what became of it in a kernel that ended before it was given the cell */
      let missed: { outcome: CellOutcome; sandbox: ServingKernel } | undefined;
      for (;;) {
        await this.keeper.admitted(cell.stopping.signal);
        const kernel = await this.slot.ready(cell.stopping.signal);
        cell.stopping.signal.throwIfAborted();
        if (!this.slot.holds(kernel)) continue;
        if (missed && missed.sandbox !== kernel) return missed.outcome;
        this.limit(cell, options.timeoutMs);
        const running = kernel.execute(cell.number, code, cell.listener);
        this.keeper.expect(cell.number);
        const outcome = await cell.attach(running);
        // Once more in the next kernel of the same sandbox: nobody has seen anything of this cell.
        if (outcome.status !== "lost" || !outcome.unbegun || missed) return outcome;
        missed = { outcome, sandbox: kernel };
      }
    });
  }

  /** Loads files as a cell of its own: copying them in can be followed and stopped like any code. */
  async load(request: StageRequest, options: RunOptions): Promise<CellView> {
    return this.runCell("load", describe(request), options, async (cell) => {
      const { signal } = cell.stopping;
      for (;;) {
        await this.keeper.admitted(signal);
        const kernel = await this.slot.ready(signal);
        this.keeper.loaded();
        const staged = await kernel.files.stage(request, signal, (progress) =>
          cell.log.progress(copied(progress)),
        );
        signal.throwIfAborted();
        if (!this.slot.holds(kernel)) continue;
        for (const note of staged.notes) cell.log.write(Buffer.from(`${note}\n`));
        const running = kernel.load(cell.number, staged.request, cell.listener);
        this.keeper.expect(cell.number);
        return cell.attach(running);
      }
    });
  }

  /** Waits for a cell that runs, or gives one that ended. Throws `cell.unknown`. */
  async follow(number: number, options: FollowOptions): Promise<CellView> {
    this.touch();
    const cell = this.current;
    if (cell?.number !== number) return this.remembered(number);
    const full = options.until !== undefined && cell.view().text.length >= options.until;
    return this.watch(cell, full ? 0 : options.waitMs, options);
  }

  /** Ends a running cell: interrupt, grace, then its kernel. Throws `cell.unknown`. */
  async stop(number: number): Promise<CellView> {
    this.touch();
    const cell = this.current;
    if (cell?.number !== number) return this.remembered(number);
    await this.end(cell);
    return cell.view();
  }

  /** A table of variables, or one in detail. Waits for its turn. */
  async inspect(request: { name?: string; offset: number; limit: number }, options: WaitOptions) {
    const release = await this.enter(options, "This look at the variables");
    try {
      if (!this.slot.open && !this.keeper.head)
        return { ok: request.name === undefined, text: "No variables yet." };
      const { ok, text } = await (await this.slot.ready()).inspect(request);
      return { ok, text: cleanText(text) };
    } finally {
      release();
    }
  }

  /** Clears the session: ends a running cell, then every process, and empties its files and loaded data. */
  async reset(): Promise<{ stopped: number | undefined }> {
    if (this.closed) throw new ClocheError("wire.closed", { message: "the server is ending" });
    this.touch();
    const running = this.current;
    running?.interrupt();
    // What the last cell did can be gone back to, also after this.
    if (!running) await this.keeper.settled(UNDER_WAY_MS);
    // Calls that wait find the session empty: none of them gets in between the restart and the end of this.
    const turn = this.turnstile.enter(RESET_DEADLINE_MS, undefined, true);
    const emptied = this.slot.open;
    await this.slot.restart({ wipe: true, reason: RESET });
    const release = await turn;
    if (!release)
      throw new ClocheError("cell.busy", {
        message: `cell ${running?.number} does not let go of a file it copies`,
        hint: "Call reset again in a moment.",
      });
    try {
      // The kernel may have come up, with the cell in it, while that was being stopped.
      if (this.slot.open !== emptied) await this.slot.restart({ wipe: true, reason: RESET });
      this.keeper.lost();
      await this.keeper.settled(RESET_DEADLINE_MS);
      await this.slot.clearFiles();
      this.options.step?.("files cleared");
      this.options.checkpoints.moveHead(this.id, null);
      this.options.step?.("head dropped");
      this.markEmpty();
      this.notes.length = 0;
    } finally {
      release();
    }
    return { stopped: running?.number };
  }

  /**
   * Puts the session back as it was after cell `number`, which ends a running cell first. Throws `cell.unknown` where
   * that state was not kept; then the session is as it was.
   */
  async goTo(number: number): Promise<{ stopped: number | undefined; missing: string[] }> {
    const checkpoint = await this.stateAfter(number);
    const running = this.current;
    if (running) await this.end(running);
    const release = await this.enter({ waitMs: RESET_DEADLINE_MS }, "This reset");
    try {
      await this.settled();
      const kernel = await this.slot.ready();
      const missing = shortcomings(await this.keeper.bring(kernel, checkpoint));
      this.options.checkpoints.moveHead(this.id, checkpoint);
      this.options.step?.("head moved");
      return { stopped: running?.number, missing };
    } finally {
      release();
    }
  }

  /** The state after cell `number`, which may be on its way. Throws `cell.unknown`, `timeout`. */
  async stateAfter(number: number): Promise<Checkpoint> {
    const { checkpoints } = this.options;
    let checkpoint = checkpoints.after(this.id, number);
    if (!checkpoint && number < (this.current?.number ?? Number.POSITIVE_INFINITY)) {
      await this.settled();
      checkpoint = checkpoints.after(this.id, number);
    }
    if (checkpoint) return checkpoint;
    const pruned = checkpoints.prunedAt(this.id, number);
    if (pruned !== undefined)
      throw new ClocheError("cell.unknown", {
        message: `the state of session ${this.name} after cell ${number} was pruned on ${new Date(pruned).toISOString().slice(0, 10)} to free space`,
        hint: "`cloche sessions show` lists the cells whose states are kept.",
      });
    const last = this.options.store.lastCell(this.id);
    throw new ClocheError("cell.unknown", {
      message:
        number > last
          ? `session ${this.name} has no cell ${number}`
          : `the state of session ${this.name} after cell ${number} was not kept`,
      hint:
        number > last
          ? `Its cells are 1 to ${last}.`
          : "The cell was lost or never ended; take one before or after it.",
    });
  }

  /** Nothing is on its way to the disk any more. Throws `timeout`. */
  private async settled(): Promise<void> {
    if (await this.keeper.settled(RESET_DEADLINE_MS)) return;
    throw new ClocheError("timeout", {
      message: "what the session holds is still being written down",
      hint: "Call again in a moment.",
    });
  }

  /** A sentence where the state after an ended cell is not on disk, waited for at most `ms` milliseconds. */
  async demandDurable(cell: number, ms: number): Promise<string | undefined> {
    if (await this.keeper.durable(cell, ms)) return undefined;
    return `The state after cell ${cell} is not on disk. It may still be on its way: exec {durable: true} with the next cell tells.`;
  }

  /** Gives back the memory of an idle session: it is saved and ended, and comes back with the next call. */
  async shelve(): Promise<boolean> {
    const release = await this.turnstile.enter(0, undefined);
    if (!release) return false;
    try {
      if (!this.slot.open || !(await this.keeper.settled(UNDER_WAY_MS))) return false;
      if (this.slot.used && !this.keeper.head) return false;
      await this.slot.shelve();
      this.log.info("session.shelved");
      return true;
    } finally {
      release();
    }
  }

  /**
   * Brings a fresh kernel to what is kept, and says so. Resolves to false where the kernel did not survive it: the next
   * one tries once more, and the one after that serves empty.
   */
  private async revive(kernel: ServingKernel): Promise<boolean> {
    // What the last kernel sent whole is kept, though it ended since.
    await this.keeper.settled(RESET_DEADLINE_MS);
    const head = this.keeper.head;
    const deaths = this.deathsOfRevival;
    this.deathsOfRevival = 0;
    if (!head || deaths === MOST_DEATHS) return true;
    try {
      const missing = shortcomings(await this.keeper.bring(kernel, head));
      const unkept = this.options.store.lostSince(this.id, head.cell, this.current?.number);
      this.noteBegin(head.cell);
      if (head.cell > 0)
        this.note(`The session is as it was after cell ${head.cell}${unkept ? `; ${unkept}` : ""}.`);
      for (const sentence of missing) this.note(sentence);
      return true;
    } catch (error) {
      const { code } = asClocheError(error);
      this.log.error("restore.failed", { code });
      const died = code === "sandbox.lost" || this.slot.open !== kernel;
      if (died) this.deathsOfRevival = deaths + 1;
      if (died && deaths + 1 < MOST_DEATHS) return false;
      this.note(
        `The session could not be brought back as it was after cell ${head.cell}: ${asClocheError(error).sentence} It starts empty; reset {to: ${head.cell}} tries again.`,
      );
      return !died;
    }
  }

  /** `milliseconds` since the last call, 0 while one is served. */
  get idleFor(): number {
    return this.turnstile.busy ? 0 : Date.now() - this.lastUsed;
  }

  get state(): "running" | "idle" | "paused" | "not started" {
    if (this.current) return "running";
    return this.slot.state;
  }

  /** Stops its processes from using the processor; the next call lets them go on. */
  pause(): void {
    if (!this.turnstile.busy) this.slot.pause();
  }

  /** Ends the kernel and gives the session up; its record stays. Idempotent. */
  async close(): Promise<void> {
    this.closed = true;
    await this.keeper.settled(SETTLE_MS);
    await this.slot.close();
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
      cell = new Cell(this.options.store.beginCell(this.id, kind, code), kind, code);
      this.options.step?.("journaled");
    } catch (error) {
      release();
      throw error;
    }
    this.current = cell;
    const told: CellWork = async (running) => {
      const outcome = await work(running);
      return outcome.status === "lost"
        ? { ...outcome, reason: this.slot.describeLoss(outcome.reason) }
        : outcome;
    };
    void cell.run(told).then(() => this.settle(cell, release));
    return this.watch(cell, options.waitMs - (performance.now() - started), options);
  }

  /** Makes room for the next cell at once, and keeps what this one wrote after its answer is out. */
  private settle(cell: Cell, release: Release): void {
    this.current = undefined;
    this.unkept.set(cell.number, cell);
    this.touch();
    release();
    this.options.step?.("cell ended");
    setImmediate(() => {
      // Of a cell that was answered while it ran nobody has asked it: the next answer says it.
      void this.keeper.unkept(cell.number, 0);
      void this.record(cell);
      const view = cell.view();
      if (view.status === "lost") this.keeper.missed(cell.number);
      this.log.info("cell.ended", { cell: cell.number, status: view.status, ms: Math.round(view.duration) });
    });
  }

  private async record(cell: Cell): Promise<void> {
    const { status, duration, text, error, dropped, images } = cell.view();
    try {
      const result = { status, duration, output: text, error: error ?? null, dropped, images };
      await this.options.store.endCell(this.id, cell.number, result);
      this.unkept.delete(cell.number);
      this.options.step?.("output kept");
    } catch (failure) {
      this.note(`The output of cell ${cell.number} could not be kept: ${asClocheError(failure).sentence}`);
      const [oldest] = this.unkept.keys();
      if (this.unkept.size > MOST_UNKEPT && oldest !== undefined) this.unkept.delete(oldest);
    }
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
    const keep = () => {
      const { text, dropped } = cell.log.snapshot();
      if (text.length === saved || !cell.running) return;
      saved = text.length;
      try {
        this.options.store.saveOutput(this.id, cell.number, text, dropped);
      } catch (error) {
        // Its end is kept by itself, and told of where that fails too.
        this.log.warn("output.unsaved", { cell: cell.number, code: asClocheError(error).code });
      }
    };
    const save = setInterval(keep, SAVE_EVERY_MS);
    const withdraw = () => {
      // A client that gave up waiting can still follow the cell; one that cancels wants it to end.
      if (!/tim(ed?|e-?) ?out/i.test(String(signal?.reason))) void this.end(cell);
    };
    if (signal?.aborted) withdraw();
    signal?.addEventListener("abort", withdraw, { once: true });
    try {
      const view = cell.running ? await within(cell.done, Math.max(0, waitMs), signal) : await cell.done;
      if (view) return await this.withUnkept(view);
      const line = await cell.position();
      // What was answered can be read again, whatever happens to this process.
      keep();
      return { ...cell.view(), ...(line ? { line } : {}) };
    } finally {
      clearInterval(tell);
      clearInterval(save);
      signal?.removeEventListener("abort", withdraw);
    }
  }

  /** What an ended cell made that cannot be kept is said with its answer where it is known by then, else with the next. */
  private async withUnkept(view: CellView): Promise<CellView> {
    if (view.status === "lost") return view;
    const unkept = await this.keeper.unkept(view.cell, view.suspect ? UNKEPT_MS : 0);
    return unkept.length > 0 ? { ...view, unkept } : view;
  }

  /** Ends the cell `timeoutMs` after its code began. */
  private limit(cell: Cell, timeoutMs: number | undefined): void {
    if (timeoutMs === undefined) return;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      void this.end(cell);
    }, timeoutMs);
    void cell.done.then(({ status }) => {
      clearTimeout(timer);
      // It may have ended by itself in that moment.
      if (late && status !== "ok")
        this.note(
          `Cell ${cell.number} was interrupted after its timeout of ${Number((timeoutMs / 1000).toPrecision(6))} s.`,
        );
    });
  }

  /** Interrupt, grace, kill: resolves once the cell has ended, or nothing more can be done. Once for each cell. */
  private end(cell: Cell): Promise<void> {
    let ending = this.endings.get(cell);
    if (!ending) {
      ending = this.endInSteps(cell);
      this.endings.set(cell, ending);
    }
    return ending;
  }

  private async endInSteps(cell: Cell): Promise<void> {
    cell.interrupt();
    // What runs on the host heeds its signal; ending the kernel would cost the variables and help nobody.
    if ((await within(cell.done, GRACE_MS)) || !cell.attached) return;
    this.log.warn("cell.killed", { cell: cell.number });
    await this.slot.restart({
      wipe: false,
      reason: `it ignored the interrupt for ${GRACE_MS / 1000} s`,
      unless: () => !cell.running,
    });
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

  /** The cell that waits for the session begins in that state; a full disk keeps nobody from coming back. */
  private noteBegin(base: number): void {
    try {
      if (this.current) this.options.store.beganIn(this.id, this.current.number, base);
    } catch (error) {
      this.log.warn("history.unmarked", { code: asClocheError(error).code });
    }
  }

  /** A host call belongs to the cell that made it: one that has ended says nothing more. */
  private tell(cell: number, line: string): void {
    if (this.current?.number === cell) this.current.say(line);
  }

  private markEmpty(): void {
    try {
      this.options.store.markEmpty(this.id);
    } catch (error) {
      // Then the next server says that variables are gone, which is as true.
      this.log.warn("session.unmarked", { code: asClocheError(error).code });
    }
  }

  private remembered(number: number): CellView {
    const unkept = this.unkept.get(number);
    if (unkept) return unkept.view();
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
      code: record.code,
      status: record.status,
      text: record.output,
      settled: record.output.length,
      images: this.options.store.images(this.id, number),
      dropped: record.dropped,
      imagesLeftOut: 0,
      error: record.error ?? undefined,
      duration: record.duration ?? 0,
      suspect: false,
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
