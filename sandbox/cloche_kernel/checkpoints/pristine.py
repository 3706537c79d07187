"""
A process forked before any code of the user's has run, in which a state is read back to see what comes of it.

It forks a child for each state, so that nothing a state does to the process outlives it, and ends with the kernel. It
is no child of the kernel's: code in a cell that waits for its children never meets it.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from importlib import import_module

# Bound here, so that a cell that replaces them does not replace ours.
from json import dumps, loads
from os import fstat, pread, write
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
#: states larger than this go through a file on disk, in bytes: memory is for the session
_IN_MEMORY = 33_554_432
_SCRATCH = ("/scratch", "/tmp")
#: seconds beyond its own deadline after which a pristine process that does not answer is given up
_GRACE = 2.0

#: reads a state's header and buffers, and answers with what can be written as JSON
Read = Callable[[bytes, list[Any], dict[str, Any]], Any]


class Gone(Exception):
    """There is no pristine process any more: code in a cell ended it, or memory was short."""


class Failed(Exception):
    """A state could not be read back. The text says why, for a person."""


class Pristine:
    """The kernel's side. `read` runs in the pristine process's children."""

    def __init__(self, read: Read) -> None:
        self._asked = 0
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kernel = os.getpid()
        first = os.fork()
        if first == 0:
            try:
                if os.fork() == 0:
                    _serve(theirs, kernel, read)
            finally:
                os._exit(0)
        os.waitpid(first, 0)
        theirs.close()

    def ask(self, header: bytes, buffers: list[memoryview], request: dict[str, Any], seconds: float) -> Any:
        """What `read` says of a state; raises Gone or Failed."""
        state = written(header, buffers)
        answer = os.memfd_create("answer", os.MFD_CLOEXEC)
        try:
            sizes = [len(header), *(buffer.nbytes for buffer in buffers)]
            self._asked += 1
            question = f"{os.getpid()}.{self._asked}"
            os.lseek(state, 0, os.SEEK_SET)
            room = os.memfd_create("request", os.MFD_CLOEXEC)
            try:
                asked = {**request, "sizes": sizes, "seconds": seconds, "question": question}
                _write_all(room, dumps(asked).encode("utf-8", "surrogatepass"))
                self._socket.settimeout(seconds + _GRACE)
                socket.send_fds(self._socket, [b"state"], [state, answer, room])
            finally:
                os.close(room)
            word = self._hear(question)
            if word != "read":
                raise Failed(word)
            return loads(pread(answer, fstat(answer).st_size, 0))
        except OSError as error:
            self.close()
            raise Gone from error
        finally:
            os.close(state)
            os.close(answer)

    def _hear(self, question: str) -> str:
        """The answer to this question; one to a process that ended before it heard it is for nobody."""
        while True:
            said = self._socket.recv(1_000).decode()
            if not said:
                raise Gone
            to, _, word = said.partition(" ")
            if to == question:
                return word

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Lets go of it; it then ends by itself."""
        self._socket.close()


def written(header: bytes, buffers: list[memoryview]) -> int:
    """A descriptor of the state's bytes, that no name leads to."""
    if len(header) + sum(buffer.nbytes for buffer in buffers) <= _IN_MEMORY:
        made = os.memfd_create("state", os.MFD_CLOEXEC)
    else:
        folder = next((path for path in _SCRATCH if os.path.isdir(path)), "/tmp")
        made = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        for part in (header, *buffers):
            _write_all(made, part)
    except OSError:
        os.close(made)
        raise
    return made


def _write_all(descriptor: int, data: Any) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[write(descriptor, view) :]


def _serve(line: socket.socket, kernel: int, read: Read) -> None:
    """The pristine process: one child for each state, until the kernel is gone."""
    keep = line.fileno()
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    limit = max(map(int, os.listdir("/proc/self/fd")), default=keep) + 1
    os.closerange(3, keep)
    os.closerange(keep + 1, limit)
    for number in (signal.SIGINT, signal.SIGALRM, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    _die_first()
    # Nobody reads its memory, as nobody reads the zygote's.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    gc.disable()
    gc.freeze()
    watch = os.pidfd_open(kernel)
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.register(keep, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if watch in ready:
            os._exit(0)
        if keep in ready:
            _, descriptors, _, _ = socket.recv_fds(line, 100, 3)
            if len(descriptors) < 3:
                os._exit(0)
            request = loads(pread(descriptors[2], fstat(descriptors[2]).st_size, 0))
            word = _read_in_child(descriptors[0], descriptors[1], request, read, [keep, watch])
            for descriptor in descriptors:
                os.close(descriptor)
            line.send(f"{request['question']} {word}".encode("utf-8", "replace")[:1_000])


def _die_first() -> None:
    """Where memory runs out, this process is worth least."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("900")
    except OSError:
        pass


def _read_in_child(state: int, answer: int, request: dict[str, Any], read: Read, ours: list[int]) -> str:
    for name in request["modules"]:
        if name not in sys.modules:
            try:
                import_module(name)
            except Exception:
                pass  # reading will say what is missing
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for descriptor in ours:
            os.close(descriptor)
        answer_in_child(state, answer, request, read)
    return wait_for(child, answer, request["seconds"])


def answer_in_child(state: int, answer: int, request: dict[str, Any], read: Read) -> None:
    """In a process of its own: reads the state, writes what `read` says, and ends."""
    status = 1
    try:
        os.chdir(request["cwd"])
        sys.path[:] = request["path"]
        mapped = mmap.mmap(state, 0, access=mmap.ACCESS_COPY)
        parts, at = [], 0
        for size in request["sizes"]:
            parts.append(memoryview(mapped)[at : at + size])
            at += size
        _write_all(answer, dumps(read(bytes(parts[0]), parts[1:], request)).encode("utf-8", "surrogatepass"))
        status = 0
    except BaseException as error:
        os.ftruncate(answer, 0)
        os.lseek(answer, 0, os.SEEK_SET)
        _write_all(answer, f"{type(error).__name__}: {str(error)[:300]}".encode("utf-8", "replace"))
    finally:
        os._exit(status)


def wait_for(child: int, answer: int, seconds: float) -> str:
    """How reading a state in process `child` went: `read`, or the reason it could not be, for a person."""
    until = time.monotonic() + seconds
    watch = os.pidfd_open(child)
    try:
        ready, _, _ = select.select([watch], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    except ChildProcessError:
        status = 0 if fstat(answer).st_size else 1
        ready = [watch]
    finally:
        os.close(watch)
    if not ready:
        return f"reading it back takes longer than {seconds:g} s"
    if os.WIFSIGNALED(status):
        return f"reading it back ends the process ({signal.Signals(os.WTERMSIG(status)).name})"
    if status:
        return f"reading it back fails: {pread(answer, 600, 0).decode('utf-8', 'replace')}"
    return "read"
