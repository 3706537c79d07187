"""The zygote and the kernel as the supervisor holds them: how they are started, spoken to, looked into and let go."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import socket
import time
from typing import Any

from cloche_kernel import state_line
from cloche_kernel.processes import send_signal
from cloche_kernel.startup import zygote_command

_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1_048_576
#: longest stack dump, in bytes, and how long it may take, in seconds
_STACK_BYTES = 16_384
_STACK_SECONDS = 0.2
#: reads that empty the pipe of stack dumps: it holds at most 1 MiB, and user code may write to it without end
_MOST_STALE_READS = 16
#: seconds a kernel may leave its requests unread before it is taken for broken
_UNREAD_SECONDS = 5.0


class Zygote:
    """The warm process that kernels are forked from."""

    def __init__(self, boot: dict[str, Any]) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.socket.close()
                os.dup2(theirs.fileno(), 3, inheritable=True)
                null = os.open("/dev/null", os.O_RDWR)
                os.dup2(null, 0)
                os.dup2(2, 1)
                os.closerange(4, 256)
                os.execve(*zygote_command(boot))
            finally:
                os._exit(127)
        theirs.close()
        self.socket.setblocking(False)

    def is_gone(self) -> bool:
        """Its socket is readable: has it ended? It never says anything."""
        try:
            return not self.socket.recv(4_096)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def fork(self) -> KernelProcess:
        """Asks for a kernel, which announces itself with its pid on its own socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        output, output_end = os.pipe2(os.O_CLOEXEC)
        stacks, stacks_end = os.pipe2(os.O_CLOEXEC)
        states, states_end = state_line.pair()
        try:
            fcntl.fcntl(output, _F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            pass  # over the user's pipe quota: the default size serves, more slowly
        for descriptor in (output, stacks, stacks_end):
            os.set_blocking(descriptor, False)
        try:
            socket.send_fds(self.socket, [b"f"], [theirs.fileno(), output_end, stacks_end, states_end.fileno()])
        except OSError:
            pass  # it is dead: its exit is on its way and starts the next one
        theirs.close()
        states_end.close()
        os.close(output_end)
        os.close(stacks_end)
        ours.setblocking(False)
        return KernelProcess(ours, output, stacks, state_line.StateLine(states))

    def end(self) -> None:
        self.socket.close()
        send_signal(self.pid, signal.SIGKILL)


class KernelProcess:
    """
    One kernel: its socket, the pipe of its output, the pipe of its stack dumps, the line of states that a fork of it
    takes down. `pid` is 0 until it is ready.
    """

    def __init__(self, line: socket.socket, output: int, stacks: int, states: state_line.StateLine) -> None:
        self.line = line
        self.states = states
        self.output = output
        self.pid = 0
        self._stacks = stacks

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """What it is heard on."""
        return self.line.fileno(), self.output, self.states.fileno()

    def tell(self, frame: bytes) -> bool:
        """Hands it a frame; False where it has left its requests unread for 5 s."""
        view = memoryview(frame)
        until = time.monotonic() + _UNREAD_SECONDS
        while view:
            try:
                view = view[self.line.send(view) :]
            except BlockingIOError:
                if time.monotonic() > until:
                    return False
                select.select([], [self.line], [], 0.01)
            except OSError:
                return True  # it just died: its exit is on its way
        return True

    def stack(self) -> bytes:
        """faulthandler's view of its main thread, taken without its cooperation; empty where it gives none."""
        if not self.pid:
            return b""
        try:
            for _ in range(_MOST_STALE_READS):
                os.read(self._stacks, 65_536)
        except BlockingIOError:
            pass
        if not _is_caught(self.pid, signal.SIGUSR2):
            return b""
        send_signal(self.pid, signal.SIGUSR2)
        text = b""
        until = time.monotonic() + _STACK_SECONDS
        while time.monotonic() < until and len(text) < _STACK_BYTES:
            ready, _, _ = select.select([self._stacks], [], [], 0.02)
            if ready:
                text += os.read(self._stacks, _STACK_BYTES)
            elif text:
                break
        return text[:_STACK_BYTES]

    def place(self) -> str:
        """Where it crashed, in words, out of faulthandler's last dump; empty where there is none."""
        try:
            frames = _FRAME.findall(os.read(self._stacks, 65_536))
        except OSError:
            return ""
        for index, (file, line, _) in enumerate(frames):
            if cell := _CELL.fullmatch(file):
                inner, _, function = frames[0]
                library = b"/".join(inner.split(b"/")[-2:])
                inside = f", in {function.decode()} of {library.decode(errors='replace')}" if index else ""
                return f" at {cell[1].decode()}, line {line.decode()}{inside}"[:140]
        return ""

    def last_words(self) -> bytes:
        """What it wrote before it was ready."""
        try:
            return os.read(self.output, 8_192)
        except BlockingIOError:
            return b""

    def signal(self, number: int) -> None:
        if self.pid:
            send_signal(self.pid, number)

    def close(self) -> None:
        """Lets go of its descriptors; does not end it."""
        self.line.close()
        self.states.close()
        os.close(self.output)
        os.close(self._stacks)


def _is_caught(pid: int, number: int) -> bool:
    """Has the process a handler for the signal? One that user code took away would make the signal end it."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            caught = next(line for line in file if line.startswith(b"SigCgt:"))
    except (OSError, StopIteration):
        return False
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


#: exit statuses of a kernel that cannot go on
OUT_OF_MEMORY = 91
BROKEN = 92
_MEANING = {
    OUT_OF_MEMORY: "its memory limit was reached",
    BROKEN: "code in a cell broke the kernel's own parts, which it cannot do without",
}
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS)
_FRAME = re.compile(rb'^  File "([^"\n]+)", line (\d+) in ([\w<>.]+)$', re.MULTILINE)
_CELL = re.compile(rb"<(cell \d+(?:, part \d+)?)>")


def describe_exit(status: int, place: str = "") -> str:
    """How a process ended, in words; `place` is where it crashed."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL:
            return "it was killed (SIGKILL): by its own code, or because its memory limit was reached"
        if number in _CRASHES:
            return f"it crashed ({signal.Signals(number).name}){place}"
        return f"a signal ended it ({_name(number)})"
    status = os.WEXITSTATUS(status)
    return _MEANING.get(status, f"it exited with status {status}")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
