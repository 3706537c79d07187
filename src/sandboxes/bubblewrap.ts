// The sandbox without Docker: one bubblewrap process, its namespaces, and whoever holds it to its limits.
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { isMainThread } from "node:worker_threads";
import { within } from "../shared/async.ts";
import { ClocheError } from "../shared/errors.ts";
import {
  bubblewrapArguments,
  FIRST_FILE_FD,
  INFO_FD,
  OWN_FILES,
  READY_FD,
  SECCOMP_FD,
  systemBinds,
} from "./bubblewrap-arguments.ts";
import { dropped, findProblems, findProgram, type Problem, run } from "./bubblewrap-checks.ts";
import { chooseEnforcement, type Enforcement, type Hold } from "./enforcement.ts";
import { DROPPED_ID, grantTo, SOCKET } from "./layout.ts";
import type { RunningSandbox, Sandbox, SandboxExit, SandboxReport, StartOptions } from "./sandbox.ts";
import { architecture, seccompProgram } from "./seccomp.ts";
import { Stdio } from "./stdio.ts";
import { Tail } from "./tail.ts";

/** How long bubblewrap may take to make its namespaces, in `milliseconds`. */
const START_DEADLINE = 10_000;
/** How long the processes inside may take to die before bubblewrap itself is killed, in `milliseconds`. */
const KILL_GRACE = 1_000;
/** How long the last words on stderr may take after the end, in `milliseconds`. */
const LAST_WORDS = 200;

export interface BubblewrapOptions {
  /** virtual environment of the sandbox; absent where setup made none */
  python?: string;
  /** world-readable copy of the kernel packages, see kernel-files.ts */
  kernel: string;
  uid: number;
  /** XDG_RUNTIME_DIR */
  runtimeDirectory?: string;
  /** runs inside instead of the supervisor */
  command?: readonly string[];
}

export class BubblewrapSandbox implements Sandbox {
  readonly kind = "bubblewrap";
  readonly #options: BubblewrapOptions;
  #prepared: Promise<Prepared> | undefined;

  constructor(options: BubblewrapOptions) {
    this.#options = options;
  }

  async inspect(): Promise<SandboxReport> {
    const problems = await this.#problems();
    const details: string[] = [];
    const bwrap = findProgram("bwrap");
    if (bwrap !== undefined) details.push((await run(bwrap, ["--version"])).text.trim());
    const { python, kernel, uid, runtimeDirectory } = this.#options;
    if (python !== undefined) details.push(`Python environment ${python}`);
    details.push(`kernel packages ${kernel}`);
    if (uid === 0) details.push(`root is dropped to uid ${DROPPED_ID} first`);
    const enforcement =
      problems.length === 0
        ? await chooseEnforcement({ uid, ...(runtimeDirectory ? { runtimeDirectory } : {}) })
        : undefined;
    return {
      kind: this.kind,
      available: problems.length === 0,
      details,
      limits: enforcement
        ? {
            ...enforcement.limits,
            tmpfs: "size of the mount",
            "memory of one process": "RLIMIT_DATA",
            "size of one file": "RLIMIT_FSIZE",
          }
        : {},
      problems,
    };
  }

  async start(options: StartOptions): Promise<RunningSandbox> {
    // --die-with-parent follows the thread that spawned: a worker's end would end the sandbox.
    if (!isMainThread) throw new Error("a bubblewrap sandbox must be started from the main thread");
    const prepared = await this.#prepare();
    options.signal?.throwIfAborted();
    const { uid, kernel, command } = this.#options;
    let hold: Hold | undefined;
    try {
      if (uid === 0) grantTo(DROPPED_ID, options.staging, options.scratch);
      hold = prepared.enforcement.hold(options.limits);
      const wrapped = {
        python: prepared.python,
        kernel,
        system: prepared.system,
        ...(command ? { command } : {}),
      };
      const [program, ...args] = [
        ...hold.prefix,
        ...dropped(uid, DROPPED_ID),
        prepared.bwrap,
        ...bubblewrapArguments(wrapped, options),
      ];
      const child = spawn(program!, args, {
        cwd: "/",
        env: hold.environment,
        stdio: Array(READY_FD + 1).fill("pipe"),
      });
      const running = new RunningBubblewrap(child, hold, prepared.enforcement.by);
      hold = undefined;
      await running.begin(prepared.program, options.signal);
      return running;
    } catch (cause) {
      await hold?.release();
      if (cause instanceof ClocheError || options.signal?.aborted) throw cause;
      throw new ClocheError("sandbox.start_failed", {
        message: `the bubblewrap sandbox could not be started (${(cause as Error).message})`,
        cause,
      });
    }
  }

  /** A sandbox dies with its server, so only empty control groups can be left. */
  async reap(): Promise<number> {
    const { uid, runtimeDirectory } = this.#options;
    const enforcement = await chooseEnforcement({ uid, ...(runtimeDirectory ? { runtimeDirectory } : {}) });
    return enforcement.sweep();
  }

  #problems(): Promise<Problem[]> {
    const { python, kernel, uid } = this.#options;
    return findProblems({ python, reached: [kernel], uid });
  }

  /** What every start shares, found once; found again after a failure, because the person may have mended it. */
  #prepare(): Promise<Prepared> {
    this.#prepared ??= this.#prepareOnce();
    this.#prepared.catch(() => {
      this.#prepared = undefined;
    });
    return this.#prepared;
  }

  async #prepareOnce(): Promise<Prepared> {
    const [problem] = await this.#problems();
    if (problem)
      throw new ClocheError("sandbox.unavailable", { message: problem.problem, hint: problem.remedy });
    const { uid, runtimeDirectory } = this.#options;
    const python = this.#options.python!;
    return {
      bwrap: findProgram("bwrap")!,
      python,
      program: seccompProgram(architecture(process.arch)),
      system: systemBinds(python),
      enforcement: await chooseEnforcement({ uid, ...(runtimeDirectory ? { runtimeDirectory } : {}) }),
    };
  }
}

interface Prepared {
  bwrap: string;
  python: string;
  program: Buffer;
  system: string[];
  enforcement: Enforcement;
}

class RunningBubblewrap implements RunningSandbox {
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
