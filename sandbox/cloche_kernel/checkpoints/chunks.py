"""Bytes in pieces that are named by their hash, so that what the host has already is not sent again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import xxhash

from cloche_kernel.checkpoints import unwritten

Piece = tuple[str, memoryview]
#: `bytes`: no larger than a piece of a frame's body, so that the host waits for one piece at most
CHUNK_BYTES = 262_144


def split(data: bytes | memoryview) -> Iterator[Piece]:
    """(hash in hex, bytes) of each piece: what is changed in place changes one of them."""
    view = memoryview(data).cast("B")
    known = unwritten.names_of(view)
    for index, start in enumerate(range(0, len(view), CHUNK_BYTES)):
        piece = view[start : start + CHUNK_BYTES]
        yield (known and known[index]) or name_of(piece), piece


def name_of(piece: memoryview) -> str:
    """Name of a piece of `split`. Those that are cut by their content have others, so that nobody mistakes them."""
    return xxhash.xxh3_128_hexdigest(piece)


#: `bytes`: a piece cut by its content is no shorter, so that there are not too many
_LEAST_BYTES = 131_072
_WORD_BYTES = 8
#: an odd number, by which the upper bits of a word come to depend on all of its bits; one word in so many ends a piece
_MIXER = 0x9E3779B97F4A7C15
_ONE_IN_BITS = 15


#: seed of the names of pieces that are cut by their content
_SEED = 1
#: (address, `bytes`) of memory → names and sizes of the pieces it was cut into
Cuts = dict[tuple[int, int], list[tuple[str, int]]]
cuts: Cuts = {}
_MOST_CUTS = 4_096


def split_by_content(data: bytes | memoryview) -> Iterator[Piece]:
    """
    The same in pieces that end where eight bytes in a row say so: what grows or shrinks in one place cuts all the rest
    as before.
    """
    view = memoryview(data).cast("B")
    start = 0
    while start < len(view):
        size = _cut(view[start : start + CHUNK_BYTES])
        yield _cut_off(view, start, size)
        start += size


def split_buffer(view: memoryview) -> Iterator[Piece]:
    """
    Pieces of a buffer beside a pickle. Arrow's values have no fixed size and are never changed in place: one that
    differs moves all that follow. Finding the cuts takes longer than hashing, so where they were is remembered.
    """
    if len(view) < CHUNK_BYTES or not type(view.obj).__module__.startswith("pyarrow"):
        yield from split(view)
        return
    view = view.cast("B")
    place = (unwritten.address_of_view(view), len(view))
    before = cuts.get(place, [])
    pieces = list(_cut_as_before(view, [size for _, size in before]))
    if not pieces or [name for name, _ in pieces] != [name for name, _ in before]:
        while len(cuts) >= _MOST_CUTS:
            del cuts[next(iter(cuts))]
        pieces = list(split_by_content(view))
        cuts[place] = [(name, len(piece)) for name, piece in pieces]
    yield from pieces


def _cut_as_before(view: memoryview, sizes: Iterable[int]) -> Iterator[Piece]:
    start = 0
    for size in sizes:
        yield _cut_off(view, start, size)
        start += size


def _cut_off(view: memoryview, start: int, size: int) -> Piece:
    piece = view[start : start + size]
    return xxhash.xxh3_128_hexdigest(piece, seed=_SEED), piece


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
