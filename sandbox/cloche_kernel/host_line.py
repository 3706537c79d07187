"""The supervisor's end of the wire: frames from the host, frames to it, and what happens while it does not read."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cloche_kernel.frames import FrameReader, Header, encode
from cloche_kernel.read_buffer import ReadBuffer

_WRITE_BYTES = 1_048_576
#: bytes waiting for the host above which nothing more is read from the kernel
_HIGH_WATER_BYTES = 4_194_304


class HostGone(Exception):
    """The carrier ended: this sandbox has nobody left to serve."""


class HostLine:
    """
    Frames over two descriptors, which may be one, and never blocks.

    `congested` is called when more waits for the host than should, `clear` once all of it is out.
    """

    def __init__(
        self,
        incoming: int,
        outgoing: int,
        poll: select.poll,
        buffer: ReadBuffer,
        *,
        congested: Callable[[], None],
        clear: Callable[[], None],
    ) -> None:
        self._in = incoming
        self._out = outgoing
        self._poll = poll
        self._buffer = buffer
        self._on_congested = congested
        self._on_clear = clear
        self._reader = FrameReader()
        self._outbox = bytearray()
        #: frames that go out together
        self._gathered: list[bytes] | None = None
        for descriptor in (incoming, outgoing):
            os.set_blocking(descriptor, False)
        poll.register(incoming, select.POLLIN)

    @property
    def is_stdin(self) -> bool:
        return self._in == 0

    @property
    def congested(self) -> bool:
        return len(self._outbox) > _HIGH_WATER_BYTES

    def owns(self, descriptor: int) -> bool:
        return descriptor in (self._in, self._out)

    def on_events(self, descriptor: int, events: int) -> Iterator[tuple[Header, bytes, bytes]]:
        """Writes and reads what can be; yields the frames that arrived. Raises HostGone, and FrameError."""
        if descriptor == self._out and events & select.POLLOUT:
            self._flush()
        if descriptor != self._in or not events & ~select.POLLOUT:
            return
        try:
            chunk = self._buffer.read(self._in)
        except BlockingIOError:
            return
        except OSError as error:
            raise HostGone(str(error)) from error
        if not chunk:
            raise HostGone("end of stream")
        yield from self._reader.push(chunk)

    def send(self, header: Header, payload: bytes = b"") -> None:
        self.write(encode(header, payload))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Frames sent within it go out at its end, so that the host wakes once for all of them."""
        self._gathered = []
        try:
            yield
        finally:
            gathered, self._gathered = self._gathered, None
            if gathered:
                self.write(b"".join(gathered))

    def write(self, frame: bytes) -> None:
        """Sends whole frames, or keeps what does not go out now."""
        if self._gathered is not None:
            self._gathered.append(frame)
            return
        if not self._outbox:
            try:
                sent = os.write(self._out, frame)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise HostGone(str(error)) from error
            if sent == len(frame):
                return
            frame = frame[sent:]
            self._poll.register(self._out, select.POLLOUT | (select.POLLIN if self._out == self._in else 0))
        self._outbox += frame
        if self.congested:
            self._on_congested()

    def _flush(self) -> None:
        try:
            del self._outbox[: os.write(self._out, memoryview(self._outbox)[:_WRITE_BYTES])]
        except BlockingIOError:
            return
        except OSError as error:
            raise HostGone(str(error)) from error
        if self._outbox:
            return
        if self._out == self._in:
            self._poll.register(self._in, select.POLLIN)
        else:
            self._poll.unregister(self._out)
        self._on_clear()
