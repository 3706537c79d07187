// However server or client end, with a cell running and the standby waiting: nothing of them is left within five seconds.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { delay } from "../../src/shared/async.ts";
import { expectNothingLeft, expectNothingRunning, running, sandboxCount } from "./left-behind.ts";
import { Place } from "./place.ts";
import { eachSandbox } from "./rows.ts";
import { type Server, serverCommand } from "./server.ts";

/** A cell that hears no signal it can block, with a child that left its group and one that forked away. */
const STUBBORN = [
  "import os, signal, subprocess",
  "subprocess.Popen(['sleep', '1000'], start_new_session=True)",
  "if os.fork() == 0:",
  "    os.setsid()",
  "    while True: signal.pause()",
  "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))",
  "while True: pass",
].join("\n");

eachSandbox("lifetime", (kind) => {
  const endings: [string, (server: Server) => void | Promise<void>][] = [
    ["the end of its input", (server) => void server.close()],
    ["SIGTERM", (server) => void process.kill(server.pid, "SIGTERM")],
    ["SIGINT", (server) => void process.kill(server.pid, "SIGINT")],
  ];
  test.each(endings)("%s ends the server and all that it started", async (_, end) => {
    await using place = new Place(kind);
    const server = await busyServer(place);
    await end(server);
    await expectNothingLeft(place);
  });

  test("kill -9 of the server leaves nothing running, and the next server sweeps up its directories", async () => {
    await using place = new Place(kind);
    const server = await busyServer(place);
    process.kill(server.pid, "SIGKILL");
    await expectNothingRunning(place);
    const abandoned = readdirSync(place.run);
    const next = await place.start();
    await next.exec("1");
    const kept = readdirSync(place.run).filter((name) => abandoned.includes(name));
    expect(kept).toEqual([]);
  });

  test("kill -9 of the client ends the server and all that it started", async () => {
    await using place = new Place(kind);
    const server = { ...serverCommand(place), env: place.env, code: STUBBORN };
    const client = spawn(
      process.execPath,
      [join(import.meta.dirname, "client-process.ts"), JSON.stringify(server)],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    await new Promise<void>((resolve, reject) => {
      client.stdout.on("data", (chunk) => String(chunk).includes("ready") && resolve());
      client.on("exit", (code) => reject(new Error(`the client ended with ${code}`)));
    });
    await standby(place);
    client.kill("SIGKILL");
    await expectNothingLeft(place);
  });
});

/** A server with a running cell and the standby ready. */
async function busyServer(place: Place): Promise<Server> {
  const server = await place.start();
  await server.exec("1");
  const { status } = await server.exec(STUBBORN, { wait_s: 0.5 });
  expect(status).toContain("running");
  await standby(place);
  return server;
}

async function standby(place: Place): Promise<void> {
  for (const until = Date.now() + 30_000; (await sandboxCount(place)) < 2; await delay(100))
    if (Date.now() > until) throw new Error(`no standby: ${(await running(place)).join("\n")}`);
}
