"""Bytes in pieces that are named by their hash, so that what the host has already is not sent again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import xxhash

#: `bytes`: no larger than a piece of a frame's body, so that the host waits for one piece at most
CHUNK_BYTES = 262_144
#: bytes of a pickle between two cuts, at least
_LEAST = 65_536
#: bytes whose sum of products is looked at for a place to cut
_STEP = 16_384
_FACTOR = 0x9E3779B97F4A7C15


def split(data: bytes | memoryview) -> Iterator[tuple[str, memoryview]]:
    """(hash in hex, bytes) of each piece."""
    view = memoryview(data).cast("B")
    for start in range(0, len(view), CHUNK_BYTES):
        piece = view[start : start + CHUNK_BYTES]
        yield xxhash.xxh3_128_hexdigest(piece), piece


def split_by_content(data: bytes | memoryview) -> Iterator[tuple[str, memoryview]]:
    """The same, cut where the bytes say: what is put in or taken out changes the pieces around it only."""
    view = memoryview(data).cast("B")
    start = 0
    while start < len(view):
        end = start + CHUNK_BYTES
        end = len(view) if len(view) - start <= _LEAST else _cut(view, start + _LEAST, min(end, len(view)))
        piece = view[start:end]
        yield xxhash.xxh3_128_hexdigest(piece), piece
        start = end


def _cut(view: memoryview, start: int, end: int) -> int:
    """The first place from `start` at which the eight bytes before it hash to a rare value, or `end`."""
    import numpy

    for at in range(start, end, _STEP):
        stop = min(at + _STEP, end)
        octets = numpy.frombuffer(view[at - 8 : stop], "u1").astype("u8")
        hashed = numpy.zeros(stop - at, "u8")
        for back in range(8):
            hashed = hashed * numpy.uint64(31) + octets[back : back + stop - at]
        found = numpy.flatnonzero((hashed * numpy.uint64(_FACTOR)) >> numpy.uint64(48) == 0)
        if len(found):
            return at + int(found[0])
    return end


def digest(parts: Iterable[Any]) -> str:
    """One name for a sequence of texts."""
    hasher = xxhash.xxh3_128()
    for part in parts:
        hasher.update(repr(part).encode("utf-8", "surrogatepass"))
        hasher.update(b"\0")
    return hasher.hexdigest()
