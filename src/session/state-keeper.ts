// What a session's kernel holds, kept: takes checkpoints in as they come, and brings a kernel to one of them.
import { chmodSync, linkSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Capture, Manifest, Restored } from "../kernel/messages.ts";
import { type Deferred, deferred, within } from "../shared/async.ts";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import { printable } from "../shared/printable.ts";
import type { Checkpoint, CheckpointStore, LoadedFiles } from "../snapshots/checkpoints.ts";

/** The part of a kernel that a restore needs. */
export interface Restorable {
  /** mounted read-only at /cloche */
  readonly staging: string;
  readonly files: { hold(files: ReadonlyMap<string, string>): Promise<void> };
  restore(path: string, deadlineMs: number): Promise<Restored>;
  recapture(): void;
}

export interface KeeperOptions {
  session: string;
  store: CheckpointStore;
  loaded: LoadedFilesKeeper;
  log: Logger;
  /** adds a sentence to the next answer */
  note(sentence: string): void;
  /** the kernel that serves now */
  kernel(): Restorable | undefined;
  /** told each step of a checkpoint and of a restore, for tests that end the process there */
  step?: ((name: string) => void) | undefined;
}

/** Keeps the files of a staging directory, by name, for as long as a state speaks of them. */
export interface LoadedFilesKeeper {
  keep(staging: string): Record<string, string>;
  path(name: string): string;
}

/** Values that cannot be kept which are named one by one. */
const MOST_UNKEPT = 5;
/** `milliseconds` a restore may take: gigabytes are mapped, but a library's own reading may be slow. */
const RESTORE_DEADLINE_MS = 30_000;

export class StateKeeper {
  private readonly options: KeeperOptions;
  /** cells that ended, whose state is on its way */
  private readonly coming = new Map<number, Deferred<Checkpoint | undefined>>();
  /** what the states of cells say of values that cannot be kept, and whether anybody asked */
  private readonly captured = new Map<number, { unkept: Deferred<string[]>; asked: boolean }>();
  private written: Promise<unknown> = Promise.resolve();
  private unwritten = 0;
  private readonly room: Deferred<void>[] = [];
  private failure: ClocheError | undefined;
  private restores = 0;
  /** what lies below /data of a sandbox, once it was looked at */
  private data: { staging: string; files: LoadedFiles } | undefined;
  /** groups that a sandbox's kernel has, for all that is known here: it looks itself before it relies on that */
  private held: { staging: string; digests: readonly string[] } | undefined;

  constructor(options: KeeperOptions) {
    this.options = options;
  }

  /** The state the session is in, or comes back to. */
  get head(): Checkpoint | undefined {
    return this.options.store.head(this.options.session);
  }

  /** A cell was given to the kernel: its state follows its end. */
  expect(cell: number): void {
    this.coming.set(cell, deferred());
    this.captured.set(cell, { unkept: deferred(), asked: false });
  }

  /** Values that cell `cell` made and that cannot be kept, with the reason; what comes after `ms` is noted instead. */
  async unkept(cell: number, ms: number): Promise<string[]> {
    const captured = this.captured.get(cell);
    if (!captured || captured.asked) return [];
    captured.asked = true;
    const told = captured.unkept.promise.finally(() => this.captured.delete(cell));
    const found = ms > 0 ? await within(told, ms) : undefined;
    if (found) return found;
    void told.then((late) => {
      if (late.length > 0) this.options.note(`Not kept when the session is saved: ${late.join("; ")}.`);
    });
    return [];
  }

  /** Cell `number` was lost with its kernel: no state of it comes. */
  missed(number: number): void {
    this.coming.get(number)?.resolve(undefined);
    this.coming.delete(number);
    this.captured.get(number)?.unkept.resolve([]);
    this.admit();
  }

  /** Files were loaded or removed: the next state speaks of others. */
  loaded(): void {
    this.data = undefined;
  }

  /** The kernel is gone, and what was on its way does not come. */
  lost(): void {
    this.options.store.abandon(this.options.session);
    for (const waiting of this.coming.values()) waiting.resolve(undefined);
    this.coming.clear();
    for (const { unkept } of this.captured.values()) unkept.resolve([]);
    this.captured.clear();
    this.data = undefined;
    this.held = undefined;
    this.admit();
  }

  chunk(name: string, data: Buffer): void {
    if (this.failure) return;
    try {
      this.options.store.addChunk(this.options.session, name, data);
      this.options.step?.("chunk kept");
    } catch (error) {
      this.failure = asClocheError(error);
    }
  }

  checkpoint(cell: number, capture: Capture): void {
    this.options.step?.("manifest came");
    const waiting = this.coming.get(cell);
    this.coming.delete(cell);
    this.captured.get(cell)?.unkept.resolve("lost" in capture ? unkeepable(cell, capture) : []);
    if (!("same" in capture)) {
      const staging = this.options.kernel()?.staging;
      this.held =
        staging === undefined || "failed" in capture ? undefined : { staging, digests: capture.members };
    }
    // One that equals the state before holds nothing that the disk lacks: no cell has to wait for it.
    const weight = "same" in capture ? 0 : 1;
    this.unwritten += weight;
    const written = this.commit(cell, capture).then((checkpoint) => {
      this.unwritten -= weight;
      waiting?.resolve(checkpoint);
      this.admit();
    });
    this.written = Promise.all([this.written, written]);
  }

  /** Resolves once at most one state is captured but not written: a cell may begin, whose state follows that one. */
  async admitted(signal: AbortSignal): Promise<void> {
    while (this.unwritten + this.coming.size > 1 && !signal.aborted) {
      const entrance = deferred<void>();
      this.room.push(entrance);
      const leave = () => entrance.resolve();
      signal.addEventListener("abort", leave, { once: true });
      await entrance.promise;
      signal.removeEventListener("abort", leave);
    }
  }

  /** Has those who wait look again whether they may begin. */
  private admit(): void {
    for (const entrance of this.room.splice(0)) entrance.resolve();
  }

  /** The state after `cell`, once it is on disk; waited for at most `ms` milliseconds. */
  async durable(cell: number, ms: number): Promise<Checkpoint | undefined> {
    await this.settled(ms, cell);
    return this.options.store.after(this.options.session, cell);
  }

  /** Resolves to whether nothing of cells up to `last` is on its way any more, after at most `ms` milliseconds. */
  async settled(ms: number, last = Number.POSITIVE_INFINITY): Promise<boolean> {
    const coming = [...this.coming].flatMap(([cell, { promise }]) => (cell <= last ? [promise] : []));
    const done = Promise.all(coming).then(async () => {
      await this.written;
      return true;
    });
    return (await within(done, ms)) ?? false;
  }

  /** Brings a kernel to `checkpoint`. Throws `store.*`, `timeout`, `sandbox.lost`; then the kernel is as it was. */
  async bring(kernel: Restorable, checkpoint: Checkpoint): Promise<Restored> {
    this.options.step?.("restore begun");
    await this.hold(kernel, checkpoint.data);
    this.options.step?.("files held");
    const held = new Set(this.held?.staging === kernel.staging ? this.held.digests : []);
    let restored = await this.ask(kernel, checkpoint, held);
    // What it lacks is given to it the second time; there may be more than it names.
    for (let again = 1; restored.lacking && again <= 2; again++) {
      if (again === 2) held.clear();
      for (const digest of restored.lacking) held.delete(digest);
      restored = await this.ask(kernel, checkpoint, held);
    }
    if (restored.lacking)
      throw new ClocheError("state.unreadable", { message: "the kernel asks for what it was given" });
    this.held = { staging: kernel.staging, digests: checkpoint.members };
    return restored;
  }

  /** Makes /data hold the files of a state. */
  private async hold(kernel: Restorable, files: LoadedFiles): Promise<void> {
    const { staging } = kernel;
    if (this.data?.staging === staging && isDeepStrictEqual(this.data.files, files)) return;
    const { loaded } = this.options;
    await kernel.files.hold(
      new Map(Object.entries(files).map(([file, keptAs]) => [file, loaded.path(keptAs)])),
    );
    this.data = { staging, files };
  }

  /** Asks a kernel to be as a state says, which it does but where it lacks some of what it should hold. */
  private async ask(
    kernel: Restorable,
    checkpoint: Checkpoint,
    held: ReadonlySet<string>,
  ): Promise<Restored> {
    this.restores += 1;
    const name = `state/${this.restores}`;
    const directory = join(kernel.staging, name);
    mkdirSync(directory, { recursive: true });
    for (const made of [join(kernel.staging, "state"), directory]) chmodSync(made, 0o755);
    try {
      const plan = await this.options.store.plan(checkpoint, join(directory, "small"), held);
      this.passOn();
      this.options.step?.("planned");
      const files = plan.files.map((file, index) => {
        if (file.startsWith(directory)) return `/cloche/${name}/small`;
        linkSync(file, join(directory, `pack-${index}`));
        return `/cloche/${name}/pack-${index}`;
      });
      writeFileSync(join(directory, "request.json"), JSON.stringify({ ...plan, files }), { mode: 0o444 });
      this.options.step?.("asked");
      const restored = await kernel.restore(`/cloche/${name}/request.json`, RESTORE_DEADLINE_MS);
      this.options.step?.("restored");
      return restored;
    } finally {
      // What is mapped stays readable to the kernel that mapped it.
      rmSync(directory, { recursive: true, force: true });
    }
  }

  /** What the store found, such as damage or a disk that fills, is said with the next answer. */
  private passOn(): void {
    const { store, session, note } = this.options;
    for (const sentence of store.takeNotices(session)) note(sentence);
  }

  private loadedFiles(): LoadedFiles {
    const staging = this.options.kernel()?.staging;
    if (staging === undefined) return this.data?.files ?? this.head?.data ?? {};
    if (this.data?.staging !== staging) this.data = { staging, files: this.options.loaded.keep(staging) };
    return this.data.files;
  }

  private async commit(cell: number, capture: Capture): Promise<Checkpoint | undefined> {
    const { store, session, note, log } = this.options;
    try {
      if (this.failure) throw this.failure;
      if ("failed" in capture) throw new ClocheError("state.unkept", { message: capture.failed });
      const data = this.loadedFiles();
      if ("same" in capture) return await store.repeat(session, cell, data);
      const checkpoint = await store.commit(session, cell, capture, data);
      this.options.step?.("kept");
      log.debug("checkpoint.kept", { cell, groups: capture.groups.length });
      this.passOn();
      return checkpoint;
    } catch (error) {
      this.failure = undefined;
      store.abandon(session);
      const { code, sentence } = asClocheError(error);
      log.warn("checkpoint.failed", { cell, code });
      note(`The state after cell ${cell} could not be kept: ${sentence}`);
      // What the kernel believes to be kept is not: the next cell's checkpoint brings everything.
      this.options.kernel()?.recapture();
      return undefined;
    }
  }
}

/** Values that were found unkeepable after `cell`. */
function unkeepable(cell: number, { lost }: Manifest): string[] {
  const found = Object.entries(lost).filter(([name, entry]) => entry.cell === cell && name !== "\0process");
  const shown = found
    .slice(0, MOST_UNKEPT)
    .map(([name, { type, reason }]) => printable(`${label(name, type)}: ${reason}`, 300));
  return found.length > shown.length ? [...shown, `${found.length - shown.length} more`] : shown;
}

function label(name: string, type: string): string {
  if (name === "\0files") return "files in /workspace";
  return name.startsWith("\0") ? name.slice(1) : `${name} (${type})`;
}

/** What a restore could not bring, in a sentence each. */
export function shortcomings({ failed, notes }: Restored): string[] {
  const names = Object.keys(failed).filter((name) => !name.startsWith("\0"));
  if (names.length === 0) return notes;
  const shown = names.slice(0, 5).map((name) => `${name} (${failed[name]})`);
  const more = names.length > 5 ? ` and ${names.length - 5} more` : "";
  return [`Could not be read back: ${shown.join("; ")}${more}.`, ...notes];
}
