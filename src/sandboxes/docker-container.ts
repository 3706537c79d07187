// One running container: its streams, how it ended, and its removal. Every call to the engine is bounded.
import type { Duplex } from "node:stream";
import type { Container, ContainerInspectInfo } from "dockerode";
import { delay, withDeadline, within } from "../shared/async.ts";
import { type Engine, isConnectionLoss, isGone } from "./docker-connection.ts";
import { DockerStreamReader } from "./docker-stream.ts";
import { SOCKET } from "./layout.ts";
import type { RunningSandbox, SandboxExit } from "./sandbox.ts";
import { Stdio } from "./stdio.ts";
import { Tail } from "./tail.ts";

/** Bounds of calls to the engine, in `milliseconds`. Starting waits for its disk. */
export const CALL_DEADLINE = 10_000;
export const START_DEADLINE = 30_000;
export const INSPECT_DEADLINE = 4_000;

/** Ends and removes a container, whatever state it is in. */
export async function removeContainer(container: Container): Promise<void> {
  try {
    await withDeadline(container.remove({ force: true }), CALL_DEADLINE, "removing a container");
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

export class RunningContainer implements RunningSandbox {
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
        // An engine that is not there ends nothing; what runs without it ends with its streams.
        .catch((error) => (isGone(error) || isConnectionLoss(error) ? undefined : ({} as never)));
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
    // No later than those who wait for the reason wait.
    const until = Math.round(Date.now() + 300) / 1000;
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
