"""
The supervisor's end of the line on which a fork of the kernel sends a state while the kernel runs the next cell. Each
message is one frame: a fork that is killed leaves none by halves, and a description that is not whole is not passed on.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from cloche_kernel.frames import FrameError, FrameReader, encode
from cloche_kernel.kernel_rules import KernelRules
from cloche_kernel.messages import MAX_BODY_PIECE_BYTES, MAX_HEADER_BYTES

#: bytes of the largest message; the system lets an unprivileged process have so much under way on a socket
MOST_BYTES = MAX_BODY_PIECE_BYTES + MAX_HEADER_BYTES
#: pieces of one description
_MOST_PIECES = 512
#: messages that can wait on the line
_MOST_WAITING = 1_000


def pair() -> tuple[socket.socket, socket.socket]:
    """(the supervisor's end, the kernel's)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MOST_BYTES)
    return ours, theirs


class StateLine:
    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._pieces: list[bytes] = []

    def fileno(self) -> int:
        return self._line.fileno()

    def close(self) -> None:
        self._line.close()

    def read(self, rules: KernelRules, write: Callable[[bytes], None], most: int = 4) -> bool:
        """Passes on at most `most` messages; False where nothing comes any more. Raises FrameError."""
        for _ in range(most):
            try:
                message = self._line.recv(MOST_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not message:
                return False
            self._take(message, rules, write)
        return True

    def finish(self, rules: KernelRules, write: Callable[[bytes], None]) -> None:
        """Passes on the rest of what a fork that has ended sent. Raises FrameError."""
        self.read(rules, write, _MOST_WAITING)

    def give_up(self, cell: object, rules: KernelRules, write: Callable[[bytes], None]) -> None:
        """The fork that took down the state after `cell` ended: unless that came, it is said that it does not."""
        self.finish(rules, write)
        self._pieces = []
        last = {"type": "checkpoint", "cell": cell, "last": True}
        if rules.owes(cell):
            rules.allows(last, None)
            write(encode(last, b'{"failed":"the process that took it down ended before it was done"}'))

    def _take(self, message: bytes, rules: KernelRules, write: Callable[[bytes], None]) -> None:
        found = list(FrameReader().push(message))
        if len(found) != 1:
            raise FrameError("a message about a state that is no frame")
        header, _, frame = found[0]
        kind = header["type"]
        if kind not in ("chunk", "checkpoint"):
            raise FrameError("a message that is not about a state")
        rules.budget -= 1
        if kind == "chunk":
            rules.allows(header, None)
            write(frame)
            return
        self._pieces.append(frame)
        if len(self._pieces) > _MOST_PIECES:
            raise FrameError("a description of the session's state without end")
        if header.get("last"):
            rules.allows(header, None)
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                write(piece)
