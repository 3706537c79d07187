"""Ways into the kernel: calls that make namespaces, mounts, programs in the kernel, or change the machine."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile

from .harness import Target, attack, reaches, syscall

_EINVAL, _ENOENT, _EFAULT = errno.EINVAL, errno.ENOENT, errno.EFAULT
_NEW_USER, _NEW_MOUNT = 0x10000000, 0x00020000


@attack("io_uring, which makes calls that no filter sees", "EPERM")
def io_uring(_: Target) -> str:
    return f"descriptor {syscall((425, 425), 1, bytes(120))}"


@attack("loading a BPF program", "EPERM")
def bpf_program(_: Target) -> str:
    """BPF_PROG_LOAD of `return 0` as a socket filter."""
    code = ctypes.create_string_buffer(bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]))
    license_text = ctypes.create_string_buffer(b"GPL")
    words = [1, 2, ctypes.addressof(code), ctypes.addressof(license_text)]
    attributes = words[0].to_bytes(4, "little") + words[1].to_bytes(4, "little")
    attributes += words[2].to_bytes(8, "little") + words[3].to_bytes(8, "little") + bytes(96)
    return f"descriptor {syscall((321, 280), 5, attributes, len(attributes))}"


@attack("a BPF map", "EPERM")
def bpf_map(_: Target) -> str:
    attributes = b"".join(value.to_bytes(4, "little") for value in (2, 4, 4, 1)) + bytes(104)
    return f"descriptor {syscall((321, 280), 0, attributes, len(attributes))}"


@attack("performance counters (perf_event_open)", "EPERM")
def perf(_: Target) -> str:
    attributes = (1).to_bytes(4, "little") + (120).to_bytes(4, "little") + bytes(112)
    return f"descriptor {syscall((298, 241), attributes, 0, -1, -1, 0)}"


@attack("the keyrings of the session", "EPERM")
def keyrings(_: Target) -> str:
    return f"keyring {syscall((250, 219), 0, -3, 1, 0, 0)}"


@attack("adding a key", "EPERM")
def add_key(_: Target) -> str:
    return f"key {syscall((248, 217), b'user', b'cloche-attack', b'x', 1, -1)}"


@attack("asking for a key", "EPERM")
def request_key(_: Target) -> str:
    return reaches((249, 218), b"user", b"cloche-attack-none", 0, 0, past=(126,))  # ENOKEY


@attack("faults of the kernel's own (userfaultfd)", "EPERM")
def userfaultfd(_: Target) -> str:
    return f"descriptor {syscall((323, 282), 0)}"


for _title, _flag in {
    "user": _NEW_USER,
    "mount": _NEW_MOUNT,
    "network": 0x40000000,
    "process": 0x20000000,
    "IPC": 0x08000000,
    "host name": 0x04000000,
    "cgroup": 0x02000000,
    "user, and in it a mount": _NEW_USER | _NEW_MOUNT,
}.items():

    def _unshare(_: Target, flag: int = _flag) -> str:
        syscall((272, 97), flag)
        return "made"

    attack(f"a namespace of its own: {_title} (unshare)", "EPERM")(_unshare)


@attack("a process in a user namespace of its own (clone)", "EPERM")
def clone_user(_: Target) -> str:
    pid = syscall((56, 220), _NEW_USER | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "made"


@attack("a process in a user namespace of its own (clone3, whose flags no filter sees)", "ENOSYS")
def clone3_user(_: Target) -> str:
    arguments = _NEW_USER.to_bytes(8, "little") + bytes(24) + (17).to_bytes(8, "little") + bytes(48)
    pid = syscall((435, 435), arguments, 88)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "made"


def _own_mounts() -> None:
    """Outside, what is mounted here is nobody else's. Inside it is refused, and mounting is tried all the same."""
    try:
        syscall((272, 97), _NEW_MOUNT)
        syscall((165, 40), b"none", b"/", 0, 0x44000, 0)
    except OSError:
        pass


@attack("mounting a file system", "EPERM")
def mount(target: Target) -> str:
    _own_mounts()
    with tempfile.TemporaryDirectory(dir=target.writable) as directory:
        syscall((165, 40), b"none", directory.encode(), b"tmpfs", 0, 0)
        syscall((166, 39), directory.encode(), 2)
    return "mounted"


@attack("mounting /proc or /sys afresh, without what masks them", "EPERM")
def mount_proc(target: Target) -> str:
    _own_mounts()
    with tempfile.TemporaryDirectory(dir=target.writable) as directory:
        syscall((165, 40), b"proc", directory.encode(), b"proc", 0, 0)
        syscall((166, 39), directory.encode(), 2)
    return "mounted"


@attack("making the staging directory writable by mounting it again", "EPERM")
def remount(target: Target) -> str:
    _own_mounts()
    staging = target.staging.encode()
    if not target.inside:
        syscall((165, 40), staging, staging, 0, 0x1000, 0)
    syscall((165, 40), b"none", staging, 0, 0x1020, 0)
    return "mounted again"


@attack("taking a mask off by unmounting it", "EPERM")
def unmount(target: Target) -> str:
    _own_mounts()
    if not target.inside:
        syscall((165, 40), b"/dev/null", b"/proc/timer_list", 0, 0x1000, 0)
    syscall((166, 39), b"/proc/timer_list", 2)
    return "unmounted"


@attack("a detached mount (fsopen)", "EPERM")
def fsopen(_: Target) -> str:
    return f"descriptor {syscall((430, 430), b'tmpfs', 0)}"


@attack("a detached copy of a mount (open_tree)", "EPERM")
def open_tree(_: Target) -> str:
    return f"descriptor {syscall((428, 428), -100, b'/', 1)}"


@attack("attaching a mount (move_mount)", "EPERM")
def move_mount(_: Target) -> str:
    return reaches((429, 429), -100, b"/nowhere", -100, b"/nowhere", 0, past=(_ENOENT,))


@attack("changing a mount's flags (mount_setattr)", "EPERM")
def mount_setattr(_: Target) -> str:
    _own_mounts()
    syscall((442, 442), -100, b"/", 0, bytes(32), 32)
    return "changed"


@attack("another root (pivot_root)", "EPERM")
def pivot_root(_: Target) -> str:
    _own_mounts()
    return reaches((155, 41), b"/nowhere", b"/nowhere", past=(_ENOENT,))


@attack("another root (chroot)", "EPERM")
def chroot(target: Target) -> str:
    syscall((161, 51), target.writable.encode())
    return "changed"


@attack("a kernel module", "EPERM")
def module(_: Target) -> str:
    return reaches((175, 105), bytes(64), 64, b"", past=(errno.ENOEXEC, _EINVAL, _EFAULT, errno.ENOSYS))


@attack("a kernel module from a file", "EPERM")
def module_file(_: Target) -> str:
    return reaches((313, 273), -1, b"", 0, past=(errno.EBADF,))


@attack("removing a kernel module", "EPERM")
def remove_module(_: Target) -> str:
    return reaches((176, 106), b"cloche_no_such_module", 0, past=(_ENOENT,))


@attack("another kernel (kexec)", "EPERM")
def kexec(_: Target) -> str:
    return reaches((246, 104), 0, 1_000, 0, 0, past=(_EINVAL,))


@attack("restarting the machine", "EPERM")
def reboot(_: Target) -> str:
    return reaches((169, 142), 0, 0, 0, 0, past=(_EINVAL,))


@attack("swap space of its own", "EPERM")
def swap(_: Target) -> str:
    return reaches((167, 224), b"/nowhere", 0, past=(_ENOENT,))


@attack("process accounting into a file of its own", "EPERM")
def accounting(_: Target) -> str:
    return reaches((163, 89), b"/nowhere", past=(_ENOENT,))


@attack("the kernel's log (syslog)", "EPERM")
def kernel_log(_: Target) -> str:
    return f"{syscall((103, 116), 3, bytes(4_096), 4_096)} bytes"


@attack("the machine's clock", "EPERM")
def clock(_: Target) -> str:
    syscall((164, 170), 0, 0)
    return "may be set"


@attack("the machine's name", "EPERM")
def host_name(_: Target) -> str:
    name = os.uname().nodename.encode()
    syscall((170, 161), name, len(name))
    return "set to what it was"


@attack("input and output ports", "EPERM")
def ports(_: Target) -> str:
    syscall((172, -1), 0)
    return "granted"


@attack("a segment table of its own (modify_ldt)", "EPERM")
def segments(_: Target) -> str:
    return f"{syscall((154, -1), 0, bytes(64), 64)} bytes"


@attack("watching every file of a file system (fanotify)", "EPERM")
def fanotify(_: Target) -> str:
    return f"descriptor {syscall((300, 262), 0, 0)}"


@attack("System V shared memory of the host", "EPERM")
def host_shared_memory(target: Target) -> str:
    return f"segment {syscall((29, 194), target.shared_memory, 0, 0)}"


@attack("System V shared memory, semaphores and queues of its own", "EPERM")
def own_ipc(_: Target) -> str:
    segment = syscall((29, 194), 0, 4_096, 0o1600)
    syscall((31, 195), segment, 0, 0)
    return f"segment {segment}"


@attack("POSIX message queues", "ENOSYS")
def message_queue(_: Target) -> str:
    name = f"cloche-{os.getpid()}".encode()
    descriptor = syscall((240, 180), name, os.O_CREAT | os.O_RDWR, 0o600, 0)
    syscall((241, 181), name)
    return f"descriptor {descriptor}"


@attack("memory hidden from the kernel itself (memfd_secret)", "ENOSYS")
def secret_memory(_: Target) -> str:
    return f"descriptor {syscall((447, 447), 0)}"


@attack("disk quotas", "EPERM")
def quotas(_: Target) -> str:
    return reaches((179, 60), 0x80000100, 0, 0, 0, past=(errno.ESRCH, _ENOENT, errno.ENOTBLK, _EINVAL, _EFAULT))
