"""
Taking down what takes long beside the session: a fork of the kernel is the state as it was when the cell ended, and
writes that down while the next cell runs.

The fork is nobody's child that the session could wait for, hears no signal, holds none of the session's descriptors,
and runs no hook of the session's. It speaks to the supervisor over a line of its own.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import gc
import mmap
import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterable

# Bound here, so that a cell that replaces them does not replace ours.
from os import _exit, close, pidfd_open, waitpid
from select import POLLIN, poll
from typing import Any

from cloche_kernel import processes
from cloche_kernel.checkpoints import files
from cloche_kernel.frames import encode
from cloche_kernel.streams import high

Send = Callable[[dict[str, Any], Any], None]

#: bytes of a state's description in one message
PIECE_BYTES = 262_144
#: memory that a fork may come to need, as a multiple of what the kernel has resident: references are counted in the
#: pages of the objects, so that looking at them copies those, and what is written down comes on top
_GROWTH = 1.5
_SPARE_BYTES = 67_108_864
#: looks, a second each, at a fork that does nothing before it is given up
_IDLE_LOOKS = 20
#: file systems that a cell can write to: what is mapped from there can change under a fork
_WRITABLE = ("/workspace", "/tmp", "/scratch", "/dev/shm")
_KEPT_SIGNALS = frozenset(
    {signal.SIGKILL, signal.SIGSTOP, signal.SIGALRM, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
     signal.SIGABRT, signal.SIGCHLD}
)  # fmt: skip
#: how far a fork came, in the first byte of what it shares with the kernel
_WORKING, _CERTAIN, _SENT = 0, 1, 2
_SHARED_BYTES = 4_096

# Not `os.fork`: that runs hooks of the session's and draws new random numbers, which the state would then hold.
_fork = ctypes.PyDLL(None).fork


class Lost(Exception):
    """The fork ended before it was done."""


class Beside:
    """
    One fork at a time. `line` keeps message boundaries and leads to the supervisor; `leave` closes the kernel's own
    line in the fork; `room` gives the bytes of memory that are left; `keep` the descriptors that taking down needs.
    """

    def __init__(
        self,
        line: socket.socket,
        leave: Callable[[], None],
        room: Callable[[], int],
        keep: Callable[[], Iterable[int]],
    ) -> None:
        self._line = line
        self._leave = leave
        self._room = room
        self._keep = keep
        #: the cell whose state is being taken down
        self.cell: int | None = None
        self._pid = 0
        self._watch = -1
        self._shared: mmap.mmap | None = None
        self._answer = -1
        self._handlers: list[Any] = []
        # What the session forks speaks for nobody.
        os.register_at_fork(after_in_child=self._line.close)

    def fits(self) -> bool:
        """Whether a fork now is the state, and stays it: no thread, no file and no memory that it would share."""
        try:
            return (
                _thread._count() == 0
                and _other_threads() <= 0
                and signal.getsignal(signal.SIGCHLD) in (signal.SIG_DFL, signal.SIG_IGN)
                and not _shares_files()
                and not _shares_memory()
                and self._room() > _GROWTH * _resident() + _SPARE_BYTES
            )
        except Exception:
            return False

    def begin(self, cell: int, work: Callable[[Send], tuple[Any, list[Any]]]) -> bool:
        """
        Has `work` done in a fork; False where there is none. `work` sends chunks, and returns what the kernel is to
        learn and the pieces of the manifest, which go out once that is written.
        """
        try:
            shared = mmap.mmap(-1, _SHARED_BYTES)
            answer = high(os.memfd_create("learned", os.MFD_CLOEXEC))
        except OSError:
            return False
        pid = self._forked(lambda: self._serve(cell, work, shared, answer))
        if pid is None:
            shared.close()
            close(answer)
            return False
        self.cell, self._pid, self._shared, self._answer = cell, pid, shared, answer
        try:
            self._watch = high(pidfd_open(pid))
        except ProcessLookupError:
            pass  # it has ended
        except OSError:
            # It could not be watched: it must not go on beside what is taken down in its place.
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return True

    def fileno(self) -> int:
        """Readable once the fork has ended; -1 where that cannot be seen."""
        return self._watch

    def ended(self, seconds: float | None = None) -> bool:
        """Waits for the fork, at most `seconds`; None: until it has ended, or is given up."""
        if self._watch < 0:
            return True
        idle, ticks = 0, -1
        # Code in a cell may have stopped it.
        self._signal(signal.SIGCONT)
        while True:
            if self._exits_within(1.0 if seconds is None else seconds):
                return True
            if seconds is not None:
                return False
            before, ticks = ticks, processes.cpu_ticks(self._pid)
            idle = idle + 1 if ticks == before else 0
            if idle >= _IDLE_LOOKS:
                return True

    def result(self) -> Any:
        """What the fork has the kernel learn, once `ended`. Raises Lost."""
        shared, answer, watch = self._shared, self._answer, self._watch
        self._end()
        try:
            if shared is None or shared[0] != _SENT:
                raise Lost
            size = os.fstat(answer).st_size
            data = bytearray(size)
            view, at = memoryview(data), 0
            while at < size:
                at += os.preadv(answer, [view[at:]], at)
            return pickle.loads(data)
        except Lost:
            raise
        except Exception as error:
            raise Lost from error
        finally:
            self.cell, self._shared, self._answer, self._watch, self._pid = None, None, -1, -1, 0
            for descriptor in (answer, watch):
                try:
                    close(descriptor)
                except OSError:
                    pass

    def _end(self) -> None:
        """Nothing of it is on its way afterwards."""
        self._signal(signal.SIGKILL)
        self._exits_within(5.0)

    def _exits_within(self, seconds: float) -> bool:
        if self._watch < 0:
            return True
        waiting = poll()
        waiting.register(self._watch, POLLIN)
        return bool(waiting.poll(seconds * 1000))

    def _signal(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self._watch, number)
        except OSError:
            pass

    def _forked(self, work: Callable[[], None]) -> int | None:
        """The process that does `work`, a child of the supervisor's; None where there is none."""
        pid_out, pid_in = os.pipe2(os.O_CLOEXEC)
        try:
            first = _fork()
            if first == 0:
                second = _fork()
                try:
                    if second == 0:
                        work()
                    elif second > 0:
                        os.write(pid_in, b"%d" % second)
                finally:
                    _exit(1)
            close(pid_in)
            pid_in = -1
            if first < 0:
                return None
            try:
                waitpid(first, 0)
            except ChildProcessError:
                pass
            return int(os.read(pid_out, 20) or b"0") or None
        except OSError:
            return None
        finally:
            for descriptor in (pid_in, pid_out):
                if descriptor >= 0:
                    close(descriptor)

    # In the fork ------------------------------------------------------------------------------------------------------

    def _serve(self, cell: int, work: Callable[[Send], tuple[Any, list[Any]]], shared: mmap.mmap, answer: int) -> None:
        gc.disable()
        self._part({answer, self._line.fileno(), *self._keep()})
        learned, manifest = work(self._send)
        data = memoryview(pickle.dumps(learned, 5))
        while data:
            data = data[os.write(answer, data) :]
        # From here on the state may be the host's, whatever becomes of this process.
        shared[0] = _CERTAIN
        for number, piece in enumerate(manifest, 1):
            self._send({"type": "checkpoint", "cell": cell, "last": number == len(manifest)}, piece)
        shared[0] = _SENT
        _exit(0)

    def _part(self, keep: set[int]) -> None:
        """Leaves everything that it shares with the session."""
        signal.set_wakeup_fd(-1)
        # Handlers are the session's: what they reach is looked for, so they live on.
        self._handlers += [signal.signal(number, signal.SIG_IGN) for number in signal.valid_signals() - _KEPT_SIGNALS]
        self._handlers += [signal.signal(signal.SIGCHLD, signal.SIG_DFL), signal.signal(signal.SIGALRM, signal.SIG_IGN)]
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()
        self._leave()
        # Their numbers stay taken: objects of the session's close them when they die.
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor != null and descriptor not in keep:
                os.dup2(null, descriptor, inheritable=False)
        os.nice(5)
        # Where memory runs out, the state of one cell is worth less than the session.
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")

    def _send(self, header: dict[str, Any], payload: Any) -> None:
        self._line.send(encode(header, payload))


def _other_threads() -> int:
    """Threads of libraries, beyond those that wait in pools for linear algebra: one may hold a lock for ever."""
    count = len(os.listdir("/proc/self/task")) - 1
    if count > 0:
        from threadpoolctl import threadpool_info

        count -= sum(pool["num_threads"] - 1 for pool in threadpool_info())
    return count


def _shares_files() -> bool:
    """Whether a file of the state is open: a position and a buffer that the next cell moves on."""
    for number in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if path.startswith(files.KEPT):
            return True
    return False


def _shares_memory() -> bool:
    """Whether there is memory that the next cell changes for a fork too."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            access, _, _, inode, *path = line.split(None, 5)[1:]
            shared = access[1] == "w" and access[3] == "s"
            if shared or (inode != "0" and path and path[0].startswith(_WRITABLE)):
                return True
    return False


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE
