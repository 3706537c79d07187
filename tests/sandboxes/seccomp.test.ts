// The system call policy: as a program run by a small BPF interpreter, and in force inside both kinds of sandbox.
import { beforeAll, describe, expect, test } from "vitest";
import {
  type Architecture,
  architecture,
  dockerSeccompProfile,
  seccompProgram,
} from "../../src/sandboxes/seccomp.ts";
import { ABSENT, ALLOWED, CHECKED, REFUSED } from "../../src/sandboxes/syscalls.ts";
import { askInside } from "./fixture.ts";
import { availability } from "./required.ts";

const ARCHITECTURES: readonly Architecture[] = ["x86_64", "aarch64"];
const AUDIT_ARCH = { x86_64: 0xc000003e, aarch64: 0xc00000b7 };
const ALLOW = 0x7fff0000;
const EPERM = 0x00050001;
const ENOSYS = 0x00050026;
const KILL = 0x80000000;

/** name → [x86_64, aarch64], read without the code under test. */
function numbers(table: string): Map<string, { x86_64: number; aarch64: number }> {
  const found = [...table.matchAll(/([a-z0-9_]+) (\d+|-) (\d+|-),/g)];
  const number = (text: string | undefined) => (text === "-" ? Number.NaN : Number(text));
  return new Map(found.map(([, name, x86, arm]) => [name!, { x86_64: number(x86), aarch64: number(arm) }]));
}

interface Call {
  number: number;
  arch?: number;
  args?: bigint[];
}

/** Runs a cBPF program as the kernel does for seccomp(2); throws for anything the kernel would refuse to load. */
function evaluate(program: Buffer, { number, arch, args = [] }: Call): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(number >>> 0, 0);
  data.writeUInt32LE(arch! >>> 0, 4);
  for (const [position, value] of args.entries())
    data.writeBigUInt64LE(BigInt.asUintN(64, value), 16 + 8 * position);
  let accumulator = 0;
  for (let at = 0; at < program.length / 8; at++) {
    const code = program.readUInt16LE(at * 8);
    const operand = program.readUInt32LE(at * 8 + 4);
    const branch = (taken: boolean) => {
      at += program.readUInt8(at * 8 + (taken ? 2 : 3));
    };
    if (code === 0x20) accumulator = data.readUInt32LE(operand);
    else if (code === 0x54) accumulator = (accumulator & operand) >>> 0;
    else if (code === 0x15) branch(accumulator === operand);
    else if (code === 0x35) branch(accumulator >= operand);
    else if (code === 0x06) return operand;
    else throw new Error(`an instruction of unknown code ${code.toString(16)}`);
  }
  throw new Error("the program ran off its end");
}

describe.each(ARCHITECTURES)("the program for %s", (arch) => {
  const program = seccompProgram(arch);
  const answer = (number: number, ...args: bigint[]) =>
    evaluate(program, { number, arch: AUDIT_ARCH[arch], args });
  const checked = (name: string, ...args: bigint[]) => answer(numbers(CHECKED).get(name)![arch], ...args);

  test("answers every call of the table as its list says", () => {
    for (const [table, expected] of [
      [ALLOWED, ALLOW],
      [REFUSED, EPERM],
      [ABSENT, ENOSYS],
    ] as const) {
      const known = [...numbers(table)].filter(([, number]) => !Number.isNaN(number[arch]));
      expect(known.length).toBeGreaterThan(20);
      for (const [name, number] of known) expect([name, answer(number[arch])]).toEqual([name, expected]);
    }
  });

  test("answers ENOSYS to every number that stands in no list", () => {
    const listed = new Set(
      [ALLOWED, CHECKED, REFUSED, ABSENT].flatMap((table) =>
        [...numbers(table).values()].map((n) => n[arch]),
      ),
    );
    for (let number = 0; number < 2_000; number++)
      if (!listed.has(number)) expect([number, answer(number)]).toEqual([number, ENOSYS]);
    expect(answer(0x3fffffff)).toBe(ENOSYS);
  });

  test("lets sockets be of the families unix, inet and inet6 only", () => {
    const allowed = Array.from({ length: 64 }, (_, family) => family).filter(
      (family) => checked("socket", BigInt(family), 1n) === ALLOW,
    );
    expect(allowed).toEqual([1, 2, 10]);
    expect(checked("socket", 40n, 1n)).toBe(EPERM);
    expect([checked("socketpair", 1n), checked("socketpair", 2n)]).toEqual([ALLOW, EPERM]);
  });

  test("lets sockets be streams, datagrams and packets in sequence, of TCP and UDP only", () => {
    const flags = 0o2004000n; // SOCK_CLOEXEC and SOCK_NONBLOCK
    const types = Array.from({ length: 16 }, (_, type) => type).filter(
      (type) => checked("socket", 2n, BigInt(type) | flags, 0n) === ALLOW,
    );
    expect(types).toEqual([1, 2, 5]);
    const protocols = Array.from({ length: 300 }, (_, protocol) => protocol).filter(
      (protocol) => checked("socket", 2n, 1n, BigInt(protocol)) === ALLOW,
    );
    expect(protocols).toEqual([0, 6, 17]);
  });

  test("lets clone make processes and threads, and no namespace", () => {
    const thread = 0x3d0f00n;
    expect([checked("clone", 17n), checked("clone", thread)]).toEqual([ALLOW, ALLOW]);
    for (const bit of [17n, 25n, 26n, 27n, 28n, 29n, 30n])
      expect(checked("clone", thread | (1n << bit))).toBe(EPERM);
  });

  test("lets userfaultfd watch user mode only, and personality change nothing", () => {
    expect([
      checked("userfaultfd", 1n),
      checked("userfaultfd", 0x80801n),
      checked("userfaultfd", 0n),
    ]).toEqual([ALLOW, ALLOW, EPERM]);
    expect([0n, 0xffffffffn, 0x40000n, 8n].map((value) => checked("personality", value))).toEqual([
      ALLOW,
      ALLOW,
      EPERM,
      EPERM,
    ]);
  });

  test("lets a process see and set its own limits only", () => {
    expect([checked("prlimit64", 0n), checked("prlimit64", 1n)]).toEqual([ALLOW, EPERM]);
  });

  test("kills calls of another architecture", () => {
    const other = arch === "x86_64" ? "aarch64" : "x86_64";
    for (const foreign of [AUDIT_ARCH[other], 0x40000003, 0])
      expect(evaluate(program, { number: 0, arch: foreign })).toBe(KILL);
  });
});

test("x32 calls are killed", () => {
  const program = seccompProgram("x86_64");
  for (const number of [0x40000000, 0x40000027, 0xffffffff])
    expect(evaluate(program, { number, arch: AUDIT_ARCH.x86_64 })).toBe(KILL);
});

test("an architecture without a policy is refused by name", () => {
  expect([architecture("x64"), architecture("arm64")]).toEqual(ARCHITECTURES);
  expect(() => architecture("riscv64")).toThrow(/riscv64/);
});

test.each(ARCHITECTURES)("no number of %s stands in two lists", (arch) => {
  const all = [ALLOWED, CHECKED, REFUSED, ABSENT].flatMap((table) =>
    [...numbers(table).values()].map((n) => n[arch]),
  );
  const known = all.filter((number) => !Number.isNaN(number));
  expect(new Set(known).size).toBe(known.length);
});

test("Docker's profile allows by name what the program allows by number", () => {
  const profile = JSON.parse(dockerSeccompProfile("x86_64")) as {
    defaultAction: string;
    syscalls: { names: string[]; action: string; args?: unknown[] }[];
  };
  const unconditional = profile.syscalls.filter(({ action, args }) => action === "SCMP_ACT_ALLOW" && !args);
  expect(unconditional.flatMap(({ names }) => names)).toEqual([...numbers(ALLOWED).keys()]);
  expect(profile.defaultAction).toBe("SCMP_ACT_ERRNO");
});

/** Makes real calls, and says what each answered. */
const CALLS = `
import ctypes, errno, json, mmap, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(value) for value in args])
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]
def ends_with(action):
    pid = os.fork()
    if pid == 0: action(); os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit"
def int80():
    code = mmap.mmap(-1, 4096, prot=7); code.write(bytes.fromhex("b814000000cd80c3"))
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
calls = json.loads('''CALLS''')
found = {name: call(*arguments) for name, arguments in calls.items()}
if os.uname().machine == "x86_64":
    found["x32"] = ends_with(lambda: call(0x40000027)); found["int 80"] = ends_with(int80)
print(json.dumps(found))`;

describe("in force", async () => {
  const kinds = await availability();
  const missing = kinds.find(({ available }) => !available);
  const arch = architecture(process.arch);
  const number = (name: string) =>
    [ALLOWED, CHECKED, REFUSED, ABSENT]
      .map((table) => numbers(table).get(name)?.[arch])
      .find((n) => n !== undefined)!;
  const calls: Record<string, number[]> = {
    io_uring: [number("io_uring_setup"), 1, 0],
    keyctl: [number("keyctl"), 0, -3, 0],
    bpf: [number("bpf"), 0, 0, 0],
    ptrace: [number("ptrace"), 0, 0, 0],
    "process_vm_readv of itself": [number("process_vm_readv"), 1, 0, 0, 0, 0],
    perf: [number("perf_event_open"), 0, 0, -1, -1, 0],
    mount: [number("mount"), 0, 0, 0, 0, 0],
    unshare: [number("unshare"), 0x10000000],
    shmget: [number("shmget"), 0, 4096, 0o1600],
    "clone of a user namespace": [number("clone"), 0x10000011, 0, 0, 0, 0],
    clone3: [number("clone3"), 0, 0],
    mq_open: [number("mq_open"), 0, 0],
    "netlink socket": [number("socket"), 16, 3, 0],
    "vsock socket": [number("socket"), 40, 1, 0],
    "inet socket": [number("socket"), 2, 1, 0],
    "userfaultfd of the kernel": [number("userfaultfd"), 0],
    "userfaultfd of user mode": [number("userfaultfd"), 1],
    personality: [number("personality"), 0x40000],
    "a number of the future": [900],
  };
  const found: Record<string, Record<string, string>> = {};
  beforeAll(async () => {
    for (const { kind, available } of kinds)
      if (available) found[kind] = await askInside(kind, CALLS.replace("CALLS", JSON.stringify(calls)));
  });

  for (const { kind, available, reason } of kinds)
    test.skipIf(!available)(`${kind} denies what the policy denies${available ? "" : ` (${reason})`}`, () => {
      const { "userfaultfd of user mode": userfaultfd, ...answers } = found[kind]!;
      expect(userfaultfd).toMatch(/done|ENOSYS/); // a kernel may be built without it
      expect(answers).toEqual({
        ...Object.fromEntries(Object.keys(answers).map((name) => [name, "EPERM"])),
        clone3: "ENOSYS",
        mq_open: "ENOSYS",
        "inet socket": "done",
        "a number of the future": "ENOSYS",
        ...(arch === "x86_64" ? { x32: "SIGSYS", "int 80": "SIGSYS" } : {}),
      });
    });

  test.skipIf(missing)(`both answer alike${missing ? ` (${missing.reason})` : ""}`, () => {
    expect(found.docker).toEqual(found.bubblewrap);
  });
});
