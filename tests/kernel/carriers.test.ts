// One kernel, whatever carries its frames: the socket in the staging directory, stdio, and stdio because the socket fails.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CallReply, CellListener, IncomingCall } from "../../src/kernel/channel.ts";
import { type Kernel, launchKernel } from "../../src/kernel/launch.ts";
import type { RunningSandbox, Sandbox } from "../../src/sandboxes/sandbox.ts";
import { createStagingDirectory } from "../../src/sandboxes/staging-directory.ts";
import { ClocheError } from "../../src/shared/errors.ts";
import { availability, makeSandbox, testConfig } from "../sandboxes/required.ts";

const MIB = 1024 ** 2;
const rows = (await availability()).flatMap((row) =>
  ["socket", "stdio", "a socket that nobody answers"].map((carrier) => ({ ...row, carrier })),
);

/** The sandbox with another idea of its socket. */
function carriedBy(sandbox: Sandbox, carrier: string): Sandbox {
  return {
    kind: sandbox.kind,
    inspect: () => sandbox.inspect(),
    reap: (isAlive) => sandbox.reap(isAlive),
    async start(options) {
      const running = await sandbox.start(options);
      const path = { socket: running.socketPath, stdio: undefined }[carrier] ?? "/cloche/nobody";
      return {
        kind: running.kind,
        stdio: running.stdio,
        ...(carrier === "stdio" ? {} : { socketPath: path }),
        memoryEnforcedBy: running.memoryEnforcedBy,
        exited: running.exited,
        diagnostics: () => running.diagnostics(),
        kill: () => running.kill(),
      } satisfies RunningSandbox;
    },
  };
}

describe.each(rows)("$kind over $carrier", ({ kind, available, reason, carrier }) => {
  let kernel: Kernel;
  let answer: (call: IncomingCall) => Promise<CallReply>;
  let number = 0;

  beforeAll(async () => {
    if (!available) return;
    kernel = await launchKernel({
      sandbox: carriedBy(makeSandbox(kind), carrier),
      createStaging: () => createStagingDirectory(testConfig.paths, "carriers"),
      limits: { memory: 1024 * MIB, cpus: 1, processes: 256, tmpfs: 256 * MIB },
      scratch: 1024 * MIB,
      owner: "carriers",
      hostFile: testConfig.paths.state,
    });
    kernel.adopt({ call: (call) => answer(call), chunk() {}, checkpoint() {}, died() {}, closed() {} });
  });
  afterAll(() => kernel?.end(new ClocheError("wire.closed", { message: "the test is through" })));

  async function run(code: string) {
    const heard = { text: "", dropped: 0, images: [] as Buffer[] };
    const listener: CellListener = {
      output: (chunk) => {
        heard.text += chunk;
      },
      dropped: (bytes) => {
        heard.dropped += bytes;
      },
      progress() {},
      imagePlaced() {},
      image: (_, __, data) => heard.images.push(data),
    };
    const outcome = await kernel.channel.execute(++number, code, listener).outcome;
    return { ...heard, outcome };
  }

  test.skipIf(!available)(`a cell answers (${reason})`, async () => {
    expect(await run("6 * 7")).toMatchObject({ text: "42\n", outcome: { status: "ok" } });
  });

  test.skipIf(!available)("a flood keeps its ends and is counted", async () => {
    const { text, dropped } = await run("print('first'); print('x' * 20_000_000); print('last')");
    expect(text.startsWith("first\n")).toBe(true);
    expect(text.endsWith("last\n")).toBe(true);
    expect(text.length + dropped).toBe(6 + 20_000_001 + 5);
  });

  test.skipIf(!available)("an image of several pieces arrives whole", async () => {
    const { images } = await run(
      "import numpy, PIL.Image\nPIL.Image.fromarray(numpy.random.randint(0, 255, (700, 700, 3), 'uint8'))",
    );
    expect(images).toHaveLength(1);
    expect(images[0]!.length).toBeGreaterThan(1_000_000);
    expect(images[0]!.readUInt32BE(16)).toBe(700);
  });

  test.skipIf(!available)("a host call's body crosses in pieces, and its answer comes back", async () => {
    let bytes = 0;
    answer = async ({ body }) => {
      for await (const piece of body!) bytes += piece.length;
      return { ok: true, result: { path: "/out/big", bytes } };
    };
    const { text } = await run("open('big', 'wb').write(b'x' * 9_000_000); publish('big').bytes");
    expect(text).toBe("9000000\n");
    expect(bytes).toBe(9_000_000);
  });

  test.skipIf(!available)("a refused host call is an exception in the cell", async () => {
    answer = async () => ({ ok: false, code: "publish.refused", message: "not that one" });
    const { outcome } = await run("publish('big')");
    expect(outcome).toMatchObject({ status: "error", end: { errorName: "HostCallError" } });
  });

  test.skipIf(!available)("a spinning cell says where it is and can be interrupted", async () => {
    const listener = { output() {}, dropped() {}, progress() {}, imagePlaced() {}, image() {} };
    const cell = kernel.channel.execute(++number, "x = 1\nwhile True:\n    x += 1", listener);
    await expect.poll(() => cell.stack(), { timeout: 10_000 }).toMatch(/<cell \d+>", line [23]/);
    cell.interrupt();
    expect(await cell.outcome).toMatchObject({ status: "interrupted" });
  });

  test.skipIf(!available)("a kernel that dies is replaced, and the next cell runs", async () => {
    expect((await run("import os; os._exit(7)")).outcome).toEqual({
      status: "lost",
      reason: "it exited with status 7",
    });
    expect(await run("1 + 1")).toMatchObject({ text: "2\n", outcome: { status: "ok" } });
  });

  test.skipIf(!available)("paused processes stand still and go on", async () => {
    await run(
      "import threading, time\nn = 0\ndef count():\n    global n\n    while True: n += 1; time.sleep(0.01)\nthreading.Thread(target=count, daemon=True).start()",
    );
    kernel.channel.pause();
    await new Promise((resolve) => setTimeout(resolve, 600));
    kernel.channel.resume();
    const { text } = await run("n");
    expect(Number(text)).toBeLessThan(40);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(Number((await run("n")).text)).toBeGreaterThan(Number(text));
  });
});
