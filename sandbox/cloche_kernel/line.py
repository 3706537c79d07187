"""The kernel's end of its line to the supervisor: requests in, frames out, and answers for any thread that waits."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

# Bound here, so that a cell that replaces `select.poll` does not replace ours.
from select import POLLIN, POLLOUT, poll

from cloche_kernel.frames import FrameReader, Header, encode
from cloche_kernel.interrupts import Interrupts
from cloche_kernel.messages import MAX_BODY_PIECE_BYTES

Message = tuple[Header, bytes]


class LineClosed(BaseException):
    """The supervisor is gone; the kernel ends. Not an Exception, so that user code cannot swallow it by habit."""


class Line:
    """
    Frames over one stream socket, shared by all threads of the kernel.

    Whoever waits reads: the first thread that needs an answer reads the socket and hands what is not its own to the
    others. So no reader thread competes with user code for the interpreter lock.
    """

    def __init__(self, stream: socket.socket, interrupts: Interrupts) -> None:
        self._socket = stream
        self._interrupts = interrupts
        self._reader = FrameReader()
        self._requests: deque[Message] = deque()
        self._answers: dict[tuple[str, str], deque[Message]] = {}
        self._changed = threading.Condition()
        self._withdrawn: set[str] = set()
        self._reading = False
        self._write_lock = threading.Lock()
        self.open = True
        # A process that user code forks is not the kernel: it must neither speak for it nor keep the line open.
        os.register_at_fork(after_in_child=self.leave)

    def send(self, header: Header, payload: bytes | memoryview = b"", before: bytes = b"") -> None:
        """Sends one whole frame, behind encoded ones; an interrupt waits until it is out."""
        data = before + encode(header, payload)
        with self._interrupts.deferred(), self._write_lock:
            self._sendall(data)

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Frames sent within it go out together: an interrupt waits until the last is out."""
        with self._interrupts.deferred():
            yield

    def withdrawn(self, cell: str) -> bool:
        """Was cell `cell` interrupted before it began? A signal finds nothing to interrupt then; the frame is here."""
        waiting = poll()
        waiting.register(self._socket, POLLIN)
        while not self._withdrawn and not self._reading and waiting.poll(0):
            self._read_once(None)
        found = cell in self._withdrawn
        self._withdrawn.clear()
        return found

    def send_body(self, key: str, body: bytes | memoryview) -> None:
        """Sends a body in pieces, the last one marked."""
        view = memoryview(body)
        for start in range(0, max(len(view), 1), MAX_BODY_PIECE_BYTES):
            piece = view[start : start + MAX_BODY_PIECE_BYTES]
            self.send({"type": "body", "id": key, "last": start + MAX_BODY_PIECE_BYTES >= len(view)}, piece)

    def next_request(self) -> Message:
        """The next request for the main thread. Raises LineClosed when the supervisor is gone."""
        while True:
            if self._requests:
                return self._requests.popleft()
            self._read_once(None)

    def requested_before(self, descriptor: int) -> bool:
        """Whether the supervisor says something before `descriptor` can be read: one that is gone can be at once."""
        if self._requests:
            return True
        if descriptor < 0:
            return False
        waiting = poll()
        waiting.register(self._socket, POLLIN)
        waiting.register(descriptor, POLLIN)
        return self._socket.fileno() in (ready for ready, _ in waiting.poll())

    @contextmanager
    def expecting(self, kind: str, key: str) -> Iterator[None]:
        """Within it, answers of `kind` for `key` are kept for `wait`."""
        with self._changed:
            self._answers[(kind, key)] = deque()
        try:
            yield
        finally:
            with self._changed:
                self._answers.pop((kind, key), None)

    def wait(self, kind: str, key: str) -> Message:
        """The next answer of `kind` for `key`; call within `expecting`. Interruptible."""
        mine = (kind, key)
        while True:
            with self._changed:
                if self._answers[mine]:
                    return self._answers[mine].popleft()
                if self._reading:
                    self._changed.wait(1.0)
                    continue
            self._read_once(mine)

    def wait_any(self, wanted: tuple[str, str], stop: tuple[str, str]) -> Message | None:
        """The next answer `wanted`, or None once one for `stop` has arrived, which stays for `wait`."""
        while True:
            with self._changed:
                if self._answers[wanted]:
                    return self._answers[wanted].popleft()
                if self._answers[stop]:
                    return None
                if self._reading:
                    self._changed.wait(1.0)
                    continue
            self._read_once(wanted)

    def _read_once(self, mine: tuple[str, str] | None) -> None:
        """Reads until something arrived, as the one reader; returns at once where another thread became it first."""
        with self._changed:
            if self._reading:
                self._changed.wait(1.0)
                return
            if mine is not None and self._answers.get(mine):
                return
            self._reading = True
        try:
            _wait(self._socket, POLLIN)
            with self._interrupts.deferred():
                chunk = self._socket.recv(262_144)
                if not chunk:
                    raise LineClosed
                for header, payload, _ in self._reader.push(chunk):
                    self._deliver(header, payload)
        finally:
            with self._changed:
                self._reading = False
                self._changed.notify_all()

    def leave(self) -> None:
        """This process has nothing more to say."""
        self.open = False
        self._socket.close()

    def _deliver(self, header: Header, payload: bytes) -> None:
        with self._changed:
            kind = header["type"]
            waiting = self._answers.get((kind, str(header.get("id"))))
            if waiting is not None:
                waiting.append((header, payload))
            elif kind in ("execute", "load", "inspect", "restore", "recapture"):
                self._requests.append((header, payload))
            elif kind == "interrupt":
                self._withdrawn.add(str(header.get("id")))
            self._changed.notify_all()

    def _sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                _wait(self._socket, POLLOUT)
            except OSError as error:
                raise LineClosed from error


def _wait(stream: socket.socket, events: int) -> None:
    """Interruptible; poll, because select knows no descriptor above 1,023."""
    if stream.fileno() < 0:
        raise LineClosed
    waiting = poll()
    waiting.register(stream, events)
    waiting.poll()
