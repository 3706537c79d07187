// One running bubblewrap process: handing it filter and files, knowing that it stands, and ending all that is in it.
import type { ChildProcess } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { within } from "../shared/async.ts";
import { ClocheError } from "../shared/errors.ts";
import { FIRST_FILE_FD, INFO_FD, OWN_FILES, READY_FD, SECCOMP_FD } from "./bubblewrap-arguments.ts";
import type { Hold } from "./enforcement.ts";
import { SOCKET } from "./layout.ts";
import type { RunningSandbox, SandboxExit } from "./sandbox.ts";
import { Stdio } from "./stdio.ts";
import { Tail } from "./tail.ts";

/** How long bubblewrap may take to make its namespaces, in `milliseconds`. */
const START_DEADLINE = 10_000;
/** How long the processes inside may take to die before bubblewrap itself is killed, in `milliseconds`. */
const KILL_GRACE = 1_000;
/** How long the last words on stderr may take after the end, in `milliseconds`. */
const LAST_WORDS = 200;

export class RunningBubblewrap implements RunningSandbox {
  readonly kind = "bubblewrap";
  readonly stdio: Stdio;
  readonly socketPath = SOCKET;
  readonly memoryEnforcedBy: string;
  readonly exited: Promise<SandboxExit>;
  readonly #child: ChildProcess;
  readonly #hold: Hold;
  readonly #stderr = new Tail();
  readonly #lastWords: Promise<void>;
  #killed = false;
  /** pid of the sandbox's first process, as the host counts */
  #first: number | undefined;

  /** Takes the process and its hold. */
  constructor(child: ChildProcess, hold: Hold, memoryEnforcedBy: string) {
    this.#child = child;
    this.#hold = hold;
    this.memoryEnforcedBy = memoryEnforcedBy;
    this.stdio = new Stdio(child.stdin!, child.stdout!);
    child.stderr!.on("data", (chunk: Buffer) => this.#stderr.add(chunk));
    this.#lastWords = new Promise((resolve) => child.stderr!.on("close", resolve));
    for (const pipe of child.stdio.slice(SECCOMP_FD)) pipe?.on("error", () => {});
    this.exited = this.#watch();
  }

  /** Hands over filter and files, and waits until bubblewrap has made the sandbox. Kills it when it throws. */
  async begin(program: Buffer, signal: AbortSignal | undefined): Promise<void> {
    const pipes = this.#child.stdio;
    (pipes[SECCOMP_FD] as Writable).end(program);
    for (const [position, { content }] of OWN_FILES.entries())
      (pipes[FIRST_FILE_FD + position] as Writable).end(content);
    try {
      const report = Promise.all([
        readSome(pipes[INFO_FD] as Readable, "}"),
        readSome(pipes[READY_FD] as Readable, "\n"),
      ]);
      const [info, ready] =
        (await within(Promise.race([report, this.exited.then(() => [])]), START_DEADLINE, signal)) ?? [];
      this.#first = Number(/"child-pid"\s*:\s*(\d+)/.exec(info ?? "")?.[1]) || undefined;
      signal?.throwIfAborted();
      if (!ready || this.#first === undefined) throw this.#failure();
      this.#hold.started(this.#first);
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  diagnostics(): string {
    return this.#stderr.text;
  }

  /**
   * The sandbox's first process goes first: the kernel ends it only after everything else in its namespace, so that
   * bubblewrap's exit means that nothing runs any more.
   */
  async kill(): Promise<void> {
    this.#killed = true;
    if (this.#alive() && this.#first !== undefined) {
      try {
        process.kill(this.#first, "SIGKILL");
        await within(this.exited, KILL_GRACE);
      } catch {
        // It has just ended by itself.
      }
    }
    if (this.#alive()) this.#child.kill("SIGKILL");
    await this.exited;
    this.stdio.destroy();
  }

  #alive(): boolean {
    return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async #watch(): Promise<SandboxExit> {
    const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>((resolve) => {
      this.#child.on("exit", (code, signal) => resolve({ code, signal }));
      this.#child.on("error", (error) => {
        this.#stderr.add(Buffer.from(error.message));
        resolve({ code: null, signal: null });
      });
    });
    await within(this.#lastWords, LAST_WORDS);
    const outOfMemory = !this.#killed && (code === 137 || signal === "SIGKILL") && this.#hold.ranOut();
    await this.#hold.release();
    return { reason: this.#reason(code, signal, outOfMemory), outOfMemory };
  }

  #reason(code: number | null, signal: string | null, outOfMemory: boolean): string {
    if (this.#killed) return "it was ended";
    if (outOfMemory) return "it used more than its memory limit";
    if (code === 137 || signal === "SIGKILL") return "it was killed from outside";
    if (signal !== null) return `it was ended by ${signal}`;
    return code === 0 ? "it ended by itself" : `it ended with status ${code}`;
  }

  #failure(): ClocheError {
    const complaint = this.#stderr.text.trim().split("\n").at(-1) || "no reason given";
    return new ClocheError("sandbox.start_failed", {
      message: `bubblewrap could not make the sandbox (${complaint})`,
    });
  }
}

/** What a pipe says until `end` or its own end. */
function readSome(stream: Readable, end: string): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    stream.on("data", (chunk: Buffer) => {
      text += chunk;
      if (text.includes(end)) resolve(text);
    });
    stream.on("close", () => resolve(text));
  });
}
