"""What a cell could have changed is taken down, whatever way the cell took to it: a full scan finds nothing more."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import planted_bugs
from sections import sections
from session import Session, Store, Warm

_START = "xs = [1]\nother = {'a': xs}\nalone = [5]"

#: ways to what `_START` makes, as cells of which the last changes it
_WAYS = sections("ways")


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    made = Warm()
    yield made
    made.close()


@pytest.fixture
def session(warm: Warm, tmp_path: Path) -> Iterator[Session]:
    made = Session(warm, Store(tmp_path))
    yield made
    made.end()


@pytest.mark.parametrize("way", _WAYS)
def test_a_full_scan_finds_no_more_than_was_taken_down_after_a_change_by(session: Session, way: str) -> None:
    session.run(_START)
    before = ""
    for code in _WAYS[way]:
        before = session.canon()
        session.run(code)
    assert session.canon() != before, "the last cell changes nothing"
    assert session.audit() == []


@pytest.mark.parametrize("bug", planted_bugs.REACH_BUGS)
def test_a_full_scan_finds_a_planted_bug(tmp_path: Path, bug: str) -> None:
    way, _ = planted_bugs.REACH_BUGS[bug]
    with contextlib.closing(Warm(bug=bug)) as broken:
        session = Session(broken, Store(tmp_path))
        for code in (_START, *_WAYS[way]):
            session.run(code)
        assert session.audit() != []
        session.end()


def test_a_cell_sends_nothing_of_what_it_did_not_reach(session: Session) -> None:
    session.run("import numpy as np\nbig = np.random.random(1_000_000)\nsmall = [1]")
    session.run("small.append(2)")
    assert session.sent < 2_000
    session.run("big[5] = 1")
    assert 200_000 < session.sent < 600_000


def test_undo_leaves_unchanged_objects_the_same(session: Session) -> None:
    session.run("import numpy as np\nbig = np.arange(100_000)\nfirst = id(big)\nxs = [1]")
    session.run("xs.append(2)")
    session.reset(1)
    assert session.run("print(id(big) == first, xs)").output == "True [1]\n"


def test_undo_then_cells_then_undo_then_redo(session: Session) -> None:
    for code in ("xs = [1]", "xs.append(2)", "ys = xs"):
        session.run(code)
    third = session.canon()
    session.reset(1)
    session.run("xs.append(9)\ndel_me = 1")
    session.reset(2)
    assert session.run("print(xs, 'ys' in dir(), 'del_me' in dir())").output == "[1, 2] False False\n"
    session.reset(3)
    assert session.canon() == third
    assert session.run("print(ys is xs)").output == "True\n"
    assert session.audit() == []


def test_an_equal_value_of_another_name_shares_nothing_after_a_kill(session: Session) -> None:
    session.run("import numpy as np\na = np.arange(100_000)\nb = np.arange(100_000)")
    session.kill()
    assert session.run("a[0] = 7\nprint(b[0])").output == "0\n"


def test_a_lost_value_is_a_placeholder_after_a_kill_and_itself_after_an_undo(session: Session) -> None:
    session.run("def g():\n    yield 1\n    yield 2\ngen = g()\nxs = [1]")
    session.run("xs.append(2)")
    session.reset(1)
    assert session.run("print(next(gen))").output == "1\n"
    session.kill()
    assert session.run("next(gen)").error == "ValueNotKept"
    assert session.run("gen = 1\nprint(xs)").output == "[1]\n"
    assert session.lost() == frozenset()


def test_five_thousand_variables_and_odd_names_come_back(session: Session) -> None:
    session.run("for n in range(5_000): globals()[f'v{n}'] = [n]\nglobals()['not a name'] = [1]\nŝ = v7")
    session.kill()
    assert session.run("print(v4999, ŝ is v7, globals()['not a name'])").output == "[4999] True [1]\n"
    session.run("ŝ.append(1)\ndel v8")
    session.kill()
    assert session.run("print(v7, 'v8' in globals())").output == "[7, 1] False\n"


def test_an_empty_session_comes_back_empty(session: Session) -> None:
    session.run("pass")
    session.kill()
    assert session.canon() == session.canon()
    session.run("x = 1")
    session.reset(1)
    assert session.run("x").error == "NameError"


@pytest.mark.parametrize("cell", ["1 + 1", "pass", "alone.append(6)"])
def test_the_first_state_after_the_host_lost_everything_is_whole(session: Session, cell: str, tmp_path: Path) -> None:
    session.run(_START)
    session.kernel.ask("forget")
    session.store = Store(tmp_path)
    session.run(cell)
    before = session.canon()
    session.kill()
    assert session.canon() == before


@pytest.mark.parametrize(
    "cell",
    [
        "many = [[n] for n in range(3_000)]; one = many[2_999]",
        "many = [[n] for n in range(3_000)]; one = {'a': (many[7],)}",
        "one = [[7]]; many = [[n] for n in range(3_000)] + one",
        "many = [[n] for n in range(3_000)]; many[5] = many[6]; one = many[1]",
        "import weakref\nmany = [{n} for n in range(3_000)]; one = weakref.ref(many[9])",
        "many = [([n],) for n in range(3_000)]; one = many[4][0]",
    ],
)
def test_one_of_many_that_is_shared_stays_shared(session: Session, cell: str) -> None:
    session.run(cell)
    before = session.canon()
    session.kill()
    assert session.canon() == before
    session.run("many[0] = None")
    assert session.audit() == []
