"""Ways to other processes: their environment, memory, descriptors and namespaces, and rights over one's own."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal

from .harness import Absent, Stopped, Target, attack, expect_token, syscall


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _others() -> list[int]:
    """Every process in sight but this one's own ancestors that run user code: the kernel and this fork of it."""
    return [pid for pid in _pids() if pid not in (os.getpid(), os.getppid())]


def _read(path: str, length: int = 4_000_000) -> str:
    with open(path, "rb") as file:
        return file.read(length).decode(errors="replace")


@attack("secrets in this process's environment", "nothing of the host's")
def environment(target: Target) -> str:
    return expect_token(repr(os.environ), target)


@attack("the environment of the sandbox's first process", "EACCES")
def first_environment(target: Target) -> str:
    if not target.inside:
        return expect_token(_read(f"/proc/{target.pids['server']}/environ"), target)
    return _read(f"/proc/{target.pids['supervisor']}/environ") or "empty, and readable"


for _title, _file in {"environment": "environ", "command line": "cmdline", "open files": "mountinfo"}.items():

    def _of_server(target: Target, file: str = _file) -> str:
        return _read(f"/proc/{target.pids['server']}/{file}") or "readable"

    attack(f"the {_title} of the server, by its pid", "ENOENT", "EACCES")(_of_server)


@attack("secrets in the environment or command line of any process in sight", "nothing of the host's")
def every_environment(target: Target) -> str:
    text = ""
    for pid in _pids():
        for file in ("environ", "cmdline"):
            try:
                text += _read(f"/proc/{pid}/{file}")
            except OSError:
                pass
    return expect_token(text, target)


@attack("processes of the host in the list of processes", "only the sandbox's own")
def host_processes(target: Target) -> str:
    """The sandbox's own are the supervisor, the zygote, the kernel and what a cell starts."""
    if not target.inside:
        return f"{len(_pids())} processes"
    strangers = []
    for pid in _pids():
        try:
            name = _read(f"/proc/{pid}/comm").strip()
        except OSError:
            continue
        if not name.startswith(("python", "pt_main")):
            strangers.append(f"{pid} {name}")
    if strangers:
        return ", ".join(strangers[:10])
    raise Stopped("only the sandbox's own")


@attack("a signal to the server", "ESRCH", "EPERM")
def signal_server(target: Target) -> str:
    os.kill(target.pids["server"], 0)
    return "delivered"


@attack("the memory of the sandbox's first process, through /proc", "EACCES")
def supervisor_memory(target: Target) -> str:
    return _memory(target.pids["supervisor"])


@attack("the memory of every other process in sight, through /proc", "EACCES")
def every_memory(target: Target) -> str:
    refusal: OSError | None = None
    others = [target.pids["session"]] if not target.inside else _others()
    for pid in others:
        try:
            return _memory(pid)
        except FileNotFoundError:
            continue  # it ended meanwhile
        except OSError as error:
            refusal = error
    raise refusal or Stopped("no other process")


def _memory(pid: int) -> str:
    with open(f"/proc/{pid}/maps") as maps:
        region = next(line for line in maps if "rw-p" in line).split()[0]
    start = int(region.split("-")[0], 16)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(start)
        return f"{len(memory.read(64))} bytes of process {pid}"


@attack("the descriptors of the sandbox's first process, which carry the protocol", "EACCES")
def supervisor_descriptors(target: Target) -> str:
    base = f"/proc/{target.pids['supervisor']}/fd"
    names = os.listdir(base)
    return ", ".join(os.readlink(f"{base}/{name}") for name in names) or "listed"


@attack("opening a descriptor of the first process, to speak in its name", "EACCES")
def supervisor_stdout(target: Target) -> str:
    """Sockets cannot be opened anew; pipes and files can."""
    refusal: OSError | None = None
    for number in range(12):
        try:
            os.close(os.open(f"/proc/{target.pids['supervisor']}/fd/{number}", os.O_WRONLY | os.O_NONBLOCK))
            return f"opened {number}"
        except OSError as error:
            refusal = error
            if error.errno == errno.EACCES:
                raise
    raise refusal or Stopped("none")


@attack("taking a descriptor of the first process (pidfd_getfd)", "EPERM")
def take_descriptor(target: Target) -> str:
    process = os.pidfd_open(target.pids["supervisor"])
    return f"descriptor {syscall((438, 438), process, 1, 0)}"


@attack("tracing the first process (ptrace)", "EPERM")
def trace(target: Target) -> str:
    """PTRACE_SEIZE stops nothing, and ends with this process."""
    syscall((101, 117), 0x4206, target.pids["supervisor"], 0, 0)
    return "seized"


@attack("tracing a child of its own (ptrace)", "EPERM")
def trace_child(_: Target) -> str:
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        syscall((101, 117), 0x4206, child, 0, 0)
        return "seized"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


class _Span(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _copy_memory(numbers: tuple[int, int], pid: int) -> str:
    """One byte between this process and `pid`, at the address that the program of both begins at where both fork."""
    buffer = ctypes.create_string_buffer(1)
    local, remote = _Span(ctypes.addressof(buffer), 1), _Span(ctypes.addressof(buffer), 1)
    copied = syscall(numbers, pid, ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0)
    return f"{copied} byte"


for _title, _numbers in {"reading": (310, 270), "writing": (311, 271)}.items():

    def _of_child(_: Target, numbers: tuple[int, int] = _numbers) -> str:
        child = os.fork()
        if child == 0:
            signal.pause()
        try:
            return _copy_memory(numbers, child)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    attack(f"{_title} another process's memory (process_vm)", "EPERM")(_of_child)


@attack("comparing kernel objects of two processes (kcmp)", "EPERM")
def compare(target: Target) -> str:
    return f"answered {syscall((312, 272), os.getpid(), os.getppid(), 1, 0, 0)}"


@attack("steering another process's memory (process_madvise)", "EPERM")
def advise(target: Target) -> str:
    process = os.pidfd_open(os.getpid())
    page = ctypes.create_string_buffer(8_192)
    span = _Span((ctypes.addressof(page) + 4_095) & ~4_095, 4_096)
    return f"{syscall((440, 440), process, ctypes.addressof(span), 1, 20, 0)} bytes"


@attack("entering the first process's namespaces (setns)", "EPERM", "EACCES")
def enter_namespaces(target: Target) -> str:
    process = os.pidfd_open(target.pids["supervisor"])
    syscall((308, 268), process, 0x04000000)
    return "entered"


@attack("opening the first process's namespaces in /proc", "EACCES")
def open_namespaces(target: Target) -> str:
    os.close(os.open(f"/proc/{target.pids['supervisor']}/ns/net", os.O_RDONLY))
    return "opened"


@attack("becoming root (setuid)", "EPERM", "EINVAL")
def become_root(_: Target) -> str:
    os.setresuid(0, 0, 0)
    os.setresgid(0, 0, 0)
    return f"uid {os.getuid()}"


@attack("taking capabilities (capset)", "EPERM")
def take_capabilities(_: Target) -> str:
    header = (0x20080522).to_bytes(4, "little") + bytes(4)
    data = (1 << 21).to_bytes(4, "little") * 2 + bytes(16)
    syscall((126, 91), header, data)
    return "CAP_SYS_ADMIN"


@attack("a capability in any of its sets", "none")
def hold_capabilities(_: Target) -> str:
    with open("/proc/self/status") as file:
        held = [line.split()[1] for line in file if line.startswith("Cap")]
    if any(int(value, 16) for value in held):
        return ", ".join(held)
    raise Stopped("none")


@attack("taking back no_new_privs", "EINVAL")
def drop_no_new_privileges(target: Target) -> str:
    with open("/proc/self/status") as file:
        held = next(line.split()[1] for line in file if line.startswith("NoNewPrivs"))
    if held == "0":
        return "never had it"
    syscall((157, 167), 38, 0, 0, 0, 0)
    return "taken back"


def _raise_limit(which: int, by: int | None) -> str:
    """Raises a hard limit, or lifts it. Python reports the kernel's EPERM as a ValueError."""
    hard = resource.getrlimit(which)[1]
    if hard == resource.RLIM_INFINITY:
        return "there is no limit"
    try:
        resource.setrlimit(which, (hard, resource.RLIM_INFINITY if by is None else hard + by))
    except ValueError as error:
        raise PermissionError(1, str(error)) from error
    return "raised"


@attack("more open files than its hard limit", "EPERM")
def raise_files(_: Target) -> str:
    return _raise_limit(resource.RLIMIT_NOFILE, 1)


@attack("more data memory than its hard limit", "EPERM")
def raise_memory(_: Target) -> str:
    return _raise_limit(resource.RLIMIT_DATA, None)


@attack("the limits of the process that speaks to the server", "EPERM")
def limit_another(target: Target) -> str:
    """Without a file left to open it would end. Outside, the attack spares it and sets what it has."""
    limits = ctypes.create_string_buffer(16)
    supervisor = target.pids["supervisor"]
    syscall((302, 261), supervisor, resource.RLIMIT_NOFILE, 0, limits)
    syscall((302, 261), supervisor, resource.RLIMIT_NOFILE, limits, 0)
    return "set"


@attack("a real-time priority", "EPERM")
def real_time(_: Target) -> str:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return "granted"


@attack("a better priority", "EACCES", "EPERM")
def nicer(_: Target) -> str:
    os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - 5)
    return "granted"


@attack("being the last to go when memory runs out", "EACCES")
def spared(_: Target) -> str:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")
    return "granted"


@attack("turning off address randomisation (personality)", "EPERM")
def no_randomisation(_: Target) -> str:
    syscall((135, 92), 0x40000)
    return "off"


def _machine_code(code: str) -> int:
    import mmap
    import platform

    if platform.machine() != "x86_64":
        raise Absent("only x86_64 has this way in")
    page = mmap.mmap(-1, 4_096, prot=7)
    page.write(bytes.fromhex(code))
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())


@attack("calls by 32-bit numbers (int 0x80), which a filter by 64-bit numbers misreads", "SIGSYS")
def int80(_: Target) -> str:
    """getpid, as i386 numbers it."""
    if (found := _machine_code("b814000000cd80c3")) != os.getpid():
        raise Absent("this kernel has no 32-bit calls")
    return f"pid {found}"


@attack("calls by x32 numbers", "SIGSYS")
def x32(_: Target) -> str:
    import platform

    if platform.machine() != "x86_64":
        raise Absent("only x86_64 has this way in")
    try:
        return f"pid {syscall((0x40000000 + 39, -1))}"
    except OSError as error:
        raise Absent("this kernel has no x32 calls") from error
