// No secret of the host gets anywhere near a session: after a long mixed one, every sink is searched for it. For every
// sink a planted marker proves that the search would have found it.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, openSync, symlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { installation, Place } from "../e2e/place.ts";
import { eachSandbox } from "../e2e/rows.ts";
import type { Server } from "../e2e/server.ts";
import { sandboxesOf, unreadable } from "../load/processes.ts";
import { processesWith, until } from "../sandboxes/fixture.ts";
import { layOut, wanted } from "./canaries.ts";
import { live } from "./mixed-session.ts";
import {
  engine,
  type Find,
  insideProcesses,
  memoryRegions,
  ProcessWatch,
  SINKS,
  type Sink,
  searchDirectory,
  searchEngine,
  searchFiles,
  searchMemory,
} from "./sinks.ts";

const marker = (name: string) => `${name}${randomBytes(12).toString("hex")}`;

eachSandbox("secrets", (kind) => {
  const canary = marker("canary");
  let place: Place;
  let server: Server;
  let watch: ProcessWatch;
  let answers: string[];

  const search = async (sink: Sink, wantedMarker: string): Promise<Find[]> => {
    switch (sink) {
      case "memory":
        return searchMemory(place, wantedMarker);
      case "files":
        return searchFiles(place, wantedMarker);
      case "state":
        return searchDirectory("state", place.state, wantedMarker);
      case "published":
        return searchDirectory("published", join(place.project, "cloche-out"), wantedMarker);
      case "processes":
        watch.lookAround();
        return watch.search(wantedMarker);
      case "engine":
        return searchEngine(place, wantedMarker);
      case "answers":
        return answers.flatMap((text): Find[] => (text.includes(wantedMarker) ? [`answers: ${text}`] : []));
      case "stderr":
        return server.stderr.includes(wantedMarker) ? [`stderr: ${server.stderr}`] : [];
    }
  };

  beforeAll(async () => {
    place = new Place(kind);
    const env = layOut(place, canary);
    symlinkSync(join(place.root, "outside.txt"), join(place.project, "link.txt"));
    server = await place.start({ env });
    watch = new ProcessWatch(place, server.pid);
    answers = await live(place, server, wanted(place));
    await until("a standby", 30_000, () => sandboxesOf(place).filter(({ kernels }) => kernels[0]).length > 2);
  }, 120_000);
  afterAll(async () => {
    watch?.stop();
    await place?.[Symbol.asyncDispose]();
  });

  test.skipIf(unreadable)("none is found anywhere after a long mixed session", async () => {
    expect(answers.length).toBeGreaterThan(40);
    watch.lookAround();
    expect(watch.seen).toBeGreaterThan(3);
    const found = (await Promise.all(SINKS.map((sink) => search(sink, canary)))).flat();
    expect(found).toEqual([]);
  });

  test.skipIf(unreadable)("the search finds what is planted in each sink", async () => {
    const planted = marker("plant");
    for (const sink of SINKS) expect(await search(sink, planted), sink).toEqual([]);
    const roles = insideProcesses(place);
    expect(new Set(roles.map(({ role }) => role))).toEqual(new Set(["supervisor", "zygote", "kernel"]));
    for (const { pid } of roles) writeIntoMemory(pid, planted);
    const remembered = await search("memory", planted);
    for (const { pid, role } of roles)
      expect(
        remembered.some((find) => find.startsWith(`memory: ${role} ${pid} `)),
        `${role} ${pid}`,
      ).toBe(true);
    const [first, second] = [planted.slice(0, 8), planted.slice(8)];
    const plant = async (code: string) =>
      server.exec(`planted = ${JSON.stringify(first)} + ${JSON.stringify(second)}\n${code}`);
    for (const directory of ["/workspace", "/tmp", "/scratch", "/dev/shm"]) {
      await plant(`with open('${directory}/planted', 'w') as file: file.write(planted)`);
      expect(await search("files", planted)).toContain(`files: ${directory}/planted`);
    }
    // What a session writes to the disk is there, and what is kept of it, once it is.
    expect((await search("state", planted)).some((find) => find.includes("/scratch/"))).toBe(true);
    answers.push((await plant("print(planted); publish('/workspace/planted')")).text);
    expect(await search("answers", planted)).toHaveLength(1);
    expect(await search("published", planted)).toHaveLength(1);
    // The output of that cell is journaled, in the database or its log.
    await until("the journal", 5_000, async () =>
      (await search("state", planted)).some((find) => find.includes("cloche.sqlite")),
    );
    const child = spawn("sleep", ["20"], {
      argv0: `${place.root} ${planted}`,
      env: { PLANTED: `${place.root} ${planted}` },
    });
    await until("a process", 5_000, () => processesWith(planted).length > 0);
    expect(await search("processes", planted)).toHaveLength(1);
    child.kill("SIGKILL");
    if (kind === "docker") {
      const container = await (await engine()).createContainer({
        Image: installation().docker!.image,
        Env: [`PLANTED=${planted}`],
        Labels: { cloche: "1" },
        HostConfig: { Binds: [`${place.root}:/planted:ro`] },
      });
      expect(await search("engine", planted)).toHaveLength(1);
      await container.remove({ force: true });
    }
    const loud = await place.start({ args: ["--memory", planted] });
    await expect.poll(() => loud.stderr, { timeout: 20_000 }).toContain(planted);
    await loud.close();
  });

  test("none is in the state or the log that the server leaves", async () => {
    await server.close();
    expect(searchDirectory("state", place.state, canary)).toEqual([]);
  });
});

/** Writes below the used part of a process's stack, where nothing of it is overwritten. */
function writeIntoMemory(pid: number, text: string): void {
  const stack = memoryRegions(pid).find(({ name }) => name === "[stack]");
  if (!stack) throw new Error(`process ${pid} has no stack`);
  const memory = openSync(`/proc/${pid}/mem`, "r+");
  writeSync(memory, Buffer.from(text), 0, text.length, stack.from + 64);
  closeSync(memory);
}
