"""Ways to the machine through the kernel's files: /proc, /sys, /proc/sys and control groups."""

from __future__ import annotations

import glob
import os
import stat

from .harness import Absent, Stopped, Target, attack


def _may_write(path: str) -> str:
    """Opens it for writing and writes nothing."""
    os.close(os.open(path, os.O_WRONLY))
    return f"opened {path}"


_READ_ONLY = ("EROFS", "EACCES", "ENOENT")

#: what a write there makes the kernel do for whoever writes
_SETTINGS = {
    "the program that takes core dumps (core_pattern)": "/proc/sys/kernel/core_pattern",
    "the program that loads modules (modprobe)": "/proc/sys/kernel/modprobe",
    "the program that answers for a device (uevent_helper)": "/sys/kernel/uevent_helper",
    "interpreters of binaries (binfmt_misc)": "/proc/sys/fs/binfmt_misc/register",
    "the magic key (sysrq-trigger)": "/proc/sysrq-trigger",
    "whether memory may be promised twice (overcommit)": "/proc/sys/vm/overcommit_memory",
    "whether a crash stops the machine (panic)": "/proc/sys/kernel/panic",
    "who may use BPF": "/proc/sys/kernel/unprivileged_bpf_disabled",
    "where addresses begin (randomize_va_space)": "/proc/sys/kernel/randomize_va_space",
    "sleep and hibernation": "/sys/power/state",
    "the machine's name (kernel/hostname)": "/proc/sys/kernel/hostname",
    "network settings (ip_forward)": "/proc/sys/net/ipv4/ip_forward",
}

for _title, _path in _SETTINGS.items():

    def _set(_: Target, path: str = _path) -> str:
        return _may_write(path)

    attack(f"writing {_title}", *_READ_ONLY)(_set)


@attack("writing any kernel setting under /proc/sys", "not one of")
def any_setting(_: Target) -> str:
    return _any_writable("/proc/sys")


@attack("writing anything under /sys", "not one of")
def any_of_sys(_: Target) -> str:
    return _any_writable("/sys")


@attack("writing anything else of /proc that is the machine's", "not one of")
def any_of_proc(_: Target) -> str:
    """Entries of processes are their own; /proc/net and /proc/self lead to those."""
    entries = [name for name in os.listdir("/proc") if not name.isdigit()]
    own = {"self", "thread-self", "net", "mounts", "sys"}
    return _first_writable([path for name in entries if name not in own for path in _files(f"/proc/{name}")])


def _any_writable(root: str) -> str:
    return _first_writable(_files(root))


def _files(root: str) -> list[str]:
    if not os.path.isdir(root):
        return [root] if os.path.exists(root) else []
    return [os.path.join(directory, name) for directory, _, names in os.walk(root) for name in names]


def _first_writable(paths: list[str]) -> str:
    """Asks before it opens: outside, it would open the whole tree. A mask is a device, and no file of the machine's."""
    for path in paths:
        if os.access(path, os.W_OK) and stat.S_ISREG(os.stat(path).st_mode):
            try:
                return _may_write(path)
            except OSError:
                continue
    raise Stopped(f"not one of {len(paths)}" if len(paths) < 100 else "not one of hundreds")


def _cgroup_files(name: str) -> list[str]:
    found = glob.glob(f"/sys/fs/cgroup/{name}") + glob.glob(f"/sys/fs/cgroup/*/{name}")
    return found + glob.glob(f"/sys/fs/cgroup/*/*/{name}")


def _write_first_of(*names: str) -> str:
    found = [path for name in names for path in _cgroup_files(name)]
    if not found:
        raise FileNotFoundError(2, "no such file in any control group")
    refusal: OSError | None = None
    for path in found:
        try:
            return _may_write(path)
        except OSError as error:
            refusal = error
    assert refusal is not None
    raise refusal


@attack("the program run when a control group empties (release_agent)", *_READ_ONLY)
def release_agent(_: Target) -> str:
    return _write_first_of("release_agent")


@attack("moving to another control group", *_READ_ONLY)
def move_group(_: Target) -> str:
    return _write_first_of("cgroup.procs")


@attack("raising its own memory limit", *_READ_ONLY)
def raise_limit(_: Target) -> str:
    return _write_first_of("memory.max", "memory.limit_in_bytes")


@attack("raising its own limit of processes", *_READ_ONLY)
def raise_processes(_: Target) -> str:
    return _write_first_of("pids.max")


@attack("the devices it may open (devices.allow)", *_READ_ONLY)
def allow_devices(_: Target) -> str:
    return _write_first_of("devices.allow")


@attack("the kernel's memory as a core file (/proc/kcore)", "empty", "EACCES", "EPERM", "ENOENT")
def kcore(_: Target) -> str:
    with open("/proc/kcore", "rb", buffering=0) as file:
        if head := file.read(4):
            return repr(head)
    raise Stopped("empty")


@attack("addresses of the kernel (/proc/kallsyms)", "no address", "ENOENT", "EACCES")
def kallsyms(_: Target) -> str:
    with open("/proc/kallsyms") as file:
        for line in file:
            if line.split()[0].strip("0"):
                return line.strip()
    raise Stopped("no address")


for _path in ("/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug", "/proc/vmallocinfo"):

    def _look(_: Target, path: str = _path) -> str:
        with open(path) as file:
            text = file.read(10_000).strip()
        if not text:
            raise Stopped("empty")
        return text.splitlines()[0]

    attack(f"reading {_path}", "empty", "EACCES", "ENOENT", "EPERM")(_look)


for _title, _path in {
    "the kernel's log": "/proc/kmsg",
    "allocations of the kernel": "/proc/slabinfo",
    "pages by their owner": "/proc/kpageflags",
    "the machine's serial number": "/sys/class/dmi/id/product_uuid",
    "the machine's firmware": "/sys/firmware/acpi/tables/DSDT",
    "tracing": "/sys/kernel/tracing/trace",
    "debugging": "/sys/kernel/debug",
    "the machine's start options": "/proc/cmdline",
    "modules the kernel loaded": "/proc/modules",
    "interrupts by processor": "/proc/interrupts",
    "deferred interrupts by processor": "/proc/softirqs",
    "what the disks did": "/proc/diskstats",
    "disks and their parts": "/proc/partitions",
    "who holds which file locked": "/proc/locks",
    "stalls of the whole machine": "/proc/pressure",
}.items():

    def _read_some(target: Target, path: str = _path) -> str:
        if os.path.isdir(path):
            found = os.listdir(path)
        else:
            with open(path, "rb", buffering=0) as file:
                os.set_blocking(file.fileno(), False)
                found = [repr(text)] if (text := file.read(16)) else []
        if not found:
            raise Stopped("empty")
        return ", ".join(found[:5])

    attack(f"reading {_title} ({_path})", "empty", "EACCES", "ENOENT", "EPERM")(_read_some)


@attack("the disks of the machine, by /sys", "no disk")
def disks(_: Target) -> str:
    """Their names alone are the machine's own business; reading needs a device node."""
    for device in glob.glob("/dev/sd*") + glob.glob("/dev/vd*") + glob.glob("/dev/nvme*") + glob.glob("/dev/loop*"):
        try:
            os.close(os.open(device, os.O_RDONLY | os.O_NONBLOCK))
            return f"opened {device}"
        except OSError:
            continue
    raise Stopped("no disk")


@attack("the host's paths in the list of mounts", "none of the person's files")
def mount_list(target: Target) -> str:
    """Where its own directories lie on the host can be read there; nothing else of the host may be mounted."""
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    private = ("/home", "/root", "/mnt", "/media", "/srv", "/var", "/run")
    strange = [point for point in points if point.startswith(private)]
    if not target.inside:
        return f"{len(points)} mounts"
    if strange:
        return ", ".join(strange)
    raise Stopped("none of the person's files")


@attack("asking the kernel which file system it is in (statmount)", "ENOSYS")
def list_mounts(_: Target) -> str:
    from .harness import syscall

    request = (24).to_bytes(4, "little") + bytes(4) + (0xFFFFFFFFFFFFFFFF).to_bytes(8, "little") + bytes(8)
    try:
        return f"{syscall((458, 458), request, bytes(800), 100, 0)} mounts"
    except OSError as error:
        if error.errno == 38 and os.geteuid() == 0:
            raise Absent("this kernel has no such call") from error
        raise
