// Runs a piece of Python inside a sandbox of either kind, and looks for what it left on the host.
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import type {
  Limits,
  RunningSandbox,
  SandboxExit,
  SandboxKind,
  StartOptions,
} from "../../src/sandboxes/sandbox.ts";
import { createStagingDirectory, type StagingDirectory } from "../../src/sandboxes/staging-directory.ts";
import { Owners } from "../../src/snapshots/lease.ts";
import { makeSandbox, testConfig } from "./required.ts";

/** A living owner, so that no server that starts beside this test takes its sandboxes for orphans. */
const lease = new Owners(testConfig.paths.owners).lease();

export const LIMITS: Limits = { memory: 512 * 2 ** 20, cpus: 1, processes: 64, tmpfs: 32 * 2 ** 20 };

export interface Box extends AsyncDisposable {
  running: RunningSandbox;
  directory: StagingDirectory;
  /** all of stdout, once it ended */
  output: Promise<string>;
}

export interface BoxOptions {
  limits?: Partial<Limits>;
  owner?: string;
  signal?: AbortSignal;
  /** leaves stdout unread */
  unread?: boolean;
}

export const python = (code: string): string[] => ["/opt/cloche/python/bin/python", "-I", "-c", code];

export const uniqueName = (): string => `cloche-test-${randomBytes(6).toString("hex")}`;

/** Start options with directories of their own. */
export function startOptions(options: BoxOptions = {}): { directory: StagingDirectory; start: StartOptions } {
  const owner = options.owner ?? lease.token;
  const directory = createStagingDirectory(testConfig.paths, owner);
  const { staging, scratch } = directory;
  const limits = { ...LIMITS, ...options.limits };
  const signal = options.signal ? { signal: options.signal } : {};
  return { directory, start: { limits, staging, scratch, owner, ...signal } };
}

/** Starts `command` in a sandbox of `kind`; disposing of the box ends it and removes its directories. */
export async function openBox(kind: SandboxKind, command: string[], options: BoxOptions = {}): Promise<Box> {
  const { directory, start } = startOptions(options);
  let running: RunningSandbox;
  try {
    running = await makeSandbox(kind, command).start(start);
  } catch (error) {
    await directory.remove();
    throw error;
  }
  const output = options.unread ? Promise.resolve("") : readAll(running);
  return {
    running,
    directory,
    output,
    async [Symbol.asyncDispose]() {
      await running.kill();
      await directory.remove();
    },
  };
}

async function readAll(running: RunningSandbox): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of running.stdio) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

export interface Outcome {
  text: string;
  exit: SandboxExit;
  diagnostics: string;
}

/** Runs Python code to its end. */
export async function runInside(kind: SandboxKind, code: string, options: BoxOptions = {}): Promise<Outcome> {
  await using box = await openBox(kind, python(code), options);
  const [text, exit] = await Promise.all([box.output, box.running.exited]);
  return { text, exit, diagnostics: box.running.diagnostics() };
}

/** Runs Python code whose last printed line is JSON, and returns that. Fails with what it said on stderr. */
export async function askInside<T>(kind: SandboxKind, code: string, options: BoxOptions = {}): Promise<T> {
  const { text, exit, diagnostics } = await runInside(kind, code, options);
  const last = text.trim().split("\n").at(-1) ?? "";
  try {
    return JSON.parse(last) as T;
  } catch {
    throw new Error(`no JSON came back (${exit.reason}): ${text.slice(-500)}\n${diagnostics}`);
  }
}

/** Processes of the host whose command line holds `token`: Docker's and bubblewrap's alike. */
export function processesWith(token: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(token);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Waits until `condition` holds, or says that it did not within `ms` milliseconds. */
export async function until(
  what: string,
  ms: number,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/**
 * Python that leaves a process of its own session, named by `token`, which ignores standard input: only the end of the
 * sandbox ends it. Prints "up" and waits for end of file.
 */
export function lingering(token: string): string {
  return `
import subprocess, sys
command = [sys.executable, "-c", "import time; time.sleep(600)", "${token}"]
subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
print("up", flush=True)
sys.stdin.read()`;
}
