"""A state is read back in a process that ran no cell, and kept only where it comes back as it was."""

from __future__ import annotations

import os
import signal
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import planted_bugs
from apart import apart

from cloche_kernel.checkpoints import pickler
from cloche_kernel.checkpoints.contract import Scope
from cloche_kernel.checkpoints.proof import Proofs

_BUGS_OF_THE_SERIALIZER = [kind for kind in planted_bugs.BUGS]


class Session:
    """A namespace and the proofs over it. `plant` breaks the serializer before anything is forked."""

    def __init__(self, plant: Callable[[], None] | None = None, seconds: float = 20.0) -> None:
        main = types.ModuleType("__main__")
        main.__dict__["__builtins__"] = __builtins__
        sys.modules["__main__"] = main
        self.namespace = main.__dict__
        if plant is not None:
            plant()
        self.proofs = Proofs(self.namespace, None, seconds)
        self.proofs.begin()

    def run(self, code: str) -> None:
        exec(compile(code, "<cell 1>", "exec", dont_inherit=True), self.namespace)

    def values(self) -> dict[str, Any]:
        return {name: value for name, value in self.namespace.items() if not name.startswith("__")}

    def keep(self, prove: bool = False) -> str | None:
        values = self.values()
        taken = pickler.take(values, Scope.of(self.namespace))
        return self.proofs.prove(taken, values) if prove else self.proofs(taken, values)


@pytest.mark.parametrize("kind", _BUGS_OF_THE_SERIALIZER)
def test_what_a_broken_serializer_changes_is_not_kept(kind: str) -> None:
    plant, code = planted_bugs.BUGS[kind]

    def run() -> str | None:
        session = Session(plant)
        session.run(code)
        return session.keep(prove=True)

    reason = apart(run)
    assert reason is not None and "not come back as it was" in reason


@pytest.mark.parametrize("kind", _BUGS_OF_THE_SERIALIZER)
def test_the_same_is_kept_where_the_serializer_is_right(kind: str) -> None:
    def run() -> str | None:
        session = Session()
        session.run(planted_bugs.BUGS[kind][1])
        return session.keep(prove=True)

    assert apart(run) is None


def test_a_structure_is_proven_once_and_a_new_one_again() -> None:
    def run() -> list[int]:
        session = Session()
        asked: list[int] = []
        original = session.proofs.prove
        session.proofs.prove = lambda *args: (asked.append(1), original(*args))[1]  # type: ignore[func-returns-value,method-assign]
        counts = []
        for code in ("class A: pass\na = A(); a.x = [1]", "a.x.append('b')", "a.x = {1: A()}", "a.x[2] = A()"):
            session.run(code)
            assert session.keep() is None
            counts.append(len(asked))
        return counts

    assert apart(run) == [1, 1, 2, 2]


def test_a_reducer_that_is_not_known_is_proven_each_time() -> None:
    def run() -> list[str | None]:
        session = Session()
        folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"lib{os.getpid()}"
        folder.mkdir()
        (folder / "lossy_library.py").write_text(
            "class Model:\n    def __init__(self): self.a = 1\n    def __reduce__(self): return Model, ()\n"
        )
        sys.path.insert(0, str(folder))
        session.run("from lossy_library import Model\nm = Model()")
        first = session.keep()
        session.run("m.fitted = [1]")
        return [first, session.keep()]

    first, second = apart(run)
    assert first is None
    assert second is not None and "not come back" in second


def test_plain_values_cost_no_more_than_a_moment() -> None:
    def run() -> float:
        session = Session()
        session.run("import numpy as np\nx = [1, 2]; d = {'a': [1, {'b': 2}]}; a = np.zeros(10)")
        values = session.values()
        values.pop("np")
        taken = pickler.take(values, Scope.of(session.namespace))
        times = []
        for _ in range(20):
            start = time.perf_counter()
            assert session.proofs(taken, values) is None
            times.append(time.perf_counter() - start)
        return min(times)

    assert apart(run) < 0.001


def test_reading_back_that_hangs_or_dies_is_not_waited_for() -> None:
    def run() -> list[str | None]:
        session = Session(seconds=1.5)
        reasons = []
        for call in ("time.sleep, (60,)", "os.abort, ()"):
            session.namespace.clear()
            session.run(f"import time, os\nclass M(type):\n    pass\nx = 1\ncall = {call.split(',')[0]}")
            header = _calling(*eval(call, {"time": time, "os": os}))
            taken = pickler.Taken(header)
            start = time.monotonic()
            reasons.append(session.proofs.prove(taken, {"x": 1}))
            assert time.monotonic() - start < 4
        return reasons

    hung, died = apart(run)
    assert hung is not None and "longer than 1.5 s" in hung
    assert died is not None and "SIGABRT" in died


def _calling(function: Any, args: tuple[Any, ...]) -> bytes:
    import pickle

    class Call:
        def __reduce__(self) -> Any:
            return function, args

    return pickle.dumps({"x": Call()})


def test_code_that_waits_for_its_children_never_meets_it() -> None:
    def run() -> str:
        session = Session()
        session.run("class A: pass\na = A()")
        assert session.keep() is None
        try:
            os.wait()
        except ChildProcessError:
            return "none"
        return "met"

    assert apart(run) == "none"


def test_without_the_pristine_process_a_state_is_still_proven() -> None:
    def run() -> list[str | None]:
        before = _worth_least()
        session = Session()
        for pid in _new_since(before):
            os.kill(pid, signal.SIGKILL)
        session.run("class A: pass\na = A(); a.x = [1]")
        right = session.keep()
        planted_bugs.attribute_dropped()
        session.run("a.y = {1: 2}")
        wrong = session.keep()
        assert "a" in session.namespace
        return [right, wrong]

    right, wrong = apart(run)
    assert right is None
    assert wrong is not None and "not come back as it was" in wrong


def test_it_ends_with_the_kernel_and_holds_none_of_its_descriptors() -> None:
    held, theirs = os.pipe()

    def run() -> int:
        before = _worth_least()
        session = Session()
        (pid,) = _new_since(before)
        assert session.proofs
        return pid

    pid = apart(run)
    os.close(theirs)
    os.set_blocking(held, False)
    for _ in range(200):
        if not _alive(pid):
            break
        time.sleep(0.02)
    assert not _alive(pid)
    assert os.read(held, 1) == b""
    os.close(held)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _new_since(before: set[int]) -> list[int]:
    """Pristine processes that were not there before. Nobody may look into them: what they are worth tells them."""
    for _ in range(100):
        if found := _worth_least() - before:
            return sorted(found)
        time.sleep(0.02)
    raise AssertionError("there is none")


def _worth_least() -> set[int]:
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            worth_least = Path(f"/proc/{name}/oom_score_adj").read_text().strip() == "900"
            if worth_least and os.getpgid(int(name)) == os.getpgrp():
                found.add(int(name))
        except OSError:
            continue
    return found
