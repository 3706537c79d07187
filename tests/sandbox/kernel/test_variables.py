"""What `vars` says: types, shapes, sizes, and the cell that last bound or changed a name."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cloche_kernel.variables import Variables


class Session:
    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.variables = Variables(self.names, lambda: {"hidden": 2})
        self.cell = 0

    def run(self, code: str) -> None:
        self.cell += 1
        exec(code, self.names)
        self.variables.note(self.cell, code)

    def cell_of(self, name: str) -> int:
        line = next(line for line in self.variables.table(0).splitlines() if line.startswith(f"{name}:"))
        return int(line.partition(", cell ")[2].split(":")[0])


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.mark.parametrize(
    ("setup", "change"),
    [
        ("v = [1]", "v.append(2)"),
        ("v = {'a': 1}", "v['a'] = 2"),
        ("v = {1}", "v.add(2)"),
        ("import numpy as np\nv = np.zeros(9)", "v[3] = 1"),
        ("import pandas as pd\nv = pd.DataFrame({'a': [1, 2]})", "v.loc[0, 'a'] = 7"),
        ("import pandas as pd\nv = pd.DataFrame({'a': [1, 2]})", "v['b'] = 1"),
        ("v = [1]\ndef f():\n    v.append(2)", "f()"),
        ("v = 1", "v = 1000 + 1"),
    ],
)
def test_a_change_names_the_cell_that_made_it_and_reading_does_not(session: Session, setup: str, change: str) -> None:
    session.run(setup)
    session.run("w = str(v)")
    assert session.cell_of("v") == 1
    session.run(change)
    assert session.cell_of("v") == 3


def test_shape_type_and_size_are_shown(session: Session) -> None:
    session.names.update(frame=pd.DataFrame({"a": range(1000)}), array=np.zeros((3, 4)), text="x" * 5, _own=1, hidden=2)
    table = session.variables.table(0)
    assert "frame: DataFrame 1,000 × 1, 8.13 KB" in table
    assert "array: ndarray 3 × 4, float64, 96 B" in table
    assert "text: str of 5" in table
    assert "_own" not in table and "hidden" not in table


def test_modules_take_one_line(session: Session) -> None:
    session.run("import json, math")
    assert session.variables.table(0) == "modules: json, math"


def test_a_deleted_name_is_gone(session: Session) -> None:
    session.run("x = 1")
    session.run("del x")
    assert session.variables.table(0) == "No variables yet."


def test_pages_cover_everything_once(session: Session) -> None:
    session.names.update({f"v{n:03}": n for n in range(250)})
    pages = [session.variables.table(offset) for offset in (0, 100, 200)]
    lines = [line for page in pages for line in page.splitlines()]
    shown = [line.split(":")[0] for line in lines if line.startswith("v") and "vars" not in line]
    assert shown == [f"v{n:03}" for n in range(250)]
    assert "150 more: vars {offset: 100}" in pages[0]


def test_the_pages_of_one_variable_are_its_text(session: Session) -> None:
    session.names["long"] = "".join(str(n % 10) for n in range(2_500))
    text, offset = "", 0
    while offset < 2_500:
        page, found = session.variables.detail("long", offset, 1_000)
        assert found
        text += page.split("\n")[1]
        offset += 1_000
    assert text == session.names["long"]


def test_a_wrong_name_gets_near_ones(session: Session) -> None:
    session.names["customers"] = 1
    text, found = session.variables.detail("custmers", 0, 100)
    assert not found and "customers" in text


@pytest.mark.parametrize(
    "body", ["raise ValueError", "raise SystemExit", "while True: pass", "return 3", "return 'x' * 10**7"]
)
def test_a_value_that_cannot_describe_itself_does_not_stop_the_others(session: Session, body: str) -> None:
    session.run(f"class Bad:\n    def __repr__(self):\n        {body}\nbad = Bad()\ngood = 42")
    began = time.monotonic()
    table = session.variables.table(0)
    assert "good: int" in table and "bad: Bad" in table
    assert len(table) < 2_000
    assert time.monotonic() - began < 20
