"""Random programs: with undo, kill and fork in between, a session is what a plain replay of its cells makes."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import planted_bugs
import programs
import replay
from session import Warm

#: seconds for seeds that no run had before: a search, which belongs to the long tests
_SECONDS = 600.0
#: programs that found something once
_FOUND = [
    1,
    2,
    5,
    6,
    7,
    10,
    11,
    13,
    15,
    17,
    18,
    31,
    45,
    52,
    112,
    124,
    143,
    1054,
    1121,
    1166,
    1209,
    1245,
    2127,
    3041,
    3185,
    50027,
    50060,
    50097,
    60599,
]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    made = Warm()
    yield made
    made.close()


@pytest.mark.parametrize("seed", _FOUND)
def test_a_program_that_failed_once_ends_as_its_plain_replay(warm: Warm, seed: int) -> None:
    assert replay.check(programs.write(seed), warm) is None


@pytest.mark.parametrize("bug", [bug for bug, (_, seed) in planted_bugs.REACH_BUGS.items() if seed is not None])
def test_a_random_program_finds_a_planted_bug(bug: str) -> None:
    _, seed = planted_bugs.REACH_BUGS[bug]
    assert seed is not None
    with contextlib.closing(Warm(bug=bug)) as broken:
        assert replay.check(programs.write(seed), broken) is not None


def test_the_same_programs_find_nothing_without_it(warm: Warm) -> None:
    for seed in {seed for _, seed in planted_bugs.REACH_BUGS.values() if seed is not None}:
        assert replay.check(programs.write(seed), warm) is None


@pytest.mark.skipif(not os.environ.get("CLOCHE_TEST_LONG"), reason="a search of ten minutes: npm run test:long")
def test_programs_of_fresh_seeds_end_as_their_plain_replays(warm: Warm) -> None:
    source = random.SystemRandom()
    end = time.monotonic() + _SECONDS
    tally = replay.Tally()
    while time.monotonic() < end:
        seed = source.randrange(1 << 32)
        wrong = replay.check(programs.write(seed), warm, tally)
        assert wrong is None, f"seed {seed}: {wrong}"
    assert tally.cells > 25
