// Why bubblewrap cannot serve on this machine, each reason with its exact remedy.
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { within } from "../shared/async.ts";
import { interpreterPrefixes } from "./bubblewrap-arguments.ts";
import { closedDirectory, DROPPED_ID } from "./layout.ts";
import { architecture } from "./seccomp.ts";

export interface Problem {
  problem: string;
  remedy: string;
}

const SEARCHED = ["/usr/bin", "/bin", "/usr/local/bin", "/run/current-system/sw/bin"];
/** Options that came last: --size with bubblewrap 0.7, --disable-userns with 0.8. */
const NEEDED_OPTIONS = ["--size", "--disable-userns", "--as-pid-1", "--info-fd", "--perms", "--clearenv"];
const RUN_DEADLINE = 5_000;

export interface Requirements {
  /** virtual environment, or `undefined` where setup made none */
  python: string | undefined;
  /** directories the sandbox mounts, which a dropped uid must reach */
  reached: string[];
  uid: number;
}

export function findProgram(name: string): string | undefined {
  return SEARCHED.map((directory) => join(directory, name)).find((path) => existsSync(path));
}

/** Everything that stands in the way, in the order a person would mend it; empty where bubblewrap can serve. */
export async function findProblems({ python, reached, uid }: Requirements): Promise<Problem[]> {
  if (process.platform === "darwin") {
    const problem = "on macOS Cloche needs Docker for now: there is no bubblewrap there";
    return [{ problem, remedy: "Start Docker Desktop, or install it, and run ./setup.sh again." }];
  }
  if (process.platform !== "linux")
    return [{ problem: `there is no bubblewrap on ${process.platform}`, remedy: "Use Docker." }];
  const problems: Problem[] = [];
  try {
    architecture(process.arch);
  } catch (error) {
    problems.push({ problem: (error as Error).message, remedy: "Run Cloche on x86_64 or aarch64." });
  }
  const bwrap = findProgram("bwrap");
  if (bwrap === undefined) {
    problems.push({ problem: "bubblewrap is not installed", remedy: installLine("bubblewrap") });
  } else {
    problems.push(...(await checkOptions(bwrap)));
  }
  for (const program of uid === 0 ? ["prlimit", "setpriv"] : ["prlimit"]) {
    if (!existsSync(`/usr/bin/${program}`))
      problems.push({
        problem: `${program} (util-linux) is not installed`,
        remedy: installLine("util-linux"),
      });
  }
  problems.push(...checkEnvironment(python));
  if (uid === 0) problems.push(...checkReach(python ? [...reached, python] : reached, python));
  if (bwrap !== undefined && problems.length === 0) problems.push(...(await tryNamespaces(bwrap, uid)));
  return problems;
}

async function checkOptions(bwrap: string): Promise<Problem[]> {
  const { text } = await run(bwrap, ["--help"]);
  const missing = NEEDED_OPTIONS.filter((option) => !text.includes(option));
  if (missing.length === 0) return [];
  return [
    {
      problem: `this bubblewrap is too old: it has no ${missing.join(", ")}`,
      remedy: "Install bubblewrap 0.8 or newer, or use Docker.",
    },
  ];
}

function checkEnvironment(python: string | undefined): Problem[] {
  const remedy = "Run ./setup.sh in the clone.";
  if (python === undefined) return [{ problem: "the sandbox's Python environment was not made yet", remedy }];
  if (existsSync(join(python, "bin/python")) && existsSync(join(python, "pyvenv.cfg"))) return [];
  return [{ problem: `the sandbox's Python environment is missing or broken: ${python}`, remedy }];
}

/** A server run by root drops its uid first, and that uid must reach what is mounted. */
function checkReach(reached: string[], python: string | undefined): Problem[] {
  const problems = new Map<string, Problem>();
  const check = (path: string, remedy: (closed: string) => string) => {
    const closed = existsSync(path) ? closedDirectory(path) : undefined;
    if (closed === undefined || problems.has(closed)) return;
    const problem = `${closed} can be entered by root only, and the sandbox, which runs without root, needs ${path}`;
    problems.set(closed, { problem, remedy: remedy(closed) });
  };
  for (const path of reached)
    check(
      path,
      (closed) => `Unset XDG_STATE_HOME, so that the state lies in /var/lib/cloche, or open ${closed}.`,
    );
  for (const path of python === undefined ? [] : prefixesOf(python))
    check(path, () => "Install a Python for everybody (in /usr or /usr/local) and run ./setup.sh again.");
  return [...problems.values()];
}

function prefixesOf(python: string): string[] {
  try {
    return interpreterPrefixes(python);
  } catch {
    return []; // a broken environment is named already
  }
}

/** Only a trial tells: a kernel setting, a container around us or AppArmor can each deny the namespaces. */
async function tryNamespaces(bwrap: string, uid: number): Promise<Problem[]> {
  const trial = ["--unshare-all", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/", "/bin/true"];
  const [program, ...args] = [...dropped(uid, uid === 0 ? DROPPED_ID : uid), bwrap, ...trial];
  const { code, text } = await run(program!, args);
  if (code === 0) return [];
  return [explainDenial(text.trim().split("\n").at(-1) ?? "", readSysctl)];
}

/** What a command that root runs as `id` starts with; nothing for everybody else. */
export function dropped(uid: number, id: number): string[] {
  if (uid !== 0) return [];
  const identity = [`--reuid=${id}`, `--regid=${id}`, "--clear-groups", "--inh-caps=-all"];
  return ["/usr/bin/setpriv", ...identity, "--no-new-privs", "--"];
}

/** Why namespaces are denied, read from bubblewrap's complaint and the kernel's settings. */
export function explainDenial(complaint: string, sysctl: (path: string) => string | undefined): Problem {
  if (sysctl("kernel/apparmor_restrict_unprivileged_userns") === "1")
    return {
      problem: "AppArmor keeps bubblewrap from making namespaces (Ubuntu 23.10 and newer)",
      remedy: `Write this to /etc/apparmor.d/bwrap:\n\n${APPARMOR_PROFILE}\nthen run: sudo apparmor_parser -r /etc/apparmor.d/bwrap`,
    };
  if (sysctl("kernel/unprivileged_userns_clone") === "0")
    return {
      problem: "the kernel denies user namespaces (kernel.unprivileged_userns_clone = 0)",
      remedy: persist("kernel.unprivileged_userns_clone=1"),
    };
  if (sysctl("user/max_user_namespaces") === "0")
    return {
      problem: "the kernel denies user namespaces (user.max_user_namespaces = 0)",
      remedy: persist("user.max_user_namespaces=15000"),
    };
  return {
    problem: `bubblewrap cannot make namespaces here (${complaint || "no reason given"})`,
    remedy: "Where this machine is itself a container, allow it user namespaces; else use Docker.",
  };
}

/** Gives the program bubblewrap, and nothing that runs inside it, the right that Ubuntu reserves. */
export const APPARMOR_PROFILE = `abi <abi/4.0>,
include <tunables/global>

profile bwrap /usr/bin/bwrap flags=(unconfined) {
  userns,
  include if exists <local/bwrap>
}
`;

function persist(setting: string): string {
  return `Run: echo ${setting} | sudo tee /etc/sysctl.d/60-cloche.conf && sudo sysctl --system`;
}

function readSysctl(path: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${path}`, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** The line that installs a package of this name on this distribution. */
export function installLine(name: string, osRelease = readOsRelease()): string {
  const family = `${/^ID=(.*)$/m.exec(osRelease)?.[1] ?? ""} ${/^ID_LIKE=(.*)$/m.exec(osRelease)?.[1] ?? ""}`;
  if (/debian|ubuntu/.test(family)) return `Run: sudo apt-get install -y ${name}`;
  if (/fedora|rhel|centos/.test(family)) return `Run: sudo dnf install -y ${name}`;
  if (/arch/.test(family)) return `Run: sudo pacman -S --noconfirm ${name}`;
  if (/suse/.test(family)) return `Run: sudo zypper install -y ${name}`;
  if (/alpine/.test(family)) return `Run: sudo apk add ${name}`;
  return `Install the package ${name} of your distribution.`;
}

function readOsRelease(): string {
  try {
    return readFileSync("/etc/os-release", "utf8");
  } catch {
    return "";
  }
}

/** Runs a short command and gathers what it says. Never throws. */
export async function run(
  program: string,
  args: string[],
): Promise<{ code: number | undefined; text: string }> {
  const child = spawn(program, args, { cwd: "/", env: {}, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => {
      text += chunk;
    });
  const ended = new Promise<number | undefined>((resolve) => {
    child.on("close", (code) => resolve(code ?? undefined));
    child.on("error", () => resolve(undefined));
  });
  const code = await within(ended, RUN_DEADLINE);
  child.kill("SIGKILL");
  return { code, text };
}
