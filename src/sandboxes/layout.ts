// What user code finds inside every sandbox, whichever kind it is: paths, identity, environment, command, limits.
import { chmodSync, chownSync, lstatSync } from "node:fs";
import { dirname } from "node:path";
import type { Limits } from "./sandbox.ts";

/** Mount points inside. */
export const PYTHON = "/opt/cloche/python";
export const KERNEL = "/opt/cloche/lib";
export const STAGING = "/cloche";
export const DATA = "/data";
export const SCRATCH = "/scratch";
export const WORKSPACE = "/workspace";

/** Where the socket of the staging directory lies inside. */
export const SOCKET = `${STAGING}/s`;

/** User and group inside; the image's passwd names them too. */
export const INSIDE_ID = 10_001;

/**
 * User and group outside that a server run by root becomes before it starts bubblewrap. Between the ranges that
 * distributions and systemd give to people, services and containers (60,706 to 61,183 is unused), and below 65,536,
 * so that it also exists where the server itself runs in a container.
 */
export const DROPPED_ID = 60_923;

/** All that user code's environment starts from. */
export const ENVIRONMENT = {
  PATH: `${PYTHON}/bin:/usr/local/bin:/usr/bin:/bin`,
  LANG: "C.UTF-8",
  HOME: WORKSPACE,
} as const;

/** Views of the whole machine that /proc and /sys show to everybody and no session needs; the kernel may lack some. */
export const MASKED: readonly string[] = [
  ...["kcore", "keys", "key-users", "kallsyms", "modules", "cmdline", "timer_list", "timer_stats"],
  ...[
    "sched_debug",
    "schedstat",
    "latency_stats",
    "interrupts",
    "softirqs",
    "diskstats",
    "partitions",
    "locks",
  ],
  ...["acpi", "asound", "scsi", "pressure"],
]
  .map((name) => `/proc/${name}`)
  .concat("/sys/firmware", "/sys/devices/virtual/powercap");

/** Settings of the machine, and of the sandbox's own namespaces. */
export const READ_ONLY: readonly string[] = [
  "/proc/bus",
  "/proc/fs",
  "/proc/irq",
  "/proc/sys",
  "/proc/sysrq-trigger",
];

/** Files of the system that the sandbox has for itself: they name its one user and this machine, and nobody else's. */
export function ownFiles(uid: number, gid: number): { path: string; content: string }[] {
  const nobody = "/usr/sbin/nologin";
  return [
    {
      path: "/etc/passwd",
      content: `root:x:0:0:root:/root:${nobody}\ncloche:x:${uid}:${gid}:Cloche:${WORKSPACE}:${nobody}\n`,
    },
    { path: "/etc/group", content: `root:x:0:\ncloche:x:${gid}:\n` },
    { path: "/etc/hosts", content: "127.0.0.1 localhost\n::1 localhost\n" },
    { path: "/etc/nsswitch.conf", content: "passwd: files\ngroup: files\nhosts: files\n" },
  ];
}

/** Isolated, without site (the supervisor needs the standard library only), without writing bytecode. */
export const COMMAND: readonly string[] = [
  `${PYTHON}/bin/python`,
  "-I",
  "-S",
  "-B",
  `${KERNEL}/cloche_kernel/supervisor.py`,
];

/** Largest file on /scratch, in `bytes`: one runaway write fails before the watched quota has to act. */
const LARGEST_FILE = 64 * 2 ** 30;
/** Open files of one process: DuckDB and Parquet data sets open hundreds. */
const OPEN_FILES = 8_192;

/**
 * Limits of each process. `data` lies a little below the memory limit, so that one large allocation is Python's
 * MemoryError and not the end of the kernel.
 */
export function processLimits(limits: Limits): Record<"data" | "fsize" | "nofile" | "core", number> {
  return { data: Math.floor((limits.memory / 16) * 15), fsize: LARGEST_FILE, nofile: OPEN_FILES, core: 0 };
}

/** Opens `staging` for reading and `scratch` for writing to one user and its group, and to nobody else. */
export function grantTo(id: number, staging: string, scratch: string): void {
  chownSync(staging, -1, id);
  chmodSync(staging, 0o750);
  chownSync(scratch, id, id);
  chmodSync(scratch, 0o700);
}

/** The outermost directory on the way to `path` that only its owner or group may enter, or `undefined`. */
export function closedDirectory(path: string): string | undefined {
  const above = dirname(path);
  const closed = above === path ? undefined : closedDirectory(above);
  return closed ?? ((lstatSync(path).mode & 0o001) === 0 ? path : undefined);
}
