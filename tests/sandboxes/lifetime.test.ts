// A sandbox ends when it is told to, when its input ends and when its server dies; and nothing of it is left.
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import Docker from "dockerode";
import { describe, expect, test } from "vitest";
import { findEngine } from "../../src/sandboxes/docker-engine.ts";
import type { SandboxKind } from "../../src/sandboxes/sandbox.ts";
import { sweepStagingDirectories } from "../../src/sandboxes/staging-directory.ts";
import { lingering, openBox, processesWith, python, startOptions, uniqueName, until } from "./fixture.ts";
import { availability, makeSandbox, testConfig } from "./required.ts";

/** Mounts of this machine that show a staging directory. */
const mountsOf = (name: string) =>
  readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .filter((line) => line.includes(name));

/** Directories of the control groups a process is in. */
function cgroupsOf(pid: number): string[] {
  const own = new Set(groups("self"));
  return groups(String(pid)).filter((path) => !own.has(path));
}

function groups(pid: string): string[] {
  return readFileSync(`/proc/${pid}/cgroup`, "utf8")
    .trim()
    .split("\n")
    .flatMap((line) => {
      const [, controllers, path] = line.split(":") as [string, string, string];
      return [join("/sys/fs/cgroup", controllers, path), join("/sys/fs/cgroup/unified", path)];
    })
    .filter((path) => existsSync(path));
}

const dockerServes = (await availability()).some(({ kind, available }) => kind === "docker" && available);

/** Ids of containers that mount this staging directory. */
async function containersWith(name: string): Promise<string[]> {
  const address = findEngine(testConfig.docker);
  if (!dockerServes || address?.socketPath === undefined) return [];
  const docker = new Docker({ socketPath: address.socketPath, host: undefined } as Docker.DockerOptions);
  const all = await docker.listContainers({ all: true });
  return all.filter(({ Mounts }) => Mounts.some(({ Source }) => Source?.includes(name))).map(({ Id }) => Id);
}

async function opened(kind: SandboxKind, token: string) {
  const box = await openBox(kind, python(lingering(token)), { unread: true });
  await new Promise((resolve) => box.running.stdio.once("data", resolve));
  return box;
}

describe.each(await availability())("$kind", ({ kind, available, reason }) => {
  const row = available ? test : (name: string, _: () => void) => test.skip(`${name} (${reason})`, () => {});

  row("ends when its input ends, with every process in it", async () => {
    const token = uniqueName();
    await using box = await opened(kind, token);
    expect(processesWith(token)).not.toEqual([]);
    box.running.stdio.end();
    expect(await box.running.exited).toEqual({ reason: "it ended by itself", outOfMemory: false });
    await until("its processes end", 10_000, () => processesWith(token).length === 0);
  });

  row(
    "is killed once however often it is asked, and leaves no process, container, mount or group",
    async () => {
      const token = uniqueName();
      const box = await opened(kind, token);
      const [pid] = processesWith(token);
      const cgroups = cgroupsOf(pid!);
      await Promise.all([box.running.kill(), box.running.kill()]);
      await box.running.kill();
      expect(processesWith(token)).toEqual([]);
      expect(await box.running.exited).toEqual({ reason: "it was ended", outOfMemory: false });
      await box.directory.remove();
      expect(mountsOf(box.directory.name)).toEqual([]);
      expect(await containersWith(box.directory.name)).toEqual([]);
      expect(cgroups.filter((path) => existsSync(path))).toEqual([]);
      expect([box.directory.staging, box.directory.scratch].filter((path) => existsSync(path))).toEqual([]);
    },
  );

  row("can be killed while nobody reads the flood it prints", async () => {
    const code = "import os\nwhile True: os.write(1, b'x' * 65536)";
    await using box = await openBox(kind, python(code), { unread: true });
    await sleep(300);
    const started = Date.now();
    await box.running.kill();
    expect(Date.now() - started).toBeLessThan(5_000);
  });

  row("leaves nothing within 5 s of a kill -9 of its server", async () => {
    const token = uniqueName();
    const holder = spawn(
      process.execPath,
      [fileURLToPath(new URL("held.ts", import.meta.url)), kind, token],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    const name = await new Promise<string>((resolve) =>
      holder.stdout.once("data", (chunk: Buffer) => resolve(String(chunk).trim())),
    );
    const pids = processesWith(token).filter((pid) => pid !== holder.pid);
    expect(pids.length).toBeGreaterThan(0);
    const cgroups = cgroupsOf(pids[0]!);
    holder.kill("SIGKILL");
    const gone = async () => processesWith(token).length === 0 && (await containersWith(name)).length === 0;
    await until("its processes and container end", 5_000, gone);
    expect(mountsOf(name)).toEqual([]);
    // Directories and an empty control group stay for the next server, which sweeps both.
    const owner = readFileSync(join(testConfig.paths.run, `${name}.owner`), "utf8");
    await sweepStagingDirectories(testConfig.paths, (other) => other !== owner);
    expect(existsSync(join(testConfig.paths.run, name))).toBe(false);
    await until("its control group is reaped", 15_000, async () => {
      await makeSandbox(kind).reap((other) => other !== owner);
      return cgroups.every((path) => !existsSync(path));
    });
  });

  row("leaves nothing when the start is given up", async () => {
    const token = uniqueName();
    for (const after of [0, 5, 40, 120]) {
      const { directory, start } = startOptions({ signal: AbortSignal.timeout(after) });
      const starting = makeSandbox(kind, python(lingering(token))).start(start);
      // A fast machine may be done before the signal: then the start stands.
      const outcome = await starting.then(
        (running) => running.kill().then(() => "started"),
        (error: Error) => error.name,
      );
      expect(["started", "TimeoutError"]).toContain(outcome);
      await until("its processes end", 10_000, () => processesWith(token).length === 0);
      expect(await containersWith(directory.name)).toEqual([]);
      await directory.remove();
    }
  });

  row("says so in one sentence when it cannot start, and leaves nothing", async () => {
    const { directory, start } = startOptions();
    const missing = { ...start, staging: `${start.staging}-gone` };
    await expect(makeSandbox(kind, ["/bin/true"]).start(missing)).rejects.toMatchObject({
      code: "sandbox.start_failed",
    });
    expect(await containersWith(directory.name)).toEqual([]);
    await directory.remove();
  });
});

describe("Docker's orphans", async () => {
  const docker = (await availability()).find(({ kind }) => kind === "docker")!;
  const because = docker.available ? "" : ` (${docker.reason})`;

  test.skipIf(!docker.available)(`are reaped by label, and the living are left alone${because}`, async () => {
    const [dead, living] = [uniqueName(), uniqueName()];
    const boxes = await Promise.all(
      [dead, living].map((owner) => openBox("docker", python("input()"), { owner, unread: true })),
    );
    try {
      expect(await makeSandbox("docker").reap((owner) => owner !== dead)).toBe(1);
      expect(await containersWith(boxes[0]!.directory.name)).toEqual([]);
      expect(await containersWith(boxes[1]!.directory.name)).toHaveLength(1);
      expect((await boxes[0]!.running.exited).outOfMemory).toBe(false);
    } finally {
      for (const box of boxes) await box[Symbol.asyncDispose]();
    }
  });

  test.skipIf(!docker.available)(
    `an image that is not there names the command that builds it${because}`,
    async () => {
      const { DockerSandbox } = await import("../../src/sandboxes/docker.ts");
      const { paths, docker: environment } = testConfig;
      const sandbox = new DockerSandbox({
        state: paths.state,
        environment,
        image: "cloche-sandbox:never-built",
      });
      const report = await sandbox.inspect();
      expect(report.problems).toEqual([
        { problem: expect.stringContaining("never-built"), remedy: expect.stringContaining("./setup.sh") },
      ]);
      const { directory, start } = startOptions();
      await expect(sandbox.start(start)).rejects.toMatchObject({
        code: "sandbox.unavailable",
        hint: expect.stringContaining("./setup.sh"),
      });
      await directory.remove();
    },
  );
});
