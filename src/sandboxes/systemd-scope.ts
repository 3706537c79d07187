// A transient systemd scope as one sandbox's limits: the way to a cgroup for people whose session systemd manages.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { withDeadline } from "../shared/async.ts";
import { countOomKills } from "./cgroup.ts";
import type { Limits } from "./sandbox.ts";

const SYSTEMD_RUN = "/usr/bin/systemd-run";
/** How long the user's systemd may take to make a scope, in `milliseconds`. */
const PROBE_DEADLINE = 3_000;
/** Memory limit of the trial scope, in `bytes`. */
const TRIAL_MEMORY = 64 * 2 ** 20;

export interface ScopeOptions {
  uid: number;
  /** XDG_RUNTIME_DIR: where the user's systemd listens */
  runtimeDirectory?: string;
}

/** What `systemd-run` needs in its environment; bubblewrap clears it before user code. */
export function scopeEnvironment({ runtimeDirectory }: ScopeOptions): Record<string, string> {
  if (runtimeDirectory === undefined) return {};
  return {
    XDG_RUNTIME_DIR: runtimeDirectory,
    DBUS_SESSION_BUS_ADDRESS: `unix:path=${runtimeDirectory}/bus`,
  };
}

/** Arguments that run what follows them in a scope of its own. The process stays the caller's child. */
export function scopeCommand({ uid }: ScopeOptions, { memory, processes, cpus }: Limits): string[] {
  return [
    SYSTEMD_RUN,
    ...(uid === 0 ? [] : ["--user"]),
    "--scope",
    "--quiet",
    "--collect",
    `--unit=cloche-${randomBytes(4).toString("hex")}`,
    `--property=MemoryMax=${memory}`,
    "--property=MemorySwapMax=0",
    `--property=TasksMax=${processes}`,
    `--property=CPUQuota=${Math.round(cpus * 100)}%`,
    "--",
  ];
}

/**
 * Runs a trial scope and reads back, from inside, that its memory limit is in force and that descriptors beyond
 * stderr come through. False for every other outcome.
 */
export async function scopesWork(options: ScopeOptions): Promise<boolean> {
  if (!existsSync("/run/systemd/system") || !existsSync(SYSTEMD_RUN)) return false;
  if (options.uid !== 0 && options.runtimeDirectory === undefined) return false;
  const script = 'cat "/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/memory.max" && cat <&3';
  const limits = { memory: TRIAL_MEMORY, processes: 16, cpus: 1, tmpfs: 0 };
  const [program, ...args] = [...scopeCommand(options, limits), "/bin/sh", "-c", script];
  const child = spawn(program!, args, {
    cwd: "/",
    env: { PATH: "/usr/bin:/bin", ...scopeEnvironment(options) },
    stdio: ["ignore", "pipe", "ignore", "pipe"],
  });
  let text = "";
  child.stdout!.on("data", (chunk: Buffer) => {
    text += chunk;
  });
  const carried = child.stdio[3] as NodeJS.WritableStream;
  carried.on("error", () => {});
  carried.end("carried");
  const ended = new Promise<void>((resolve) => {
    child.on("close", () => resolve());
    child.on("error", () => resolve());
  });
  try {
    await withDeadline(ended, PROBE_DEADLINE, "a trial systemd scope");
  } catch {
    child.kill("SIGKILL");
    return false;
  }
  return text === `${TRIAL_MEMORY}\ncarried`;
}

/** The `memory.events` file of the scope that process `pid` runs in, or `undefined`. */
export function scopeEvents(pid: number): string | undefined {
  try {
    const path = /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, "utf8"))?.[1];
    return path && `/sys/fs/cgroup${path}/memory.events`;
  } catch {
    return undefined;
  }
}

/** Whether the scope's memory limit killed a process, as far as its file is still there to be read. */
export function scopeRanOut(events: string | undefined): boolean {
  return events !== undefined && countOomKills(events) > 0;
}
