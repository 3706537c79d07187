// Which bubblewrap processes a server ends when it starts: its own state's, of a dead owner, and nobody else's.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { endOrphans } from "../../src/sandboxes/bubblewrap-orphans.ts";

let root: string;
let children: ChildProcess[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "cloche-orphans-"));
  children = [];
});
afterEach(async () => {
  for (const child of children)
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
});

/** A process that waits under bubblewrap's name, over a staging directory of that state and owner. */
async function waiting(state: string, name: string, owner: string): Promise<ChildProcess> {
  const run = join(root, state, "run");
  mkdirSync(run, { recursive: true });
  writeFileSync(join(run, `${name}.owner`), owner);
  const script = "echo up; read line";
  const child = spawn("/bin/sh", ["-c", script, "sh", "--ro-bind", join(run, name), "/cloche"], {
    argv0: "bwrap",
    stdio: ["pipe", "pipe", "ignore"],
  });
  children.push(child);
  await once(child.stdout!, "data");
  return child;
}

test.skipIf(process.platform !== "linux")(
  "a dead owner's sandbox is ended; a living one's and those of another state directory go on",
  async () => {
    const dead = await waiting("mine", "00000001", "gone");
    const others = [await waiting("mine", "00000002", "here"), await waiting("other", "00000003", "gone")];
    const ended = once(dead, "exit");
    expect(endOrphans(join(root, "mine/run"), (owner) => owner === "here")).toBe(1);
    expect(await ended).toEqual([null, "SIGKILL"]);
    expect(others.map(({ exitCode, signalCode }) => exitCode ?? signalCode)).toEqual([null, null]);
    expect(others.every(({ pid }) => process.kill(pid!, 0))).toBe(true);
  },
);
