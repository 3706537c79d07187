"""Bytes in, frames out, and back. Pure: no sockets. Layout and limits: src/kernel/messages.ts."""

from __future__ import annotations

import struct
from collections.abc import Iterator

# Bound here, so that a cell that replaces them does not replace ours.
from json import JSONDecoder, JSONEncoder
from typing import Any

from cloche_kernel.messages import MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES

Header = dict[str, Any]

_PREFIX = struct.Struct(">II")
_encode_header = JSONEncoder(separators=(",", ":")).encode


class FrameError(Exception):
    """The peer's bytes are not frames; nothing after them can be read."""


def encode(header: Header, payload: bytes | memoryview = b"") -> bytes:
    """Bytes of one frame. Raises FrameError where a limit is passed."""
    text = _encode_header(header).encode()
    if len(text) > MAX_HEADER_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise FrameError(f"a frame of {len(text)} + {len(payload)} bytes is over the limit")
    return b"".join((_PREFIX.pack(len(text), len(payload)), text, payload))


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> Header:
    header = dict(pairs)
    if len(header) != len(pairs):
        raise ValueError("a field twice")
    return header


_decode = JSONDecoder(object_pairs_hook=_once, parse_constant=_no_json).decode


def _parse(text: bytes) -> Header:
    """A flat object with a type, in UTF-8: exactly what the host reads, so that both see the same message."""
    try:
        header = _decode(text.decode())
    except (ValueError, RecursionError) as error:
        raise FrameError("a header that is not JSON") from error
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise FrameError("a header without a type")
    for value in header.values():
        if isinstance(value, dict | list):
            raise FrameError("a nested header")
    return header


class FrameReader:
    """Reassembles frames from chunks split anywhere; holds at most one frame and one chunk."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)

    def push(self, chunk: bytes) -> Iterator[tuple[Header, bytes, bytes]]:
        """Adds bytes and yields (header, payload, the frame's own bytes) for every frame they complete."""
        buffer = self._buffer
        buffer += chunk
        while len(buffer) >= 8:
            header_length, payload_length = _PREFIX.unpack_from(buffer)
            if not 2 <= header_length <= MAX_HEADER_BYTES:
                raise FrameError(f"a header of {header_length} bytes")
            if payload_length > MAX_PAYLOAD_BYTES:
                raise FrameError(f"a payload of {payload_length} bytes")
            split = 8 + header_length
            end = split + payload_length
            if len(buffer) < end:
                return
            frame = bytes(memoryview(buffer)[:end])
            del buffer[:end]
            yield _parse(frame[8:split]), frame[split:], frame
