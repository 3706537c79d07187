// What the rest of Cloche may know of a sandbox: how to start one, talk to it, end it, and what it truly enforces.
import type { Duplex } from "node:stream";

export type SandboxKind = "docker" | "bubblewrap";

export interface Limits {
  /** memory of all processes and tmpfs together, in `bytes` */
  memory: number;
  /** processors, whole or fractional */
  cpus: number;
  /** processes and threads together */
  processes: number;
  /** size of each tmpfs (/workspace, /tmp), in `bytes`; counts as memory */
  tmpfs: number;
}

export interface StartOptions {
  limits: Limits;
  /** host directory mounted read-only at /cloche: `data/` is seen at /data, `s` is the socket where one serves */
  staging: string;
  /** host directory mounted writable at /scratch, nosuid and nodev */
  scratch: string;
  /** label that says which server and state directory own it, for the reaper */
  owner: string;
  signal?: AbortSignal;
}

/** Why a sandbox ended, in words for the answer. */
export interface SandboxExit {
  reason: string;
  /** the memory limit ended it */
  outOfMemory: boolean;
}

/** One running sandbox. Its owner must `kill` it; `kill` is idempotent and resolves once nothing of it runs. */
export interface RunningSandbox {
  readonly kind: SandboxKind;
  /** the process's stdin and stdout: carries `boot`, and every frame where no socket serves; its end ends the sandbox */
  readonly stdio: Duplex;
  /** path inside the sandbox of a unix socket in the staging directory, where that can be connected */
  readonly socketPath?: string;
  /** what user code's processes count against, in words: "cgroup", "systemd scope", "watchdog" */
  readonly memoryEnforcedBy: string;
  /** resolves exactly once, after `kill` too */
  readonly exited: Promise<SandboxExit>;
  /** the last bytes the sandbox wrote to stderr: the supervisor's own complaint when it cannot start */
  diagnostics(): string;
  kill(): Promise<void>;
}

/** What `doctor` prints of one sandbox kind. */
export interface SandboxReport {
  kind: SandboxKind;
  available: boolean;
  /** version of engine or tool, and what it serves (image, interpreter) */
  details: string[];
  /** limit → how it is enforced, or "not enforced" */
  limits: Record<string, string>;
  /** what stands in the way, each with the exact remedy */
  problems: { problem: string; remedy: string }[];
}

export interface Sandbox {
  readonly kind: SandboxKind;
  /** Looks without starting anything: cheap enough for `doctor` and for choosing; bounded to 10 s. */
  inspect(): Promise<SandboxReport>;
  /** Starts one. Throws `sandbox.start_failed` or `sandbox.unavailable`; leaves nothing behind when it throws. */
  start(options: StartOptions): Promise<RunningSandbox>;
  /** Ends what earlier servers left behind, by label or record; resolves with how many. */
  reap(isAlive: (owner: string) => boolean): Promise<number>;
}
