"""Bytes in pieces that are named by their hash, so that what the host has already is not sent again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import xxhash

from cloche_kernel.checkpoints import unwritten

#: `bytes`: no larger than a piece of a frame's body, so that the host waits for one piece at most
CHUNK_BYTES = 262_144


def split(data: bytes | memoryview) -> Iterator[tuple[str, memoryview]]:
    """(hash in hex, bytes) of each piece."""
    view = memoryview(data).cast("B")
    known = unwritten.names_of(view)
    for index, start in enumerate(range(0, len(view), CHUNK_BYTES)):
        piece = view[start : start + CHUNK_BYTES]
        yield (known and known[index]) or xxhash.xxh3_128_hexdigest(piece), piece


#: `bytes`: a piece cut by its content is no shorter, so that there are not too many
_LEAST_BYTES = 131_072
_WORD_BYTES = 8
#: an odd number, by which the upper bits of a word come to depend on all of its bits; one word in so many ends a piece
_MIXER = 0x9E3779B97F4A7C15
_ONE_IN_BITS = 15


def split_by_content(data: bytes | memoryview) -> Iterator[tuple[str, memoryview]]:
    """
    The same in pieces that end where eight bytes in a row say so: what grows or shrinks in one place cuts all the rest
    as before.
    """
    view = memoryview(data).cast("B")
    start = 0
    while start < len(view):
        size = _cut(view[start : start + CHUNK_BYTES])
        piece = view[start : start + size]
        yield xxhash.xxh3_128_hexdigest(piece), piece
        start += size


def _cut(view: memoryview) -> int:
    """Bytes of the first piece."""
    if len(view) < CHUNK_BYTES:
        return len(view)
    import numpy

    found = len(view)
    for shift in range(_WORD_BYTES):
        words = numpy.frombuffer(
            view, numpy.uint64, (found - _LEAST_BYTES - shift) // _WORD_BYTES, _LEAST_BYTES + shift
        )
        ends = (words * numpy.uint64(_MIXER)) >> numpy.uint64(64 - _ONE_IN_BITS) == 0
        if words.size and ends[place := int(ends.argmax())]:
            found = min(found, _LEAST_BYTES + shift + _WORD_BYTES * (place + 1))
    return found


def digest(parts: Iterable[Any]) -> str:
    """One name for a sequence of texts."""
    hasher = xxhash.xxh3_128()
    for part in parts:
        hasher.update(repr(part).encode("utf-8", "surrogatepass"))
        hasher.update(b"\0")
    return hasher.hexdigest()
