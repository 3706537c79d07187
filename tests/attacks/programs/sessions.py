"""Ways to other sessions and to Cloche's own directories: their files, their memory, staging and scratch."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from .harness import Stopped, Target, attack, expect_token, syscall

_READ_ONLY = ("EROFS", "EACCES")


@attack("another session's workspace, by its process", "ENOENT", "EACCES")
def session_workspace(target: Target) -> str:
    with open(f"/proc/{target.pids['session']}/root{target.files['session_workspace']}") as file:
        return expect_token(file.read(), target)


@attack("another session's scratch, by its path on the host", "ENOENT")
def session_scratch(target: Target) -> str:
    with open(target.files["session_scratch"]) as file:
        return expect_token(file.read(), target)


@attack("another session's loaded data, by its path on the host", "ENOENT")
def session_data(target: Target) -> str:
    with open(target.files["session_data"]) as file:
        return expect_token(file.read(), target)


_PROGRAMS = ("/proc", "/sys", "/usr", "/opt/cloche/python", "/bin", "/lib", "/lib64")


@attack("another session's files beside its own", "no canary of another session")
def beside(target: Target) -> str:
    """Climbs from its own mounts; a bind mount of one directory must not show its neighbours."""
    bases = ("/scratch", "/cloche", "/data", "/workspace", "/tmp", "/dev/shm")
    climbs = {os.path.realpath(f"{base}/..") for base in bases}
    if not target.inside:
        climbs = {os.path.dirname(os.path.dirname(target.files["session_scratch"]))}
    name = os.path.basename(target.files["session_scratch"])
    for climb in climbs:
        for directory, below, names in os.walk(climb):
            if name in names:
                return f"{directory}/{name}"
            # Programs and libraries are nobody's session.
            below[:] = [sub for sub in below if os.path.join(directory, sub) not in _PROGRAMS]
    raise Stopped("no canary of another session")


@attack("another session's memory, by the host's pid of its kernel", "ENOENT", "EACCES")
def session_memory(target: Target) -> str:
    base = f"/proc/{target.pids['session']}"
    with open(f"{base}/maps") as maps:
        regions = [line.split()[0].split("-") for line in maps if " rw-p " in line]
    needle = target.token.encode()
    with open(f"{base}/mem", "rb", buffering=0) as memory:
        for start, end in regions:
            memory.seek(int(start, 16))
            try:
                if needle in (memory.read(int(end, 16) - int(start, 16)) or b""):
                    return "the secret"
            except OSError:
                continue
    raise Stopped("nothing of the other session's")


@attack("another session's abstract socket", "ECONNREFUSED")
def session_socket(target: Target) -> str:
    if not target.inside:
        # Abstract names belong to a network namespace.
        space = os.open(f"/proc/{target.pids['session']}/ns/net", os.O_RDONLY)
        syscall((308, 268), space, 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(3)
        line.connect("\0" + target.listeners["session_abstract"])
        return expect_token(line.recv(4_096).decode(), target)


@attack("another session's shared memory", "ENOENT")
def session_shared(target: Target) -> str:
    path = target.files["session_shared"]
    shared = path if target.inside else f"/proc/{target.pids['session']}/root{path}"
    with open(shared) as file:
        return expect_token(file.read(), target)


@attack("a signal to another session's kernel", "ESRCH", "EPERM")
def session_signal(target: Target) -> str:
    os.kill(target.pids["session"], 0)
    return "delivered"


def _places(target: Target) -> list[str]:
    return [target.staging, f"{target.staging}/data", "/data"] if target.inside else [target.staging]


def _each(target: Target, act: Callable[[str], object]) -> str:
    """Tries `act` in each place of the staging directory: every one must refuse."""
    return _refused(_places(target), act)


@attack("a new file in the staging directory", *_READ_ONLY)
def stage_file(target: Target) -> str:
    def make(place: str) -> None:
        os.close(os.open(f"{place}/planted", os.O_CREAT | os.O_WRONLY))

    return _each(target, make)


@attack("a link in the staging directory, for the server to follow", *_READ_ONLY)
def stage_link(target: Target) -> str:
    return _each(target, lambda place: os.symlink("/etc/passwd", f"{place}/planted-link"))


@attack("a pipe in the staging directory, for the server to hang on", *_READ_ONLY)
def stage_pipe(target: Target) -> str:
    return _each(target, lambda place: os.mkfifo(f"{place}/planted-pipe"))


@attack("a socket in the staging directory, in the place of the protocol's", *_READ_ONLY)
def stage_socket(target: Target) -> str:
    def listen(place: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.bind(f"{place}/planted-s")

    return _each(target, listen)


@attack("changing a staged file", *_READ_ONLY)
def stage_change(target: Target) -> str:
    return _each_file(target, lambda path: os.close(os.open(path, os.O_WRONLY)))


@attack("opening a staged file's mode", "EROFS", "EPERM")
def stage_mode(target: Target) -> str:
    return _each_file(target, lambda path: os.chmod(path, 0o666))


@attack("moving a staged file away", *_READ_ONLY)
def stage_move(target: Target) -> str:
    def move(path: str) -> None:
        os.rename(path, f"{path}-moved")
        os.rename(f"{path}-moved", path)

    return _each_file(target, move)


@attack("a second name of a staged file where it can be written", "EXDEV", "EPERM", "EROFS")
def stage_hard_link(target: Target) -> str:
    def link(path: str) -> None:
        second = f"{target.writable}/second-{os.getpid()}"
        os.link(path, second)
        os.unlink(second)

    return _each_file(target, link)


@attack("the staging directory through /proc, around its mount", *_READ_ONLY)
def stage_around(target: Target) -> str:
    os.close(os.open(f"/proc/self/root{target.staging}/planted-around", os.O_CREAT | os.O_WRONLY))
    return "written"


def _each_file(target: Target, act: Callable[[str], object]) -> str:
    """The same for the files that are staged, by every path that leads to them."""
    found = [os.path.join(place, name) for place in _places(target) for name in os.listdir(place)]
    return _refused([path for path in found if os.path.isfile(path)], act)


def _refused(paths: list[str], act: Callable[[str], object]) -> str:
    refusals = set()
    for path in paths:
        try:
            act(path)
            return f"done to {path}"
        except OSError as error:
            refusals.add(errno.errorcode[error.errno or 0])
    raise Stopped(", ".join(sorted(refusals)) or "no file is staged")


@attack("a setuid program in scratch, for somebody on the host to run", "nobody's but its own user's")
def setuid_in_scratch(target: Target) -> str:
    """It may set the bit; what counts is that the file cannot be root's."""
    path = f"{target.writable}/program-{os.getpid()}"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    try:
        os.chmod(path, 0o4755)
        owner = os.stat(path).st_uid
        if not target.inside or owner == 0:
            return f"a setuid program of user {owner}"
    finally:
        os.unlink(path)
    raise Stopped("nobody's but its own user's")
