// A sandbox that says what a test tells it to, over a real socket: an honest one answers 2 to every cell, a lying one
// gets the cell's id and its line. Sessions in front of it are the real ones.
import { EventEmitter } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CallReply, IncomingCall } from "../../src/kernel/channel.ts";
import { encodeFrame, FrameReader } from "../../src/kernel/framing.ts";
import { launchKernel } from "../../src/kernel/launch.ts";
import type { RunningSandbox, Sandbox, SandboxExit } from "../../src/sandboxes/sandbox.ts";
import { createStagingDirectory } from "../../src/sandboxes/staging-directory.ts";
import { Session } from "../../src/session/session.ts";
import { type LogFields, type Logger, silentLog } from "../../src/shared/log.ts";
import { Owners } from "../../src/snapshots/lease.ts";
import { SqliteStore } from "../../src/snapshots/sqlite.ts";
import { KeptFiles } from "../../src/staging/kept-files.ts";

/** What a cell whose code is not `1+1` makes the sandbox say. */
export type Lie = (line: LyingLine, id: string) => void | Promise<void>;

interface Header {
  type: string;
  id: string;
  nonce: string;
  version: number;
  cell?: number;
}

/** The sandbox's end of the wire. */
export class LyingLine {
  readonly heard = new EventEmitter();
  private readonly socket: Socket;
  /** number of the cell it was given last */
  cell = 0;

  constructor(socket: Socket, lie: Lie) {
    this.socket = socket.on("error", () => {}).setMaxListeners(0);
    const reader = new FrameReader();
    socket.on("data", (chunk: Buffer) => {
      for (const { header, payload } of reader.push(chunk)) this.on(header as Header, payload, lie);
    });
  }

  /** Sends a message, true or not. */
  say(header: object, payload: string | Buffer = ""): void {
    this.raw(encodeFrame(header, Buffer.from(payload)));
  }

  /** Ends the cell as an honest kernel does: with the state after it, in which nothing is. */
  finish(id: string): void {
    this.say({ type: "finished", id, status: "ok" }, "{}");
    this.say(
      { type: "checkpoint", cell: this.cell, last: true },
      '{"groups":[],"members":[],"lost":{},"tokens":{},"versions":{}}',
    );
  }

  raw(bytes: Buffer): void {
    if (this.socket.writable) this.socket.write(bytes);
  }

  /** Offers `bytes` again and again, as fast as they are taken; resolves with how many were, at most `most`. */
  async flood(bytes: Buffer, most: number, watch: () => void = () => {}): Promise<number> {
    let offered = 0;
    for (; offered < most && this.socket.writable; offered += bytes.length) {
      if (!this.socket.write(bytes))
        await new Promise<void>((resolve) => {
          this.socket.once("drain", resolve).once("close", resolve);
        });
      watch();
    }
    return offered;
  }

  hangUp(): void {
    this.socket.end();
  }

  /** Reads nothing any more. */
  deafen(): void {
    this.socket.pause();
  }

  private on(header: Header, code: Buffer, lie: Lie): void {
    const { type, id, nonce, version } = header;
    this.cell = header.cell ?? this.cell;
    this.heard.emit(type, header);
    if (type === "boot") {
      this.say({ type: "hello", version, nonce }, '{"uid":1,"escapes":[],"environment":[]}');
      this.say({ type: "ready", id: "boot", python: "3.12.1" });
    } else if (type === "restart") this.say({ type: "ready", id, python: "3.12.1" });
    else if (type === "inspect") this.say({ type: "answer", id, ok: true }, '{"text":"x: int"}');
    else if (type === "execute" && code.toString() !== "1+1") void lie(this, id);
    else if (type === "execute") {
      this.say({ type: "output", id }, "2\n");
      this.finish(id);
    }
  }
}

async function socketPair(directory: string): Promise<[Socket, Socket]> {
  const path = join(directory, `${Math.random().toString(36).slice(2)}.s`);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const ours = connect(path);
  const theirs = await accepted;
  server.close();
  return [ours, theirs];
}

/** Several sessions on one record, as in one server, each in front of lying sandboxes. */
export class House implements Disposable {
  /** what the host closed kernels for, per session */
  readonly closed: string[] = [];
  readonly launched: string[] = [];
  /** how host calls are answered */
  answer: (call: IncomingCall) => Promise<CallReply> = async () => ({ ok: true, result: null });
  private readonly directory = mkdtempSync(join(tmpdir(), "cloche-wire-"));
  private readonly owners: Owners;
  private readonly store: SqliteStore;
  private readonly token: string;

  constructor() {
    for (const name of ["owners", "run", "scratch", "loaded"]) mkdirSync(join(this.directory, name));
    this.owners = new Owners(join(this.directory, "owners"));
    this.token = this.owners.lease().token;
    this.store = new SqliteStore(join(this.directory, "cloche.sqlite"), this.owners, this.token);
  }

  session(name: string, lie: Lie = () => {}): Session {
    const closed = (event: string, fields?: LogFields) => {
      if (event === "kernel.closed") this.closed.push(String(fields?.reason));
    };
    const log: Logger = { ...silentLog, warn: closed, child: () => log };
    return new Session({
      record: this.store.claim(name, this.token).session,
      store: this.store,
      checkpoints: this.store.checkpoints({ packs: join(this.directory, "packs") }),
      loaded: new KeptFiles(join(this.directory, "loaded")),
      log,
      openFiles: () => undefined as never,
      door: (call) => this.answer(call),
      openKernel: () => {
        this.launched.push(name);
        const places = { run: join(this.directory, "run"), scratch: join(this.directory, "scratch") };
        return launchKernel({
          sandbox: this.sandbox(lie),
          createStaging: () => createStagingDirectory(places, this.token),
          limits: { memory: 2 ** 30, cpus: 1, processes: 64, tmpfs: 2 ** 20 },
          scratch: 2 ** 20,
          owner: this.token,
          hostFile: this.directory,
        });
      },
    });
  }

  [Symbol.dispose](): void {
    this.store[Symbol.dispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }

  private sandbox(lie: Lie): Sandbox {
    return {
      kind: "bubblewrap",
      inspect: () => Promise.reject(new Error("nothing to look at")),
      reap: async () => 0,
      start: async () => {
        const [ours, theirs] = await socketPair(this.directory);
        new LyingLine(theirs, lie);
        const exited = Promise.withResolvers<SandboxExit>();
        return {
          kind: "bubblewrap",
          stdio: ours,
          memoryEnforcedBy: "nothing",
          exited: exited.promise,
          diagnostics: () => "",
          kill: async () => {
            theirs.destroy();
            exited.resolve({ reason: "it was killed", outOfMemory: false });
          },
        } satisfies RunningSandbox;
      },
    };
  }
}
