// The one system call policy of every sandbox, as a cBPF program (for bubblewrap) and as a Docker profile.
// Pure: the table in syscalls.ts and the argument rules below go in, both filters come out.
import { ClocheError } from "../shared/errors.ts";
import { ABSENT, ALLOWED, CHECKED, REFUSED } from "./syscalls.ts";

export type Architecture = "x86_64" | "aarch64";

const EPERM = 1;
const ENOSYS = 38;

/** Flags of clone that make a namespace: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const CLONE_NEW = 0x7e020000;

/** Holds when the argument, masked, equals one of `values`. The arguments here are 32 bits wide. */
interface ArgumentRule {
  index: number;
  mask: number;
  values: number[];
}

/** A call is allowed when all of its rules hold, else refused. */
const ARGUMENT_RULES: Record<string, ArgumentRule[]> = {
  socket: [
    // AF_UNIX, AF_INET, AF_INET6: no netlink, packet, vsock or Bluetooth.
    { index: 0, mask: 0xffffffff, values: [1, 2, 10] },
    // SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, whatever the flags; and TCP, UDP or the type's own protocol. Asking for
    // another would make the kernel load its module: SCTP, DCCP and UDP-Lite each had holes.
    { index: 1, mask: 0xf, values: [1, 2, 5] },
    { index: 2, mask: 0xffffffff, values: [0, 6, 17] },
  ],
  socketpair: [{ index: 0, mask: 0xffffffff, values: [1] }],
  clone: [{ index: 0, mask: CLONE_NEW, values: [0] }],
  // PER_LINUX, and the query that changes nothing.
  personality: [{ index: 0, mask: 0xffffffff, values: [0, 0xffffffff] }],
  // UFFD_USER_MODE_ONLY: faults in kernel mode would let a program stall the kernel at a moment of its choice.
  userfaultfd: [{ index: 0, mask: 1, values: [1] }],
  // Its own limits only: the supervisor has the same user, and without open files it would end.
  prlimit64: [{ index: 0, mask: 0xffffffff, values: [0] }],
};

interface Syscall {
  name: string;
  numbers: Record<Architecture, number | undefined>;
}

function parse(table: string): Syscall[] {
  const number = (text: string | undefined) => (text === "-" ? undefined : Number(text));
  return table
    .replace(/#.*/g, "")
    .split(",")
    .map((entry) => entry.trim().split(/\s+/))
    .filter((fields) => fields.length === 3)
    .map(([name, x86, arm]) => ({ name: name!, numbers: { x86_64: number(x86), aarch64: number(arm) } }));
}

const allowed = parse(ALLOWED);
const checked = parse(CHECKED);
const refused = parse(REFUSED);
const absent = parse(ABSENT);

/** Node's name of an architecture as the kernel's. Throws `sandbox.unavailable` for one without a policy. */
export function architecture(nodeArch: string): Architecture {
  if (nodeArch === "x64") return "x86_64";
  if (nodeArch === "arm64") return "aarch64";
  throw new ClocheError("sandbox.unavailable", {
    message: `Cloche has no system call policy for the processor architecture ${nodeArch}`,
    hint: "Run Cloche on x86_64 or aarch64.",
  });
}

// Classic BPF as <linux/filter.h> and <linux/bpf_common.h> define it.
const LOAD = 0x20;
const AND = 0x54;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const RETURN = 0x06;

const RET_ALLOW = 0x7fff0000;
const RET_ERRNO = 0x00050000;
const RET_KILL_PROCESS = 0x80000000;

/** Offsets in `struct seccomp_data`; both architectures are little-endian, so an argument's low half comes first. */
const OFFSET_NUMBER = 0;
const OFFSET_ARCH = 4;
const offsetArgument = (index: number) => 16 + 8 * index;

const AUDIT_ARCH: Record<Architecture, number> = { x86_64: 0xc000003e, aarch64: 0xc00000b7 };
const X32_BIT = 0x40000000;

interface Instruction {
  code: number;
  jumpTrue: number;
  jumpFalse: number;
  operand: number;
}

const statement = (code: number, operand: number): Instruction => ({
  code,
  jumpTrue: 0,
  jumpFalse: 0,
  operand,
});
const jump = (code: number, operand: number, jumpTrue: number, jumpFalse: number): Instruction => {
  if (jumpTrue > 255 || jumpFalse > 255) throw new Error("a BPF jump is longer than 255 instructions");
  return { code, jumpTrue, jumpFalse, operand };
};
const allow = statement(RETURN, RET_ALLOW);
const errno = (value: number) => statement(RETURN, RET_ERRNO | value);

function ruleInstructions(rules: ArgumentRule[]): Instruction[] {
  const checks = rules.flatMap(({ index, mask, values }) => [
    statement(LOAD, offsetArgument(index)),
    ...(mask === 0xffffffff ? [] : [statement(AND, mask)]),
    // A match goes on behind the refusal.
    ...values.map((value, position) => jump(JUMP_EQUAL, value, values.length - position, 0)),
    errno(EPERM),
  ]);
  return [...checks, allow];
}

/** Runs of system call numbers that share one answer; `from` of the first is 0 and each ends where the next begins. */
interface Run {
  from: number;
  body: Instruction[];
}

function runs(arch: Architecture): Run[] {
  const answers = new Map<number, { key: string; body: Instruction[] }>();
  const set = (syscalls: Syscall[], answer: (name: string) => { key: string; body: Instruction[] }) => {
    for (const { name, numbers } of syscalls) {
      const number = numbers[arch];
      if (number !== undefined) answers.set(number, answer(name));
    }
  };
  set(allowed, () => ({ key: "allow", body: [allow] }));
  set(refused, () => ({ key: "refuse", body: [errno(EPERM)] }));
  set(checked, (name) => ({ key: name, body: ruleInstructions(ARGUMENT_RULES[name]!) }));
  const unlisted = { key: "absent", body: [errno(ENOSYS)] };

  const found: (Run & { key: string })[] = [];
  const last = Math.max(...answers.keys());
  for (let number = 0; number <= last + 1; number++) {
    const answer = answers.get(number) ?? unlisted;
    if (found.at(-1)?.key !== answer.key) found.push({ from: number, ...answer });
  }
  return found;
}

/** A binary search over the runs: about seven comparisons for any call. */
function search(among: Run[]): Instruction[] {
  if (among.length === 1) return among[0]!.body;
  const middle = among.length >> 1;
  const below = search(among.slice(0, middle));
  const above = search(among.slice(middle));
  return [jump(JUMP_AT_LEAST, among[middle]!.from, below.length, 0), ...below, ...above];
}

/** The policy as an array of `struct sock_filter`: what `bwrap --seccomp FD` and seccomp(2) take. */
export function seccompProgram(arch: Architecture): Buffer {
  const program = [
    statement(LOAD, OFFSET_ARCH),
    jump(JUMP_EQUAL, AUDIT_ARCH[arch], 1, 0),
    statement(RETURN, RET_KILL_PROCESS),
    statement(LOAD, OFFSET_NUMBER),
    ...(arch === "x86_64" ? [jump(JUMP_AT_LEAST, X32_BIT, 0, 1), statement(RETURN, RET_KILL_PROCESS)] : []),
    ...search(runs(arch)),
  ];
  const bytes = Buffer.alloc(program.length * 8);
  for (const [position, { code, jumpTrue, jumpFalse, operand }] of program.entries()) {
    bytes.writeUInt16LE(code, position * 8);
    bytes.writeUInt8(jumpTrue, position * 8 + 2);
    bytes.writeUInt8(jumpFalse, position * 8 + 3);
    bytes.writeUInt32LE(operand >>> 0, position * 8 + 4);
  }
  return bytes;
}

interface DockerArgument {
  index: number;
  value: number;
  valueTwo?: number;
  op: "SCMP_CMP_EQ" | "SCMP_CMP_MASKED_EQ";
}

interface DockerRule {
  names: string[];
  action: "SCMP_ACT_ALLOW" | "SCMP_ACT_ERRNO";
  errnoRet?: number;
  args?: DockerArgument[];
}

/** Every way to satisfy all rules: Docker has no "one of", so each way is an entry of its own. */
function dockerArguments(rules: ArgumentRule[]): DockerArgument[][] {
  const ways = ({ index, mask, values }: ArgumentRule) =>
    values.map(
      (value): DockerArgument =>
        mask === 0xffffffff
          ? { index, value, op: "SCMP_CMP_EQ" }
          : { index, value: mask, valueTwo: value, op: "SCMP_CMP_MASKED_EQ" },
    );
  return rules.reduce<DockerArgument[][]>(
    (found, rule) => found.flatMap((before) => ways(rule).map((way) => [...before, way])),
    [[]],
  );
}

/**
 * The policy as the JSON that Docker's `seccomp=` security option takes. An argument that no rule allows falls to the
 * default action, which is EPERM on every engine; numbers newer than the profile get ENOSYS from runc itself.
 */
export function dockerSeccompProfile(arch: Architecture): string {
  const names = (syscalls: Syscall[]) => syscalls.map(({ name }) => name);
  const rules: DockerRule[] = [
    { names: names(allowed), action: "SCMP_ACT_ALLOW" },
    { names: names(refused), action: "SCMP_ACT_ERRNO", errnoRet: EPERM },
    { names: names(absent), action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
  ];
  for (const { name } of checked)
    for (const args of dockerArguments(ARGUMENT_RULES[name]!))
      rules.push({ names: [name], action: "SCMP_ACT_ALLOW", args });
  return JSON.stringify({
    defaultAction: "SCMP_ACT_ERRNO",
    architectures: [arch === "x86_64" ? "SCMP_ARCH_X86_64" : "SCMP_ARCH_AARCH64"],
    syscalls: rules,
  });
}
