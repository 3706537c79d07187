"""Ways to files: the host's by their paths and around them, the sandbox's own programs, and devices."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import time

from .harness import Absent, Stopped, Target, attack, expect_token, syscall


def _read(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read(1_000_000)


for _title, _key in {
    "a file of the project": "project",
    "a file of the person's home": "home",
    "a file in the host's /tmp": "tmp",
    "the state directory's database": "state",
}.items():

    def _open_it(target: Target, key: str = _key) -> str:
        return expect_token(_read(target.files[key]), target)

    attack(f"{_title}, by its path", "ENOENT")(_open_it)


@attack("the host's /etc/shadow", "EACCES", "ENOENT", "no password in it")
def shadow(target: Target) -> str:
    """An image has a file of that name too, and none of its accounts may have a password."""
    secrets = [line for line in _read("/etc/shadow").splitlines() if len(line.split(":")[1]) > 3]
    if target.inside and not secrets:
        raise Stopped("no password in it")
    return f"{len(secrets)} passwords"


@attack("a canary, by walking every directory", "no canary in")
def walk(target: Target) -> str:
    names = {os.path.basename(path) for path in target.files.values()}
    seen = 0
    until = time.monotonic() + 10
    for root in target.roots:
        for directory, below, files in os.walk(root):
            if directory in ("/proc", "/sys", "/opt/cloche/python", "/usr/lib", "/usr/share"):
                below.clear()
            seen += len(files)
            if found := names.intersection(files):
                return f"{directory}/{found.pop()}"
            if time.monotonic() > until:
                raise TimeoutError("the walk took too long")
    raise Stopped(f"no canary in {'many' if seen > 100 else seen} files")


@attack("a file of the host through a link left in scratch", "ENOENT")
def link_in_scratch(target: Target) -> str:
    link = f"{target.writable}/link-{os.getpid()}"
    os.symlink(target.files["project"], link)
    try:
        return expect_token(_read(link), target)
    finally:
        os.unlink(link)


@attack("a file of the host through another process's root", "EACCES", "ENOENT")
def through_proc_root(target: Target) -> str:
    refusal: OSError | None = None
    for pid in (target.pids["server"], target.pids["supervisor"]):
        try:
            return expect_token(_read(f"/proc/{pid}/root{target.files['project']}"), target)
        except OSError as error:
            refusal = error
    raise refusal or Stopped("no process")


@attack("a file of the host from a directory somebody left open", "no directory was left open")
def leaked_directory(target: Target) -> str:
    """As in the leak of a runtime's working directory: one open directory outside the root is the way out."""
    if not target.inside:
        os.open(os.path.dirname(target.files["project"]), os.O_RDONLY | os.O_DIRECTORY)
    found = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")] + ["/proc/self/cwd"]
    for entry in found:
        for climb in ("", "/.." * 12):
            try:
                return expect_token(_read(f"{entry}{climb}/{os.path.basename(target.files['project'])}"), target)
            except (OSError, Stopped):
                pass
            try:
                return expect_token(_read(f"{entry}{climb}{target.files['project']}"), target)
            except (OSError, Stopped):
                pass
    raise Stopped("no directory was left open")


@attack("a file of the host by its handle", "EPERM")
def by_handle(target: Target) -> str:
    """open_by_handle_at reads any inode of a mounted file system, whatever is bound of it."""
    handle = ctypes.create_string_buffer(8 + 128)
    ctypes.memmove(handle, (128).to_bytes(4, "little"), 4)
    mount = ctypes.create_string_buffer(4)
    where = target.files["project"] if not target.inside else target.writable
    try:
        syscall((303, 264), -100, where.encode(), handle, mount, 0)
    except OSError:
        # An ext4 handle of inode 2, the root of the file system, needs nobody's help.
        if not target.inside:
            raise
        ctypes.memmove(handle, bytes([8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]), 16)
    base = os.open(where, os.O_RDONLY)
    opened = syscall((304, 265), base, handle, os.O_RDONLY)
    return f"descriptor {opened}"


@attack("replacing the program that runs, through /proc", "EROFS", "EACCES", "ETXTBSY")
def overwrite_program(target: Target) -> str:
    """As in the overwritten container runtime: keep a descriptor of the program, write once nobody runs it."""
    child = subprocess.Popen([target.program, "60"], stdin=subprocess.DEVNULL)
    try:
        descriptor = os.open(f"/proc/{child.pid}/exe", os.O_PATH)
    finally:
        child.kill()
        child.wait()
    with open(f"/proc/self/fd/{descriptor}", "r+b", buffering=0) as program:
        program.write(program.read(4) or b"")
    return "opened for writing"


@attack("replacing the program of the sandbox's first process", "EACCES")
def overwrite_first_program(target: Target) -> str:
    descriptor = os.open(f"/proc/{target.pids['supervisor']}/exe", os.O_PATH)
    return f"reached {os.readlink(f'/proc/self/fd/{descriptor}')}"


@attack("changing a program or library the sandbox runs", "no place to write")
def change_programs(target: Target) -> str:
    if not target.inside:
        places = [os.path.dirname(target.program)]
    else:
        places = ["/", "/usr/bin", "/usr/lib", "/etc", os.path.dirname(os.__file__)]
        places += ["/opt/cloche", "/opt/cloche/lib", "/opt/cloche/lib/cloche_kernel", "/opt/cloche/python/bin"]
    for place in places:
        path = f"{place}/planted-{os.getpid()}"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        except OSError:
            continue
        os.unlink(path)
        return f"wrote in {place}"
    raise Stopped("no place to write")


#: opened by anybody on any machine, and harmless
_COMMON_DEVICES = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}


@attack("opening a device of the machine", "no device")
def open_devices(_: Target) -> str:
    for directory, below, names in os.walk("/dev"):
        below[:] = [name for name in below if name not in ("pts", "fd", "shm", "mqueue")]
        for name in sorted(names):
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            if name in _COMMON_DEVICES or not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
                continue
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            except OSError:
                continue
            return f"opened {path}"
    raise Stopped("no device")


for _title, _mode, _device in (
    ("a disk", stat.S_IFBLK, (7, 0)),
    ("the machine's memory", stat.S_IFCHR, (1, 1)),
    ("the kernel's log", stat.S_IFCHR, (1, 11)),
    ("FUSE", stat.S_IFCHR, (10, 229)),
):

    def _make(target: Target, mode: int = _mode, device: tuple[int, int] = _device) -> str:
        path = f"{target.writable}/device-{os.getpid()}"
        os.mknod(path, mode | 0o666, os.makedev(*device))
        os.unlink(path)
        return "made"

    attack(f"making a device node of {_title}", "EPERM")(_make)


@attack("typing into the host's terminal", "ENXIO")
def terminal(target: Target) -> str:
    """TIOCSTI pushes input back into the terminal a process belongs to, for the shell behind it to read."""
    import fcntl
    import pty

    if not target.inside:
        pid, master = pty.fork()
        if pid:
            text = b""
            try:
                text = os.read(master, 100)
            except OSError:
                pass
            os.waitpid(pid, 0)
            if b"reached" in text:
                return "reached"
            raise Absent("this kernel types for nobody (dev.tty.legacy_tiocsti)")
        line = os.open("/dev/tty", os.O_RDWR)
        fcntl.ioctl(line, 0x5412, b"x")
        os.write(1, b"reached")
        os._exit(0)
    line = os.open("/dev/tty", os.O_RDWR)
    fcntl.ioctl(line, 0x5412, b"x")
    return "typed"


@attack("becoming root through a program with the setuid bit", "still an ordinary user", "no such program")
def setuid_program(target: Target) -> str:
    """Starts one as an ordinary user, and looks who it runs as while it waits for a password."""
    candidates = [f"{place}/{name}" for place in ("/usr/bin", "/bin") for name in ("su", "passwd", "chsh", "newgrp")]
    programs = [path for path in candidates if os.path.exists(path) and os.stat(path).st_mode & stat.S_ISUID]
    if not programs:
        raise Stopped("no such program")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65_534, 65_534, 65_534)
        os.setresuid(65_534, 65_534, 65_534)
    # Its standard streams are pipes nobody writes to: it waits, or reads and ends, or complains and ends.
    for path in programs:
        child = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            for _ in range(100):
                if _effective_user(child.pid, path) == 0:
                    return f"{path} ran as root"
                if child.poll() is not None:
                    break
                time.sleep(0.001)
        finally:
            try:
                child.kill()
            except PermissionError:
                pass  # it is root's: the line above has said so
    raise Stopped("still an ordinary user")


def _effective_user(pid: int, program: str) -> int | None:
    try:
        with open(f"/proc/{pid}/status") as file:
            fields = dict(line.split(":", 1) for line in file)
    except (OSError, ValueError):
        return None
    if fields["Name"].strip() != os.path.basename(program)[:15]:
        return None
    return int(fields["Uid"].split()[1])
