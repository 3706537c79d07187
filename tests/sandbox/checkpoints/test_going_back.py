"""Going back moves only what differs, and maps what is large: values stay right whatever is written after."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3] / "sandbox"))

from session import Session, Store, Warm

from cloche_kernel.checkpoints import chunks, unwritten
from cloche_kernel.checkpoints.pieces import Pieces

#: numbers of an array over many chunks, the last of them no whole page
_LONG = 2_000_001
_START = f"import numpy as np\nbig = np.arange({_LONG}, dtype=float)"
#: changes in the first chunk, in one in the middle and in the last, so that the array lies in pieces
_SCATTER = ["big[0] = -1", "big[1_000_000] = -2", "big[-1] = -3"]
_SEEN = "print(big[0], big[1], big[1_000_000], big[-1], big[1:1_000_000].sum() == 499999500000)"
_SCATTERED = "-1.0 1.0 -2.0 -3.0 True\n"


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    made = Warm()
    yield made
    made.close()


@pytest.fixture(params=[4_096, 1, 24_576], ids=["page-aligned", "unaligned", "with gaps"])
def session(warm: Warm, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Session]:
    made = Session(warm, Store(tmp_path, request.param))
    yield made
    made.end()


def test_an_array_in_pieces_is_right_after_every_way_back(session: Session) -> None:
    for code in [_START, *_SCATTER, "big = None"]:
        session.run(code)
    session.reset(4)
    assert session.run(_SEEN).output == _SCATTERED
    session.run("big[1] = 9; big[1_000_001] = 9; big[:300] += 1")
    session.run("big *= 2")
    session.reset(4)
    assert session.run(_SEEN).output == _SCATTERED
    session.reset(7)
    assert session.run("print(big[0], big[1], big[299], big[1_000_001])").output == "0.0 10.0 300.0 9.0\n"
    session.reset(4)
    session.kill()
    assert session.run(_SEEN).output == _SCATTERED
    beside = session.fork(4, "beside")
    assert beside.run(_SEEN + "; big[0] = 5").output == _SCATTERED
    assert session.run(_SEEN).output == _SCATTERED
    beside.end()


def test_writing_to_what_came_back_never_reaches_what_is_kept(session: Session, tmp_path: Path) -> None:
    for code in [_START, *_SCATTER]:
        session.run(code)
    kept = (tmp_path / "pack").read_bytes()
    session.kill()
    session.run("big[:] = 7")
    assert (tmp_path / "pack").read_bytes()[: len(kept)] == kept
    session.reset(4)
    assert session.run(_SEEN).output == _SCATTERED


def test_after_a_way_back_every_change_is_found_and_little_else_is_sent(session: Session) -> None:
    for code in [_START, *_SCATTER]:
        session.run(code)
    session.kill()
    session.run("total = big.sum()")
    assert session.sent < 10_000
    for code in ["big[700_000] = 4", "view = big[5:10]; view[0] = 8", "big[-1] += 1"]:
        session.run(code)
        assert session.audit() == []
        assert session.sent < 600_000
    session.run("big += 1")
    assert session.audit() == []


def test_views_share_their_memory_again(session: Session) -> None:
    for code in [_START + "\ntail = big[1_999_000:]", *_SCATTER, "big = tail = None"]:
        session.run(code)
    session.reset(4)
    assert session.run("tail[-1] = 11; print(big[-1], tail.base is big)").output == "11.0 True\n"
    assert session.audit() == []


def test_a_module_that_is_loaded_anew_holds_what_it_held(session: Session) -> None:
    session.run("open('mine.py', 'w').write('held = [1]'); import mine, numpy as np; big = np.ones(100_000)")
    session.run("mine.held.append(2)")
    session.run("open('mine.py', 'w').write('held = [3]'); mine.held.append(4)")
    session.reset(2)
    assert session.run("print(mine.held, big.sum(), open('mine.py').read())").output == "[1, 2] 100000.0 held = [1]\n"


def test_what_was_not_kept_takes_nothing_with_it(session: Session) -> None:
    session.run("xs = [1]; made = (xs, (n for n in xs))")
    session.run("ys = 5")
    session.run("made = None")
    session.reset(2)
    assert session.run("xs.append(2); print(xs, ys)").output == "[1, 2] 5\n"
    assert session.run("made[0]").error == "NotKept" or "made" in session.lost()


def test_process_state_is_put_back_also_where_no_cell_changed_it_since_it_was_kept(session: Session) -> None:
    session.run("import os, random; os.environ['A'] = '1'; random.seed(3); x = 0")
    session.run("first = random.random()")
    session.run("os.environ['A'] = '2'")
    session.reset(1)
    assert session.run("print(os.environ['A'], random.random() == random.Random(3).random())").output == "1 True\n"
    session.reset(3)
    assert session.run("print(os.environ['A'])").output == "2\n"


class TestPagesThatWereNotWrittenTo:
    """`unwritten` tells of mapped memory which chunks still are what they were."""

    @staticmethod
    def mapped(path: Path, before: int, order: list[int]) -> tuple[Any, list[str]]:
        """Eight chunks and a bit, that lie in the file in another order after `before` bytes."""
        data = numpy.random.default_rng(1).bytes(8 * chunks.CHUNK_BYTES + 100_000)
        pieces = list(chunks.split(data))
        starts = {}
        with open(path, "wb") as file:
            file.write(bytes(before))
            for number in order:
                starts[number] = file.tell()
                file.write(pieces[number][1])
        with Pieces([str(path)]) as files:
            located = [[0, starts[number], len(piece)] for number, (_, piece) in enumerate(pieces)]
            if order == sorted(order):
                located = [[0, before, len(data)]]
            view = files.buffer(located, [name for name, _ in pieces])
        assert bytes(view) == data
        return view, [name for name, _ in pieces]

    @pytest.mark.parametrize("before", [0, 4_096, 100])
    @pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6, 7, 8], [4, 5, 0, 3, 1, 2, 6, 7, 8]])
    def test_just_chunks_written_to_are_looked_at_again(self, tmp_path: Path, before: int, order: list[int]) -> None:
        view, names = self.mapped(tmp_path / "pack", before, order)
        aligned = before % mmap.PAGESIZE == 0
        told = unwritten.names_of(view)
        in_one_piece = order == sorted(order)
        assert told is not None
        assert told == (names if aligned or in_one_piece else [None] * 9)
        view[3 * chunks.CHUNK_BYTES] = view[3 * chunks.CHUNK_BYTES] ^ 1
        now = unwritten.names_of(view)
        assert now is not None and now[3] is None
        # A page that is not at the edge of a chunk belongs to two of them.
        assert {number for number in range(9) if now[number] != told[number]} <= ({3} if aligned else {2, 3})
        assert [name for name, _ in chunks.split(view)] == [name for name, _ in chunks.split(bytes(view))]

    def test_what_is_written_beside_numpy_counts_too(self, tmp_path: Path) -> None:
        view, _ = self.mapped(tmp_path / "pack", 0, [4, 5, 0, 3, 1, 2, 6, 7, 8])
        source = tmp_path / "source"
        source.write_bytes(b"x" * 10)
        with open(source, "rb", buffering=0) as file:
            file.readinto(view[5 * chunks.CHUNK_BYTES :][:10])
        now = unwritten.names_of(view)
        assert now is not None and [number for number, name in enumerate(now) if name is None] == [5]

    def test_a_fork_and_its_parent_each_know_their_own(self, tmp_path: Path) -> None:
        view, names = self.mapped(tmp_path / "pack", 0, [4, 5, 0, 3, 1, 2, 6, 7, 8])
        view[0] = view[0] ^ 1
        child = os.fork()
        if child == 0:
            view[2 * chunks.CHUNK_BYTES] = view[2 * chunks.CHUNK_BYTES] ^ 1
            os._exit(0 if unwritten.names_of(view) == [None, names[1], None, *names[3:]] else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert unwritten.names_of(view) == [None, *names[1:]]

    def test_other_memory_at_the_same_place_is_not_taken_for_it(self, tmp_path: Path) -> None:
        view, _ = self.mapped(tmp_path / "pack", 0, [4, 5, 0, 3, 1, 2, 6, 7, 8])
        assert unwritten._regions
        del view
        assert not unwritten._regions

    def test_nothing_is_told_once_the_names_mean_nothing(self, tmp_path: Path) -> None:
        view, _ = self.mapped(tmp_path / "pack", 0, [4, 5, 0, 3, 1, 2, 6, 7, 8])
        unwritten.forget()
        assert unwritten.names_of(view) is None

    def test_a_part_of_it_is_not_it(self, tmp_path: Path) -> None:
        view, _ = self.mapped(tmp_path / "pack", 0, [4, 5, 0, 3, 1, 2, 6, 7, 8])
        assert unwritten.names_of(view[:-1]) is None
        assert unwritten.names_of(view[chunks.CHUNK_BYTES :]) is None

    def test_where_the_system_does_not_tell_everything_is_hashed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(unwritten, "_tells", [False])
        view, names = self.mapped(tmp_path / "pack", 0, [4, 5, 0, 3, 1, 2, 6, 7, 8])
        assert unwritten.names_of(view) is None
        view[0] = view[0] ^ 1
        assert [name for name, _ in chunks.split(view)][1:] == names[1:]
        assert next(chunks.split(view))[0] != names[0]

    def test_past_so_many_parts_memory_is_read_and_those_that_are_freed_count_no_more(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cloche_kernel.checkpoints.pieces._MOST_PARTS", 12)
        order = [4, 5, 0, 3, 1, 2, 6, 7, 8]
        first, names = self.mapped(tmp_path / "one", 0, order)
        second, _ = self.mapped(tmp_path / "two", 0, order)
        assert unwritten.names_of(first) == names
        assert unwritten.names_of(second) == [*names[:3], *[None] * 6]
        del first
        assert unwritten.names_of(self.mapped(tmp_path / "three", 0, order)[0]) == [*names[:9]]

    def test_a_file_that_is_too_short_is_an_error_and_no_crash(self, tmp_path: Path) -> None:
        path = tmp_path / "pack"
        path.write_bytes(bytes(4_096))
        with Pieces([str(path)]) as files:
            for pieces in ([[0, 0, 2_000_000]], [[0, 0, 1_000_000], [0, 1_048_576, 1_000_000]]):
                with pytest.raises(EOFError):
                    files.buffer(pieces, ["a"] * 8)
