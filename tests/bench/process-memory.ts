// Proportional set size of processes: what each would free by ending, with shared pages split among their users.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import type { SandboxKind } from "../../src/sandboxes/sandbox.ts";

export interface MemoryFound {
  bytes: number;
  processes: number;
  /** part of `bytes` that the container engine's own process for each container takes */
  shim: number;
}

/** `bytes` of one process. Throws where the kernel does not say, as for other users' processes. */
export function processMemory(pid: number): number {
  return rollup(pid, "Pss");
}

/** The same without pages of files, which whatever else runs on this machine may share. */
export function unbackedMemory(pid: number): number {
  return rollup(pid, "Pss_Anon") + rollup(pid, "Pss_Shmem");
}

function rollup(pid: number, what: string): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kilobytes = new RegExp(`^${what}:\\s+(\\d+) kB$`, "m").exec(text)?.[1];
  if (kilobytes === undefined) throw new Error(`/proc/${pid}/smaps_rollup says no ${what}`);
  return Number(kilobytes) * 1024;
}

/**
 * Looks at everything that runs for one server's sandboxes. Make it before the server starts, because containers are
 * told apart by being new. The look throws where memory cannot be read: it takes root.
 */
export function sandboxMemory(kind: SandboxKind): (server: number) => MemoryFound {
  const others = kind === "docker" ? new Set(containers()) : new Set<string>();
  return (server) => {
    const parents = processTable();
    const roots =
      kind === "bubblewrap"
        ? childrenOf(server, parents)
        : firstProcesses(containers().filter((id) => !others.has(id)));
    if (roots.length === 0) throw new Error("no sandbox runs");
    const shims = kind === "docker" ? roots.map((root) => parents.get(root) ?? 0) : [];
    const inside = roots.flatMap((root) => [root, ...descendantsOf(root, parents)]);
    const shim = sum(shims.map(processMemory));
    return {
      bytes: sum(inside.map(processMemory)) + shim,
      processes: inside.length + shims.length,
      shim,
    };
  };
}

/** pid → parent's pid */
function processTable(): Map<number, number> {
  const table = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      // The command stands in parentheses and may hold anything.
      table.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // It ended while we looked.
    }
  }
  return table;
}

function childrenOf(pid: number, parents: Map<number, number>): number[] {
  return [...parents].filter(([, parent]) => parent === pid).map(([child]) => child);
}

function descendantsOf(pid: number, parents: Map<number, number>): number[] {
  return childrenOf(pid, parents).flatMap((child) => [child, ...descendantsOf(child, parents)]);
}

/** Ids of the containers that Cloche runs. */
function containers(): string[] {
  return docker("ps", "--quiet", "--no-trunc", "--filter", "label=cloche=1").filter(Boolean);
}

/** Their first processes, as the host numbers them. */
function firstProcesses(ids: string[]): number[] {
  return ids.length === 0 ? [] : docker("inspect", "--format", "{{.State.Pid}}", ...ids).map(Number);
}

function docker(...args: string[]): string[] {
  return execFileSync("docker", args, { encoding: "utf8" }).trim().split("\n");
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
