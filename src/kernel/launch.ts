// From a sandbox to a kernel that can be asked: staging, start, boot, hello, probe, ready. All or nothing.
import { existsSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { Limits, RunningSandbox, Sandbox, SandboxExit } from "../sandboxes/sandbox.ts";
import { withDeadline, within } from "../shared/async.ts";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import { type ChannelHandlers, KernelChannel } from "./channel.ts";
import { violation } from "./framing.ts";
import { PROTOCOL_VERSION, probeReport } from "./messages.ts";
import { nonce } from "./nonce.ts";
import { type Received, streamTransport, type Transport } from "./transport.ts";

/** Directories of one sandbox on the host, made and removed by their owner. */
export interface SandboxDirectories {
  /** mounted read-only at /cloche; holds `data/` */
  staging: string;
  /** mounted writable at /scratch */
  scratch: string;
  remove(): Promise<void>;
}

export interface LaunchOptions {
  sandbox: Sandbox;
  createStaging(): SandboxDirectories;
  limits: Limits;
  /** most that /scratch may hold, in `bytes` */
  scratch: number;
  /** token of the server, for the reaper */
  owner: string;
  /** a file that exists on the host and must not be visible inside */
  hostFile: string;
  signal?: AbortSignal;
}

/** A kernel that is ready, with everything it stands on. Its owner must `end` it. */
export interface Kernel {
  readonly channel: KernelChannel;
  readonly sandbox: RunningSandbox;
  readonly directories: SandboxDirectories;
  /** version of Python inside */
  readonly python: string;
  readonly exited: Promise<SandboxExit>;
  /** It answers within a moment, and its directories are still there: one that waited may have been stopped from outside. */
  responds(): Promise<boolean>;
  /** Puts the session's handlers in place; until then calls are refused, and what happens is told on adoption. */
  adopt(handlers: ChannelHandlers): void;
  /** Ends the sandbox and removes its directories; what cannot be removed is left to the next sweep. Idempotent. */
  end(reason: ClocheError): Promise<void>;
}

/** A first start on a slow disk imports for long; later ones take a second. */
const START_DEADLINE_MS = 45_000;
const HELLO_DEADLINE_MS = 15_000;
/** `milliseconds` after the end of the stream within which the sandbox says how it ended. */
const EXIT_REASON_MS = 1_000;
/** `milliseconds` a kernel that waits may take to answer; it takes two. */
const RESPONSE_MS = 2_000;
/** The supervisor gives up after a minute without a word. */
const PING_EVERY_MS = 15_000;

/**
 * Starts a sandbox and waits for its kernel. Throws `sandbox.*`, or the signal's reason; leaves nothing behind when it
 * throws.
 */
export async function launchKernel(options: LaunchOptions): Promise<Kernel> {
  const directories = options.createStaging();
  let sandbox: RunningSandbox | undefined;
  let listener: SocketListener | undefined;
  // Whoever waits for the first word then hears that the sandbox is gone.
  const withdraw = () => void sandbox?.kill().catch(() => {});
  options.signal?.addEventListener("abort", withdraw, { once: true });
  try {
    listener = await listen(join(directories.staging, "s"));
    sandbox = await options.sandbox.start({
      limits: options.limits,
      staging: directories.staging,
      scratch: directories.scratch,
      owner: options.owner,
      ...(options.signal ? { signal: options.signal } : {}),
    });
    const kernel = await withDeadline(
      handshake(sandbox, directories, listener, options),
      START_DEADLINE_MS,
      "starting the sandbox",
    );
    return kernel;
  } catch (error) {
    const complaint = sandbox?.diagnostics().trim();
    await sandbox?.kill().catch(() => {});
    await directories.remove().catch(() => {});
    options.signal?.throwIfAborted();
    const failure = asClocheError(error);
    if (failure.code !== "sandbox.lost" && failure.code !== "internal" && failure.code !== "timeout")
      throw failure;
    throw new ClocheError("sandbox.start_failed", {
      message: `the sandbox did not start: ${complaint ? complaint.slice(-500) : failure.message}`,
      cause: error,
    });
  } finally {
    options.signal?.removeEventListener("abort", withdraw);
    listener?.close();
  }
}

async function handshake(
  sandbox: RunningSandbox,
  directories: SandboxDirectories,
  listener: SocketListener,
  options: LaunchOptions,
): Promise<Kernel> {
  const secret = nonce();
  const stdio = streamTransport(sandbox.stdio);
  stdio.send({
    type: "boot",
    version: PROTOCOL_VERSION,
    nonce: secret,
    carrier: sandbox.socketPath ?? "stdio",
    cpus: Math.max(1, Math.floor(options.limits.cpus)),
    memory: options.limits.memory,
    scratch: options.scratch,
    watchdog: sandbox.memoryEnforcedBy === "watchdog",
    hostFile: options.hostFile,
  });
  const gone = sandbox.exited.then((exit) => {
    throw new ClocheError("sandbox.lost", { message: `the sandbox ended at once: ${exit.reason}` });
  });
  gone.catch(() => {});
  const overSocket = sandbox.socketPath
    ? listener.connected.then(async (socket) => {
        const transport = streamTransport(socket);
        return { transport, first: await transport.receive() };
      })
    : new Promise<never>(() => {});
  const overStdio = stdio.receive().then((first) => ({ transport: stdio, first }));
  const { transport, first } = await Promise.race([
    gone,
    withDeadline(Promise.race([overSocket, overStdio]), HELLO_DEADLINE_MS, "the sandbox's first word"),
  ]);
  checkHello(first, secret);

  const ready = Promise.withResolvers<string>();
  let handlers: ChannelHandlers | undefined;
  const channel = new KernelChannel(untilReady(transport, ready.resolve, sandbox.exited), {
    call: (call) =>
      handlers?.call(call) ??
      Promise.resolve({ ok: false, code: "hostcall.refused", message: "No session yet." }),
    chunk: (name, data) => handlers?.chunk(name, data),
    checkpoint: (cell, capture) => handlers?.checkpoint(cell, capture),
    died: (reason) => handlers?.died(reason),
    closed: (reason) => {
      ready.reject(reason);
      handlers?.closed(reason);
    },
  });
  ready.promise.catch(() => {});
  const python = await Promise.race([gone, ready.promise]);
  const pings = setInterval(() => channel.ping(), PING_EVERY_MS);
  pings.unref();

  let ending: Promise<void> | undefined;
  const end = (reason: ClocheError) => {
    ending ??= (async () => {
      clearInterval(pings);
      channel.close(reason);
      stdio.abort();
      // Both at once, because a client may give little time; again afterwards, for what was written in between.
      await Promise.allSettled([sandbox.kill(), directories.remove()]);
      await directories.remove().catch(() => {});
    })();
    return ending;
  };
  void sandbox.exited.then((exit) => {
    channel.close(new ClocheError("sandbox.lost", { message: `the sandbox ended: ${exit.reason}` }));
  });
  return {
    channel,
    sandbox,
    directories,
    python,
    exited: sandbox.exited,
    responds: async () => existsSync(directories.staging) && (await channel.responds(RESPONSE_MS)),
    adopt: (given) => {
      handlers = given;
      if (channel.closedFor) given.closed(channel.closedFor);
    },
    end,
  };
}

/**
 * Passes everything on, and tells of the first `ready`, which the channel takes for an answer to nobody. The stream
 * ends a moment before it is known why: the end waits for the reason.
 */
function untilReady(
  transport: Transport,
  resolve: (python: string) => void,
  exited: Promise<SandboxExit>,
): Transport {
  let seen = false;
  return {
    send: (header, payload) => transport.send(header, payload),
    abort: () => transport.abort(),
    async receive() {
      const next = await transport.receive();
      const exit = next ? undefined : await within(exited, EXIT_REASON_MS);
      if (exit) throw new ClocheError("sandbox.lost", { message: `the sandbox ended: ${exit.reason}` });
      if (!seen && next?.message.type === "ready") {
        seen = true;
        resolve(next.message.python);
      }
      return next;
    },
  };
}

function checkHello(first: Received | undefined, secret: string): void {
  if (!first) throw new ClocheError("sandbox.lost", { message: "the sandbox ended before its first word" });
  const { message, payload } = first;
  if (message.type !== "hello" || message.nonce !== secret) throw violation("no hello, or a false one");
  if (message.version !== PROTOCOL_VERSION)
    throw new ClocheError("sandbox.start_failed", {
      message: `the sandbox speaks protocol ${message.version}, this server ${PROTOCOL_VERSION}`,
      hint: "Run ./setup.sh again: the sandbox was made by another version of Cloche.",
    });
  const report = probeReport.safeParse(parseJson(payload));
  if (!report.success) throw violation("a probe report that is not one");
  if (report.data.escapes.length > 0)
    throw new ClocheError("sandbox.unsealed", {
      message: `the sandbox is not sealed, so Cloche does not use it: ${report.data.escapes.join("; ")}`,
      data: { escapes: report.data.escapes },
    });
}

/** `undefined` for what is no JSON. */
function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}

interface SocketListener {
  connected: Promise<Socket>;
  close(): void;
}

/** Listens for the one connection of the supervisor; after it, or on `close`, the socket file is gone. */
async function listen(path: string): Promise<SocketListener> {
  const connected = Promise.withResolvers<Socket>();
  connected.promise.catch(() => {});
  const server: Server = createServer((socket: Socket & Duplex) => {
    server.close();
    connected.resolve(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ path, readableAll: true, writableAll: true }, resolve);
  });
  server.unref();
  return { connected: connected.promise, close: () => server.close() };
}
