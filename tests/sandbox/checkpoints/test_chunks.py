"""How bytes are cut into pieces: everything once, and little anew where little changed."""

from __future__ import annotations

import pickle

import numpy
import pyarrow
import pytest

from cloche_kernel.checkpoints import chunks
from cloche_kernel.checkpoints.chunks import Piece


def buffers(value: object) -> list[memoryview]:
    found: list[memoryview] = []
    pickle.dumps(value, protocol=5, buffer_callback=lambda buffer: found.append(buffer.raw()))
    return found


def pieces(value: object) -> list[Piece]:
    return [piece for buffer in buffers(value) for piece in chunks.split_buffer(buffer)]


def fresh(value: object, known: list[Piece]) -> int:
    """`bytes` of pieces that are not among `known`."""
    names = {name for name, _ in known}
    return sum(len(piece) for name, piece in pieces(value) if name not in names)


def words(count: int, changed: int = -1) -> list[str]:
    return [f"note {n % 977} of {n}" if n != changed else "something else, and longer" for n in range(count)]


@pytest.mark.parametrize("size", [0, 1, 262_143, 262_144, 262_145, 3_000_000])
def test_pieces_are_the_bytes_in_order(size: int) -> None:
    data = numpy.random.default_rng(size).integers(0, 256, size, dtype=numpy.uint8).tobytes()
    for cut in (chunks.split, chunks.split_by_content):
        found = list(cut(data))
        assert b"".join(piece for _, piece in found) == data
        assert all(0 < len(piece) <= chunks.CHUNK_BYTES for _, piece in found)


def test_a_string_that_grows_costs_its_neighbourhood() -> None:
    column = pyarrow.array(words(300_000))
    [offsets, _] = buffers(column)
    stored = fresh(pyarrow.array(words(300_000, changed=1_000)), pieces(column))
    assert stored < offsets.nbytes + 2 * chunks.CHUNK_BYTES


def test_what_stayed_is_cut_as_before_and_what_changed_by_its_content() -> None:
    numbers = numpy.arange(500_000)
    column = pyarrow.array(numbers)
    before = pieces(column)
    assert fresh(column, before) == 0
    # The memory is shared: this is as if another value of that size had come to lie there.
    numbers[:] = numpy.random.default_rng(1).integers(0, 1 << 60, numbers.size)
    assert [name for name, _ in pieces(column)] == [
        name for [buffer] in [buffers(column)] for name, _ in chunks.split_by_content(buffer)
    ]


def test_pieces_of_both_kinds_have_names_of_their_own() -> None:
    data = bytes(1_000)
    assert not {name for name, _ in chunks.split(data)} & {name for name, _ in chunks.split_by_content(data)}
