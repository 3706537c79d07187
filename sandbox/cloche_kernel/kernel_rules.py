"""
What a kernel is held to on its line to the supervisor. User code owns that process and can write anything to it: a
frame that comes too late is not passed on, one that only a lie explains ends the kernel.
"""

from __future__ import annotations

import time
from collections import deque
from json import dumps

from cloche_kernel.frames import FrameError, Header, encode
from cloche_kernel.messages import MAX_DISPLAYS
from cloche_kernel.processes import cpu_ticks

#: frames a second that a kernel may send before it is slowed down
_FRAMES_PER_SECOND = 2_000
#: bodies under way that are remembered; an interrupted call leaves one behind
_MOST_BODIES = 1_024
#: host calls whose answers are awaited; the host ends a session that has more
_MOST_CALLS = 128
#: seconds a message may stay half sent by a kernel that uses no processor, and between two looks
_HALF_SENT_SECONDS = 5.0
_LOOK_SECONDS = 1.0


class KernelRules:
    """The state of one kernel's conversation."""

    def __init__(self) -> None:
        #: frames it may send before it is slowed down
        self.budget = float(_FRAMES_PER_SECOND)
        self._budget_at = time.monotonic()
        self._questions: set[object] = set()
        self._cell: object = None
        #: numbers of cells that ended, whose state has not been sent yet
        self._uncaptured: deque[object] = deque()
        self._bodies: dict[object, None] = {}
        self._calls: dict[object, None] = {}
        self._displays = 0
        self._next_look = 0.0
        self._half_sent: tuple[tuple[int, int], float] | None = None

    def hears(self, header: Header) -> None:
        """The host's frame `header` goes to the kernel."""
        kind = header["type"]
        if kind in ("execute", "load"):
            self._displays = 0
            self._cell = header["cell"]
        elif kind in ("inspect", "restore"):
            self._questions.add(header["id"])
        elif kind == "reply":
            self._calls.pop(header["id"], None)

    def allows(self, header: Header, cell: str | None) -> bool:
        """Is the kernel's frame passed on while `cell` runs? Raises FrameError where the kernel has to end."""
        kind, key = header["type"], header.get("id")
        if kind == "finished":
            if cell is None or key != cell:
                raise FrameError("it ended a cell that was not running")
            self._uncaptured.append(self._cell)
            return True
        if kind in ("chunk", "checkpoint"):
            if not self._uncaptured or header.get("cell") != self._uncaptured[0]:
                raise FrameError("it sent a state that was not due")
            if header.get("last"):
                self._uncaptured.popleft()
            return True
        if kind == "answer":
            if key not in self._questions:
                raise FrameError("it answered what was not asked")
            self._questions.discard(key)
            return True
        if kind == "result":
            return cell is not None and key == cell
        if kind == "body":
            known = key in self._bodies
            if header.get("last"):
                self._bodies.pop(key, None)
            return known
        if cell is None or header.get("cell" if kind == "call" else "id") != cell:
            return False
        if kind == "display":
            self._displays += 1
            if self._displays > MAX_DISPLAYS:
                raise FrameError(f"it showed more than {MAX_DISPLAYS} images in one cell")
            key = header.get("display")
        else:
            self._calls[key] = None
            if len(self._calls) > _MOST_CALLS:
                raise FrameError("it made too many host calls at once")
        if header.get("body"):
            self._bodies[key] = None
            if len(self._bodies) > _MOST_BODIES:
                del self._bodies[next(iter(self._bodies))]
        return True

    def owes(self, cell: object) -> bool:
        """Is the state after `cell` the next to come?"""
        return bool(self._uncaptured) and self._uncaptured[0] == cell

    def unanswered(self) -> list[object]:
        """The host calls of the cell that just ended which the host answers no more; they are forgotten."""
        calls = list(self._calls)
        self._calls.clear()
        return calls

    def refill(self, now: float) -> bool:
        """May it speak again?"""
        self.budget = min(_FRAMES_PER_SECOND, self.budget + (now - self._budget_at) * _FRAMES_PER_SECOND)
        self._budget_at = now
        return self.budget > 0

    def stalled(self, pending: int, pid: int, now: float) -> bool:
        """
        Has it left a message of `pending` bytes half sent, and done nothing since? Nothing behind it can be read.

        A kernel that computes may be between two pieces of a long message.
        """
        if not pending:
            self._half_sent = None
        elif now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            mark = (pending, cpu_ticks(pid))
            if self._half_sent is None or self._half_sent[0] != mark:
                self._half_sent = (mark, now)
            return now - self._half_sent[1] >= _HALF_SENT_SECONDS
        return False


def refusal(header: Header) -> bytes:
    """What the kernel is told instead of an answer to a frame that is not passed on; empty where it waits for none."""
    if header["type"] == "display":
        return encode({"type": "ack", "id": header.get("display")})
    if header["type"] == "call":
        reason = {"code": "hostcall.refused", "message": "The cell that this call belongs to has ended."}
        return encode({"type": "reply", "id": header.get("id"), "ok": False}, dumps(reason).encode())
    return b""
