"""
PID 1 of the sandbox: stands between the host and the kernel, and owns the life of zygote and kernel.

It runs no code of the user's, imports only the standard library, and is not dumpable, so that nothing in the sandbox
can read or trace it. User code can write anything to the kernel's socket; what is passed on is checked here first.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from cloche_kernel import frames, probe, processes, quota
from cloche_kernel.cell_output import CellOutput
from cloche_kernel.forking import KernelProcess, Zygote, describe_exit
from cloche_kernel.host_line import HostGone, HostLine
from cloche_kernel.kernel_rules import KernelRules, refusal
from cloche_kernel.limits import WATCH_SECONDS, Limits
from cloche_kernel.messages import FORWARDED_TYPES, KERNEL_TYPES, PROTOCOL_VERSION
from cloche_kernel.read_buffer import ReadBuffer
from cloche_kernel.startup import connect, read_boot

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
#: awake ticks without a word from the host after which it is dead; a paused machine does not tick
_TICK_SECONDS = 5.0
_DEAD_AFTER_TICKS = 12
#: seconds between progress lines
_PROGRESS_SECONDS = 0.25
#: seconds a zygote may take to import everything on a slow disk, and to fork
_ZYGOTE_SECONDS = 60.0
#: kernels in a row that may end before they are ready
_MOST_FAILED_STARTS = 3


class Supervisor:
    def __init__(self, boot: dict[str, Any], carrier_in: int, carrier_out: int) -> None:
        self._boot = boot
        self._poll = select.poll()
        self._buffer = ReadBuffer()
        self._host = HostLine(
            carrier_in, carrier_out, self._poll, self._buffer, congested=self._hold_back, clear=self._let_on
        )
        self._output = CellOutput(self._host, self._buffer)
        self._zygote: Zygote | None = None
        self._kernel: KernelProcess | None = None
        self._kernel_reader, self._rules = frames.FrameReader(), KernelRules()
        self._ready_id = "boot"
        self._fork_deadline: float | None = None
        self._paused = False
        self._silent_ticks = 0
        self._next_tick = time.monotonic() + _TICK_SECONDS
        self._next_progress = 0.0
        self._limits = Limits(boot)
        self._ended_for: str | None = None
        self._failed_starts = 0
        #: kernels whose end the host was told
        self._deaths = 0
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

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
        timeout = max(0.0, self._next_chore(now) - now)
        for descriptor, events in self._poll.poll(timeout * 1000 + 0.5):
            if self._host.owns(descriptor):
                for header, _, frame in self._host.on_events(descriptor, events):
                    self._silent_ticks = 0
                    self._on_host(header, frame)
            elif descriptor == 0:
                _read_stdin()
            elif descriptor == self._wake_in:
                self._read_wakeups()
            elif self._kernel is not None and descriptor == self._kernel.line.fileno():
                self._read_kernel(self._kernel)
            elif self._kernel is not None and descriptor == self._kernel.output:
                if self._output.read() is None:
                    self._unregister(descriptor)
            elif self._kernel is not None and descriptor == self._kernel.states.fileno():
                self._read_states(self._kernel)
            elif self._zygote is not None and descriptor == self._zygote.socket.fileno() and self._zygote.is_gone():
                self._unregister(descriptor)
        self._chores(time.monotonic())

    # What is done by the clock ------------------------------------------------------------------------------------

    def _next_chore(self, now: float) -> float:
        due = self._next_tick
        if self._output.cell is not None:
            due = min(due, self._limits.next_look)
            if self._boot["watchdog"] or self._output.last_line:
                due = min(due, now + WATCH_SECONDS)
        if self._fork_deadline is not None:
            due = min(due, self._fork_deadline)
        if self._kernel_reader.pending:
            due = min(due, now + 1.0)
        if self._rules.budget <= 0:
            due = min(due, now + 0.02)
        return due

    def _chores(self, now: float) -> None:
        if now >= self._next_tick:
            self._next_tick = now + _TICK_SECONDS
            self._silent_ticks += 1
            if self._silent_ticks >= _DEAD_AFTER_TICKS:
                raise HostGone("no word for a minute")
        cell = self._output.cell
        if cell is not None and now >= self._next_progress and (line := self._output.last_line):
            self._next_progress = now + _PROGRESS_SECONDS
            self._host.send({"type": "progress", "id": cell}, line)
        if excess := self._limits.excess(now, cell is not None):
            self._end_kernel(excess)
            self._limits.make_room()
        if self._fork_deadline is not None and now >= self._fork_deadline:
            self.start()
        if self._rules.budget <= 0 and self._rules.refill(now):
            self._let_on()
        pid = self._kernel.pid if self._kernel is not None else 0
        listening = pid and not self._paused and not self._host.congested
        if listening and self._rules.stalled(self._kernel_reader.pending, pid, now):
            self._end_kernel("it broke the protocol: a message that stops halfway")

    # Zygote and kernel --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the zygote, in place of one that there may be; a kernel follows by itself."""
        if self._zygote is not None:
            self._unregister(self._zygote.socket.fileno())
            self._zygote.end()
        self._zygote = Zygote(self._boot)
        self._poll.register(self._zygote.socket.fileno(), select.POLLIN)
        self._fork(self._zygote)

    def _fork(self, zygote: Zygote) -> None:
        if self._kernel is not None:
            self._hold_back()
            self._kernel.close()
        if self._output.cell is not None:
            # It was handed to a kernel that never came to be.
            self._tell_death("it could not be started")
        self._kernel, self._kernel_reader, self._rules = zygote.fork(), frames.FrameReader(), KernelRules()
        self._output.attach(self._kernel.output)
        self._let_on()
        self._fork_deadline = time.monotonic() + _ZYGOTE_SECONDS

    def _restart(self, ready_id: str, wipe: bool) -> None:
        """Ends everything of the old kernel and asks for a fresh one; `ready` with `ready_id` tells the host."""
        if self._paused:
            processes.signal_all(signal.SIGCONT)
            self._paused = False
        if self._kernel is not None:
            self._kernel.pid = 0
        self._output.drain()
        self._output.end()
        reaped: dict[int, int] = {}
        processes.end_all(frozenset({self._zygote.pid} if self._zygote else ()), reaped)
        self._ready_id = ready_id
        self._ended_for = None
        if wipe:
            quota.wipe("/workspace", "/tmp", "/scratch")
        if self._zygote is None or self._zygote.pid in reaped:
            self.start()
        else:
            self._fork(self._zygote)

    def _end_kernel(self, reason: str) -> None:
        """Ends the kernel for `reason`, and first what it started; its exit status then arrives as for any death."""
        if self._kernel is None or not self._kernel.pid:
            return
        # What comes to light while it is dying is not why it dies.
        self._ended_for = self._ended_for or reason
        spare = {self._kernel.pid, self._zygote.pid if self._zygote else 0}
        processes.end_all(frozenset(spare), {}, 1.0)
        self._kernel.signal(signal.SIGKILL)

    def _kernel_died(self, status: int) -> None:
        """Reports the end of a kernel, and replaces it."""
        self._output.drain()
        reason = self._ended_for or describe_exit(status, self._kernel.place() if self._kernel else "")
        self._tell_death(reason)
        self._output.end()
        self._restart("boot", wipe=False)

    def _tell_death(self, reason: str) -> None:
        cell = self._output.cell
        self._deaths += 1
        self._host.send({"type": "exited", "reason": reason} | ({} if cell is None else {"id": cell}))

    def _zygote_died(self) -> None:
        """User code can end the zygote; a kernel that is still there goes on, and the next fork finds a new one."""
        assert self._zygote is not None
        self._unregister(self._zygote.socket.fileno())
        self._zygote.socket.close()
        self._zygote = None
        if self._kernel is None or not self._kernel.pid:
            self.start()

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
            if self._kernel is not None and pid == self._kernel.pid:
                self._kernel_died(status)
            elif self._zygote is not None and pid == self._zygote.pid:
                self._zygote_died()

    # What the host says -------------------------------------------------------------------------------------------

    def _on_host(self, header: dict[str, Any], frame: bytes) -> None:
        kind = header["type"]
        if kind in FORWARDED_TYPES:
            if header.get("deaths", self._deaths) < self._deaths:
                return  # it was meant for a kernel that had ended, as the host hears: the fresh one holds nothing
            if kind in ("execute", "load"):
                self._output.begin(header["id"])
                self._next_progress = time.monotonic() + _PROGRESS_SECONDS
            self._rules.hears(header)
            self._tell_kernel(frame)
        elif kind == "interrupt":
            if self._output.cell == header["id"] and self._kernel is not None:
                # A kernel that has not begun the cell yet ignores the signal, and then finds the frame.
                self._tell_kernel(frame)
                self._kernel.signal(signal.SIGINT)
                # One that was stopped hears it only when it goes on.
                self._kernel.signal(signal.SIGCONT)
        elif kind == "stack":
            stack = self._kernel.stack() if self._kernel is not None else b""
            self._host.send({"type": "stack", "id": header["id"]}, stack)
        elif kind == "restart":
            self._restart(header["id"], header["wipe"])
        elif kind in ("pause", "resume"):
            self._paused = kind == "pause"
            processes.signal_all(signal.SIGSTOP if self._paused else signal.SIGCONT)

    def _tell_kernel(self, frame: bytes) -> None:
        if self._kernel is not None and not self._kernel.tell(frame):
            self._end_kernel("it stopped reading its requests")

    # What the kernel says -----------------------------------------------------------------------------------------

    def _read_kernel(self, kernel: KernelProcess) -> None:
        if self._rules.budget <= 0 or self._host.congested:
            return
        try:
            chunk = self._buffer.read(kernel.line.fileno())
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._unregister(kernel.line.fileno())
            self._line_closed(kernel)
            return
        try:
            with self._host.together():
                for header, payload, frame in self._kernel_reader.push(chunk):
                    if self._ended_for is not None:
                        return  # it is being killed: what it still says is not heard
                    self._rules.budget -= 1
                    self._on_kernel(kernel, header, payload, frame)
        except frames.FrameError as error:
            self._break_off(kernel, error)
        if self._rules.budget <= 0:
            self._unregister(kernel.line.fileno())

    def _read_states(self, kernel: KernelProcess) -> None:
        deaf = self._rules.budget <= 0 or self._host.congested or self._ended_for is not None
        try:
            if deaf or not kernel.states.read(self._rules, self._host.write):
                self._unregister(kernel.states.fileno())
        except frames.FrameError as error:
            self._break_off(kernel, error)

    def _break_off(self, kernel: KernelProcess, error: frames.FrameError) -> None:
        self._unregister(kernel.line.fileno())
        self._unregister(kernel.states.fileno())
        self._end_kernel(f"it broke the protocol: {error}")

    def _on_kernel(self, kernel: KernelProcess, header: dict[str, Any], payload: bytes, frame: bytes) -> None:
        kind = header["type"]
        if kind == "started" and not kernel.pid:
            kernel.pid = int(header["pid"])
            self._fork_deadline = None
            self._failed_starts = 0
            self._host.send({"type": "ready", "id": self._ready_id, "python": header["python"]})
            return
        if kind not in KERNEL_TYPES:
            return
        if kind in ("chunk", "checkpoint") and not self._rules.owes(header.get("cell")):
            kernel.states.finish(self._rules, self._host.write)
        if kind == "uncaptured":
            return kernel.states.give_up(header.get("cell"), self._rules, self._host.write)
        if not self._rules.allows(header, self._output.cell):
            self._refuse(header)
            return
        self._output.drain()
        if kind == "result":
            self._output.result(payload)
            return
        if kind == "display":
            self._output.before_image()
            self._tell_kernel(frames.encode({"type": "ack", "id": header.get("display")}))
        elif kind == "finished":
            self._output.end()
        self._host.write(frame)
        if kind == "finished":
            for key in self._rules.unanswered():
                self._refuse({"type": "call", "id": key})

    def _refuse(self, header: dict[str, Any]) -> None:
        """Whoever waits in there, in a thread or a task of an earlier cell, waits no longer."""
        if answer := refusal(header):
            self._tell_kernel(answer)

    def _line_closed(self, kernel: KernelProcess) -> None:
        """The kernel is dying, or user code closed its socket: a kernel that cannot answer is no kernel."""
        if not kernel.pid:
            self._start_failed(kernel)
            return
        status = processes.wait_briefly(kernel.pid)
        if status is not None:
            self._kernel_died(status)
        elif not processes.is_exiting(kernel.pid):
            self._end_kernel("it closed its line to Cloche")

    def _start_failed(self, kernel: KernelProcess) -> None:
        """A kernel ended before it was ready: what it said goes to the diagnostics, and a few more are tried."""
        os.write(2, kernel.last_words())
        self._failed_starts += 1
        if self._failed_starts >= _MOST_FAILED_STARTS:
            raise HostGone("no kernel could be started")
        if self._zygote is not None:
            self._fork(self._zygote)

    def _hold_back(self) -> None:
        """A host that reads slowly slows the kernel down, instead of filling this process."""
        if self._kernel is not None:
            for descriptor in self._kernel.descriptors:
                self._unregister(descriptor)

    def _let_on(self) -> None:
        if self._kernel is not None:
            for descriptor in self._kernel.descriptors:
                self._poll.register(descriptor, select.POLLIN)

    def _unregister(self, descriptor: int) -> None:
        try:
            self._poll.unregister(descriptor)
        except (KeyError, ValueError):
            pass


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
        report = json.dumps(probe.run(boot.get("hostFile"))).encode()
        hello = {"type": "hello", "version": PROTOCOL_VERSION, "nonce": boot["nonce"]}
        os.write(carrier_out, frames.encode(hello, report))
        supervisor.run()
    except HostGone:
        os._exit(0)


if __name__ == "__main__":
    main()
