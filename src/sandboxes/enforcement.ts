// Who holds a bubblewrap sandbox to its limits: a systemd scope, else a control group, else the supervisor's watchdog.

import { countsProcessesInside } from "./bubblewrap-arguments.ts";
import { Cgroup, type CgroupParents, findCgroupParents, removeStale } from "./cgroup.ts";
import type { Limits } from "./sandbox.ts";
import {
  type ScopeOptions,
  scopeCommand,
  scopeEnvironment,
  scopeEvents,
  scopeRanOut,
  scopesWork,
} from "./systemd-scope.ts";

/** The limits of one sandbox in force. Its owner must `release` it once the sandbox has ended. */
export interface Hold {
  /** arguments that go before the sandbox's own command */
  prefix: string[];
  environment: Record<string, string>;
  /** tells which process it holds, once that runs */
  started(pid: number): void;
  /** the memory limit killed a process of it; asked before `release` */
  ranOut(): boolean;
  release(): Promise<void>;
}

export interface Enforcement {
  /** who counts memory, in words */
  readonly by: "systemd scope" | "cgroup" | "watchdog";
  /** limit → how it is held, for doctor */
  readonly limits: Record<"memory" | "processes" | "cpus", string>;
  hold(limits: Limits): Hold;
  /** Removes what a killed server left; returns how many. */
  sweep(): number;
}

/**
 * Joins each group named before `--`, then becomes the command. Whoever ran the machine out of memory should be one of
 * the sandbox's, so their score is raised; the kernel raises its own further.
 */
const JOIN = `
while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit 125; shift; done
shift
echo 200 > /proc/self/oom_score_adj
exec "$@"`;

const joining = (directories: string[]) => ["/bin/sh", "-c", JOIN, "sh", ...directories, "--"];

/** The strongest that works here. Runs a trial where only a trial can tell. */
export async function chooseEnforcement(options: ScopeOptions): Promise<Enforcement> {
  if (await scopesWork(options)) return new ScopeEnforcement(options);
  const parents = findCgroupParents();
  return parents ? new CgroupEnforcement(parents) : new WatchdogEnforcement();
}

const NPROC = countsProcessesInside() ? "RLIMIT_NPROC" : "not enforced (Linux before 5.14)";
const ADVISED = "not enforced; thread pools are sized to it";

class ScopeEnforcement implements Enforcement {
  readonly by = "systemd scope";
  readonly limits = { memory: "systemd scope", processes: "systemd scope", cpus: "systemd scope" };
  readonly #options: ScopeOptions;

  constructor(options: ScopeOptions) {
    this.#options = options;
  }

  hold(limits: Limits): Hold {
    let events: string | undefined;
    return {
      prefix: [...scopeCommand(this.#options, limits), ...joining([])],
      environment: scopeEnvironment(this.#options),
      started: (pid) => {
        events = scopeEvents(pid);
      },
      ranOut: () => scopeRanOut(events),
      release: async () => {},
    };
  }

  /** systemd collects a scope when its last process ends. */
  sweep(): number {
    return 0;
  }
}

class CgroupEnforcement implements Enforcement {
  readonly by = "cgroup";
  readonly limits: Enforcement["limits"];
  readonly #parents: CgroupParents;

  constructor(parents: CgroupParents) {
    this.#parents = parents;
    const words = `cgroup v${parents.version}`;
    this.limits = {
      memory: words,
      processes: parents.pids ? words : NPROC,
      cpus: parents.cpu ? words : ADVISED,
    };
  }

  hold(limits: Limits): Hold {
    const group = new Cgroup(this.#parents, limits);
    return {
      prefix: joining(group.directories),
      environment: {},
      started: () => {},
      ranOut: () => group.memoryKills() > 0,
      release: () => group.remove(),
    };
  }

  sweep(): number {
    return removeStale(this.#parents);
  }
}

class WatchdogEnforcement implements Enforcement {
  readonly by = "watchdog";
  readonly limits = { memory: "watchdog every 50 ms and RLIMIT_DATA", processes: NPROC, cpus: ADVISED };

  hold(): Hold {
    return {
      prefix: joining([]),
      environment: {},
      started: () => {},
      ranOut: () => false,
      release: async () => {},
    };
  }

  sweep(): number {
    return 0;
  }
}
