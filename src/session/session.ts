// One session: its queue, its cells, what the next answer has to say. It decides what runs when, and how it is ended.
import type { CallReply, CellOutcome, IncomingCall } from "../kernel/channel.ts";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import type { Checkpoint, CheckpointStore } from "../snapshots/checkpoints.ts";
import type { CellKind, SessionRecord, Store } from "../snapshots/store.ts";
import type { StageRequest } from "../staging/request.ts";
import { Cell, type CellView, type CellWork } from "./cell.ts";
import { CellEnder } from "./cell-ender.ts";
import { cleanText } from "./clean-text.ts";
import { EndedCells } from "./ended-cells.ts";
import { KernelSlot, type KernelSource, RESET, type ServingKernel } from "./kernel-slot.ts";
import { copied, describeLoad } from "./load-words.ts";
import { RESET_DEADLINE_MS, Restorer } from "./restorer.ts";
import { type LoadedFilesKeeper, StateKeeper } from "./state-keeper.ts";
import { type Release, Turnstile } from "./turnstile.ts";
import { type WaitOptions, watch } from "./watch.ts";

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

export interface FollowOptions extends WaitOptions {
  /** characters of output that are enough: where there are that many, nobody waits for more */
  until?: number;
}

export interface RunOptions extends WaitOptions {
  /** `milliseconds` after which the cell is ended */
  timeoutMs?: number;
}

/** `milliseconds` the end of the server waits for a state that is on its way: clients give half a second. */
const SETTLE_MS = 300;
/** `milliseconds` a reset, or a session that gives back its memory, waits for a state that is on its way. */
const UNDER_WAY_MS = 2_000;
/** `milliseconds` an answer waits to hear which values of its cell cannot be kept, where it may be some. */
const UNKEPT_MS = 1_000;

export class Session {
  readonly id: string;
  readonly name: string;
  private readonly options: SessionOptions;
  private readonly turnstile = new Turnstile();
  private readonly log: Logger;
  private readonly slot: KernelSlot;
  private readonly keeper: StateKeeper;
  private current: Cell | undefined;
  private readonly ended: EndedCells;
  private readonly restorer: Restorer;
  private readonly ender: CellEnder;
  private readonly notes: string[] = [];
  private closed = false;
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
    this.ended = new EndedCells({
      session: { id: this.id, name: this.name },
      store: options.store,
      log: this.log,
      note: (sentence) => this.note(sentence),
      step: options.step,
    });
    this.slot = new KernelSlot({
      ...options,
      door: (call) => options.door(call, (line) => this.tell(call.cell, line)),
      log: this.log,
      lost: (sentence) => this.note(sentence),
      emptied: () => this.markEmpty(),
      revive: (kernel) => this.restorer.revive(kernel),
      kept: () => this.keeper.head?.cell ?? 0,
      chunk: (name, data) => this.keeper.chunk(name, data),
      checkpoint: (cell, capture) => this.keeper.checkpoint(cell, capture),
      uncaptured: () => this.keeper.lost(),
    });
    this.ender = new CellEnder({ slot: this.slot, log: this.log, note: (sentence) => this.note(sentence) });
    this.restorer = new Restorer({
      session: { id: this.id, name: this.name },
      store: options.store,
      checkpoints: options.checkpoints,
      keeper: this.keeper,
      log: this.log,
      note: (sentence) => this.note(sentence),
      running: () => this.current?.number,
      isServing: (kernel) => this.slot.open === kernel,
      step: options.step,
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
        this.ender.limit(cell, options.timeoutMs);
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
    return this.runCell("load", describeLoad(request), options, async (cell) => {
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
    if (cell?.number !== number) return this.ended.view(number);
    const full = options.until !== undefined && cell.view().text.length >= options.until;
    return this.watch(cell, full ? 0 : options.waitMs, options);
  }

  /** Ends a running cell: interrupt, grace, then its kernel. Throws `cell.unknown`. */
  async stop(number: number): Promise<CellView> {
    this.touch();
    const cell = this.current;
    if (cell?.number !== number) return this.ended.view(number);
    await this.ender.end(cell);
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
    const checkpoint = await this.restorer.stateAfter(number);
    const running = this.current;
    if (running) await this.ender.end(running);
    const release = await this.enter({ waitMs: RESET_DEADLINE_MS }, "This reset");
    try {
      await this.restorer.settled();
      const missing = await this.restorer.goTo(await this.slot.ready(), checkpoint);
      return { stopped: running?.number, missing };
    } finally {
      release();
    }
  }

  /** The state after cell `number`, which may be on its way. Throws `cell.unknown`, `timeout`. */
  stateAfter(number: number): Promise<Checkpoint> {
    return this.restorer.stateAfter(number);
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
    this.touch();
    release();
    this.options.step?.("cell ended");
    // At once, so that it is on record with the cell's state at the latest.
    void this.ended.record(cell);
    setImmediate(() => {
      // Of a cell that was answered while it ran nobody has asked it: the next answer says it.
      void this.keeper.unkept(cell.number, 0);
      const view = cell.view();
      if (view.status === "lost") this.keeper.missed(cell.number);
      this.log.info("cell.ended", { cell: cell.number, status: view.status, ms: Math.round(view.duration) });
    });
  }

  /** Waits for a cell, at most `waitMs`; a withdrawn call interrupts it. */
  private async watch(cell: Cell, waitMs: number, options: WaitOptions): Promise<CellView> {
    const view = await watch(cell, {
      ...options,
      waitMs,
      withdrawn: () => void this.ender.end(cell),
      save: (text, dropped) => this.ended.saveSoFar(cell, text, dropped),
    });
    return view.status === "running" ? view : this.withUnkept(view);
  }

  /** What an ended cell made that cannot be kept is said with its answer where it is known by then, else with the next. */
  private async withUnkept(view: CellView): Promise<CellView> {
    if (view.status === "lost") return view;
    const unkept = await this.keeper.unkept(view.cell, view.suspect ? UNKEPT_MS : 0);
    return unkept.length > 0 ? { ...view, unkept } : view;
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

  private touch(): void {
    this.lastUsed = Date.now();
  }
}
