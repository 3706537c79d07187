// The composition root: the only file that names implementations. Everything below gets its parts from here.
import { freemem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DirectoryStore } from "./artifacts/directory.ts";
import type { Cleaner, CliContext, Terminal } from "./cli/context.ts";
import { type Config, resolveConfig } from "./config/config.ts";
import { openLogFile } from "./config/log-file.ts";
import { prepareState } from "./config/paths.ts";
import { readSurroundings } from "./config/surroundings.ts";
import { publishCall } from "./hostcalls/publish.ts";
import { DEFAULT_QUOTAS, openDoor } from "./hostcalls/router.ts";
import { launchKernel } from "./kernel/launch.ts";
import { BubblewrapSandbox } from "./sandboxes/bubblewrap.ts";
import { chooseSandbox } from "./sandboxes/choose.ts";
import { DockerSandbox } from "./sandboxes/docker.ts";
import { installKernelFiles } from "./sandboxes/kernel-files.ts";
import type { Sandbox } from "./sandboxes/sandbox.ts";
import { createStagingDirectory, sweepStagingDirectories } from "./sandboxes/staging-directory.ts";
import { SessionManager } from "./session/manager.ts";
import { asClocheError } from "./shared/errors.ts";
import { rememberFiles } from "./shared/identity.ts";
import type { Logger } from "./shared/log.ts";
import { dropBallast } from "./snapshots/ballast.ts";
import { forgetProject } from "./snapshots/forget.ts";
import { Owners } from "./snapshots/lease.ts";
import { SqliteStore } from "./snapshots/sqlite.ts";
import { Access } from "./staging/access.ts";
import { KeptFiles } from "./staging/kept-files.ts";
import { StagingArea } from "./staging/stage.ts";

/** Where the kernel packages lie in the project. */
const KERNEL_SOURCE = fileURLToPath(new URL("../sandbox", import.meta.url));

/** What a running server holds; disposing of it ends every session. */
export interface App extends AsyncDisposable {
  sessions: SessionManager;
  readonly config: Config;
  /** The first of the files it stands on that was removed or replaced by somebody else, if one was. */
  missing(): string | undefined;
  /** sentences for the first answer */
  notices: string[];
}

/** Both sandboxes as this configuration would use them, in the order they are tried. */
export async function sandboxes(config: Config): Promise<Sandbox[]> {
  const { installation, paths } = config;
  const python = installation?.python?.environment;
  const kernel =
    python === undefined
      ? paths.kernel
      : await installKernelFiles({
          source: KERNEL_SOURCE,
          target: paths.kernel,
          python,
        });
  const docker = new DockerSandbox({
    state: paths.state,
    environment: config.docker,
    ...(installation?.docker ? { image: installation.docker.image } : {}),
  });
  const bubblewrap = new BubblewrapSandbox({
    ...(python === undefined ? {} : { python }),
    kernel,
    uid: config.uid,
    ...(config.docker.runtimeDirectory ? { runtimeDirectory: config.docker.runtimeDirectory } : {}),
  });
  return installation?.sandbox === "bubblewrap" ? [bubblewrap, docker] : [docker, bubblewrap];
}

/**
 * Opens everything a server needs; `step` is told each step of what is kept and brought back, for tests that end the
 * process there. Throws `sandbox.unavailable` with what to install, `store.*`, `config.*`.
 */
export async function openApp(config: Config, log: Logger, step?: Step): Promise<App> {
  prepareState(config.paths, config.uid);
  const owners = new Owners(config.paths.owners);
  const sandbox = await chooseSandbox(await sandboxes(config), config.sandbox);
  const lease = owners.lease();
  try {
    const isAlive = (owner: string) => owners.isAlive(owner);
    await Promise.allSettled([sandbox.reap(isAlive)]);
    await Promise.allSettled([sweepStagingDirectories(config.paths, isAlive)]);
    owners.clean();
    const store = new SqliteStore(config.paths.database, owners, lease.token);
    const sessions = openSessions({ config, log, sandbox, store, owner: lease.token, step });
    log.info("server.opened", { project: config.project, sandbox: sandbox.kind });
    const { state, run, scratch, owners: locks, database } = config.paths;
    return {
      sessions,
      config,
      missing: rememberFiles([state, run, scratch, locks, database]),
      notices: store.notice ? [store.notice] : [],
      async [Symbol.asyncDispose]() {
        try {
          await sessions[Symbol.asyncDispose]();
          store[Symbol.dispose]();
        } finally {
          lease[Symbol.dispose]();
        }
      },
    };
  } catch (error) {
    lease[Symbol.dispose]();
    throw error;
  }
}

type Step = (name: string) => void;

interface Parts {
  config: Config;
  log: Logger;
  sandbox: Sandbox;
  store: SqliteStore;
  /** token of this server */
  owner: string;
  step: Step | undefined;
}

function openSessions({ config, log, sandbox, store, owner, step }: Parts): SessionManager {
  const access = new Access({
    project: config.project,
    roots: config.roots,
    deny: config.deny,
    denyOrigin: config.origins.deny,
    own: config.guarded,
    home: config.home,
  });
  const artifacts = new DirectoryStore({ project: config.project, output: config.output });
  const calls = [publishCall(artifacts)];
  return new SessionManager({
    store,
    checkpoints: store.checkpoints({
      packs: config.paths.packs,
      loaded: config.paths.loaded,
      cap: config.diskCap,
      ...(step ? { step } : {}),
    }),
    loaded: new KeptFiles(config.paths.loaded),
    owner,
    launch: (signal) =>
      launchKernel({
        sandbox,
        createStaging: () => createStagingDirectory(config.paths, owner),
        limits: config.limits,
        scratch: config.scratch,
        owner,
        hostFile: config.paths.database,
        ...(signal ? { signal } : {}),
      }),
    openFiles: (directory) => new StagingArea({ directory, access, capacity: config.disk }),
    door: (session) => openDoor(session, { calls, ...DEFAULT_QUOTAS, log }),
    idlePauseMs: config.idlePauseMinutes * 60_000,
    limit: config.sessions,
    freeMemory: freemem,
    log,
    step,
  });
}

/** What the commands other than `serve` work with. */
export function cliContext(terminal: Terminal): CliContext {
  return {
    terminal,
    resolveConfig,
    sandboxes,
    openStore(config) {
      const store = new SqliteStore(config.paths.database, new Owners(config.paths.owners));
      if (store.notice) terminal.complain(store.notice);
      return store;
    },
    openCleaner: (config) => {
      try {
        return openCleaner(config);
      } catch (error) {
        if (asClocheError(error).code !== "store.full") throw error;
        // Even opening writes a little.
        dropBallast(join(config.paths.projectState, "ballast"));
        return openCleaner(config);
      }
    },
    forget({ paths }) {
      forgetProject(paths.projectState, paths.database, new Owners(paths.owners));
    },
  };
}

function openCleaner({ paths, diskCap }: Config): Cleaner {
  const owners = new Owners(paths.owners);
  // What it writes anew is its own for as long as it lives, but it is no server that uses the project.
  const lease = owners.lease();
  try {
    const store = new SqliteStore(paths.database, owners);
    const states = store.checkpoints({
      packs: paths.packs,
      loaded: paths.loaded,
      cap: diskCap,
      writer: lease.token,
    });
    return {
      store,
      space: states.space,
      check: () => states.checkAll(),
      [Symbol.dispose]() {
        store[Symbol.dispose]();
        lease[Symbol.dispose]();
      },
    };
  } catch (error) {
    lease[Symbol.dispose]();
    throw error;
  }
}

/** The log of this configuration: on disk, with warnings on stderr too. */
export function openLog(config: Config): Logger {
  return openLogFile({ path: config.paths.logFile, level: config.logLevel, env: readSurroundings().env });
}
