"""The output pipe of the kernel: which cell its bytes belong to, and how they leave for the host."""

from __future__ import annotations

import array
import fcntl

from cloche_kernel.host_line import HostLine
from cloche_kernel.output import TAIL_BYTES, OutputGate
from cloche_kernel.read_buffer import BYTES, ReadBuffer

_FIONREAD = 0x541B
#: bytes kept of a flood's end where an image interrupts it
_TAIL_BEFORE_IMAGE = 4_096


class CellOutput:
    """What is written while a cell runs belongs to it; what is written between two cells shows in the next one."""

    def __init__(self, host: HostLine, buffer: ReadBuffer) -> None:
        self._host = host
        self._buffer = buffer
        self._pipe = -1
        self._gate = OutputGate()
        self._between = OutputGate()
        self.cell: str | None = None

    def attach(self, pipe: int) -> None:
        """A fresh kernel writes to `pipe`, which does not block; what is left of the old one is forgotten."""
        self._pipe = pipe
        self._gate, self._between = OutputGate(), OutputGate()
        self.cell = None

    def begin(self, cell: str) -> None:
        self.drain()
        self.cell, self._gate = cell, OutputGate()
        between, self._between = self._between, OutputGate()
        self._emit(*between.settle())

    def end(self) -> None:
        """The cell is over: the rest of its output goes out."""
        self._settle(TAIL_BYTES)
        self.cell = None

    def result(self, text: bytes) -> None:
        """A shown value that came beside the pipe, behind what is in there."""
        self._emit(self._gate.push(text), 0, b"")

    def before_image(self) -> None:
        """Everything written so far goes out, so that the image has its place behind it."""
        self._settle(_TAIL_BEFORE_IMAGE)

    def drain(self) -> None:
        """Takes what is in the pipe now, and no more: a writer that never stops cannot hold a frame back."""
        if self._pipe < 0:
            return
        waiting = array.array("i", [0])
        fcntl.ioctl(self._pipe, _FIONREAD, waiting)
        left = waiting[0]
        while left > 0:
            taken = self.read(left)
            if not taken:
                return
            left -= taken

    def read(self, limit: int = BYTES) -> int | None:
        """Reads at most `limit` bytes; how many they were, or None where nothing writes to the pipe any more."""
        try:
            chunk = self._buffer.read(self._pipe, limit)
        except BlockingIOError:
            return 0
        if not chunk:
            return None
        if self.cell is None:
            self._between.push(chunk)
        else:
            self._emit(self._gate.push(chunk), 0, b"")
        return len(chunk)

    @property
    def last_line(self) -> bytes:
        """The line a person would see last, where it was not passed on."""
        return self._gate.last_line if self.cell is not None else b""

    def _settle(self, limit: int) -> None:
        self._emit(*self._gate.settle(limit))

    def _emit(self, head: bytes, dropped: int, tail: bytes) -> None:
        if self.cell is None:
            return
        if head:
            self._host.send({"type": "output", "id": self.cell}, head)
        if dropped:
            self._host.send({"type": "dropped", "id": self.cell, "bytes": dropped})
        if tail:
            self._host.send({"type": "output", "id": self.cell}, tail)
