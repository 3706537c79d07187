// What this process was started with: environment, home, user and the machine's size.
// The only place that reads process.env; everything else receives what it needs from here.
import { realpathSync } from "node:fs";
import { availableParallelism, homedir, totalmem } from "node:os";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Surroundings {
  env: Environment;
  /** directory the process was started in */
  cwd: string;
  home: string;
  /** user id, or -1 where the system has none */
  uid: number;
  /** memory this process may use, in `bytes`: the machine's, or its control group's where that is smaller */
  memory: number;
  /** processors this process may use */
  cpus: number;
}

export function readSurroundings(env: Environment = process.env): Surroundings {
  const constrained = process.constrainedMemory();
  return {
    env,
    cwd: process.cwd(),
    home: realHome(env.HOME?.startsWith("/") ? env.HOME : homedir()),
    uid: process.getuid?.() ?? -1,
    memory: constrained > 0 ? Math.min(constrained, totalmem()) : totalmem(),
    cpus: availableParallelism(),
  };
}

function realHome(home: string): string {
  try {
    return realpathSync(home);
  } catch {
    return home;
  }
}

/** What a Docker client needs to find its engine. */
export interface DockerEnvironment {
  /** DOCKER_HOST, or the setting `dockerHost` */
  host?: string;
  /** DOCKER_CONTEXT */
  context?: string;
  /** directory of config.json and contexts: DOCKER_CONFIG, else ~/.docker */
  configDirectory: string;
  /** DOCKER_TLS_VERIFY is set */
  tlsVerify: boolean;
  /** DOCKER_CERT_PATH */
  certificates?: string;
  home: string;
  /** XDG_RUNTIME_DIR, where a rootless engine listens */
  runtimeDirectory?: string;
  uid: number;
}

/** `configured` is the setting `dockerHost`, which a variable overrides. */
export function dockerEnvironment({ env, home, uid }: Surroundings, configured?: string): DockerEnvironment {
  const host = env.DOCKER_HOST || (env.DOCKER_CONTEXT ? undefined : configured);
  return {
    ...(host ? { host } : {}),
    ...(env.DOCKER_CONTEXT ? { context: env.DOCKER_CONTEXT } : {}),
    configDirectory: env.DOCKER_CONFIG || `${home}/.docker`,
    tlsVerify: Boolean(env.DOCKER_TLS_VERIFY),
    ...(env.DOCKER_CERT_PATH ? { certificates: env.DOCKER_CERT_PATH } : {}),
    home,
    ...(env.XDG_RUNTIME_DIR ? { runtimeDirectory: env.XDG_RUNTIME_DIR } : {}),
    uid,
  };
}
