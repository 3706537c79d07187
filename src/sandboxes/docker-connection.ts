// A connection to the engine and what it can do, or the sentence that says why there is none.
import type Dockerode from "dockerode";
import { withDeadline } from "../shared/async.ts";
import { asClocheError, ClocheError } from "../shared/errors.ts";
import { type EngineAddress, type EngineEnvironment, findEngine } from "./docker-engine.ts";
import type { EngineAbilities } from "./docker-options.ts";
import type { Architecture } from "./seccomp.ts";

/** How long the engine may take to introduce itself, in `milliseconds`. */
const CONNECT_DEADLINE = 5_000;

export interface Engine {
  docker: Dockerode;
  address: EngineAddress;
  version: string;
  architecture: Architecture;
  cgroupVersion: string;
  abilities: EngineAbilities;
  /** users inside are other users outside: rootless, or user namespaces for containers */
  mapped: boolean;
  /** containers run in a virtual machine */
  desktop: boolean;
}

interface EngineInfo {
  ServerVersion: string;
  Architecture: string;
  OSType: string;
  OperatingSystem: string;
  CgroupVersion?: string;
  SecurityOptions?: string[];
  MemoryLimit: boolean;
  SwapLimit: boolean;
  PidsLimit?: boolean;
  CpuCfsQuota?: boolean;
}

/** Throws `sandbox.unavailable` with what to do. */
export async function connectEngine(environment: EngineEnvironment): Promise<Engine> {
  const address = findEngine(environment);
  if (address === undefined)
    throw new ClocheError("sandbox.unavailable", {
      message: "no Docker engine was found",
      hint: "Install Docker (https://docs.docker.com/engine/install/) or start it, then run ./setup.sh again.",
    });
  // Loaded here, because it takes over 80 ms and most calls need no new engine.
  const { default: Docker } = await import("dockerode");
  const docker = new Docker(modemOptions(address));
  let info: EngineInfo;
  try {
    info = (await withDeadline(docker.info(), CONNECT_DEADLINE, "the Docker engine's answer")) as EngineInfo;
  } catch (cause) {
    throw explainConnection(address, cause);
  }
  return describeEngine(docker, address, info);
}

/** Each key is given, also as undefined: what is missing, dockerode would take from the environment. */
function modemOptions({ socketPath, tcp }: EngineAddress): Dockerode.DockerOptions {
  const options = {
    socketPath,
    host: tcp?.host,
    port: tcp?.port,
    protocol: tcp?.tls ? "https" : "http",
    pathPrefix: "/",
    timeout: undefined,
    ca: tcp?.tls?.ca,
    cert: tcp?.tls?.cert,
    key: tcp?.tls?.key,
  };
  return options as Dockerode.DockerOptions;
}

function describeEngine(docker: Dockerode, address: EngineAddress, info: EngineInfo): Engine {
  const security = (info.SecurityOptions ?? []).map((option) => /name=([^,]+)/.exec(option)?.[1] ?? option);
  if (info.OSType !== "linux")
    throw unavailable(`the engine at ${address.label} runs ${info.OSType} containers`);
  if (info.Architecture !== "x86_64" && info.Architecture !== "aarch64")
    throw unavailable(`Cloche has no system call policy for the processor architecture ${info.Architecture}`);
  if (!security.includes("seccomp"))
    throw unavailable(`the engine at ${address.label} has no seccomp, so it cannot hold a sandbox shut`);
  return {
    docker,
    address,
    version: info.ServerVersion,
    architecture: info.Architecture,
    cgroupVersion: info.CgroupVersion ?? "1",
    abilities: {
      memory: info.MemoryLimit,
      swap: info.SwapLimit,
      processes: info.PidsLimit ?? true,
      cpus: info.CpuCfsQuota ?? true,
      selinux: security.includes("selinux"),
    },
    mapped: security.includes("rootless") || security.includes("userns"),
    desktop: info.OperatingSystem.includes("Docker Desktop") || process.platform !== "linux",
  };
}

/** Why the engine did not answer, in a sentence with its remedy. */
export function explainConnection({ label, foundBy }: EngineAddress, cause: unknown): ClocheError {
  const code = (cause as NodeJS.ErrnoException).code;
  const engine = `the Docker engine at ${label} (${foundBy})`;
  if (code === "EACCES" || code === "EPERM")
    return unavailable(
      `${engine} is closed to this user`,
      "Run: sudo usermod -aG docker $USER, then log out and in again. Members of that group can become root.",
      cause,
    );
  if (code === "ENOENT" || code === "ECONNREFUSED")
    return unavailable(
      `${engine} is not running`,
      "Start it (sudo systemctl start docker, or Docker Desktop).",
      cause,
    );
  const why =
    asClocheError(cause).code === "timeout" ? "does not answer" : `failed (${(cause as Error).message})`;
  return unavailable(`${engine} ${why}`, "Restart Docker and try again.", cause);
}

/** Nobody answered at the engine's address, or it hung up. */
export function isConnectionLoss(error: unknown): boolean {
  const { code, syscall } = error as NodeJS.ErrnoException;
  // A file of ours that is missing or closed carries the same codes as a socket that is.
  if (code === "ENOENT" || code === "EACCES") return syscall === "connect";
  return ["ECONNREFUSED", "ECONNRESET", "EPIPE"].includes(code ?? "");
}

/** The engine says that there is no such container or image, or that its removal is under way. */
export function isGone(error: unknown): boolean {
  const status = (error as { statusCode?: number }).statusCode;
  return status === 404 || status === 409;
}

function unavailable(message: string, hint?: string, cause?: unknown): ClocheError {
  return new ClocheError("sandbox.unavailable", {
    message,
    ...(hint ? { hint } : {}),
    ...(cause ? { cause } : {}),
  });
}
