// The attacks can fail: each hole, opened on purpose in an otherwise sealed sandbox, lets its attacks out.
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Place } from "../e2e/place.ts";
import { eachSandbox } from "../e2e/rows.ts";
import { hostTarget, Listeners, newToken, plantFiles, removeFiles, seenInside } from "./host.ts";
import { attackThrough, launchThrough, type Opening, type Wrapped } from "./openings.ts";
import { listAttacks, type Outcome, type Target } from "./programs.ts";

/** Takes an option and its values out of bubblewrap's arguments. */
function without({ args }: Wrapped, option: string, values = 0): void {
  for (let at = args.indexOf(option); at >= 0; at = args.indexOf(option, at)) args.splice(at, 1 + values);
}

/** Takes out every read-only bind of which `matches` says so. */
function unbind({ args }: Wrapped, matches: (source: string, place: string) => boolean): void {
  for (let at = args.indexOf("--ro-bind"); at >= 0; at = args.indexOf("--ro-bind", at + 1))
    if (matches(args[at + 1]!, args[at + 2]!)) args.splice(at--, 3);
}

/** Puts options before everything that is mounted or run. */
const first = ({ args }: Wrapped, ...options: string[]) => void args.unshift(...options);
/** Puts options after everything that is mounted. */
const last = ({ args }: Wrapped, ...options: string[]) =>
  void args.splice(args.lastIndexOf("--remount-ro"), 0, ...options);

/** Takes the system call policy from a container, and nothing else. */
const unfiltered: Opening["docker"] = (options) => {
  options.HostConfig.SecurityOpt = ["no-new-privileges", "seccomp=unconfined"];
};

function share(wrapped: Wrapped, shared: string): void {
  const all = ["user", "ipc", "pid", "net", "uts", "cgroup"];
  without(wrapped, "--unshare-all");
  without(wrapped, "--unshare-user");
  first(wrapped, ...all.filter((name) => name !== shared).map((name) => `--unshare-${name}`));
}

interface Hole extends Opening {
  name: string;
  lets: string[];
  /** what the sandbox's own probe says of it, before anything of the user's runs */
  noticed?: RegExp;
}

const token = newToken();
const mounted = "/mnt/host";

function holes(host: string): Hole[] {
  return [
    {
      name: "the host's network",
      docker: (options) => {
        options.NetworkDisabled = false;
        options.HostConfig.NetworkMode = "host";
      },
      bubblewrap: (wrapped) => share(wrapped, "net"),
      noticed: /TCP connection/,
      lets: [
        "TCP to a listener on the host's loopback",
        "UDP to a listener on the host's loopback",
        "the host's abstract unix sockets",
        "abstract unix sockets of anybody, as the kernel lists them",
        "a route to a public resolver",
        "an interface beyond loopback",
      ],
    },
    {
      name: "no system call policy",
      docker: unfiltered,
      bubblewrap: (wrapped) => without(wrapped, "--seccomp", 1),
      noticed: /vsock|no seccomp/,
      lets: [
        "io_uring, which makes calls that no filter sees",
        "the keyrings of the session",
        "adding a key",
        "a netlink socket of kind route",
        "a vsock socket to the hypervisor",
        "a socket of any other family the kernel knows",
        "tracing a child of its own (ptrace)",
        "reading another process's memory (process_vm)",
        "comparing kernel objects of two processes (kcmp)",
        "turning off address randomisation (personality)",
        "calls by 32-bit numbers (int 0x80), which a filter by 64-bit numbers misreads",
        "System V shared memory, semaphores and queues of its own",
        "POSIX message queues",
        "a segment table of its own (modify_ldt)",
      ],
    },
    {
      name: "no system call policy and no ban on user namespaces",
      docker: unfiltered,
      bubblewrap: (wrapped) => {
        without(wrapped, "--seccomp", 1);
        without(wrapped, "--disable-userns");
      },
      lets: [
        "a namespace of its own: user (unshare)",
        "a namespace of its own: user, and in it a mount (unshare)",
        "a process in a user namespace of its own (clone)",
        "a process in a user namespace of its own (clone3, whose flags no filter sees)",
      ],
    },
    {
      name: "the host's System V IPC, and no system call policy",
      docker: (options) => {
        options.HostConfig.IpcMode = "host";
        options.HostConfig.SecurityOpt = ["no-new-privileges", "seccomp=unconfined"];
      },
      bubblewrap: (wrapped) => {
        share(wrapped, "ipc");
        without(wrapped, "--seccomp", 1);
      },
      lets: ["System V shared memory of the host"],
    },
    {
      name: "a directory of the host, mounted",
      docker: (options) =>
        void options.HostConfig.Mounts!.push({ Type: "bind", Source: host, Target: host, ReadOnly: true }),
      bubblewrap: (wrapped) => last(wrapped, "--ro-bind", host, host),
      noticed: /a file of the host is visible/,
      lets: [
        "a file of the project, by its path",
        "a file of the host through a link left in scratch",
        "a canary, by walking every directory",
        "a unix socket in the host's files",
      ],
    },
    {
      name: "a socket of the host where the engine's lies",
      docker: (options) =>
        void options.HostConfig.Mounts!.push({
          Type: "bind",
          Source: `${host}/host.sock`,
          Target: "/run/docker.sock",
          ReadOnly: true,
        }),
      bubblewrap: (wrapped) => last(wrapped, "--ro-bind", `${host}/host.sock`, "/run/docker.sock"),
      lets: ["the Docker engine's socket"],
    },
    {
      name: "the server's environment, passed on",
      docker: (options) => {
        options.Entrypoint = ["/usr/bin/env"];
        options.Env = [`API_KEY=${token}`];
      },
      bubblewrap: (wrapped) => {
        without(wrapped, "--clearenv");
        wrapped.environment = { ...wrapped.environment, API_KEY: token };
      },
      noticed: /environment is visible: .*API_KEY/,
      lets: [
        "secrets in this process's environment",
        "secrets in the environment or command line of any process in sight",
      ],
    },
    {
      name: "the host's processes",
      docker: (options) => {
        options.HostConfig.PidMode = "host";
      },
      bubblewrap: (wrapped) => {
        share(wrapped, "pid");
        without(wrapped, "--as-pid-1");
        // Whoever does not own the process namespace cannot mount its /proc.
        wrapped.args.splice(wrapped.args.indexOf("--proc"), 2, "--bind", "/proc", "/proc");
      },
      lets: ["processes of the host in the list of processes", "the command line of the server, by its pid"],
    },
    {
      name: "staging that can be written to",
      docker: (options, { staging }) => {
        chmodSync(staging, 0o777);
        chmodSync(join(staging, "data"), 0o777);
        for (const mount of options.HostConfig.Mounts!) mount.ReadOnly = false;
      },
      bubblewrap: (wrapped, { staging }) => {
        chmodSync(staging, 0o777);
        chmodSync(join(staging, "data"), 0o777);
        last(wrapped, "--bind", staging, "/cloche");
      },
      lets: [
        "a new file in the staging directory",
        "a link in the staging directory, for the server to follow",
        "a pipe in the staging directory, for the server to hang on",
        "a socket in the staging directory, in the place of the protocol's",
        "the staging directory through /proc, around its mount",
      ],
    },
    {
      name: "another session's scratch, mounted beside its own",
      docker: (options) =>
        void options.HostConfig.Mounts!.push({ Type: "bind", Source: `${host}/other`, Target: mounted }),
      bubblewrap: (wrapped) => last(wrapped, "--bind", `${host}/other`, mounted),
      lets: ["another session's files beside its own"],
    },
    {
      name: "unmasked views of the machine",
      docker: (options) => {
        options.HostConfig.MaskedPaths = [];
      },
      bubblewrap: (wrapped) => unbind(wrapped, (source) => source === "/dev/null"),
      lets: [
        "reading the machine's start options (/proc/cmdline)",
        "reading interrupts by processor (/proc/interrupts)",
        "reading what the disks did (/proc/diskstats)",
      ],
    },
    {
      name: "settings of its own namespaces that can be written",
      bubblewrap: (wrapped) => unbind(wrapped, (_, path) => path === "/proc/sys"),
      lets: ["writing any kernel setting under /proc/sys"],
    },
    {
      name: "devices of the host",
      docker: (options, { scratch }) => {
        chmodSync(scratch, 0o755);
        options.HostConfig.Devices = [
          { PathOnHost: "/dev/loop-control", PathInContainer: "/dev/open", CgroupPermissions: "rwm" },
        ];
        options.User = "0:0";
      },
      lets: ["opening a device of the machine"],
    },
    {
      name: "root with capabilities, and settings that can be written",
      docker: (options, { scratch }) => {
        chmodSync(scratch, 0o777);
        options.User = "0:0";
        options.HostConfig.CapDrop = [];
        options.HostConfig.CapAdd = [
          "SYS_ADMIN",
          "NET_RAW",
          "SYS_CHROOT",
          "SYSLOG",
          "DAC_READ_SEARCH",
          "MKNOD",
        ];
        options.HostConfig.ReadonlyPaths = [];
        options.HostConfig.SecurityOpt = ["seccomp=unconfined"];
      },
      noticed: /core_pattern is writable/,
      lets: [
        "writing the program that takes core dumps (core_pattern)",
        "writing any kernel setting under /proc/sys",
        "making a device node of a disk",
        "mounting a file system",
        "loading a BPF program",
        "performance counters (perf_event_open)",
        "another root (chroot)",
        "a packet socket, which sees frames of the wire",
        "a raw IP socket",
        "a capability in any of its sets",
        "becoming root (setuid)",
        "the kernel's log (syslog)",
        "a file of the host by its handle",
        "a detached mount (fsopen)",
      ],
    },
    {
      name: "bubblewrap started by root",
      ...(process.getuid?.() === 0
        ? {
            bubblewrap: (wrapped: Wrapped, { scratch }: { scratch: string }) => {
              chmodSync(scratch, 0o755);
              wrapped.prefix = [];
              unbind(wrapped, (_, path) => path === "/proc/sys");
            },
          }
        : {}),
      noticed: /core_pattern is writable/,
      lets: ["writing the program that takes core dumps (core_pattern)"],
    },
    {
      name: "a root that can be written to",
      docker: (options, { scratch }) => {
        chmodSync(scratch, 0o755);
        options.HostConfig.ReadonlyRootfs = false;
        options.User = "0:0";
        options.HostConfig.CapAdd = ["DAC_OVERRIDE"];
      },
      bubblewrap: (wrapped) => {
        for (let at = wrapped.args.lastIndexOf("--remount-ro"); at >= 0; at = -1) wrapped.args.splice(at, 2);
      },
      lets: ["changing a program or library the sandbox runs"],
    },
    {
      name: "programs with the setuid bit, and leave to gain privileges",
      docker: (options) => {
        options.HostConfig.SecurityOpt = options.HostConfig.SecurityOpt!.filter(
          (text: string) => text !== "no-new-privileges",
        );
        delete options.HostConfig.CapDrop;
      },
      noticed: /no_new_privs is off/,
      lets: ["becoming root through a program with the setuid bit", "taking back no_new_privs"],
    },
    {
      name: "no limits of the process",
      docker: (options) => {
        options.HostConfig.Ulimits = [];
      },
      bubblewrap: ({ args }) =>
        void args.splice(
          args.indexOf("/usr/bin/prlimit"),
          args.lastIndexOf("--") - args.indexOf("/usr/bin/prlimit") + 1,
        ),
      lets: ["more data memory than its hard limit"],
    },
  ];
}

const { missing } = listAttacks();

eachSandbox("a hole opened on purpose", (kind) => {
  if (missing !== undefined) return test.skip(`each hole (${missing})`, () => {});
  let place: Place;
  let listeners: Listeners;
  let target: Target;
  let planted: Record<string, string> = {};
  let sealed: Map<string, Outcome>;
  // Names only: where the host's directory lies is known once it is made.
  const table = holes("").filter((hole) => hole[kind] !== undefined);

  beforeAll(async () => {
    place = new Place(kind);
    chmodSync(place.root, 0o755);
    listeners = await Listeners.open(token, `${place.root}/host.sock`);
    planted = plantFiles(place.root, token, {
      project: place.project,
      session_scratch: join(place.root, "other"),
    });
    target = seenInside(hostTarget(place.root, token, listeners, planted));
    const all = [...new Set(table.flatMap(({ lets }) => lets))];
    sealed = await attackThrough(kind, {}, all, target);
  });
  afterAll(async () => {
    await listeners?.[Symbol.asyncDispose]();
    removeFiles(planted);
    await place?.[Symbol.asyncDispose]();
  });

  describe.each(table)("$name", ({ name, lets, noticed }) => {
    let opened: Map<string, Outcome>;
    beforeAll(async () => {
      const hole = holes(place.root).find((one) => one.name === name)!;
      opened = await attackThrough(kind, hole, lets, target);
    });

    if (noticed !== undefined)
      test("is noticed by the probe, and nothing is served", async () => {
        const hole = holes(place.root).find((one) => one.name === name)!;
        const launch = launchThrough(kind, hole, planted.project!);
        await expect(launch).rejects.toMatchObject({
          code: "sandbox.unsealed",
          message: expect.stringMatching(noticed),
        });
      });

    test.each(lets)("lets out: %s", (attack) => {
      expect(sealed.get(attack), "without the hole").toHaveProperty("stopped");
      expect(opened.get(attack), "with the hole").toHaveProperty("got");
    });
  });
});
