"""The kernel's standard streams, over the pipe of the cells' output; put back where a cell closed them."""

from __future__ import annotations

import ctypes
import fcntl
import io
import os
import sys

#: descriptors of the protocol live above this, out of the way of what user code opens and closes
_FIRST_OWN_DESCRIPTOR = 200
_IOLBF = 1
_F_DUPFD_CLOEXEC = 1030


def high(descriptor: int) -> int:
    """The descriptor, moved to where user code does not come across it."""
    moved = fcntl.fcntl(descriptor, _F_DUPFD_CLOEXEC, _FIRST_OWN_DESCRIPTOR)
    os.close(descriptor)
    return moved


class Streams:
    def __init__(self, output: int) -> None:
        """Takes `output`. Descriptors 0, 1 and 2 and Python's streams over them; C code's stdout goes out by line."""
        self._output = high(output)
        self._null = high(os.open("/dev/null", os.O_RDONLY))
        for descriptor in range(3):
            self._connect(descriptor)
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
        sys.stdout = _writer(1)
        sys.stderr = _writer(2)
        for name in ("stdin", "stdout", "stderr"):
            setattr(sys, f"__{name}__", getattr(sys, name))
        libc = ctypes.CDLL(None)
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _IOLBF, 0)

    def mend(self) -> None:
        """Before a cell: what an earlier one closed is opened again; what it put in its place, if it works, stays."""
        for descriptor in range(3):
            try:
                os.fstat(descriptor)
            except OSError:
                self._connect(descriptor)
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            if _is_closed(getattr(sys, name, None)):
                setattr(sys, name, _writer(descriptor))

    def _connect(self, descriptor: int) -> None:
        os.dup2(self._output if descriptor else self._null, descriptor)


def _is_closed(stream: object) -> bool:
    try:
        return stream is None or bool(getattr(stream, "closed", False))
    except Exception:
        return True


def _writer(descriptor: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False), 65_536)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
