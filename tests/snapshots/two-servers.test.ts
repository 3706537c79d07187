// Several servers on one project, each a process of its own: who holds which session, also after kill -9.
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Owners } from "../../src/snapshots/lease.ts";
import { SqliteStore } from "../../src/snapshots/sqlite.ts";
import type { Claim } from "../../src/snapshots/store.ts";

let directory: string;
let running: ChildProcessWithoutNullStreams[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cloche-store-"));
  mkdirSync(join(directory, "owners"), { mode: 0o700 });
  running = [];
});

afterEach(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

async function server() {
  const child = spawn(process.execPath, [join(import.meta.dirname, "holder.ts"), directory]);
  running.push(child);
  let complaint = "";
  child.stderr.on("data", (chunk) => {
    complaint += chunk;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`the holder ended: ${complaint}`);
    return JSON.parse(value);
  };
  const { token } = (await next()) as { token: string };
  return {
    token,
    next,
    send: (line: string) => child.stdin.write(`${line}\n`),
    ask: (line: string) => {
      child.stdin.write(`${line}\n`);
      return next();
    },
    claim: async (name = "main"): Promise<Claim> => {
      child.stdin.write(`claim ${name}\n`);
      return next();
    },
    kill: async (signal: NodeJS.Signals = "SIGKILL") => {
      const gone = once(child, "exit");
      child.kill(signal);
      await gone;
    },
  };
}

test("the second server's main is a session of its own, and stays the same one", async () => {
  const first = await server();
  const second = await server();
  const held = await first.claim();
  const displaced = await second.claim();
  expect(held).toMatchObject({
    displaced: false,
    inherited: false,
    session: { name: "main", holder: first.token },
  });
  expect(displaced).toMatchObject({ displaced: true, inherited: false, session: { name: "main-2" } });
  expect(displaced.session.id).not.toBe(held.session.id);
  await first.kill();
  expect((await second.claim()).session.id).toBe(displaced.session.id);
});

test("a restarted second server gets main-2 again while the first lives", async () => {
  const first = await server();
  await first.claim();
  const second = await server();
  const before = await second.claim();
  await second.kill();
  const again = await server();
  expect(await again.claim()).toMatchObject({
    displaced: true,
    inherited: true,
    session: { name: "main-2", id: before.session.id, holder: again.token },
  });
});

test("a session whose holder was killed is taken over with its cells counted on", async () => {
  const first = await server();
  expect(await first.ask("cells main 3")).toEqual({ numbers: [1, 2, 3] });
  await first.kill();
  const heir = await server();
  expect(await heir.claim()).toMatchObject({
    displaced: false,
    inherited: true,
    session: { name: "main", nextCell: 4, hadState: true },
  });
  expect(await heir.ask("cells main 1")).toEqual({ numbers: [4] });
});

test("a stopped server is alive: its session is not taken over", async () => {
  const first = await server();
  await first.claim();
  process.kill(running[0]!.pid!, "SIGSTOP");
  const second = await server();
  expect((await second.claim()).session.name).toBe("main-2");
});

test("six servers that claim main at the same moment get six sessions", async () => {
  const servers = await Promise.all(Array.from({ length: 6 }, () => server()));
  const claims = await Promise.all(servers.map((one) => one.claim()));
  expect(claims.map(({ session }) => session.name).sort()).toEqual(
    ["main", "main-2", "main-3", "main-4", "main-5", "main-6"].sort(),
  );
  expect(new Set(claims.map(({ session }) => session.id)).size).toBe(6);
});

test("a server killed in the middle of writing loses no acknowledged cell and reuses no number", async () => {
  const owners = new Owners(join(directory, "owners"));
  for (let round = 0; round < 3; round += 1) {
    const writer = await server();
    writer.send("flood main");
    let acknowledged = 0;
    for (let n = 0; n < 40; n += 1) acknowledged = (await writer.next()).cell;
    await writer.kill();
    using store = new SqliteStore(join(directory, "cloche.sqlite"), owners);
    expect(store.notice).toBeUndefined();
    const [session] = store.sessions();
    for (let cell = 1; cell <= acknowledged; cell += 1)
      expect(store.cell(session!.id, cell)).toMatchObject({ cell });
    expect(store.cell(session!.id, acknowledged)?.output).toHaveLength(20_000);
    expect(store.lastCell(session!.id)).toBeGreaterThanOrEqual(acknowledged);
    expect(store.isAlive(session!.holder!)).toBe(false);
  }
});

test("only living servers are listed, and the locks of dead ones are cleaned", async () => {
  const first = await server();
  const second = await server();
  const owners = new Owners(join(directory, "owners"));
  using store = new SqliteStore(join(directory, "cloche.sqlite"), owners);
  expect(store.servers().sort()).toEqual([first.token, second.token].sort());
  await first.kill();
  expect(store.servers()).toEqual([second.token]);
  expect(owners.isAlive(first.token)).toBe(false);
  expect(owners.isAlive(second.token)).toBe(true);
  expect(owners.clean()).toBe(1);
  expect(readdirSync(join(directory, "owners"))).toEqual([`${second.token}.lock`]);
  expect(owners.isAlive(second.token)).toBe(true);
});
