"""A state that a fork takes down beside the next cell is the one that would be taken down in place, and all of it."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import programs
import replay
from apart import apart
from sections import sections
from session import Session, Store, Warm

_WAYS = sections("ways")
_START = "xs = [1]\nother = {'a': xs}\nalone = [5]"
#: more than a line holds at once, so that the fork waits until it is heard
_LARGE = "import random\nlarge = [random.random() for _ in range(250_000)]"
_ALL = 1 << 30
#: seeds of random programs that found something once
_SEEDS = [1, 5, 10, 17, 45, 112, 143, 1121, 2127, 3185]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    made = Warm(beside=True)
    yield made
    made.close()


@pytest.fixture
def session(warm: Warm, tmp_path: Path) -> Iterator[Session]:
    made = Session(warm, Store(tmp_path))
    yield made
    made.end()


@pytest.mark.parametrize("way", _WAYS)
def test_a_full_scan_finds_no_more_than_forks_took_down_after_a_change_by(session: Session, way: str) -> None:
    session.run(_START)
    for code in _WAYS[way]:
        session.run(code)
    assert session.audit() == []


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_program_whose_states_forks_take_down_ends_as_its_plain_replay(warm: Warm, seed: int) -> None:
    assert replay.check(programs.write(seed), warm) is None


def test_what_the_next_cell_changes_meanwhile_is_not_in_the_state(session: Session) -> None:
    session.run(_START)
    before = session.run("print(xs, other, alone)").output
    session.cell += 1
    assert session.kernel.ask("begin_beside", session.cell, "xs.append(2); alone.append(xs)")
    meanwhile = "xs.append(3); other['b'] = alone; alone.append(6); del other['a']"
    session.kernel.ask("just_run", session.cell + 1, meanwhile)
    chunks, manifest, uncaptured = session.kernel.ask("end_beside", _ALL, 0)
    assert uncaptured == []
    session._keep(chunks, manifest)
    first = session.cell
    session.cell += 1
    session._keep(*session.kernel.ask("capture", session.cell, meanwhile))
    assert session.audit() == []
    after = session.canon()
    session.kill()
    assert session.canon() == after
    for cell, found in ((first, "[1, 2] {'a': [1, 2]} [5, [1, 2]] True"), (first - 1, before.strip() + " False")):
        session.reset(cell)
        look = "print(xs, other, alone, alone[-1] is xs and other['a'] is xs)"
        assert session.run(look).output == found + "\n"


@pytest.mark.parametrize("heard", range(9))
def test_a_fork_that_is_killed_leaves_the_state_before_and_the_next_is_whole(session: Session, heard: int) -> None:
    session.run(_START)
    before = session.canon()
    lost = session.cell + 1
    assert session.kernel.ask("begin_beside", lost, _LARGE + "\nxs.append(2)")
    chunks, manifest, uncaptured = session.kernel.ask("end_beside", heard, signal.SIGKILL)
    assert (manifest, uncaptured) == ({}, [lost])
    for name, data in chunks:
        session.store.add_chunk(session.name, name, data)
    session.cell = lost
    session.run("1")
    assert session.audit() == []
    after = session.canon()
    assert after != before
    session.kill()
    assert session.canon() == after
    session.reset(lost - 1)
    assert session.canon() == before


def test_a_fork_that_is_stopped_goes_on_when_its_state_is_needed(session: Session) -> None:
    session.run(_START)
    session.cell += 1
    assert session.kernel.ask("begin_beside", session.cell, "xs.append(2)")
    chunks, manifest, uncaptured = session.kernel.ask("end_beside", 0, signal.SIGSTOP)
    assert uncaptured == []
    session._keep(chunks, manifest)
    session.kill()
    assert session.run("print(xs, other)").output == "[1, 2] {'a': [1, 2]}\n"


def test_hooks_of_the_session_do_not_run_in_a_fork_and_it_cannot_be_waited_for(session: Session) -> None:
    session.run(
        "import os, random\nxs = [1]\n"
        "os.register_at_fork(before=lambda: xs.append('before'), after_in_child=xs.clear)\n"
        "draw = random.random; random.seed(5); expected = random.Random(5).random()"
    )
    assert session.kernel.ask("begin_beside", 2, "xs.append(2)\nprevious = os.getpid()")
    wait = "try: found = os.waitpid(-1, 0)\nexcept ChildProcessError: found = None"
    session.kernel.ask("just_run", 3, wait)
    chunks, manifest, _ = session.kernel.ask("end_beside", _ALL, 0)
    session.cell = 2
    session._keep(chunks, manifest)
    session.cell = 3
    session._keep(*session.kernel.ask("capture", 3, wait))
    assert session.run("print(xs, found)").output == "[1, 2] None\n"
    session.reset(2)
    assert session.run("print(xs, draw() == expected)").output == "[1, 2] True\n"


def test_a_change_of_one_of_many_stores_a_small_part(session: Session) -> None:
    session.run("records = [{'n': n, 's': str(n)} for n in range(100_000)]")
    whole = session.sent
    for change in ("records[7]['n'] = -5", "records[50_000]['n'] = 10**12", "records[3]['s'] = 'longer'"):
        session.run(change)
        assert 0 < session.sent < whole / 5
    after = session.canon()
    session.kill()
    assert session.canon() == after


def _hold_a_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def _open_a_file() -> None:
    from cloche_kernel.checkpoints import files

    _kept.append(open("/tmp/cloche-open", "w"))  # noqa: SIM115
    files.KEPT = ("/tmp/cloche-open",)  # type: ignore[assignment]


_kept: list[Any] = []


@pytest.mark.parametrize(
    ("what", "fits"),
    [
        (lambda: None, True),
        (_hold_a_thread, False),
        (_open_a_file, False),
        (lambda: _kept.append(mmap.mmap(-1, 4096)), False),
        (lambda: signal.signal(signal.SIGCHLD, lambda *_: None), False),
    ],
    ids=["nothing", "a thread", "an open file", "shared memory", "a handler for its end"],
)
def test_there_is_no_fork_where_the_next_cell_could_reach_it(what: Any, fits: bool) -> None:
    def look() -> bool:
        from cloche_kernel.checkpoints.beside import Beside

        what()
        mine, _ = socket.socketpair()
        return Beside(mine, lambda: None, lambda: 1 << 50, list).fits()

    assert apart(look) is fits


def test_there_is_no_fork_where_memory_is_short() -> None:
    def look() -> bool:
        from cloche_kernel.checkpoints.beside import Beside

        mine, _ = socket.socketpair()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return Beside(mine, lambda: None, lambda: resident, list).fits()

    assert apart(look) is False
