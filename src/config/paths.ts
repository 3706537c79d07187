// Where everything of Cloche lies on the host, and with which modes its directories are made.
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, statSync } from "node:fs";
import { basename, isAbsolute, join } from "node:path";
import { writeAtomically } from "../shared/atomic-write.ts";
import { ClocheError } from "../shared/errors.ts";
import type { Surroundings } from "./surroundings.ts";

export interface Paths {
  /** real path of the project directory */
  project: string;
  /** the person's own settings */
  userConfig: string;
  /** root of all state; traversable, so that a dropped uid reaches its mounts */
  state: string;
  /** staging directories of live sandboxes */
  run: string;
  /** scratch directories of live sandboxes */
  scratch: string;
  /** Python environments of the bubblewrap sandbox */
  python: string;
  /** copies of the kernel packages, by hash */
  kernel: string;
  /** one lock per living server */
  owners: string;
  /** state of every project */
  projects: string;
  /** the project's path, for whoever looks at the state directory */
  projectRecord: string;
  /** state of this project */
  projectState: string;
  database: string;
  /** large pieces of what sessions hold */
  packs: string;
  /** files that sessions loaded */
  loaded: string;
  /** the person's word that this project's .cloche.json may widen */
  trust: string;
  logs: string;
  logFile: string;
}

/** Directories and their modes; 0711 lets a dropped uid through without letting it list. */
const MODES = [
  ["state", 0o711],
  ["run", 0o711],
  ["scratch", 0o711],
  ["python", 0o755],
  ["kernel", 0o755],
  ["owners", 0o700],
  ["projects", 0o700],
  ["projectState", 0o700],
  ["packs", 0o700],
  ["loaded", 0o700],
  ["logs", 0o700],
] as const satisfies [keyof Paths, number][];

export function pathsFor(project: string, surroundings: Surroundings): Paths {
  const state = stateRoot(surroundings);
  const projects = join(state, "projects");
  const projectState = join(projects, projectSlug(project));
  const logs = join(state, "logs");
  return {
    project,
    userConfig: join(configRoot(surroundings), "config.json"),
    state,
    run: join(state, "run"),
    scratch: join(state, "scratch"),
    python: join(state, "python"),
    kernel: join(state, "kernel"),
    owners: join(state, "owners"),
    projects,
    projectState,
    projectRecord: join(projectState, "project.json"),
    database: join(projectState, "cloche.sqlite"),
    packs: join(projectState, "packs"),
    loaded: join(projectState, "loaded"),
    trust: join(projectState, "trust.json"),
    logs,
    logFile: join(logs, "cloche.jsonl"),
  };
}

/** `XDG_STATE_HOME/cloche`; without it, root's is /var/lib/cloche, because a dropped uid cannot enter /root. */
function stateRoot({ env, home, uid }: Surroundings): string {
  const xdg = env.XDG_STATE_HOME;
  if (xdg && isAbsolute(xdg)) return join(xdg, "cloche");
  return uid === 0 ? "/var/lib/cloche" : join(home, ".local/state/cloche");
}

function configRoot({ env, home }: Surroundings): string {
  const xdg = env.XDG_CONFIG_HOME;
  return join(xdg && isAbsolute(xdg) ? xdg : join(home, ".config"), "cloche");
}

/** A directory name for a project: readable in front, unique behind. */
export function projectSlug(project: string): string {
  const readable = basename(project)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, 24)
    .replace(/^-+|-+$/g, "");
  const unique = createHash("sha256").update(project).digest("hex").slice(0, 8);
  return readable ? `${readable}-${unique}` : unique;
}

/** Makes the state directories that are missing and puts their modes right. Throws `store.readonly`. */
export function prepareState(paths: Paths, uid: number): void {
  for (const [name, mode] of MODES) {
    const directory = paths[name];
    try {
      mkdirSync(directory, { recursive: true, mode });
      const found = statSync(directory);
      if (!found.isDirectory() || (uid >= 0 && found.uid !== uid))
        throw new Error(found.isDirectory() ? "it belongs to another user" : "it is not a directory");
      if ((found.mode & 0o777) !== mode) chmodSync(directory, mode);
    } catch (cause) {
      throw unusable(directory, cause);
    }
  }
  try {
    if (!existsSync(paths.projectRecord)) writeProjectRecord(paths);
  } catch (cause) {
    throw unusable(paths.projectState, cause);
  }
}

function writeProjectRecord({ project, projectRecord }: Paths): void {
  writeAtomically(projectRecord, `${JSON.stringify({ project })}\n`, 0o600);
}

function unusable(directory: string, cause: unknown): ClocheError {
  const { code, message } = cause as NodeJS.ErrnoException;
  return new ClocheError(code === "ENOSPC" || code === "EDQUOT" ? "store.full" : "store.readonly", {
    message: `the state directory ${directory} cannot be used (${message})`,
    cause,
  });
}
