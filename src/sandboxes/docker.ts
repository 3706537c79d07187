// The Docker sandbox: one hardened container a session, driven through dockerode.
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { withDeadline, within } from "../shared/async.ts";
import { ClocheError } from "../shared/errors.ts";
import {
  connectEngine,
  type Engine,
  explainConnection,
  isConnectionLoss,
  isGone,
} from "./docker-connection.ts";
import {
  CALL_DEADLINE,
  INSPECT_DEADLINE,
  RunningContainer,
  removeContainer,
  START_DEADLINE,
} from "./docker-container.ts";
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
import { grantTo, INSIDE_ID, ownFiles, STAGING } from "./layout.ts";
import type { RunningSandbox, Sandbox, SandboxReport, StartOptions } from "./sandbox.ts";
import { dockerSeccompProfile } from "./seccomp.ts";

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
  /** staging directories of the sandboxes that start or run */
  readonly #serving = new Set<string>();
  /** The engine went away, perhaps with containers that it could not be told to remove. */
  #left = false;

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
    this.#serving.add(options.staging);
    if (this.#left) void this.#removeStrays(engine, options.owner);
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
      void running.exited.then(() => this.#serving.delete(options.staging));
      return running;
    } catch (cause) {
      this.#serving.delete(options.staging);
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

  /** Removes this server's containers that the engine kept while it could not be reached. */
  async #removeStrays({ docker }: Engine, owner: string): Promise<void> {
    this.#left = false;
    try {
      const filters = { label: [`${OWNER_LABEL}=${owner}`] };
      const found = await withDeadline(
        docker.listContainers({ all: true, filters }),
        CALL_DEADLINE,
        "listing containers",
      );
      const strays = found.filter(({ Mounts }) =>
        Mounts.some(({ Source, Destination }) => Destination === STAGING && !this.#serving.has(Source)),
      );
      await Promise.all(strays.map(({ Id }) => removeContainer(docker.getContainer(Id))));
    } catch {
      this.#left = true; // It went away again: at the next start.
    }
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
    const timedOut = cause instanceof ClocheError;
    if (timedOut || isConnectionLoss(cause)) {
      // Asked anew, it introduces itself again: it may be another version by then.
      this.#engine = undefined;
      this.#left = true;
      return explainConnection(engine.address, cause);
    }
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
