// What is left of a place: processes that name it or see a part of it mounted, containers over its directories, staging.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type Docker from "dockerode";
import { expect } from "vitest";
import { dockerEnvironment, readSurroundings } from "../../src/config/surroundings.ts";
import { connectEngine } from "../../src/sandboxes/docker-connection.ts";
import { delay } from "../../src/shared/async.ts";
import type { Place } from "./place.ts";

/** How long ending may take, in `milliseconds`. */
const DEADLINE = 5_000;
/** What the engine says of a container whose server was killed between making and starting it. */
const CREATED = "created";

/** Fails unless everything of the place has gone in five seconds. */
export async function expectNothingLeft(place: Place): Promise<void> {
  await expectSoon(async () => [...(await running(place)), ...directories(place)]);
}

/**
 * Fails unless all processes and containers have gone in five seconds. Staging directories may wait for a sweep, and so
 * may a container that was never started.
 */
export async function expectNothingRunning(place: Place): Promise<void> {
  await expectSoon(async () => (await running(place)).filter((found) => !found.endsWith(`: ${CREATED}`)));
}

/** Processes below `pid`, as the system sees them. */
export function descendants(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`)
    .flatMap((task) => read(`/proc/${pid}/task/${task}/children`).split(" "))
    .filter((child) => child !== "")
    .map(Number);
  return children.flatMap((child) => [child, ...descendants(child)]);
}

/** Processes and containers of the place, in words. */
export async function running(place: Place): Promise<string[]> {
  const processes = processesOf(place.root).map(
    ({ pid, command }) => `process ${pid}: ${command.slice(0, 200)}`,
  );
  return [...processes, ...(await containers(place))];
}

/** Sandboxes of the place that run: containers, or process trees with their own mounts. */
export async function sandboxCount(place: Place): Promise<number> {
  if (place.kind === "docker") return (await containers(place)).length;
  return new Set(readdirSync(place.run).filter((name) => /^[0-9a-f]{8}$/.test(name))).size;
}

async function expectSoon(find: () => Promise<string[]>): Promise<void> {
  const until = performance.now() + DEADLINE;
  let found = await find();
  while (found.length > 0 && performance.now() < until) {
    await delay(50);
    found = await find();
  }
  expect(found, "left behind").toEqual([]);
}

/** Processes of a place: those that name it, were told of it, or see a part of it mounted. */
export function processesOf(root: string, command = ""): { pid: number; command: string; peak: number }[] {
  return readdirSync("/proc").flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) return [];
    const line = read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim();
    if (line === "" || !line.includes(command)) return [];
    const known = [line, read(`/proc/${pid}/environ`), read(`/proc/${pid}/mountinfo`)];
    if (!known.some((text) => text.includes(root))) return [];
    const peak = /VmHWM:\s+(\d+) kB/.exec(read(`/proc/${pid}/status`))?.[1];
    return [{ pid, command: line, peak: Number(peak ?? 0) * 1_024 }];
  });
}

async function containers(place: Place): Promise<string[]> {
  if (place.kind !== "docker") return [];
  const all = await (await engine()).listContainers({ all: true, filters: { label: ["cloche=1"] } });
  return all
    .filter(({ Mounts }) => Mounts.some(({ Source }) => Source.startsWith(place.root)))
    .map(({ Id, State }) => `container ${Id.slice(0, 12)}: ${State}`);
}

function directories(place: Place): string[] {
  return ["run", "scratch"].flatMap((name) => {
    try {
      return readdirSync(join(place.state, name)).map((entry) => `directory ${name}/${entry}`);
    } catch {
      return []; // No tool was called, so none was made.
    }
  });
}

let connected: Promise<Docker> | undefined;

function engine(): Promise<Docker> {
  connected ??= connectEngine(dockerEnvironment(readSurroundings())).then(({ docker }) => docker);
  return connected;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // It ended meanwhile, or is another user's.
  }
}
