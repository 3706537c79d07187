// What a session's kernel holds, kept: takes checkpoints in as they come, and brings a kernel to one of them.
import { chmodSync, linkSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Manifest, Restored } from "../kernel/messages.ts";
import { type Deferred, deferred, within } from "../shared/async.ts";
import { asClocheError, type ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import type { Checkpoint, CheckpointStore } from "../snapshots/checkpoints.ts";

/** The part of a kernel that a restore needs. */
export interface Restorable {
  /** mounted read-only at /cloche */
  readonly staging: string;
  restore(path: string, deadlineMs: number): Promise<Restored>;
  recapture(): void;
}

export interface KeeperOptions {
  session: string;
  store: CheckpointStore;
  log: Logger;
  /** adds a sentence to the next answer */
  note(sentence: string): void;
  /** the kernel that serves now */
  kernel(): Restorable | undefined;
}

/** `milliseconds` a restore may take: gigabytes are mapped, but a library's own reading may be slow. */
const RESTORE_DEADLINE_MS = 30_000;

export class StateKeeper {
  private readonly options: KeeperOptions;
  /** cells that ended, whose state is on its way */
  private readonly coming = new Map<number, Deferred<Checkpoint | undefined>>();
  private committed: Promise<unknown> = Promise.resolve();
  private uncommitted = 0;
  private readonly room: Deferred<void>[] = [];
  private failure: ClocheError | undefined;
  private restores = 0;

  constructor(options: KeeperOptions) {
    this.options = options;
  }

  /** The state the session is in, or comes back to. */
  get head(): Checkpoint | undefined {
    return this.options.store.head(this.options.session);
  }

  /** A cell ended in the kernel: its state follows. */
  expect(cell: number): void {
    this.coming.set(cell, deferred());
  }

  /** The kernel is gone, and what was on its way does not come. */
  lost(): void {
    this.options.store.abandon(this.options.session);
    for (const waiting of this.coming.values()) waiting.resolve(undefined);
    this.coming.clear();
  }

  chunk(name: string, data: Buffer): void {
    if (this.failure) return;
    try {
      this.options.store.addChunk(this.options.session, name, data);
    } catch (error) {
      this.failure = asClocheError(error);
    }
  }

  checkpoint(cell: number, manifest: Manifest): void {
    const waiting = this.coming.get(cell);
    this.coming.delete(cell);
    this.uncommitted += 1;
    this.committed = this.committed.then(async () => {
      try {
        waiting?.resolve(await this.commit(cell, manifest));
      } finally {
        this.uncommitted -= 1;
        if (this.uncommitted <= 1) for (const entrance of this.room.splice(0)) entrance.resolve();
      }
    });
  }

  /** Resolves once at most one state is captured but not written. */
  async admitted(): Promise<void> {
    if (this.uncommitted <= 1) return;
    const entrance = deferred<void>();
    this.room.push(entrance);
    await entrance.promise;
  }

  /** Whether the state after `cell` is on disk, waited for at most `ms` milliseconds. */
  async durable(cell: number, ms: number): Promise<boolean> {
    const waiting = this.coming.get(cell);
    await within(Promise.all([waiting?.promise, this.committed]), ms);
    await within(this.committed, ms);
    return (this.head?.cell ?? 0) >= cell;
  }

  /** Resolves when nothing is on its way any more, or after `ms` milliseconds. */
  async settled(ms: number): Promise<void> {
    await within(Promise.all([...this.coming.values()].map(({ promise }) => promise)), ms);
    await within(this.committed, ms);
  }

  /** Brings a kernel to `checkpoint`. Throws `store.*`, `timeout`, `sandbox.lost`; then the kernel is as it was. */
  async bring(kernel: Restorable, checkpoint: Checkpoint): Promise<Restored> {
    this.restores += 1;
    const name = `state/${this.restores}`;
    const directory = join(kernel.staging, name);
    mkdirSync(directory, { recursive: true });
    for (const made of [join(kernel.staging, "state"), directory]) chmodSync(made, 0o755);
    try {
      const plan = this.options.store.plan(checkpoint, join(directory, "small"));
      const files = plan.files.map((file, index) => {
        if (file.startsWith(directory)) return `/cloche/${name}/small`;
        linkSync(file, join(directory, `pack-${index}`));
        return `/cloche/${name}/pack-${index}`;
      });
      writeFileSync(join(directory, "request.json"), JSON.stringify({ ...plan, files }), { mode: 0o444 });
      return await kernel.restore(`/cloche/${name}/request.json`, RESTORE_DEADLINE_MS);
    } finally {
      // What is mapped stays readable to the kernel that mapped it.
      rmSync(directory, { recursive: true, force: true });
    }
  }

  private async commit(cell: number, manifest: Manifest): Promise<Checkpoint | undefined> {
    const { store, session, note, log } = this.options;
    try {
      if (this.failure) throw this.failure;
      const checkpoint = await store.commit(session, cell, manifest);
      log.debug("checkpoint.kept", { cell, groups: manifest.groups.length });
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

/** What a restore could not bring, in a sentence each. */
export function shortcomings({ failed, notes }: Restored): string[] {
  const names = Object.keys(failed).filter((name) => !name.startsWith("\0"));
  if (names.length === 0) return notes;
  const shown = names.slice(0, 5).map((name) => `${name} (${failed[name]})`);
  const more = names.length > 5 ? ` and ${names.length - 5} more` : "";
  return [`Could not be read back: ${shown.join("; ")}${more}.`, ...notes];
}
