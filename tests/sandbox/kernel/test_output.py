"""What a cell writes on its way out: progress bars collapse, floods lose their middle and nothing else."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from cloche_kernel.output import HEAD_BYTES, TAIL_BYTES, LineCollapser, OutputGate


def collapse(*chunks: bytes) -> bytes:
    collapser = LineCollapser()
    return b"".join(collapser.push(chunk) for chunk in chunks) + collapser.flush()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"plain\nlines\n", b"plain\nlines\n"),
        (b"\r 0%\r 50%\r100%\n", b"100%\n"),
        (b"1%\r2%\r3%\r", b"3%"),
        (b"windows\r\nlines\r\n", b"windows\nlines\n"),
        (b"before\n\r10%\r20%\nafter\n", b"before\n20%\nafter\n"),
        (b"kept\r", b"kept"),
        (b"\r\r\r", b""),
        (b"", b""),
    ],
)
def test_only_what_a_terminal_would_still_show_is_kept_however_it_is_split(written: bytes, shown: bytes) -> None:
    assert collapse(written) == shown
    if written.startswith(b"\r") or b"\r" not in written:
        for seed in range(50):
            choose = random.Random(seed)
            cuts = sorted(choose.randint(0, len(written)) for _ in range(4))
            edges = [0, *cuts, len(written)]
            chunks = [written[a:b] for a, b in pairwise(edges)]
            assert collapse(*chunks) == shown, f"seed {seed}"


def test_a_bar_of_a_thousand_updates_is_one_line() -> None:
    gate = OutputGate()
    passed = b"".join(gate.push(b"\r%3d%%|####|" % (n // 10)) for n in range(1_001))
    assert passed == b""
    assert gate.last_line == b"100%|####|"
    head, dropped, tail = gate.settle()
    assert (head, dropped, tail) == (b"100%|####|", 0, b"")


def test_output_within_the_head_passes_untouched() -> None:
    gate = OutputGate()
    assert gate.push(b"a" * HEAD_BYTES) == b"a" * HEAD_BYTES
    assert gate.settle() == (b"", 0, b"")


@pytest.mark.parametrize("piece", [1_000, 65_536, 3_000_000])
def test_a_flood_keeps_head_and_tail_and_counts_the_rest(piece: int) -> None:
    total = 12_000_000
    data = random.Random(1).randbytes(total).replace(b"\r", b"r")
    gate = OutputGate()
    head = b"".join(gate.push(data[at : at + piece]) for at in range(0, total, piece))
    assert gate.dropping
    more, dropped, tail = gate.settle()
    assert more == b""
    assert head == data[:HEAD_BYTES]
    assert tail == data[-len(tail) :]
    assert len(tail) <= TAIL_BYTES
    assert len(head) + dropped + len(tail) == total


def test_a_flood_is_held_in_bounded_memory() -> None:
    gate = OutputGate()
    for _ in range(2_000):
        gate.push(b"x" * 100_000)
        assert sum(map(len, gate._tail)) <= 2 * TAIL_BYTES + 100_000
