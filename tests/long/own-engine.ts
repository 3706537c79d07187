// A Docker engine of the tests' own, with the sandbox's image in it, which they may kill, freeze and start again.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { delay } from "../../src/shared/async.ts";
import { findCommand } from "../../src/shared/find-command.ts";
import { descendants } from "../e2e/left-behind.ts";
import type { HeldEngine } from "../faults/engine-proxy.ts";
import { availability, testConfig } from "../sandboxes/required.ts";

const docker = (await availability()).find(({ kind }) => kind === "docker")!;
const program = findCommand("dockerd", process.env.PATH);
const client = findCommand("docker", process.env.PATH);
const image = testConfig.installation?.docker?.image;
/** Why there can be none here. */
export const missing = !docker.available
  ? docker.reason
  : process.getuid?.() !== 0
    ? "only root can start a Docker engine"
    : program && client && image
      ? undefined
      : "dockerd and docker are not both on the path";

/** How long an engine may take to come up, in `milliseconds`. */
const START_MS = 60_000;

export class OwnEngine implements HeldEngine {
  readonly host: string;
  private readonly root: string;
  private process: ChildProcess | undefined;

  constructor(root: string) {
    this.root = root;
    this.host = `unix://${join(root, "engine.sock")}`;
  }

  /** Starts an engine that holds the sandbox's image. */
  static async open(): Promise<OwnEngine> {
    const engine = new OwnEngine(mkdtempSync("/var/tmp/cloche-engine-"));
    await engine.revive();
    const archive = join(engine.root, "image.tar");
    execFileSync(client!, ["save", "-o", archive, image!]);
    execFileSync(client!, ["-H", engine.host, "load", "-q", "-i", archive]);
    rmSync(archive);
    return engine;
  }

  /** The engine and the supervisor of its containers, which otherwise outlives it, and with it the containers. */
  get pids(): number[] {
    const supervisor = readFileSync(join(this.root, "exec/containerd/containerd.pid"), "utf8");
    return this.process ? [Number(supervisor), this.process.pid!] : [];
  }

  async die(): Promise<void> {
    for (const pid of this.pids) signal(pid, "SIGKILL");
    await this.died();
  }

  /** Resolves once an engine that was killed is gone. */
  async died(): Promise<void> {
    const { process } = this;
    this.process = undefined;
    if (process && process.exitCode === null && process.signalCode === null) await once(process, "exit");
    this.endHalfMade();
  }

  /** What was to become a container when the engine died waits for it for ever, and no engine asks for it again. */
  private endHalfMade(): void {
    const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
    const shims = processes.filter((pid) => {
      const command = commandOf(pid);
      return command.includes("containerd-shim") && command.includes(`${this.root}/`);
    });
    for (const shim of shims) {
      const inner = below(Number(shim));
      if (inner.length > 0 && !inner.every((pid) => commandOf(pid).startsWith("runc init"))) continue;
      for (const pid of [...inner, Number(shim)]) signal(pid, "SIGKILL");
    }
  }

  freeze(): void {
    this.process?.kill("SIGSTOP");
  }

  async revive(): Promise<void> {
    if (this.process) {
      this.process.kill("SIGCONT");
      return;
    }
    const at = (name: string) => join(this.root, name);
    for (const stale of ["engine.pid", "exec/containerd/containerd.pid"]) rmSync(at(stale), { force: true });
    const log = openSync(at("engine.log"), "a");
    const args = [
      "--host",
      this.host,
      "--data-root",
      at("data"),
      "--exec-root",
      at("exec"),
      "--pidfile",
      at("engine.pid"),
    ];
    this.process = spawn(program!, [...args, "--bridge=none", "--iptables=false"], {
      stdio: ["ignore", log, log],
      detached: true,
    });
    for (const until = Date.now() + START_MS; ; await delay(100)) {
      if (this.answers()) return;
      if (Date.now() > until || this.process.exitCode !== null)
        throw new Error(`the engine did not start:\n${readFileSync(at("engine.log"), "utf8").slice(-4_000)}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { process } = this;
    if (process && this.answers()) {
      const left = execFileSync(client!, ["-H", this.host, "ps", "-q"], { encoding: "utf8" })
        .split("\n")
        .filter(Boolean);
      if (left.length > 0) execFileSync(client!, ["-H", this.host, "kill", ...left]);
    }
    if (process) {
      const ended = once(process, "exit");
      process.kill("SIGTERM");
      await Promise.race([ended, delay(20_000)]);
      if (process.exitCode === null) await this.die();
    }
    const mounts = readFileSync("/proc/mounts", "utf8").split("\n");
    const mine = mounts
      .map((line) => line.split(" ")[1] ?? "")
      .filter((path) => path.startsWith(`${this.root}/`));
    for (const path of mine.sort().reverse()) execFileSync("umount", ["-l", path]);
    rmSync(this.root, { recursive: true, force: true });
  }

  private answers(): boolean {
    if (!existsSync(join(this.root, "engine.sock"))) return false;
    try {
      execFileSync(client!, ["-H", this.host, "version"], { stdio: "ignore", timeout: 5_000 });
      return true;
    } catch {
      return false;
    }
  }
}

/** Processes below one that may be gone. */
function below(pid: number): number[] {
  try {
    return descendants(pid);
  } catch {
    return [];
  }
}

function commandOf(pid: number | string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It is gone.
  }
}
