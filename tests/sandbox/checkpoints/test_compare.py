"""The description of values across processes: the same for what came back right, another for each difference."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import planted_bugs
from apart import apart

from cloche_kernel.checkpoints import pickler
from cloche_kernel.checkpoints.compare import digest
from cloche_kernel.checkpoints.contract import Scope


def made(code: str) -> dict[str, Any]:
    """A session's namespace after one cell."""
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    exec(compile(code, "<cell 1>", "exec", dont_inherit=True), main.__dict__)
    return main.__dict__


def variables(namespace: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in namespace.items() if not name.startswith("__")}


def described(code: str) -> str:
    namespace = made(code)
    found = digest(variables(namespace), namespace)
    assert not found.opaque
    return found.hex


def round_trip(code: str) -> tuple[str, str]:
    """The description before, and of what was read back into an empty namespace."""
    namespace = made(code)
    values = variables(namespace)
    taken = pickler.take(values, Scope.of(namespace))
    before = digest(values, namespace).hex
    empty = made("")
    back = pickler.give(taken.header, [memoryview(bytearray(part)) for part in taken.buffers], empty)
    return before, digest(back, empty).hex


@pytest.mark.parametrize("kind", planted_bugs.BUGS)
def test_what_the_bug_breaks_is_described_alike_without_it(kind: str) -> None:
    before, back = apart(lambda: round_trip(planted_bugs.BUGS[kind][1]))
    assert before == back


@pytest.mark.parametrize("kind", planted_bugs.BUGS)
def test_a_planted_bug_makes_another_description(kind: str) -> None:
    plant, code = planted_bugs.BUGS[kind]

    def run() -> tuple[str, str]:
        plant()
        return round_trip(code)

    before, back = apart(run)
    assert before != back


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 0.0", "x = -0.0"),
        ("x = 1", "x = True"),
        ("x = 1", "x = 1.0"),
        ("x = [1, 2]", "x = (1, 2)"),
        ("x = {'a': 1, 'b': 2}", "x = {'b': 2, 'a': 1}"),
        ("x = [[]] * 2", "x = [[], []]"),
        ("x = [{'k': 1}] * 20", "x = [{'k': 1} for _ in range(20)]"),
        ("import collections\nx = collections.deque([1], 2)", "import collections\nx = collections.deque([1], 3)"),
        ("x = {'a'}", "x = {'b'}"),
        ("x = {1, 2}", "x = frozenset({1, 2})"),
        ("def x(): return 1", "def x(): return 2"),
        ("x = lambda *, k=1: k", "x = lambda *, k=2: k"),
        ("class x: a = 1", "class x: a = 2"),
        ("class x: pass", "class x(dict): pass"),
        ("import re\nx = re.compile('a')", "import re\nx = re.compile('a', re.I)"),
        ("import numpy as np\nx = np.array([[1, 2], [3, 4]])", "import numpy as np\nx = np.array([[1, 3], [2, 4]]).T"),
        ("import numpy as np\nx = np.zeros(3)", "import numpy as np\nx = -np.zeros(3)"),
        ("import pandas as pd\nx = pd.DataFrame({'a': [1]})", "import pandas as pd\nx = pd.DataFrame({'a': [1.0]})"),
        (
            "import pandas as pd\nx = pd.Series([1], name='n')",
            "import pandas as pd\nx = pd.Series([1], name='m')",
        ),
        ("import io\nx = io.StringIO('ab')", "import io\nx = io.StringIO('ab'); x.read(1)"),
        ("import threading\nx = threading.Lock()", "import threading\nx = threading.Lock(); x.acquire()"),
        ("x = iter([1, 2])", "x = iter([1, 2]); next(x)"),
        ("e = x = ValueError(1)", "x = ValueError(1); e = ValueError(1)"),
        ("a = [1]; x = {'k': a}", "a = [1]; x = {'k': [1]}"),
    ],
)
def test_two_values_that_behave_differently_are_described_differently(one: str, other: str) -> None:
    assert apart(lambda: described(one)) != apart(lambda: described(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = {'a', 'b', 'c', (1, 2)}", "x = {(1, 2)} | {'c'} | {'b', 'a'}"),
        (
            "class N: pass\na, b = N(), N()\na.v = 1; b.v = 2\nx = {a, b}",
            "class N: pass\na, b = N(), N()\na.v = 1; b.v = 2\nx = {b}; x.add(a)",
        ),
        ("t = 'x' * 3; x = [t, t]", "x = ['x' * 3, ''.join(['x'] * 3)]; t = 'xxx'"),
        ("import numpy as np\nx = np.dtype('i4')", "import numpy as np\nx = np.dtype('int32')"),
    ],
)
def test_what_no_code_can_tell_apart_is_described_alike(one: str, other: str) -> None:
    assert apart(lambda: described(one)) == apart(lambda: described(other))


def test_what_cannot_be_looked_into_is_named() -> None:
    namespace = made("g = (i for i in range(3))")
    assert digest({"g": namespace["g"]}, namespace).opaque == {"builtins.generator"}


def test_no_code_of_a_class_runs() -> None:
    namespace = made(
        "ran = []\n"
        "class Loud(dict):\n"
        "    def __getattribute__(self, name): ran.append(name); return object.__getattribute__(self, name)\n"
        "    def __iter__(self): ran.append('iter'); return iter(())\n"
        "    def items(self): ran.append('items'); return ()\n"
        "    def __eq__(self, other): ran.append('eq'); return True\n"
        "    __hash__ = None\n"
        "    def __len__(self): ran.append('len'); return 0\n"
        "    def __reduce_ex__(self, protocol): ran.append('reduce'); return (Loud, ())\n"
        "x = Loud(a=1); dict.__setitem__(x, 'b', x)"
    )
    namespace["ran"].clear()
    digest({"x": namespace["x"]}, namespace)
    assert namespace["ran"] == []


def test_depth_is_no_limit() -> None:
    namespace = made("x = []\nfor _ in range(30_000): x = [x]")
    assert digest({"x": namespace["x"]}, namespace).hex


def test_plain_containers_are_described_fast() -> None:
    """At least a million elements a second, on any machine that runs tests."""
    values = {"x": list(range(1_000_000)), "rows": [{"a": n, "b": str(n)} for n in range(200_000)]}
    start = time.process_time()
    digest(values, {})
    assert time.process_time() - start < 1.4
