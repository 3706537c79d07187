// A control group of our own for one sandbox, version 1 or 2, wherever this process may make one.
import { randomBytes } from "node:crypto";
import {
  accessSync,
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { delay } from "../shared/async.ts";
import type { Limits } from "./sandbox.ts";

const PREFIX = "cloche-";
/** Period of the processor quota, in `microseconds`: the kernel's default. */
const CPU_PERIOD = 100_000;
/** How long an emptied group may stay busy, in `milliseconds`. */
const REMOVE_DEADLINE = 2_000;
/** Age after which an empty group belongs to nobody, in `milliseconds`: one being set up is younger. */
const STALE_AGE = 3_000;

/** Directories under which groups can be made; with version 1 one for each controller. */
export interface CgroupParents {
  version: 1 | 2;
  memory: string;
  pids?: string;
  cpu?: string;
}

interface Mount {
  root: string;
  point: string;
  type: string;
  options: string[];
}

/** Where this process may make groups with a memory limit, or `undefined`. Looks, changes nothing. */
export function findCgroupParents(): CgroupParents | undefined {
  let mounts: Mount[];
  let own: Map<string, string>;
  try {
    mounts = readMounts();
    own = readOwnGroups();
  } catch {
    return undefined;
  }
  return findVersion2(mounts, own) ?? findVersion1(mounts, own);
}

function readMounts(): Mount[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes(" - cgroup"))
    .map((line) => {
      const [before, after] = line.split(" - ") as [string, string];
      const fields = before.split(" ");
      const [type, , options] = after.split(" ");
      return { root: fields[3]!, point: fields[4]!, type: type!, options: options?.split(",") ?? [] };
    });
}

/** Controller → path of this process's group; version 2's has the empty name. */
function readOwnGroups(): Map<string, string> {
  const groups = new Map<string, string>();
  for (const line of readFileSync("/proc/self/cgroup", "utf8").trim().split("\n")) {
    const [, controllers, ...path] = line.split(":");
    for (const controller of controllers!.split(",")) groups.set(controller, path.join(":"));
  }
  return groups;
}

/** The directory of this process's group below `mount`; the mount itself where the group lies outside of it. */
function ownDirectory({ root, point }: Mount, path: string | undefined): string {
  if (path === undefined) return point;
  const below = root === "/" ? path : path.startsWith(`${root}/`) ? path.slice(root.length) : "";
  return below === "" || below.includes("/..") ? point : join(point, below);
}

/** The nearest group above this process that hands memory and pids down and that we may write to. */
function findVersion2(mounts: Mount[], own: Map<string, string>): CgroupParents | undefined {
  const mount = mounts.find(({ type }) => type === "cgroup2");
  if (!mount) return undefined;
  for (let at = ownDirectory(mount, own.get("")); at.startsWith(mount.point); at = dirname(at)) {
    const handedDown = readOr(join(at, "cgroup.subtree_control"), "").trim().split(" ");
    if (!handedDown.includes("memory") || !handedDown.includes("pids")) continue;
    // Moving a process needs write access to the common ancestor too: without it the group could not be joined.
    if (!isWritable(at) || !isWritable(join(at, "cgroup.procs"))) return undefined;
    return { version: 2, memory: at, pids: at, ...(handedDown.includes("cpu") ? { cpu: at } : {}) };
  }
  return undefined;
}

function findVersion1(mounts: Mount[], own: Map<string, string>): CgroupParents | undefined {
  const parent = (controller: string): string | undefined => {
    const mount = mounts.find(({ type, options }) => type === "cgroup" && options.includes(controller));
    const directory = mount && ownDirectory(mount, own.get(controller));
    return directory && isWritable(directory) ? directory : undefined;
  };
  const memory = parent("memory");
  if (memory === undefined) return undefined;
  const [pids, cpu] = [parent("pids"), parent("cpu")];
  return { version: 1, memory, ...(pids ? { pids } : {}), ...(cpu ? { cpu } : {}) };
}

/** One sandbox's group. Its owner must `remove` it once nothing runs in it. */
export class Cgroup {
  readonly #parents: CgroupParents;
  readonly #name = PREFIX + randomBytes(4).toString("hex");

  /** Makes the group and sets its limits; leaves nothing behind when it throws. */
  constructor(parents: CgroupParents, limits: Limits) {
    this.#parents = parents;
    try {
      for (const directory of this.directories) mkdirSync(directory);
      this.#limit(limits);
    } catch (error) {
      for (const directory of this.directories) removeIfEmpty(directory);
      throw error;
    }
  }

  /** What a process must join, by writing to `cgroup.procs` in each. */
  get directories(): string[] {
    const { memory, pids, cpu } = this.#parents;
    const parents = [memory, pids, cpu].filter((parent) => parent !== undefined);
    return [...new Set(parents)].map((parent) => join(parent, this.#name));
  }

  #limit({ memory, processes, cpus }: Limits): void {
    const { version } = this.#parents;
    const set = (parent: string | undefined, file: string, value: number | string) => {
      if (parent !== undefined) writeFileSync(join(parent, this.#name, file), String(value));
    };
    const quota = Math.round(cpus * CPU_PERIOD);
    if (version === 2) {
      set(this.#parents.memory, "memory.max", memory);
      setIfPresent(() => set(this.#parents.memory, "memory.swap.max", 0));
      set(this.#parents.cpu, "cpu.max", `${quota} ${CPU_PERIOD}`);
    } else {
      set(this.#parents.memory, "memory.limit_in_bytes", memory);
      setIfPresent(() => set(this.#parents.memory, "memory.memsw.limit_in_bytes", memory));
      set(this.#parents.cpu, "cpu.cfs_period_us", CPU_PERIOD);
      set(this.#parents.cpu, "cpu.cfs_quota_us", quota);
    }
    set(this.#parents.pids, "pids.max", processes);
  }

  /** How many processes the memory limit has killed. */
  memoryKills(): number {
    const file = this.#parents.version === 2 ? "memory.events" : "memory.oom_control";
    return countOomKills(join(this.#parents.memory, this.#name, file));
  }

  /** Resolves once the group is gone, or was busy for too long: then the next `removeStale` finds it. */
  async remove(): Promise<void> {
    const deadline = Date.now() + REMOVE_DEADLINE;
    while (!this.directories.map(removeIfEmpty).every(Boolean) && Date.now() < deadline) await delay(5);
  }
}

/** The count in a `memory.events` or `memory.oom_control` file; 0 where it cannot be read. */
export function countOomKills(file: string): number {
  return Number(/^oom_kill (\d+)$/m.exec(readOr(file, ""))?.[1] ?? 0);
}

/** Removes groups that a killed server left; one in use is busy and stays. Returns how many. */
export function removeStale(parents: CgroupParents): number {
  const { memory, pids, cpu } = parents;
  const removed = new Set<string>();
  for (const parent of new Set([memory, pids, cpu].filter((directory) => directory !== undefined))) {
    for (const name of readdirSync(parent)) {
      const directory = join(parent, name);
      if (!/^cloche-[0-9a-f]{8}$/.test(name) || ageOf(directory) < STALE_AGE) continue;
      if (removeIfEmpty(directory)) removed.add(name);
    }
  }
  return removed.size;
}

function ageOf(directory: string): number {
  try {
    return Date.now() - statSync(directory).ctimeMs;
  } catch {
    return 0;
  }
}

/** Is it gone? */
function removeIfEmpty(directory: string): boolean {
  try {
    rmdirSync(directory);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

function setIfPresent(set: () => void): void {
  try {
    set();
  } catch {
    // The kernel was built, or booted, without swap accounting.
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return otherwise;
  }
}
