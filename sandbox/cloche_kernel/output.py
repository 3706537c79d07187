"""What becomes of the bytes a cell writes: progress bars collapse, and the middle of a flood is dropped and counted."""

from __future__ import annotations

from collections import deque

#: bytes of a cell's output that go to the host as they come; like the tail within the half that the host keeps, so that
#: the gap between them stands where the bytes were dropped
HEAD_BYTES = 480_000
#: bytes of its end that are kept when there is more
TAIL_BYTES = 480_000
#: the longest line that is held back because a carriage return may still overwrite it
HELD_LINE_BYTES = 4_096


class LineCollapser:
    """
    Keeps of each line only what a terminal would still show after its carriage returns.

    A line with a carriage return is held back until its newline or `flush`, since the next update replaces it;
    `held` is its current state, for progress. Output without carriage returns passes through untouched.
    """

    def __init__(self) -> None:
        self._held = b""

    @property
    def held(self) -> bytes:
        """The line as a terminal shows it now, where an update may still overwrite it."""
        return self._held.strip(b"\r")

    def push(self, chunk: bytes) -> bytes:
        if not self._held and b"\r" not in chunk:
            return chunk
        data = self._held + chunk
        self._held = b""
        out = []
        lines = data.split(b"\n")
        last = lines.pop()
        for line in lines:
            out.append(_overwrite(line) + b"\n")
        if b"\r" in last:
            shown = _overwrite(last)
            if len(shown) > HELD_LINE_BYTES:
                out.append(shown)
            else:
                # A trailing return is kept: what comes next starts over the line, not after it.
                self._held = b"\r" + shown + (b"\r" if last.endswith(b"\r") else b"")
        else:
            out.append(last)
        return b"".join(out)

    def flush(self) -> bytes:
        """The held line, which nothing will overwrite any more."""
        line, self._held = self.held, b""
        return line


def _overwrite(line: bytes) -> bytes:
    """The state of a line after its carriage returns: the last segment that shows anything."""
    if b"\r" not in line:
        return line
    for segment in reversed(line.split(b"\r")):
        if segment.strip():
            return segment
    return b""


class OutputGate:
    """One cell's output on its way out: the head passes, then only the tail is kept and the gap is counted."""

    def __init__(self) -> None:
        self._collapser = LineCollapser()
        self._passed = 0
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._dropped = 0

    def push(self, chunk: bytes) -> bytes:
        """The part of `chunk` that goes to the host now."""
        chunk = self._collapser.push(chunk)
        room = HEAD_BYTES - self._passed
        if room >= len(chunk):
            self._passed += len(chunk)
            return chunk
        self._passed += room
        self._keep(chunk[room:])
        return chunk[:room]

    def settle(self, limit: int = TAIL_BYTES) -> tuple[bytes, int, bytes]:
        """(more head, bytes dropped since the last settle, tail of at most `limit` bytes): before a frame goes out."""
        line = self._collapser.flush()
        head = self.push(line) if line else b""
        tail = b"".join(self._tail)
        dropped = self._dropped
        if len(tail) > limit:
            dropped += len(tail) - limit
            tail = tail[-limit:]
        self._tail.clear()
        self._tail_bytes = self._dropped = 0
        return head, dropped, tail

    @property
    def dropping(self) -> bool:
        """The head is full: what comes now may be lost."""
        return self._tail_bytes > 0

    @property
    def last_line(self) -> bytes:
        """The line a person would see last, where it has not been passed on: at most 500 bytes."""
        if self._collapser.held:
            return self._collapser.held[:500]
        if not self._tail:
            return b""
        # Asked for at every chunk of a flood, so it looks at no more than it gives.
        return self._tail[-1][-501:].rstrip(b"\n").rpartition(b"\n")[2][-500:]

    def _keep(self, chunk: bytes) -> None:
        self._tail.append(chunk)
        self._tail_bytes += len(chunk)
        while self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
            gone = len(self._tail.popleft())
            self._tail_bytes -= gone
            self._dropped += gone
        if self._tail_bytes > 2 * TAIL_BYTES:
            joined = b"".join(self._tail)
            self._dropped += len(joined) - TAIL_BYTES
            self._tail = deque([joined[-TAIL_BYTES:]])
            self._tail_bytes = TAIL_BYTES
