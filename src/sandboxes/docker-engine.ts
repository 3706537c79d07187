// Finds the Docker engine the way Docker's own client does, without reading the environment itself.
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ClocheError } from "../shared/errors.ts";

/** What the environment says about the engine. */
export interface EngineEnvironment {
  /** DOCKER_HOST */
  host?: string;
  /** DOCKER_CONTEXT */
  context?: string;
  /** directory of Docker's config.json and contexts */
  configDirectory: string;
  /** DOCKER_TLS_VERIFY is set */
  tlsVerify: boolean;
  /** DOCKER_CERT_PATH */
  certificates?: string;
  home: string;
  /** XDG_RUNTIME_DIR */
  runtimeDirectory?: string;
}

/** An engine on this machine. */
export interface EngineAddress {
  /** as a person would write it: "unix:///var/run/docker.sock" */
  label: string;
  /** how it was found: "DOCKER_HOST", "context desktop-linux", "default socket" */
  foundBy: string;
  socketPath?: string;
  tcp?: { host: string; port: number; tls?: Certificates };
}

interface Certificates {
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
}

/** The engine to use, or `undefined` where nothing points to one. Throws `sandbox.unavailable` for one it cannot use. */
export function findEngine(environment: EngineEnvironment): EngineAddress | undefined {
  if (environment.host) {
    const { certificates, tlsVerify, configDirectory } = environment;
    const tls = tlsVerify || certificates ? readCertificates(certificates ?? configDirectory) : undefined;
    return parseHost(environment.host, "DOCKER_HOST", tls);
  }
  const context = environment.context ?? currentContext(environment.configDirectory);
  if (context !== undefined && context !== "default")
    return readContext(environment.configDirectory, context);
  const sockets = defaultSockets(environment).filter((path) => existsSync(path));
  // One that exists but is closed to this user is still worth naming, so that its error can say so.
  const socketPath = sockets.find(isOpen) ?? sockets[0];
  return socketPath === undefined
    ? undefined
    : { label: `unix://${socketPath}`, foundBy: "default socket", socketPath };
}

/** System-wide, Docker Desktop on macOS and on Linux, rootless. */
function defaultSockets({ home, runtimeDirectory }: EngineEnvironment): string[] {
  return [
    "/var/run/docker.sock",
    join(home, ".docker/run/docker.sock"),
    join(home, ".docker/desktop/docker.sock"),
    ...(runtimeDirectory ? [join(runtimeDirectory, "docker.sock")] : []),
  ];
}

function currentContext(directory: string): string | undefined {
  const path = join(directory, "config.json");
  if (!existsSync(path)) return undefined;
  const { currentContext } = readJson(path) as { currentContext?: unknown };
  return typeof currentContext === "string" && currentContext !== "" ? currentContext : undefined;
}

function readContext(directory: string, name: string): EngineAddress {
  const id = createHash("sha256").update(name).digest("hex");
  const path = join(directory, "contexts/meta", id, "meta.json");
  if (!existsSync(path)) {
    const hint = "Run `docker context ls` to see which there are, and `docker context use` to choose one.";
    throw unavailable(`the Docker context ${JSON.stringify(name)} does not exist`, hint);
  }
  const meta = readJson(path) as { Endpoints?: { docker?: { Host?: string } } };
  const host = meta.Endpoints?.docker?.Host;
  if (!host) throw unavailable(`the Docker context ${JSON.stringify(name)} names no engine`);
  const certificates = join(directory, "contexts/tls", id, "docker");
  const tls = existsSync(certificates) ? readCertificates(certificates) : undefined;
  return parseHost(host, `context ${name}`, tls);
}

function parseHost(host: string, foundBy: string, tls: Certificates | undefined): EngineAddress {
  const socketPath = /^unix:\/\/(\/.*)$/.exec(host)?.[1];
  if (socketPath !== undefined) return { label: host, foundBy, socketPath };
  const elsewhere =
    "Use an engine on this machine: Cloche mounts directories of this machine into the sandbox.";
  if (host.startsWith("ssh://"))
    throw unavailable(`the Docker engine ${host} (${foundBy}) is reached over ssh`, elsewhere);
  if (host.startsWith("npipe://"))
    throw unavailable(`the Docker engine ${host} (${foundBy}) is Windows' own`, "Run Cloche inside WSL2.");
  const url = URL.parse(host.replace(/^tcp:/, "http:"));
  if (!url?.hostname || !["http:", "https:"].includes(url.protocol))
    throw unavailable(`${JSON.stringify(host)} (${foundBy}) is not the address of a Docker engine`);
  if (!/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname))
    throw unavailable(`the Docker engine ${host} (${foundBy}) is on another machine`, elsewhere);
  const port = Number(url.port) || (tls ? 2376 : 2375);
  return {
    label: host,
    foundBy,
    tcp: { host: url.hostname.replace(/[[\]]/g, ""), port, ...(tls ? { tls } : {}) },
  };
}

function readCertificates(directory: string): Certificates {
  const read = (name: string) => {
    const path = join(directory, name);
    return existsSync(path) ? readFileSync(path) : undefined;
  };
  const [ca, cert, key] = [read("ca.pem"), read("cert.pem"), read("key.pem")];
  return { ...(ca ? { ca } : {}), ...(cert ? { cert } : {}), ...(key ? { key } : {}) };
}

function readJson(path: string): object {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value === "object" && value !== null) return value;
  } catch (cause) {
    throw unavailable(`${path} cannot be read as JSON`, "Mend it, or set DOCKER_HOST.", cause);
  }
  throw unavailable(`${path} is not a JSON object`, "Mend it, or set DOCKER_HOST.");
}

function isOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function unavailable(message: string, hint?: string, cause?: unknown): ClocheError {
  return new ClocheError("sandbox.unavailable", {
    message,
    ...(hint ? { hint } : {}),
    ...(cause ? { cause } : {}),
  });
}
