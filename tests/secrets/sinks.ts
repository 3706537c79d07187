// Everywhere that something of the host's could end up: each sink is searched for one marker, as bytes.
import { closeSync, lstatSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import type Docker from "dockerode";
import { dockerEnvironment, readSurroundings } from "../../src/config/surroundings.ts";
import { connectEngine } from "../../src/sandboxes/docker-connection.ts";
import { descendants, processesOf } from "../e2e/left-behind.ts";
import type { Place } from "../e2e/place.ts";
import { sandboxesOf } from "../load/processes.ts";

export const SINKS = [
  "memory",
  "files",
  "state",
  "published",
  "processes",
  "engine",
  "answers",
  "stderr",
] as const;
export type Sink = (typeof SINKS)[number];

/** Where a marker was found: sink and place in it. */
export type Find = `${Sink}: ${string}`;

/** Read at once, in `bytes`; two reads overlap by the longest marker. */
const WINDOW = 8 * 1024 * 1024;
const LONGEST = 256;
/** The host's own programs and libraries, which no session can have written to, and what is no file. */
const NOT_SEARCHED = new Set(["/usr", "/proc", "/sys", "/opt/cloche/python", "/dev/fd"]);

/** The marker as UTF-8 and as UTF-16, which JavaScript and Windows files use. */
export function encodings(marker: string): Buffer[] {
  return [Buffer.from(marker), Buffer.from(marker, "utf16le")];
}

/** Writable or anonymous memory of every process in the place's sandboxes. What is mapped from files is among the files. */
export function searchMemory(place: Place, marker: string): Find[] {
  return insideProcesses(place).flatMap(({ pid, role }) => {
    let memory: number;
    try {
      memory = openSync(`/proc/${pid}/mem`, "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return []; // It has just ended.
      throw error;
    }
    try {
      const regions = memoryRegions(pid).filter(({ from, to }) =>
        regionHolds(memory, from, to, encodings(marker)),
      );
      return regions.map(({ name }): Find => `memory: ${role} ${pid} ${name}`);
    } finally {
      closeSync(memory);
    }
  });
}

export interface Region {
  from: number;
  to: number;
  name: string;
}

export function memoryRegions(pid: number): Region[] {
  return readFileSync(`/proc/${pid}/maps`, "utf8")
    .split("\n")
    .flatMap((line) => {
      const [, from, to, mode, inode, name = ""] =
        /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+)\s*(.*)$/.exec(line) ?? [];
      if (!from || !to || !mode?.startsWith("r") || /^\[(vvar|vsyscall|vdso)/.test(name)) return [];
      if (inode !== "0" && !mode.includes("w")) return [];
      return [{ from: Number.parseInt(from, 16), to: Number.parseInt(to, 16), name: name || "anonymous" }];
    });
}

/** Every process of every sandbox of the place, the standby's too, with what it is. */
export function insideProcesses(place: Place): { pid: number; role: string }[] {
  return sandboxesOf(place).flatMap(({ supervisor, zygote, kernels }) => [
    { pid: supervisor, role: "supervisor" },
    { pid: zygote, role: "zygote" },
    ...kernels.flatMap((kernel) => [kernel, ...descendants(kernel)]).map((pid) => ({ pid, role: "kernel" })),
  ]);
}

/** Files of every sandbox of the place, as its first process sees them. */
export function searchFiles(place: Place, marker: string): Find[] {
  return sandboxesOf(place).flatMap(({ supervisor }) => {
    const root = `/proc/${supervisor}/root`;
    return walk(root, root)
      .filter((path) => fileHolds(path, marker))
      .map((path): Find => `files: ${path.slice(root.length)}`);
  });
}

/** Files below a directory of the host. */
export function searchDirectory(sink: Sink, directory: string, marker: string): Find[] {
  return walk(directory, directory)
    .filter((path) => fileHolds(path, marker))
    .map((path): Find => `${sink}: ${path}`);
}

/** What the engine tells of the place's containers. */
export async function searchEngine(place: Place, marker: string): Promise<Find[]> {
  if (place.kind !== "docker") return [];
  const docker = await engine();
  const all = await docker.listContainers({ all: true, filters: { label: ["cloche=1"] } });
  const mine = all.filter(({ Mounts }) => Mounts.some(({ Source }) => Source.startsWith(place.root)));
  if (mine.length === 0) throw new Error("the engine knows no container of this place");
  const told = await Promise.all(
    mine.map(async ({ Id }) => JSON.stringify(await docker.getContainer(Id).inspect())),
  );
  return told.flatMap((text, at): Find[] => (text.includes(marker) ? [`engine: ${mine[at]!.Id}`] : []));
}

/** Watches what the server starts for as long as it lives: command lines and environments, those of short lives too. */
export class ProcessWatch {
  private readonly told = new Map<string, string>();
  private readonly timer: NodeJS.Timeout;
  private readonly place: Place;
  private readonly server: number;
  /** the server's own command line: its environment is where the secrets are */
  private readonly command: string;

  constructor(place: Place, server: number) {
    this.place = place;
    this.server = server;
    this.command = text(`/proc/${server}/cmdline`);
    this.timer = setInterval(() => this.look(children(server)), 20);
  }

  /** How many programs were seen. */
  get seen(): number {
    return this.told.size;
  }

  /** Also those that are no child of the server: what an engine started for it. */
  lookAround(): void {
    const others = processesOf(this.place.root).filter(({ pid }) => pid !== this.server);
    this.look(others.map(({ pid }) => pid));
    this.told.set("the server's command line", this.command);
  }

  search(marker: string): Find[] {
    return [...this.told].flatMap(([name, told]): Find[] =>
      told.includes(marker) ? [`processes: ${name.slice(0, 200)}`] : [],
    );
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private look(pids: number[]): void {
    for (const pid of pids) {
      const command = text(`/proc/${pid}/cmdline`);
      // Between fork and exec a child is still the server itself.
      if (command === this.command) continue;
      const environment = text(`/proc/${pid}/environ`);
      this.told.set(`${pid} ${command.replaceAll("\0", " ")}`, `${command}\0${environment}`);
    }
  }
}

function children(pid: number): number[] {
  try {
    return descendants(pid);
  } catch {
    return []; // One of them ended while we looked.
  }
}

export async function engine(): Promise<Docker> {
  return (await connectEngine(dockerEnvironment(readSurroundings()))).docker;
}

function regionHolds(memory: number, from: number, to: number, markers: Buffer[]): boolean {
  const window = Buffer.allocUnsafe(Math.min(WINDOW, to - from));
  for (let at = from; at < to; at += WINDOW - LONGEST) {
    let read: number;
    try {
      read = readSync(memory, window, 0, Math.min(window.length, to - at), at);
    } catch {
      return false; // A page that cannot be read ends the region: a guard, or gone meanwhile.
    }
    const bytes = window.subarray(0, read);
    if (markers.some((marker) => bytes.includes(marker))) return true;
    if (read < window.length) return false;
  }
  return false;
}

function fileHolds(path: string, marker: string): boolean {
  try {
    // A directory's listing calls a device that is mounted over a file a file, and /dev/zero has no end.
    if (!lstatSync(path).isFile()) return false;
    const bytes = readFileSync(path);
    return encodings(marker).some((each) => bytes.includes(each));
  } catch {
    return false; // It has gone meanwhile.
  }
}

function walk(directory: string, root: string): string[] {
  const seen = directory.slice(root.length);
  if (NOT_SEARCHED.has(seen)) return [];
  let entries: ReturnType<typeof list>;
  try {
    entries = list(directory);
  } catch {
    return [];
  }
  return entries.flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return walk(path, root);
    return entry.isFile() ? [path] : [];
  });
}

function list(directory: string) {
  return readdirSync(directory, { withFileTypes: true });
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
