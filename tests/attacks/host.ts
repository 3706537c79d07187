// The host that is attacked: canaries in files, environment and memory, listeners, and a second session as a victim.
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { dockerEnvironment, readSurroundings } from "../../src/config/surroundings.ts";
import { findEngine } from "../../src/sandboxes/docker-engine.ts";
import type { Place } from "../e2e/place.ts";
import type { Server } from "../e2e/server.ts";
import { DIRECTORY, PYTHON, type Target } from "./programs.ts";

const VICTIM = "victim";
export const ATTACKER = "attacker";

/** What listens on the host for as long as this lives. */
export class Listeners implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly listeners: Record<string, string | number>;
  readonly sharedMemory: number;

  private constructor(
    process: ChildProcess,
    found: { listeners: Record<string, string | number>; shared_memory: number },
  ) {
    this.#process = process;
    this.listeners = found.listeners;
    this.sharedMemory = found.shared_memory;
  }

  /** `path` is where a unix socket is to lie. */
  static async open(token: string, path: string): Promise<Listeners> {
    const child = spawn(PYTHON, ["-I", join(DIRECTORY, "host.py"), token, path], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const line = await new Promise<string>((resolve, reject) => {
      child.stdout!.once("data", (chunk) => resolve(String(chunk)));
      child.once("exit", () => reject(new Error("the host's listeners could not be started")));
    });
    return new Listeners(child, JSON.parse(line));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, "exit");
    this.#process.stdin!.end();
    await ended;
  }
}

export const newToken = (): string => `canary-${randomBytes(12).toString("hex")}`;

/** Address of the engine's socket, or "" where there is none. */
export function engineSocket(): string {
  try {
    return findEngine(dockerEnvironment(readSurroundings()))?.socketPath ?? "";
  } catch {
    return "";
  }
}

/** Files of the host with the token in them; `directory` is the test's own. */
export function plantFiles(
  directory: string,
  token: string,
  places: Record<string, string>,
): Record<string, string> {
  const files: Record<string, string> = {};
  for (const [key, place] of Object.entries(places)) {
    mkdirSync(place, { recursive: true, mode: 0o755 });
    files[key] = join(place, `${token.slice(0, 18)}-${key}`);
    writeFileSync(files[key], `the secret is ${token}\n`);
  }
  for (const name of ["outside", "outside/staging"]) mkdirSync(join(directory, name), { recursive: true });
  writeFileSync(join(directory, "outside/staging/staged"), "staged");
  copyFileSync("/bin/sleep", join(directory, "outside/sleep"));
  chmodSync(join(directory, "outside/sleep"), 0o755);
  return files;
}

/** What both targets share; pids and places are those of the host. */
export function hostTarget(
  directory: string,
  token: string,
  open: Listeners,
  files: Record<string, string>,
): Target {
  const outside = join(directory, "outside");
  return {
    inside: false,
    token,
    listeners: { ...open.listeners, engine: engineSocket(), session_abstract: "none" },
    files,
    pids: { server: process.pid, session: process.pid, supervisor: process.pid },
    staging: join(outside, "staging"),
    writable: outside,
    program: join(outside, "sleep"),
    roots: [directory],
    addresses: Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .filter(({ family, internal }) => family === "IPv4" && !internal)
      .map(({ address }) => address),
    shared_memory: open.sharedMemory,
  };
}

/** The same target as code inside sees it. */
export const seenInside = (target: Target): Target => ({
  ...target,
  inside: true,
  pids: { ...target.pids, supervisor: 1 },
  staging: "/cloche",
  writable: "/scratch",
  program: "/usr/bin/sleep",
  roots: ["/"],
});

/**
 * Fills a second session with secrets, and finds where it is on the host: its kernel's pid (0 where this user may not
 * see it), its files, its socket.
 */
export async function plantSession(
  server: Server,
  place: Place,
  token: string,
  target: Target,
): Promise<Target> {
  const name = `${token.slice(0, 18)}-session`;
  place.write("victim.csv", `secret\n${token}\n`);
  await server.call("load", { path: "victim.csv", session: VICTIM });
  const socket = `cloche-session-${token.slice(-12)}`;
  const answer = await server.exec(
    `
import os, socket, threading
secret = ${JSON.stringify(token)} * 100
for place in ("/workspace", "/scratch", "/dev/shm"):
    open(f"{place}/${name}", "w").write(secret)
listener = socket.socket(socket.AF_UNIX); listener.bind("\\0${socket}"); listener.listen()
def serve():
    while True:
        line, _ = listener.accept(); line.sendall(secret[:100].encode()); line.close()
threading.Thread(target=serve, daemon=True).start()
os.getpid()`,
    { session: VICTIM },
  );
  const inside = Number(answer.text.trim());
  place.write("own.csv", "a\n1\n");
  await server.call("load", { path: "own.csv", session: ATTACKER });
  const mark = `${token.slice(0, 18)}-attacker`;
  await server.exec(`open("/workspace/${mark}", "w").close()`, { session: ATTACKER });
  return {
    ...target,
    listeners: { ...target.listeners, session_abstract: socket },
    files: {
      ...target.files,
      session_workspace: `/workspace/${name}`,
      session_shared: `/dev/shm/${name}`,
      session_scratch: below(join(place.state, "scratch"), (path) => join(path, name)),
      session_data: below(place.run, (path) => join(path, "data", stagedName(path))),
    },
    pids: {
      server: server.pid,
      session: processSeeing(`/workspace/${name}`, inside),
      supervisor: processSeeing(`/workspace/${mark}`, 1),
    },
  };
}

/** The first directory below `parent` in which `name` gives a file that is there. */
function below(parent: string, name: (path: string) => string): string {
  const found = readdirSync(parent)
    .map((entry) => name(join(parent, entry)))
    .find((path) => existsSync(path) && !path.endsWith("/"));
  return found ?? join(parent, "not-to-be-found");
}

function stagedName(staging: string): string {
  try {
    return readdirSync(join(staging, "data")).find((name) => name.startsWith("victim")) ?? "";
  } catch {
    return "";
  }
}

/** The process that has that file under its root and that pid in its own namespace; 0 where this user sees none. */
function processSeeing(path: string, inside: number): number {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const seen = /^NSpid:.*\s(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
      if (Number(seen) === inside && existsSync(`/proc/${pid}/root${path}`)) return Number(pid);
    } catch {
      // It ended, or is another user's.
    }
  }
  return 0;
}

export function removeFiles(files: Record<string, string>): void {
  for (const path of Object.values(files)) rmSync(path, { force: true });
}
