// The sandbox without Docker: one bubblewrap process, its namespaces, and whoever holds it to its limits.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { isMainThread } from "node:worker_threads";
import { ClocheError } from "../shared/errors.ts";
import { bubblewrapArguments, READY_FD, systemBinds } from "./bubblewrap-arguments.ts";
import { dropped, findProblems, findProgram, type Problem, run } from "./bubblewrap-checks.ts";
import { endOrphans } from "./bubblewrap-orphans.ts";
import { RunningBubblewrap } from "./bubblewrap-process.ts";
import { chooseEnforcement, type Enforcement, type Hold } from "./enforcement.ts";
import { DROPPED_ID, grantTo } from "./layout.ts";
import type { RunningSandbox, Sandbox, SandboxReport, StartOptions } from "./sandbox.ts";
import { architecture, seccompProgram } from "./seccomp.ts";

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

  /** A sandbox dies with its server: only empty control groups can be left, and what was still being made. */
  async reap(isAlive: (owner: string) => boolean): Promise<number> {
    const ended = endOrphans(join(dirname(dirname(this.#options.kernel)), "run"), isAlive);
    const { uid, runtimeDirectory } = this.#options;
    const enforcement = await chooseEnforcement({ uid, ...(runtimeDirectory ? { runtimeDirectory } : {}) });
    return ended + enforcement.sweep();
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
