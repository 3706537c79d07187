// The kernel of one session: opened when first needed, paused and woken, restarted, let go; and what its loss means.
import type { CallReply, CellListener, IncomingCall, KernelChannel, RunningCell } from "../kernel/channel.ts";
import type { Kernel } from "../kernel/launch.ts";
import type { Capture, LoadRequest } from "../kernel/messages.ts";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import type { StagingArea } from "../staging/stage.ts";

/** Where a session gets its kernels, and what belongs to each. */
export interface KernelSource {
  /** a kernel of its own: the warm standby, or a new one */
  openKernel(signal?: AbortSignal): Promise<Kernel>;
  /** the area that files are loaded into, for a kernel whose staging directory this is */
  openFiles(directory: string): StagingArea;
  /** answers the session's host calls */
  door(call: IncomingCall): Promise<CallReply>;
}

export interface SlotOptions extends KernelSource {
  log: Logger;
  /** told a sentence when the kernel is lost with nobody there to tell it */
  lost(sentence: string): void;
  /** told that nothing of earlier cells is left */
  emptied(): void;
  /** brings a fresh kernel to the state the session is to be in; false where that ended it, and another is to try */
  revive(kernel: ServingKernel): Promise<boolean>;
  /** the cell after which the session's state is kept; 0 where none is */
  kept(): number;
  chunk(name: string, data: Buffer): void;
  checkpoint(cell: number, capture: Capture): void;
  /** told that the kernel is gone, and with it a state that was on its way */
  uncaptured(): void;
}

/** A kernel that serves, with the files that were brought to it. */
export interface ServingKernel {
  readonly files: StagingArea;
  /** mounted read-only at /cloche */
  readonly staging: string;
  execute(cell: number, code: string, listener: CellListener): RunningCell;
  load(cell: number, request: LoadRequest, listener: CellListener): RunningCell;
  inspect: KernelChannel["inspect"];
  restore: KernelChannel["restore"];
  recapture: KernelChannel["recapture"];
}

export interface Restart {
  /** its files go too */
  wipe: boolean;
  reason: string;
  /** asked when its turn has come: not needed any more? */
  unless?: () => boolean;
}

/** Why a kernel ended that a reset ended. */
export const RESET = "it was reset";
/** `milliseconds` a fresh kernel may take; where none comes, the sandbox goes. */
export const RESTART_DEADLINE_MS = 5_000;
const ENDING = { message: "the server is ending" };

export class KernelSlot {
  private readonly options: SlotOptions;
  private kernel: { handle: Kernel; serving: ServingKernel } | undefined;
  private opening: Promise<ServingKernel> | undefined;
  private restarts: Promise<void> = Promise.resolve();
  private paused = false;
  private closed = false;
  private hasServed = false;
  /** the kernel holds nothing of the session's state yet */
  private fresh = true;

  constructor(options: SlotOptions) {
    this.options = options;
  }

  /** The kernel where there is one; it may be paused. */
  get open(): ServingKernel | undefined {
    return this.kernel?.serving;
  }

  /** It was given a cell or a state, so that there is something to lose. */
  get used(): boolean {
    return this.hasServed;
  }

  get state(): "idle" | "paused" | "not started" {
    if (!this.kernel) return "not started";
    return this.paused ? "paused" : "idle";
  }

  /** The kernel, opened or woken where necessary. Throws `sandbox.*`, `wire.closed`, or the signal's reason. */
  async ready(signal?: AbortSignal): Promise<ServingKernel> {
    if (!this.kernel) {
      this.opening ??= this.launch(signal).finally(() => {
        this.opening = undefined;
      });
      await this.opening;
    }
    const { kernel } = this;
    if (!kernel) return this.ready(signal);
    if (this.paused) kernel.handle.channel.resume();
    this.paused = false;
    if (this.fresh) {
      // Set first: where this kernel ends meanwhile, its loss says that the next one is fresh.
      this.fresh = false;
      if (!(await this.options.revive(kernel.serving))) this.fresh = true;
      if (this.fresh || this.kernel !== kernel) return this.ready(signal);
    }
    return kernel.serving;
  }

  /** Is that the kernel which serves now, in the state the session is to be in? A kernel can end at any moment. */
  holds(kernel: ServingKernel): boolean {
    return this.kernel?.serving === kernel && !this.fresh;
  }

  /** Stops its processes from using the processor; `ready` lets them go on. */
  pause(): void {
    if (!this.kernel || this.paused) return;
    this.kernel.handle.channel.pause();
    this.paused = true;
    this.options.log.info("session.paused");
  }

  /** A fresh kernel in place of the one there is; where that fails, none. One at a time, or they would cross. */
  restart({ wipe, reason, unless }: Restart): Promise<void> {
    this.restarts = this.restarts.then(async () => {
      const kernel = this.kernel;
      if (!kernel || unless?.()) return;
      try {
        await kernel.handle.channel.restart({ wipe, reason, deadlineMs: RESTART_DEADLINE_MS });
        this.paused = false;
        this.fresh = true;
        this.options.uncaptured();
        if (wipe) this.hasServed = false;
      } catch (error) {
        await this.drop(asClocheError(error));
      }
    });
    return this.restarts;
  }

  /** Empties /data. Where that fails the sandbox goes, and its directories with it. */
  async clearFiles(): Promise<void> {
    try {
      await this.kernel?.serving.files.clear();
    } catch (error) {
      await this.drop(asClocheError(error));
    }
  }

  /** Ends a kernel that is not needed for now; `ready` opens another. */
  async shelve(): Promise<void> {
    await this.drop(new ClocheError("wire.closed", { message: "it was idle and its memory was needed" }));
  }

  /** Ends the kernel for good. Idempotent. */
  async close(): Promise<void> {
    this.closed = true;
    await this.opening?.catch(() => {});
    await this.drop(new ClocheError("wire.closed", ENDING));
  }

  /** What the loss of the kernel means for the session, which starts over with it. */
  describeLoss(reason: string): string {
    if (reason === RESET) return "A reset ended it, and emptied the session.";
    this.hasServed = false;
    this.fresh = true;
    this.options.uncaptured();
    const kept = this.options.kept();
    if (kept > 0)
      return `The session's kernel ended: ${reason}. The next call finds the session as it was after cell ${kept}.`;
    this.options.emptied();
    const files = this.kernel
      ? "The session's variables are gone; files in /workspace and loaded data in /data are still there."
      : "The session's variables, files and loaded data are gone.";
    return `The session's kernel ended: ${reason}. ${files} A fresh one serves the next cell.`;
  }

  private async launch(signal?: AbortSignal): Promise<ServingKernel> {
    const handle = await this.options.openKernel(signal);
    if (this.closed) {
      await handle.end(new ClocheError("wire.closed", ENDING));
      throw new ClocheError("wire.closed", ENDING);
    }
    const { channel } = handle;
    const serving: ServingKernel = {
      files: this.options.openFiles(handle.directories.staging),
      execute: (...cell) => {
        this.hasServed = true;
        return channel.execute(...cell);
      },
      load: (...cell) => {
        this.hasServed = true;
        return channel.load(...cell);
      },
      inspect: (request) => channel.inspect(request),
      staging: handle.directories.staging,
      restore: (path, deadlineMs) => {
        this.hasServed = true;
        return channel.restore(path, deadlineMs);
      },
      recapture: () => channel.recapture(),
    };
    this.kernel = { handle, serving };
    this.fresh = true;
    handle.adopt({
      call: (call) => this.options.door(call),
      chunk: (name, data) => this.options.chunk(name, data),
      checkpoint: (cell, capture) => this.options.checkpoint(cell, capture),
      died: (reason) => {
        if (this.hasServed) this.options.lost(this.describeLoss(reason));
      },
      closed: (reason) => this.onClosed(handle, reason),
    });
    if (channel.closedFor) throw channel.closedFor;
    return serving;
  }

  private onClosed(handle: Kernel, reason: ClocheError): void {
    if (this.kernel?.handle !== handle) return;
    this.options.log.warn("kernel.closed", {
      reason: reason.message,
      said: handle.sandbox.diagnostics().slice(-2_000),
    });
    this.kernel = undefined;
    this.paused = false;
    this.options.uncaptured();
    void handle.end(reason);
    // A cell that was lost with it tells that first; one that had just ended tells nothing.
    setImmediate(() => {
      if (!this.closed && this.hasServed) this.options.lost(this.describeLoss(reason.message));
    });
  }

  private async drop(reason: ClocheError): Promise<void> {
    const kernel = this.kernel;
    this.kernel = undefined;
    this.paused = false;
    await kernel?.handle.end(reason);
  }
}
