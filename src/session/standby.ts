// The one warm kernel a server keeps ready: a new session takes it, and the next is started behind.
import type { Kernel } from "../kernel/launch.ts";
import { within } from "../shared/async.ts";
import { ClocheError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";

/** `milliseconds` after a session took a kernel before the next is started, so that its first cell has the machine. */
const REFILL_AFTER_MS = 500;
/** `milliseconds` to wait for one that is being warmed up: past them it may be stuck, and a new one comes sooner. */
const PATIENCE_MS = 10_000;

export class Standby implements AsyncDisposable {
  private readonly launch: (signal?: AbortSignal) => Promise<Kernel>;
  private readonly log: Logger;
  private warm: Promise<Kernel | undefined> | undefined;
  private ready: Kernel | undefined;
  private timer: NodeJS.Timeout | undefined;
  private readonly ending = new AbortController();

  constructor(launch: (signal?: AbortSignal) => Promise<Kernel>, log: Logger) {
    this.launch = launch;
    this.log = log;
  }

  /** The warm kernel where there is one, the one being warmed up where that is under way, else a new one. */
  async take(signal?: AbortSignal): Promise<Kernel> {
    signal?.throwIfAborted();
    const { warm } = this;
    this.warm = this.ready = undefined;
    clearTimeout(this.timer);
    try {
      const kernel = warm && (await unlessAborted(within(warm, PATIENCE_MS), signal));
      if (kernel && !kernel.channel.closedFor && (await kernel.responds())) return kernel;
      if (kernel) void kernel.end(new ClocheError("sandbox.lost", { message: "the standby ended" }));
      else if (warm) this.keepLate(warm);
      return await this.launch(signal);
    } catch (error) {
      // Whoever wanted it has gone: it stays for the next.
      if (signal?.aborted && warm && !this.warm) this.keep(warm);
      throw error;
    } finally {
      if (!this.closing) this.timer = setTimeout(() => this.refill(), REFILL_AFTER_MS).unref();
    }
  }

  /** A warm kernel is there and waits. */
  get isReady(): boolean {
    return this.ready !== undefined;
  }

  private get closing(): boolean {
    return this.ending.signal.aborted;
  }

  private refill(): void {
    if (this.closing || this.warm) return;
    const warm = this.launch(this.ending.signal).then(
      (kernel) => {
        void kernel.exited.then(() => this.forget(warm, kernel));
        return kernel;
      },
      (error: unknown) => {
        // The next session starts its own and meets the error itself.
        if (!this.closing)
          this.log.warn("standby.failed", {
            message: error instanceof Error ? error.message : String(error),
          });
        return undefined;
      },
    );
    this.keep(warm);
  }

  private keep(warm: Promise<Kernel | undefined>): void {
    this.warm = warm;
    void warm.then((kernel) => {
      if (this.warm !== warm) return;
      this.ready = kernel;
      if (!kernel) this.warm = undefined;
    });
  }

  /** One that nobody waits for any more is the next standby, unless there is another by then. */
  private keepLate(warm: Promise<Kernel | undefined>): void {
    void warm.then((kernel) => {
      if (this.warm === warm) return;
      if (!this.warm && !this.closing) this.keep(warm);
      else void kernel?.end(new ClocheError("sandbox.lost", { message: "it came too late" }));
    });
  }

  private forget(warm: Promise<Kernel | undefined>, kernel: Kernel): void {
    if (this.warm !== warm) return;
    this.warm = this.ready = undefined;
    void kernel.end(new ClocheError("sandbox.lost", { message: "the standby ended" }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.ending.abort();
    clearTimeout(this.timer);
    const kernel = await this.warm;
    this.warm = this.ready = undefined;
    await kernel?.end(new ClocheError("wire.closed", { message: "the server is ending" }));
  }
}

/** The promise's value; rejects with the signal's reason when that fires first. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise<T>((resolve, reject) => {
    const withdraw = () => reject(signal.reason);
    signal.addEventListener("abort", withdraw, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", withdraw));
  });
}
