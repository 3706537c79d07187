// The Docker sandbox: one hardened container a session, driven through dockerode. Every call to the engine is bounded.
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { Container, ContainerInspectInfo } from "dockerode";
import { delay, withDeadline, within } from "../shared/async.ts";
import { ClocheError } from "../shared/errors.ts";
import { connectEngine, type Engine, isGone } from "./docker-connection.ts";
import type { EngineEnvironment } from "./docker-engine.ts";
import {
  cleaningOptions,
  containerOptions,
  type InsideUser,
  LABEL,
  OWNER_LABEL,
  ownUser,
  STATE_LABEL,
} from "./docker-options.ts";
import { DockerStreamReader } from "./docker-stream.ts";
import { grantTo, INSIDE_ID, ownFiles, SOCKET } from "./layout.ts";
import type { RunningSandbox, Sandbox, SandboxExit, SandboxReport, StartOptions } from "./sandbox.ts";
import { dockerSeccompProfile } from "./seccomp.ts";
import { Stdio } from "./stdio.ts";
import { Tail } from "./tail.ts";

/** Bounds of calls to the engine, in `milliseconds`. Starting waits for its disk. */
const CALL_DEADLINE = 10_000;
const START_DEADLINE = 30_000;
const INSPECT_DEADLINE = 4_000;

export interface DockerOptions {
  /** state directory, which marks our containers */
  state: string;
  environment: EngineEnvironment;
  /** the image setup built; absent where it built none */
  image?: string;
  /** runs inside instead of the supervisor */
  command?: readonly string[];
}

export class DockerSandbox implements Sandbox {
  readonly kind = "docker";
  readonly #options: DockerOptions;
  #engine: Promise<Engine> | undefined;

  constructor(options: DockerOptions) {
    this.#options = options;
  }

  async inspect(): Promise<SandboxReport> {
    const report: SandboxReport = {
      kind: this.kind,
      available: false,
      details: [],
      limits: {},
      problems: [],
    };
    try {
      const engine = await this.#connect();
      report.details.push(`Docker ${engine.version} at ${engine.address.label} (${engine.address.foundBy})`);
      if (engine.mapped) report.details.push("the engine maps users: root inside is nobody outside");
      const { memory, processes, cpus, selinux } = engine.abilities;
      if (selinux)
        report.details.push("SELinux labels are off for the sandbox, so that it can read its mounts");
      report.limits = {
        memory: memory ? `cgroup v${engine.cgroupVersion}` : "watchdog every 50 ms and RLIMIT_DATA",
        processes: processes ? `cgroup v${engine.cgroupVersion}` : "not enforced",
        cpus: cpus ? `cgroup v${engine.cgroupVersion}` : "not enforced; thread pools are sized to it",
        tmpfs: "size of the mount",
        "memory of one process": "RLIMIT_DATA",
        "size of one file": "RLIMIT_FSIZE",
      };
      const image = this.#image();
      await this.#requireImage(engine, image);
      report.details.push(`image ${image}`);
      report.available = true;
    } catch (error) {
      if (!(error instanceof ClocheError)) throw error;
      report.problems.push({ problem: error.message, remedy: error.hint });
    }
    return report;
  }

  async start(options: StartOptions): Promise<RunningSandbox> {
    const engine = await this.#connect();
    options.signal?.throwIfAborted();
    const image = this.#image();
    let running: RunningContainer | undefined;
    try {
      const { state, command } = this.#options;
      const user = grant(engine, options);
      writeOwnFiles(options.staging, user);
      const seccompProfile = dockerSeccompProfile(engine.architecture);
      const request = {
        state,
        image,
        user,
        seccompProfile,
        abilities: engine.abilities,
        ...(command ? { command } : {}),
      };
      const creation = engine.docker.createContainer(containerOptions(request, options));
      const container = await withDeadline(creation, START_DEADLINE, "creating a container").catch(
        (error) => {
          // It may yet appear: an engine under load answers late.
          void creation.then((late) => late.remove({ force: true })).catch(() => {});
          throw error;
        },
      );
      running = new RunningContainer(engine, container, () => this.#empty(engine, request, options));
      await running.begin(options.signal);
      return running;
    } catch (cause) {
      await running?.kill();
      if (options.signal?.aborted) throw options.signal.reason;
      throw await this.#explain(engine, image, cause);
    }
  }

  async reap(isAlive: (owner: string) => boolean): Promise<number> {
    let engine: Engine;
    try {
      engine = await this.#connect();
    } catch {
      return 0; // without an engine there are no containers to end
    }
    const filters = { label: [`${LABEL}=1`, `${STATE_LABEL}=${this.#options.state}`] };
    const listed = engine.docker.listContainers({ all: true, filters });
    const found = await withDeadline(listed, CALL_DEADLINE, "listing containers");
    const orphans = found.filter(({ Labels }) => !isAlive(Labels[OWNER_LABEL] ?? ""));
    await Promise.all(orphans.map(({ Id }) => removeContainer(engine.docker.getContainer(Id))));
    return orphans.length;
  }

  #image(): string {
    if (this.#options.image !== undefined) return this.#options.image;
    throw missingImage("the sandbox's image was not built yet");
  }

  /** Connected once; again after a failure, because the person may have started the engine. */
  #connect(): Promise<Engine> {
    this.#engine ??= connectEngine(this.#options.environment);
    this.#engine.catch(() => {
      this.#engine = undefined;
    });
    return this.#engine;
  }

  async #requireImage(engine: Engine, image: string): Promise<void> {
    const inspected = engine.docker.getImage(image).inspect();
    try {
      await withDeadline(inspected, INSPECT_DEADLINE, "looking for the image");
    } catch (error) {
      if (isGone(error)) throw missingImage(`the sandbox's image ${image} is not there`);
      throw error;
    }
  }

  /** What the person can do about a failed start. */
  async #explain(engine: Engine, image: string, cause: unknown): Promise<unknown> {
    if (cause instanceof ClocheError && cause.code !== "timeout") return cause;
    const text = cause instanceof Error ? cause.message : String(cause);
    if (isGone(cause) && /image/i.test(text))
      return missingImage(`the sandbox's image ${image} is not there`);
    if (/ECONNREFUSED|ENOENT|EPIPE|ECONNRESET/.test(text)) this.#engine = undefined;
    const invisible = /bind source path does not exist|mounts denied/i.test(text);
    return new ClocheError("sandbox.start_failed", {
      message: `Docker could not start the sandbox (${text.trim()})`,
      ...(invisible
        ? {
            hint: `The engine at ${engine.address.label} cannot see the state directory: share it with Docker.`,
          }
        : {}),
      cause,
    });
  }

  /** Where the engine maps users, files in scratch belong to somebody whose files we cannot remove. */
  async #empty(
    engine: Engine,
    request: { state: string; image: string; user: InsideUser; seccompProfile: string },
    options: StartOptions,
  ): Promise<void> {
    if (!engine.mapped || (await readdir(options.scratch).catch(() => [])).length === 0) return;
    const cleaner = await engine.docker.createContainer(cleaningOptions(request, options));
    const ended = cleaner.wait({ condition: "next-exit" }).catch(() => {});
    await cleaner.start();
    await within(ended, CALL_DEADLINE);
  }
}

/** Opens the directories to the user the container runs as, and says which that is. */
function grant({ mapped }: Engine, { staging, scratch }: StartOptions): InsideUser {
  const own = ownUser();
  if (own !== undefined && !mapped) return own;
  if (mapped) {
    // Which host user it becomes is the engine's secret; the directories above are closed to everybody else.
    chmodSync(staging, 0o755);
    chmodSync(scratch, 0o777);
  } else {
    grantTo(INSIDE_ID, staging, scratch);
  }
  return { uid: INSIDE_ID, gid: INSIDE_ID };
}

/** Without a network the engine makes no /etc/hosts, and the image cannot know the user's number. */
function writeOwnFiles(staging: string, { uid, gid }: InsideUser): void {
  mkdirSync(join(staging, "etc"));
  chmodSync(join(staging, "etc"), 0o755);
  for (const { path, content } of ownFiles(uid, gid)) {
    writeFileSync(join(staging, path), content);
    chmodSync(join(staging, path), 0o444);
  }
}

function missingImage(message: string): ClocheError {
  return new ClocheError("sandbox.unavailable", {
    message,
    hint: "Run ./setup.sh in the clone: it builds it.",
  });
}

/** Ends and removes a container, whatever state it is in. */
async function removeContainer(container: Container): Promise<void> {
  try {
    await withDeadline(container.remove({ force: true }), CALL_DEADLINE, "removing a container");
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

class RunningContainer implements RunningSandbox {
  readonly kind = "docker";
  readonly socketPath?: string;
  readonly memoryEnforcedBy: string;
  readonly exited: Promise<SandboxExit>;
  readonly #engine: Engine;
  readonly #container: Container;
  readonly #cleanUp: () => Promise<void>;
  readonly #stderr = new Tail();
  readonly #exit = Promise.withResolvers<SandboxExit>();
  #stdio: Stdio | undefined;
  #killing: Promise<void> | undefined;
  #startedAt = 0;

  /** Takes the container. */
  constructor(engine: Engine, container: Container, cleanUp: () => Promise<void>) {
    this.#engine = engine;
    this.#container = container;
    this.#cleanUp = cleanUp;
    this.memoryEnforcedBy = engine.abilities.memory ? "cgroup" : "watchdog";
    // In Docker Desktop the container runs in a virtual machine, where a socket of ours has nobody behind it.
    if (!engine.desktop) this.socketPath = SOCKET;
    this.exited = this.#exit.promise;
  }

  get stdio(): Stdio {
    return this.#stdio!;
  }

  diagnostics(): string {
    return this.#stderr.text;
  }

  /** Attaches, then starts, so that no byte is lost. */
  async begin(signal: AbortSignal | undefined): Promise<void> {
    const streams = { stream: true, stdin: true, stdout: true, stderr: true };
    // Flags in the query and no body: a body would be the first thing on the container's stdin.
    const options = { _query: streams, _body: {}, hijack: true } as unknown as Parameters<
      Container["attach"]
    >[0];
    const socket = (await withDeadline(
      this.#container.attach(options),
      CALL_DEADLINE,
      "attaching to a container",
    )) as unknown as Duplex;
    const reader = new DockerStreamReader((data) => this.#stderr.add(data));
    this.#stdio = new Stdio(socket, socket, (chunk) => reader.read(chunk));
    signal?.throwIfAborted();
    void this.#watch();
    this.#startedAt = Math.floor(Date.now() / 1000);
    await withDeadline(this.#container.start(), START_DEADLINE, "starting a container");
    signal?.throwIfAborted();
  }

  kill(): Promise<void> {
    this.#killing ??= this.#kill();
    return this.#killing;
  }

  async #kill(): Promise<void> {
    // An attach stream that nobody drains would wedge the engine's kill.
    this.#stdio?.destroy();
    // A second try covers the moment in which the engine removes it by itself.
    await removeContainer(this.#container).catch(() => removeContainer(this.#container).catch(() => {}));
    await this.#untilGone();
    await this.#cleanUp().catch(() => {});
    this.#exit.resolve({ reason: "it was ended", outOfMemory: false });
  }

  /** A removal under way answers before it is done. */
  async #untilGone(): Promise<void> {
    const deadline = Date.now() + CALL_DEADLINE;
    while (Date.now() < deadline) {
      const inspected = this.#container
        .inspect()
        .catch((error) => (isGone(error) ? undefined : ({} as never)));
      const found = await within<ContainerInspectInfo | undefined>(inspected, INSPECT_DEADLINE);
      if (found === undefined) return;
      await delay(20);
    }
  }

  async #watch(): Promise<void> {
    let exit: SandboxExit;
    try {
      const { StatusCode } = (await this.#container.wait({ condition: "next-exit" })) as {
        StatusCode: number;
      };
      exit = await this.#describe(StatusCode);
    } catch (error) {
      const reason = isGone(error) ? "it ended at once" : "the Docker engine stopped answering";
      exit = { reason, outOfMemory: false };
    }
    this.#exit.resolve(this.#killing ? { reason: "it was ended", outOfMemory: false } : exit);
  }

  /** The flag alone does not tell: a killed child of the kernel's raises it too. */
  async #describe(status: number): Promise<SandboxExit> {
    if (status === 137 && !this.#killing) {
      const outOfMemory = await this.#ranOut();
      return {
        reason: outOfMemory ? "it used more than its memory limit" : "it was killed from outside",
        outOfMemory,
      };
    }
    const reason = status === 0 ? "it ended by itself" : `it ended with status ${status}`;
    return { reason, outOfMemory: false };
  }

  /** Asks the engine's record, because the container removes itself and its state with it. */
  async #ranOut(): Promise<boolean> {
    const until = Math.ceil(Date.now() / 1000) + 1;
    const filters = JSON.stringify({ container: [this.#container.id], event: ["oom"] });
    const events = this.#engine.docker.getEvents({ since: this.#startedAt, until, filters });
    const read = async () => {
      for await (const chunk of await events) if (String(chunk).includes('"oom"')) return true;
      return false;
    };
    return (
      (await within(
        read().catch(() => false),
        INSPECT_DEADLINE,
      )) ?? false
    );
  }
}
