// What runs for a place, by what it does: its memory and its descriptors, as the host counts them. Takes root.
import { readdirSync, readFileSync } from "node:fs";
import { processMemory } from "../bench/process-memory.ts";
import { processesOf } from "../e2e/left-behind.ts";
import type { Place } from "../e2e/place.ts";

/** One sandbox's processes. */
export interface SandboxProcesses {
  supervisor: number;
  zygote: number;
  /** forks of the zygote: the session's kernel and what it forked */
  kernels: number[];
}

export interface Use {
  /** proportional set size in `bytes` */
  memory: number;
  descriptors: number;
}

/** Why memory and descriptors cannot be read here; undefined where they can. */
export const unreadable = process.getuid?.() === 0 ? undefined : "reading other users' processes takes root";

/** The place's sandboxes, oldest first. */
export function sandboxesOf(place: Place): SandboxProcesses[] {
  const found = processesOf(place.root, "cloche_kernel/").map(({ pid, command }) => ({
    pid,
    command,
    ...origin(pid),
  }));
  return found
    .filter(({ command }) => command.includes("supervisor.py") && !command.includes("prlimit"))
    .filter(({ command }) => !/^\S*(bwrap|setpriv|sh) /.test(command))
    .sort((a, b) => a.started - b.started)
    .flatMap(({ pid }) => {
      const [zygote, ...kernels] = found
        .filter(({ parent, command }) => parent === pid && command.includes("zygote.py"))
        .sort((a, b) => a.started - b.started || a.pid - b.pid)
        .map((child) => child.pid);
      return zygote === undefined ? [] : [{ supervisor: pid, zygote, kernels }];
    });
}

export function use(pid: number): Use {
  return { memory: processMemory(pid), descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

/** Proportional set size of all that runs in the place's sandboxes, in `bytes`. */
export function sandboxMemory(place: Place, server: number, memory = processMemory): number {
  let total = 0;
  for (const { pid } of processesOf(place.root)) {
    if (pid === server) continue;
    try {
      total += memory(pid);
    } catch {
      // It ended while we looked.
    }
  }
  return total;
}

/** Parent's pid, and the start in ticks since the machine's. */
function origin(pid: number): { parent: number; started: number } {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { parent: Number(fields[1]), started: Number(fields[19]) };
  } catch {
    return { parent: 0, started: 0 };
  }
}
