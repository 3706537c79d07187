// What a hardened container is, as the engine's API takes it. Pure.
import type { ContainerCreateOptions } from "dockerode";
import {
  COMMAND,
  DATA,
  ENVIRONMENT,
  MASKED,
  ownFiles,
  processLimits,
  READ_ONLY,
  SCRATCH,
  STAGING,
  WORKSPACE,
} from "./layout.ts";
import type { StartOptions } from "./sandbox.ts";

/** Labels that mark our containers: `docker ps --filter label=cloche=1`. */
export const LABEL = "cloche";
export const OWNER_LABEL = "cloche.owner";
/** The state directory: servers of another one cannot tell whether an owner of this one lives. */
export const STATE_LABEL = "cloche.state";

/** What the engine can hold a container to. */
export interface EngineAbilities {
  memory: boolean;
  swap: boolean;
  processes: boolean;
  cpus: boolean;
  /** SELinux labels every container */
  selinux: boolean;
}

/** Who user code runs as, by the numbers inside. */
export interface InsideUser {
  uid: number;
  gid: number;
}

export interface ContainerRequest {
  /** state directory of the server */
  state: string;
  image: string;
  user: InsideUser;
  seccompProfile: string;
  abilities: EngineAbilities;
  /** runs inside instead of the supervisor */
  command?: readonly string[];
}

/** `staging` holds the sandbox's own files (see `ownFiles`) under their paths. */
export function containerOptions(
  { state, image, user, seccompProfile, abilities, command = COMMAND }: ContainerRequest,
  { limits, staging, scratch, owner }: StartOptions,
): ContainerCreateOptions {
  const tmpfs = (mode: string) => `rw,exec,nosuid,nodev,size=${limits.tmpfs},mode=${mode}`;
  const bind = (source: string, target: string, readOnly: boolean) => {
    return { Type: "bind" as const, Source: source, Target: target, ReadOnly: readOnly };
  };
  const ulimits = Object.entries(processLimits(limits));
  return {
    Image: image,
    User: `${user.uid}:${user.gid}`,
    Hostname: "cloche",
    WorkingDir: WORKSPACE,
    // The engine adds HOSTNAME, and an image's base adds its own: `env -i` starts from nothing.
    Entrypoint: [
      "/usr/bin/env",
      "-i",
      ...Object.entries(ENVIRONMENT).map(([name, value]) => `${name}=${value}`),
    ],
    Cmd: [...command],
    Labels: labels(state, owner),
    // The container gets end of file when the one attached client goes, also by kill -9.
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Tty: false,
    // Beside "none", which alone still makes the engine prepare a network: that doubles the start.
    NetworkDisabled: true,
    HostConfig: {
      NetworkMode: "none",
      IpcMode: "private",
      ReadonlyRootfs: true,
      CapDrop: ["ALL"],
      Privileged: false,
      SecurityOpt: [
        "no-new-privileges",
        `seccomp=${seccompProfile}`,
        // A directory of the person's own state has no container label, and a bind mount by `Mounts` gets none.
        ...(abilities.selinux ? ["label=disable"] : []),
      ],
      // These lists take the place of the engine's own, which are shorter.
      MaskedPaths: [...MASKED],
      ReadonlyPaths: [...READ_ONLY],
      ...(abilities.memory ? { Memory: limits.memory } : {}),
      ...(abilities.memory && abilities.swap ? { MemorySwap: limits.memory } : {}),
      ...(abilities.processes ? { PidsLimit: limits.processes } : {}),
      ...(abilities.cpus ? { NanoCpus: Math.round(limits.cpus * 1e9) } : {}),
      OomScoreAdj: 200,
      Ulimits: ulimits.map(([Name, value]) => ({ Name, Soft: value, Hard: value })),
      Tmpfs: { [WORKSPACE]: tmpfs("1777"), "/tmp": tmpfs("1777") },
      ShmSize: limits.tmpfs,
      Mounts: [
        bind(staging, STAGING, true),
        bind(`${staging}/data`, DATA, true),
        bind(scratch, SCRATCH, false),
        ...ownFiles(0, 0).map(({ path }) => bind(`${staging}${path}`, path, true)),
      ],
      LogConfig: { Type: "none", Config: {} },
      AutoRemove: true,
      RestartPolicy: { Name: "no" },
    },
  };
}

function labels(state: string, owner: string): Record<string, string> {
  return { [LABEL]: "1", [STATE_LABEL]: state, [OWNER_LABEL]: owner };
}

/** A container that empties a scratch directory whose files belong to a user only the engine can become. */
export function cleaningOptions(
  request: Pick<ContainerRequest, "state" | "image" | "user" | "seccompProfile">,
  { scratch, owner }: Pick<StartOptions, "scratch" | "owner">,
): ContainerCreateOptions {
  return {
    Image: request.image,
    User: `${request.user.uid}:${request.user.gid}`,
    Entrypoint: ["/usr/bin/find", SCRATCH, "-mindepth", "1", "-delete"],
    Cmd: [],
    NetworkDisabled: true,
    Labels: labels(request.state, owner),
    HostConfig: {
      NetworkMode: "none",
      ReadonlyRootfs: true,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges", `seccomp=${request.seccompProfile}`],
      Mounts: [{ Type: "bind", Source: scratch, Target: SCRATCH, ReadOnly: false }],
      LogConfig: { Type: "none", Config: {} },
      AutoRemove: true,
    },
  };
}

/** The user a person without root runs the container as, so that what it leaves in scratch is theirs to remove. */
export function ownUser(): InsideUser | undefined {
  const [uid, gid] = [process.getuid?.(), process.getgid?.()];
  return uid && gid ? { uid, gid } : undefined;
}
