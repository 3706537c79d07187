"""
PID 1 of the sandbox: owns the wire to the host, the output pipe of the kernel, and the life of zygote and kernel.

It runs no code of the user's, imports only the standard library, and is not dumpable, so that nothing in the sandbox
can read or trace it. User code can write anything to the kernel's socket; what is passed on is checked here first.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from cloche_kernel import frames, probe, processes, quota
from cloche_kernel.host_line import HostGone, HostLine
from cloche_kernel.messages import FORWARDED_TYPES, KERNEL_TYPES, PROTOCOL_VERSION
from cloche_kernel.output import TAIL_BYTES, OutputGate
from cloche_kernel.startup import connect, read_boot, zygote_command

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_F_SETPIPE_SZ = 1031
_FIONREAD = 0x541B
_PIPE_BYTES = 1_048_576
_CHUNK_BYTES = 262_144
#: awake ticks without a word from the host after which it is taken for dead; a paused machine does not tick
_TICK_SECONDS = 5.0
_DEAD_AFTER_TICKS = 12
#: seconds between progress lines, and between two looks of the memory watchdog
_PROGRESS_SECONDS = 0.25
_WATCH_SECONDS = 0.05
#: seconds between two looks at what /scratch holds
_SCRATCH_SECONDS = 2.0
#: seconds a zygote may take to import everything on a slow disk, and to fork
_ZYGOTE_SECONDS = 60.0
#: frames a second that one kernel may send before it is slowed down
_FRAMES_PER_SECOND = 2_000
#: kernels in a row that may end before they are ready
_MOST_FAILED_STARTS = 3
_WIPED = ("/workspace", "/tmp", "/scratch")


class Supervisor:
    def __init__(self, boot: dict[str, Any], carrier_in: int, carrier_out: int) -> None:
        self._boot = boot
        self._poll = select.poll()
        self._host = HostLine(carrier_in, carrier_out, self._poll, congested=self._hold_back, clear=self._let_on)
        self._zygote: socket.socket | None = None
        self._zygote_pid = 0
        self._kernel: socket.socket | None = None
        self._kernel_pid = 0
        self._kernel_reader = frames.FrameReader()
        self._pipe = -1
        self._stacks = -1
        self._ready_id: str | None = "boot"
        self._cell: str | None = None
        self._gate = OutputGate()
        self._between = OutputGate()
        self._interrupts: dict[int, int] = {}
        self._fork_deadline: float | None = None
        self._paused = False
        self._silent_ticks = 0
        self._next_tick = time.monotonic() + _TICK_SECONDS
        self._next_progress = 0.0
        self._next_scratch = 0.0
        self._budget = float(_FRAMES_PER_SECOND)
        self._budget_at = time.monotonic()
        self._killed_for: str | None = None
        self._failed_starts = 0
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    # Life ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serves until the host is gone."""
        signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        if not self._host.is_stdin:
            self._poll.register(0, select.POLLIN)
        self._poll.register(self._wake_in, select.POLLIN)
        while True:
            self._step()

    def _step(self) -> None:
        now = time.monotonic()
        timeout = max(0.0, min(self._next_tick, self._next_chore(now)) - now)
        for descriptor, events in self._poll.poll(timeout * 1000 + 0.5):
            if self._host.owns(descriptor):
                for header, payload, frame in self._host.on_events(descriptor, events):
                    self._silent_ticks = 0
                    self._on_host(header, payload, frame)
            elif descriptor == 0:
                _read_stdin()
            elif descriptor == self._wake_in:
                self._read_wakeups()
            elif self._kernel is not None and descriptor == self._kernel.fileno():
                self._read_kernel()
            elif descriptor == self._pipe:
                self._read_pipe(_CHUNK_BYTES)
            elif self._zygote is not None and descriptor == self._zygote.fileno():
                self._read_zygote()
        self._chores(time.monotonic())

    def _next_chore(self, now: float) -> float:
        due = now + 3600
        if self._cell is not None:
            due = self._next_scratch
            if self._boot["watchdog"] or self._has_progress():
                due = min(due, now + _WATCH_SECONDS)
        if self._fork_deadline is not None:
            due = min(due, self._fork_deadline)
        if self._budget <= 0:
            due = min(due, now + 0.02)
        return due

    def _chores(self, now: float) -> None:
        if now >= self._next_tick:
            self._next_tick = now + _TICK_SECONDS
            self._silent_ticks += 1
            if self._silent_ticks >= _DEAD_AFTER_TICKS:
                raise HostGone("no word for a minute")
        if self._cell is not None and now >= self._next_progress and self._has_progress():
            self._next_progress = now + _PROGRESS_SECONDS
            self._host.send({"type": "progress", "id": self._cell}, self._gate.last_line)
        if self._boot["watchdog"] and self._cell is not None:
            self._watch_memory()
        if now >= self._next_scratch:
            self._next_scratch = now + _SCRATCH_SECONDS
            self._watch_scratch()
        if self._fork_deadline is not None and now >= self._fork_deadline:
            self._fork_deadline = None
            self._start_zygote()
        if self._budget <= 0:
            self._refill(now)

    def _has_progress(self) -> bool:
        return bool(self._gate.last_line)

    # Zygote and kernel --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the zygote; the first kernel follows by itself."""
        self._start_zygote()

    def _start_zygote(self) -> None:
        self._drop_zygote()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                os.dup2(theirs.fileno(), 3, inheritable=True)
                null = os.open("/dev/null", os.O_RDWR)
                os.dup2(null, 0)
                os.dup2(2, 1)
                os.closerange(4, 256)
                os.execve(*zygote_command(self._boot))
            finally:
                os._exit(127)
        theirs.close()
        self._zygote, self._zygote_pid = ours, pid
        ours.setblocking(False)
        self._poll.register(ours.fileno(), select.POLLIN)
        self._fork()

    def _drop_zygote(self) -> None:
        if self._zygote is not None:
            self._unregister(self._zygote.fileno())
            self._zygote.close()
            self._zygote = None
        if self._zygote_pid:
            _kill(self._zygote_pid)
            self._zygote_pid = 0

    def _fork(self) -> None:
        """Asks the zygote for a kernel, which announces itself with its pid on its own socket."""
        assert self._zygote is not None
        self._drop_kernel()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        pipe_in, pipe_out = os.pipe2(os.O_CLOEXEC)
        stacks_in, stacks_out = os.pipe2(os.O_CLOEXEC)
        try:
            fcntl.fcntl(pipe_in, _F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            pass  # over the user's pipe quota: the default size serves, more slowly
        os.set_blocking(pipe_in, False)
        os.set_blocking(stacks_in, False)
        os.set_blocking(stacks_out, False)
        try:
            socket.send_fds(self._zygote, [b"f"], [theirs.fileno(), pipe_out, stacks_out])
        except OSError:
            pass  # a dead zygote: its exit is on its way and starts the next one
        for descriptor in (pipe_out, stacks_out):
            os.close(descriptor)
        theirs.close()
        ours.setblocking(False)
        self._kernel, self._kernel_reader = ours, frames.FrameReader()
        self._pipe, self._stacks = pipe_in, stacks_in
        self._poll.register(ours.fileno(), select.POLLIN)
        self._poll.register(pipe_in, select.POLLIN)
        self._fork_deadline = time.monotonic() + _ZYGOTE_SECONDS

    def _drop_kernel(self) -> None:
        if self._kernel is None:
            return
        for descriptor in (self._kernel.fileno(), self._pipe):
            if descriptor >= 0:
                self._unregister(descriptor)
        self._kernel.close()
        for descriptor in (self._pipe, self._stacks):
            if descriptor >= 0:
                os.close(descriptor)
        self._kernel, self._pipe, self._stacks, self._kernel_pid = None, -1, -1, 0

    def _unregister(self, descriptor: int) -> None:
        try:
            self._poll.unregister(descriptor)
        except KeyError:
            pass

    def _restart(self, ready_id: str, wipe: bool) -> None:
        """Ends everything of the old kernel and asks for a fresh one; `ready` with `ready_id` tells the host."""
        self._kernel_pid = 0
        spare = frozenset({self._zygote_pid} if self._zygote_pid else ())
        if self._paused:
            processes.signal_all(signal.SIGCONT)
            self._paused = False
        reaped: dict[int, int] = {}
        processes.end_all(spare, reaped)
        self._cell = None
        self._gate = self._between = OutputGate()
        self._ready_id = ready_id
        if wipe:
            _wipe()
        if self._zygote_pid in reaped or self._zygote is None:
            self._zygote_pid = 0
            self._start_zygote()
        else:
            self._fork()

    def _kernel_died(self, status: int) -> None:
        """Reports the end of a kernel that nobody asked to end, and replaces it."""
        if self._pipe >= 0:
            self._drain()
        reason = self._killed_for or _describe(status)
        self._killed_for = None
        if self._cell is not None:
            self._settle(self._cell)
            self._host.send({"type": "exited", "id": self._cell, "reason": reason})
        else:
            self._host.send({"type": "exited", "reason": reason})
        self._restart("boot", wipe=False)

    # What the host says -------------------------------------------------------------------------------------------

    def _on_host(self, header: dict[str, Any], payload: bytes, frame: bytes) -> None:
        kind = header["type"]
        if kind in FORWARDED_TYPES:
            if kind in ("execute", "load"):
                self._begin_cell(header["id"])
            self._tell_kernel(frame)
        elif kind == "interrupt":
            if self._cell == header["id"] and self._kernel_pid:
                _signal(self._kernel_pid, signal.SIGINT)
        elif kind == "stack":
            self._host.send({"type": "stack", "id": header["id"]}, self._stack())
        elif kind == "restart":
            self._restart(header["id"], header["wipe"])
        elif kind == "pause":
            processes.signal_all(signal.SIGSTOP)
            self._paused = True
        elif kind == "resume":
            processes.signal_all(signal.SIGCONT)
            self._paused = False

    def _begin_cell(self, cell: str) -> None:
        self._cell = cell
        self._gate, between = OutputGate(), self._between
        self._between = OutputGate()
        self._next_progress = time.monotonic() + _PROGRESS_SECONDS
        # What background work wrote between two cells shows at the start of the next one.
        if self._pipe >= 0:
            self._drain_into(between)
        head, dropped, tail = between.settle()
        self._emit(cell, head, dropped, tail)

    def _tell_kernel(self, frame: bytes) -> None:
        """Hands a frame to the kernel; a kernel that does not read for 5 s has broken its side and is ended."""
        if self._kernel is None:
            return
        view = memoryview(frame)
        until = time.monotonic() + 5
        while view:
            try:
                view = view[self._kernel.send(view) :]
            except BlockingIOError:
                if time.monotonic() > until:
                    self._killed_for = "it stopped reading its requests"
                    _kill(self._kernel_pid)
                    return
                if self._pipe >= 0:
                    self._read_pipe(_CHUNK_BYTES)
                select.select([], [self._kernel], [], 0.01)
            except OSError:
                return  # it just died: SIGCHLD follows

    def _stack(self) -> bytes:
        """faulthandler's view of the kernel's main thread, taken without its cooperation."""
        if not self._kernel_pid or self._stacks < 0:
            return b""
        try:
            while os.read(self._stacks, 65_536):
                pass
        except BlockingIOError:
            pass
        _signal(self._kernel_pid, signal.SIGUSR2)
        text = b""
        until = time.monotonic() + 0.2
        while time.monotonic() < until and len(text) < 16_384:
            ready, _, _ = select.select([self._stacks], [], [], 0.02)
            if ready:
                text += os.read(self._stacks, 16_384)
            elif text:
                break
        return text[:16_384]

    # What the kernel says -----------------------------------------------------------------------------------------

    def _read_kernel(self) -> None:
        assert self._kernel is not None
        if self._budget <= 0 or self._host.congested:
            return
        try:
            chunk = self._kernel.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._unregister(self._kernel.fileno())
            self._line_closed()
            return
        try:
            for header, payload, frame in self._kernel_reader.push(chunk):
                self._spend()
                self._on_kernel(header, payload, frame)
        except frames.FrameError as error:
            self._killed_for = f"it broke the protocol: {error}"
            self._unregister(self._kernel.fileno())
            _kill(self._kernel_pid)

    def _line_closed(self) -> None:
        """The kernel is dying, or user code closed its socket: a kernel that cannot answer is no kernel."""
        if not self._kernel_pid:
            self._start_failed()
            return
        for _ in range(20):
            try:
                pid, status = os.waitpid(self._kernel_pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self._kernel_pid, signal.SIGKILL
            if pid:
                self._kernel_died(status)
                return
            time.sleep(0.005)
        self._killed_for = "it closed its line to Cloche"
        _kill(self._kernel_pid)

    def _start_failed(self) -> None:
        """A kernel ended before it was ready: what it said goes to the diagnostics, and a few more are tried."""
        try:
            os.write(2, os.read(self._pipe, 8_192))
        except BlockingIOError:
            pass
        self._failed_starts += 1
        if self._failed_starts >= _MOST_FAILED_STARTS:
            raise HostGone("no kernel could be started")
        self._fork()

    def _on_kernel(self, header: dict[str, Any], payload: bytes, frame: bytes) -> None:
        kind = header["type"]
        if kind == "started" and not self._kernel_pid:
            self._kernel_pid = int(header["pid"])
            self._fork_deadline = None
            self._failed_starts = 0
            self._host.send({"type": "ready", "id": self._ready_id or "boot", "python": header["python"]})
            self._ready_id = None
            return
        if kind not in KERNEL_TYPES:
            return
        # A frame that names another cell than the one that runs is a lie, and is not passed on.
        named = header.get("cell") if kind == "call" else header.get("id")
        if kind in ("display", "finished", "call") and (self._cell is None or named != self._cell):
            return
        if self._pipe >= 0:
            self._drain()
        if kind == "display":
            self._settle(self._cell or "", limit=4_096)
            self._tell_kernel(frames.encode({"type": "ack", "id": header.get("display")}))
        elif kind == "finished":
            self._settle(self._cell or "")
            self._cell = None
        self._host.write(frame)

    def _spend(self) -> None:
        self._budget -= 1
        if self._budget <= 0 and self._kernel is not None:
            self._unregister(self._kernel.fileno())

    def _refill(self, now: float) -> None:
        self._budget = min(_FRAMES_PER_SECOND, self._budget + (now - self._budget_at) * _FRAMES_PER_SECOND)
        self._budget_at = now
        if self._budget > 0 and self._kernel is not None:
            self._poll.register(self._kernel.fileno(), select.POLLIN)

    # The output pipe ----------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Takes what is in the pipe now, and no more: a writer that never stops cannot hold a frame back."""
        waiting = array.array("i", [0])
        fcntl.ioctl(self._pipe, _FIONREAD, waiting)
        left = waiting[0]
        while left > 0:
            taken = self._read_pipe(left)
            if taken == 0:
                return
            left -= taken

    def _drain_into(self, gate: OutputGate) -> None:
        gate_now, self._gate = self._gate, gate
        cell, self._cell = self._cell, None
        self._between = gate
        self._drain()
        self._cell, self._gate, self._between = cell, gate_now, OutputGate()

    def _read_pipe(self, limit: int) -> int:
        try:
            chunk = os.read(self._pipe, min(limit, _PIPE_BYTES))
        except BlockingIOError:
            return 0
        if not chunk:
            self._unregister(self._pipe)
            return 0
        if self._cell is None:
            self._between.push(chunk)
        else:
            passed = self._gate.push(chunk)
            if passed:
                self._emit(self._cell, passed, 0, b"")
        return len(chunk)

    def _settle(self, cell: str, limit: int = TAIL_BYTES) -> None:
        head, dropped, tail = self._gate.settle(limit)
        self._emit(cell, head, dropped, tail)

    def _emit(self, cell: str, head: bytes, dropped: int, tail: bytes) -> None:
        if head:
            self._host.send({"type": "output", "id": cell}, head)
        if dropped:
            self._host.send({"type": "dropped", "id": cell, "bytes": dropped})
        if tail:
            self._host.send({"type": "output", "id": cell}, tail)

    def _hold_back(self) -> None:
        """A host that reads slowly slows the kernel down, instead of filling this process."""
        for descriptor in (self._pipe, self._kernel.fileno() if self._kernel else -1):
            if descriptor >= 0:
                self._unregister(descriptor)

    def _let_on(self) -> None:
        if self._kernel is not None:
            self._poll.register(self._kernel.fileno(), select.POLLIN)
            if self._pipe >= 0:
                self._poll.register(self._pipe, select.POLLIN)

    # Processes ----------------------------------------------------------------------------------------------------

    def _read_wakeups(self) -> None:
        try:
            os.read(self._wake_in, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._kernel_pid:
                self._kernel_died(status)
            elif pid == self._zygote_pid:
                self._zygote_died()

    def _zygote_died(self) -> None:
        """User code can end the zygote; a kernel that is still there goes on, and the next fork finds a new one."""
        self._zygote_pid = 0
        if self._kernel_pid and _alive(self._kernel_pid):
            assert self._zygote is not None
            self._unregister(self._zygote.fileno())
            self._zygote.close()
            self._zygote = None
        else:
            self._start_zygote()

    def _read_zygote(self) -> None:
        assert self._zygote is not None
        try:
            if self._zygote.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._unregister(self._zygote.fileno())

    def _watch_scratch(self) -> None:
        excess = quota.excess("/scratch", self._boot["scratch"])
        if excess is None or not self._kernel_pid:
            return
        self._end_kernel(excess)
        _wipe(("/scratch",))

    def _watch_memory(self) -> None:
        used = processes.private_bytes() + processes.mounted_bytes("/workspace", "/tmp")
        if used > self._boot["memory"] and self._kernel_pid:
            self._end_kernel(f"it used more than its memory limit of {self._boot['memory'] // 1_048_576} MiB")

    def _end_kernel(self, reason: str) -> None:
        """Ends the kernel for `reason`, and first what it started; its exit status then arrives as for any death."""
        self._killed_for = reason
        processes.end_all(frozenset({self._zygote_pid, self._kernel_pid}), {}, 1.0)
        _kill(self._kernel_pid)


def _describe(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL:
            return "it was killed (SIGKILL), most likely because its memory limit was reached"
        return f"it crashed ({signal.Signals(number).name})"
    return f"it exited with status {os.WEXITSTATUS(status)}"


def _wipe(tops: tuple[str, ...] = _WIPED) -> None:
    """Empties what a session can write to. Failures are left: the file systems end with the sandbox."""
    import shutil

    for top in tops:
        try:
            entries = list(os.scandir(top))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                try:
                    os.unlink(entry.path)
                except OSError:
                    pass


def _kill(pid: int) -> None:
    _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _read_stdin() -> None:
    """Beside a socket stdin carries nothing but its end: the host is gone."""
    if not os.read(0, 4096):
        raise HostGone("end of stdin")


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        boot = read_boot()
        os.chdir("/workspace")
        connection = connect(boot["carrier"])
        carrier_in, carrier_out = (0, 1) if connection is None else (connection.fileno(), connection.fileno())
        supervisor = Supervisor(boot, carrier_in, carrier_out)
        supervisor.start()
        report = probe.run(boot.get("hostFile"))
        hello = frames.encode(
            {"type": "hello", "version": PROTOCOL_VERSION, "nonce": boot["nonce"]}, json.dumps(report).encode()
        )
        os.write(carrier_out, hello)
        supervisor.run()
    except HostGone:
        os._exit(0)


if __name__ == "__main__":
    main()
