"""A state with an open file holds it where its file is, and says so where the file is gone: none is made of nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from session import Session, Store, Warm

_START = """
import os, shutil, subprocess
os.makedirs('sub/deep')
f = open('sub/deep/x', 'MODE')
f.write('hello')
xs = [1]"""
_SEEN = "print(sorted(os.path.join(at, name) for at, _, names in os.walk('.') for name in names), f.tell(), f.name)"
_BEFORE = "['./sub/deep/x'] 5 sub/deep/x\n"


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


@pytest.mark.parametrize("mode", ["w", "a", "x", "w+"])
@pytest.mark.parametrize(
    "cell",
    [
        "os.remove('sub/deep/x')",
        "shutil.rmtree('sub')",
        "subprocess.run(['rm', '-r', 'sub']).returncode",
        "open('z', 'w').write('other'); os.replace('z', 'sub/deep/x')",
        "os.remove('sub/deep/x'); open('sub/deep/x', 'w').write('other')",
        "os.link('sub/deep/x', 'z'); os.remove('sub/deep/x')",
        "os.rename('sub', 'gone'); shutil.rmtree('gone'); os.makedirs('sub/deep')",
    ],
)
def test_an_open_file_whose_path_another_cell_took_is_named_and_never_made_anew(
    session: Session, mode: str, cell: str
) -> None:
    session.run(_START.replace("MODE", mode))
    session.run(cell)
    assert session.audit() == []
    assert {name: (entry["reason"], entry["cell"]) for name, entry in session.head.lost.items()} == {
        "f": ("an open file that was deleted", 2)
    }
    tree = "print([(at, names, [open(os.path.join(at, n)).read() for n in names]) for at, _, names in os.walk('.')])"
    left = session.run(tree).output
    session.kill()
    assert session.run(tree).output == left
    assert session.run("f.tell()").error == "ValueNotKept"
    session.reset(1)
    assert session.run(_SEEN).output == _BEFORE
    session.run(cell)
    assert session.lost() == {"f"}


@pytest.mark.parametrize(
    ("cell", "path"),
    [
        ("os.rename('sub/deep/x', 'y')", "./y"),
        ("os.rename('sub', 'other')", "./other/deep/x"),
        ("os.rename('sub/deep/x', 'y'); open('sub/deep/x', 'w').close()", "./sub/deep/x', './y"),
        ("os.chdir('sub')", "./deep/x"),
    ],
)
def test_an_open_file_is_followed_to_where_it_was_moved(session: Session, cell: str, path: str) -> None:
    session.run(_START.replace("MODE", "w"))
    session.run(cell)
    assert session.audit() == [] and session.lost() == frozenset()
    session.kill()
    assert session.run(_SEEN).output == f"['{path}'] 5 sub/deep/x\n"
    session.run("f.write(' more'); f.flush()")
    session.reset(1)
    assert session.run(_SEEN).output == _BEFORE


def test_what_shares_an_open_file_goes_with_it_and_nothing_else(session: Session) -> None:
    session.run(_START.replace("MODE", "w") + "\nheld = {'f': f}\nrunning = (n for n in [f])\nother = open('z', 'a')")
    session.run("os.remove('sub/deep/x')")
    assert session.lost() == {"f", "held", "running"}
    session.run("os.remove('z')")
    assert session.lost() == {"f", "held", "running", "other"}
    assert session.audit() == []


def test_a_file_that_was_opened_again_is_watched_as_well(session: Session) -> None:
    session.run(_START.replace("MODE", "w"))
    session.kill()
    session.run("os.remove('sub/deep/x')")
    assert session.lost() == {"f"}
    session.reset(1)
    session.run("shutil.rmtree('sub')")
    assert session.lost() == {"f"}
    beside = session.fork(1, "beside")
    beside.run("shutil.rmtree('sub')")
    assert beside.lost() == {"f"}
    beside.end()


def test_a_file_that_something_else_removed_is_opened_again_on_the_way_back(session: Session, warm: Warm) -> None:
    session.run(_START.replace("MODE", "w"))
    session.run("xs.append(2)")
    (warm.workspace / "sub/deep/x").unlink()
    session.reset(1)
    assert session.run("print(xs)").output == "[1]\n"
    assert session.run(_SEEN).output == _BEFORE


def test_what_a_process_left_behind_did_to_files_is_undone_where_no_cell_ran_since(
    session: Session, warm: Warm
) -> None:
    session.run("open('x', 'w').write('mine')")
    (warm.workspace / "x").write_text("other")
    (warm.workspace / "y").touch()
    session.reset(1)
    assert session.run("import os; print(open('x').read(), os.listdir())").output == "mine ['x']\n"
