// A place of its own for servers under test: project, state, settings and home in one fresh directory, with the sandboxes
// that setup made on this machine. Its owner disposes of it, and then nothing of it may be left.
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { type Installation, readInstallation, writeInstallation } from "../../src/config/installation.ts";
import { pathsFor } from "../../src/config/paths.ts";
import { readSurroundings } from "../../src/config/surroundings.ts";
import type { SandboxKind } from "../../src/sandboxes/sandbox.ts";
import { expectNothingLeft } from "./left-behind.ts";
import { type Server, type StartOptions, startServer } from "./server.ts";

export const CLONE = resolve(import.meta.dirname, "../..");

/** What a client has that keeps secrets and habits to itself: a search path and, for an engine elsewhere, its address. */
const INHERITED = [
  "PATH",
  "DOCKER_HOST",
  "DOCKER_CONTEXT",
  "DOCKER_CERT_PATH",
  "DOCKER_TLS_VERIFY",
  "XDG_RUNTIME_DIR",
];

export interface PlaceOptions {
  /** content of config.json */
  settings?: Record<string, unknown>;
}

export class Place implements AsyncDisposable {
  readonly kind: SandboxKind;
  readonly root: string;
  readonly project: string;
  /** Cloche's own state directory */
  readonly state: string;
  readonly env: Record<string, string>;
  private readonly servers: Server[] = [];

  constructor(kind: SandboxKind, { settings }: PlaceOptions = {}) {
    this.kind = kind;
    // Where state can lie, an engine finds its mounts and a root's sandbox, another user, can enter; /tmp may be neither.
    const base = join(pathsFor(CLONE, readSurroundings()).state, "t");
    mkdirSync(base, { recursive: true, mode: 0o711 });
    this.root = realpathSync(mkdtempSync(join(base, "cl-")));
    chmodSync(this.root, 0o711);
    const at = (name: string) => join(this.root, name);
    this.project = at("project");
    this.state = at("s/cloche");
    for (const directory of [this.project, this.state, at("c/cloche"), at("home")])
      mkdirSync(directory, { recursive: true, mode: 0o711 });
    this.env = {
      ...Object.fromEntries(
        INHERITED.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])),
      ),
      HOME: at("home"),
      XDG_STATE_HOME: dirname(this.state),
      XDG_CONFIG_HOME: at("c"),
    };
    this.configure(settings ?? {});
    writeInstallation(this.state, { ...installation(), sandbox: kind });
  }

  /** Directory that holds what living sandboxes stage. */
  get run(): string {
    return join(this.state, "run");
  }

  /** Replaces config.json; servers that run keep what they read. */
  configure(settings: Record<string, unknown>): void {
    writeFileSync(join(this.root, "c/cloche/config.json"), JSON.stringify(settings));
  }

  /** Writes a file of the project; returns its absolute path. */
  write(name: string, content: string | Buffer): string {
    const path = join(this.project, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  /** A server on this project with a client connected to it; it ends with the place at the latest. */
  async start(options: StartOptions = {}): Promise<Server> {
    const server = await startServer(this, options);
    this.servers.push(server);
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await Promise.all(this.servers.map((server) => server.close()));
      await expectNothingLeft(this);
    } finally {
      rmSync(this.root, { recursive: true, force: true });
    }
  }
}

/** What `npm test` prepared; which sandboxes there are is asked through `rows`. */
export function installation(): Installation {
  const surroundings = readSurroundings();
  const found = readInstallation(pathsFor(CLONE, surroundings).state);
  return found ?? { version: 1, clone: CLONE, node: process.execPath };
}
