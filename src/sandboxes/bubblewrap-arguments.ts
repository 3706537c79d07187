// What bubblewrap is told: an empty root, and in it only what Python needs of the host, read-only.
import { existsSync, lstatSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { release } from "node:os";
import { dirname, join } from "node:path";
import {
  COMMAND,
  DATA,
  ENVIRONMENT,
  INSIDE_ID,
  KERNEL,
  MASKED,
  ownFiles,
  PYTHON,
  processLimits,
  READ_ONLY,
  SCRATCH,
  STAGING,
  WORKSPACE,
} from "./layout.ts";
import type { StartOptions } from "./sandbox.ts";

/** Programs and libraries; of /usr/share what programs look up, and no documentation, sources or other people's data. */
const SYSTEM_DIRECTORIES = [
  "/usr/bin",
  "/usr/lib",
  "/usr/lib32",
  "/usr/lib64",
  "/usr/share/zoneinfo",
  "/usr/share/fonts",
  "/usr/share/fontconfig",
  "/usr/share/mime",
  "/usr/share/misc",
  "/usr/share/terminfo",
  "/etc/fonts",
  "/etc/alternatives",
  "/etc/ld.so.cache",
];

/** Directories of the root that are links into /usr on a merged system. */
const MERGED_DIRECTORIES = ["/bin", "/lib", "/lib32", "/lib64"];

/** Handed over by descriptor. */
export const OWN_FILES = ownFiles(INSIDE_ID, INSIDE_ID);

/** Descriptors of bubblewrap's process, in the order of its stdio. */
export const SECCOMP_FD = 3;
export const INFO_FD = 4;
export const FIRST_FILE_FD = 5;
export const READY_FD = FIRST_FILE_FD + OWN_FILES.length;

/**
 * The last step before the command: bubblewrap says that it cloned, but not that it could mount everything. One digit,
 * because that is all a shell takes for a descriptor.
 */
const ANNOUNCE = `echo >&${READY_FD}; exec ${READY_FD}>&-; exec "$@"`;

/** Binds of the host's own programs and libraries, and of the interpreter where that lies elsewhere. */
export function systemBinds(environment: string): string[] {
  const binds = SYSTEM_DIRECTORIES.filter((path) => existsSync(path)).flatMap(readOnly);
  for (const path of MERGED_DIRECTORIES) {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found?.isSymbolicLink()) binds.push("--symlink", readlinkSync(path), path);
    else if (found) binds.push(...readOnly(path));
  }
  for (const prefix of interpreterPrefixes(environment)) binds.push(...readOnly(prefix));
  return binds;
}

/**
 * The prefix of the interpreter that `environment` was made with, by its name and by its real path where they differ;
 * empty where the system directories hold it. Of /usr/local only programs and libraries.
 */
export function interpreterPrefixes(environment: string): string[] {
  const home = /^home\s*=\s*(.+)$/m.exec(readFileSync(join(environment, "pyvenv.cfg"), "utf8"))?.[1]?.trim();
  if (home === undefined) throw new Error(`${environment}/pyvenv.cfg names no home`);
  const named = dirname(home);
  const real = dirname(dirname(realpathSync(join(environment, "bin/python"))));
  const prefixes = [...new Set([named, real])].filter((prefix) => prefix !== "/usr" && prefix !== "/");
  return prefixes.flatMap((prefix) =>
    prefix === "/usr/local"
      ? [`${prefix}/bin`, `${prefix}/lib`].filter((path) => existsSync(path))
      : [prefix],
  );
}

/** /proc with what is the machine's masked or read-only. bubblewrap's own protection reaches less. */
function closedViews(): string[] {
  const here = (path: string) => path.startsWith("/proc/") && existsSync(path);
  const mask = (path: string) =>
    statSync(path).isDirectory() ? ["--tmpfs", path, "--remount-ro", path] : ["--ro-bind", "/dev/null", path];
  return [...READ_ONLY.filter(here).flatMap(readOnly), ...MASKED.filter(here).flatMap(mask)];
}

function readOnly(path: string): string[] {
  return ["--ro-bind", path, path];
}

export interface Bubblewrapped {
  /** virtual environment for /opt/cloche/python */
  python: string;
  /** kernel packages for /opt/cloche/lib */
  kernel: string;
  /** `systemBinds` of the environment */
  system: string[];
  /** runs instead of the supervisor */
  command?: readonly string[];
}

/** Arguments after `bwrap`, down to the command. */
export function bubblewrapArguments(
  { python, kernel, system, command = COMMAND }: Bubblewrapped,
  { limits, staging, scratch }: Pick<StartOptions, "limits" | "staging" | "scratch">,
): string[] {
  const size = String(limits.tmpfs);
  const { data, fsize, nofile, core } = processLimits(limits);
  return [
    // Namespaces, identity, ends. --disable-userns and the seccomp policy each deny new user namespaces.
    ...[
      "--unshare-all",
      "--unshare-user",
      "--disable-userns",
      "--new-session",
      "--die-with-parent",
      "--as-pid-1",
    ],
    ...["--uid", String(INSIDE_ID), "--gid", String(INSIDE_ID), "--cap-drop", "ALL", "--hostname", "cloche"],
    ...["--seccomp", String(SECCOMP_FD), "--info-fd", String(INFO_FD)],
    "--clearenv",
    ...Object.entries(ENVIRONMENT).flatMap(([name, value]) => ["--setenv", name, value]),
    ...system,
    ...OWN_FILES.flatMap(({ path }, position) => {
      return ["--perms", "0444", "--ro-bind-data", String(FIRST_FILE_FD + position), path];
    }),
    ...["--proc", "/proc"],
    ...closedViews(),
    // bubblewrap's /dev is a writable tmpfs without a size: closed, with a bounded /dev/shm in it.
    ...["--dev", "/dev", "--perms", "1777", "--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"],
    ...["--ro-bind", python, PYTHON, "--ro-bind", kernel, KERNEL],
    ...["--ro-bind", staging, STAGING, "--ro-bind", join(staging, "data"), DATA],
    ...["--bind", scratch, SCRATCH],
    ...["--perms", "0755", "--size", size, "--tmpfs", WORKSPACE],
    ...["--perms", "1777", "--size", size, "--tmpfs", "/tmp"],
    // The root is such a tmpfs too.
    ...["--remount-ro", "/", "--chdir", WORKSPACE, "--"],
    ...["/bin/sh", "-c", ANNOUNCE, "sh"],
    ...["/usr/bin/prlimit", `--data=${data}`, `--fsize=${fsize}`, `--nofile=${nofile}`, `--core=${core}`],
    ...(countsProcessesInside() ? [`--nproc=${limits.processes}`] : []),
    ...["--", ...command],
  ];
}

/**
 * Since Linux 5.14 a limit set inside counts the processes of that user namespace alone. Before, it would count every
 * process of the person, and a browser could use it up.
 */
export function countsProcessesInside(kernel = release()): boolean {
  const [major = 0, minor = 0] = kernel.split(".").map(Number);
  return major > 5 || (major === 5 && minor >= 14);
}
