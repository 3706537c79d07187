"""Looking at values is quick, runs none of their code, and says when it cannot know."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cloche_kernel.changes import fingerprint
from cloche_kernel.variables import Variables


class Hostile:
    """Everything it can be asked raises; its class is a lie."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    @property
    def __class__(self) -> Any:
        raise RuntimeError("class")

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    __len__ = __eq__ = __hash__ = __iter__ = __repr__  # type: ignore[assignment]


@pytest.mark.parametrize(
    "make",
    [
        Hostile,
        lambda: [Hostile()],
        lambda: {"a": [Hostile()]},
        lambda: list(range(1_000_000)),
        lambda: np.zeros(10_000_000),
        lambda: pd.DataFrame({"a": [{}, []]}),
        lambda: pd.DataFrame(np.zeros((500_000, 50))),
    ],
    ids=["object", "in a list", "nested", "too long", "too large", "object column", "large table"],
)
def test_what_cannot_be_known_cheaply_has_no_fingerprint(make: Callable[[], Any]) -> None:
    value = make()
    begun = time.perf_counter()
    assert fingerprint(value) is None
    assert time.perf_counter() - begun < 0.05


def test_a_circle_ends() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert fingerprint(circle) is None


def test_a_value_that_may_have_changed_is_said_to() -> None:
    names: dict[str, Any] = {"big": np.zeros(10_000_000), "other": 1}
    variables = Variables(names, dict)
    variables.note(1, "big = np.zeros(10_000_000); other = 1")
    variables.note(2, "other")
    variables.note(3, "big.sum()")
    table = variables.table(0)
    assert "cell 1 (perhaps changed in 3)" in table
    assert "other: int, 28 B, cell 1: 1" in table


def test_noting_a_large_session_takes_no_time_to_speak_of() -> None:
    names: dict[str, Any] = {f"v{i}": [i, str(i)] for i in range(10_000)}
    names["frame"] = pd.DataFrame(np.zeros((200_000, 100)))
    names["mapping"] = {i: {"a": i} for i in range(200_000)}
    variables = Variables(names, dict)
    variables.note(1, "")
    begun = time.perf_counter()
    variables.note(2, "frame.sum(); mapping; v1")
    assert time.perf_counter() - begun < 0.2


def test_a_hostile_value_costs_its_own_line_only() -> None:
    names: dict[str, Any] = {"bad": Hostile(), "good": [1, 2]}
    variables = Variables(names, dict)
    variables.note(1, "bad = Hostile(); good = [1, 2]")
    variables.note(2, "bad")
    table = variables.table(0)
    assert "good: list of 2" in table
    assert "bad: Hostile" in table
    assert "cannot be shown" in variables.detail("bad", 0, 100)[0]


def test_looking_calls_nothing_but_repr() -> None:
    calls: list[str] = []

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return lambda *_: 1

        def __repr__(self) -> str:
            return "Recorder()"

    variables = Variables({"it": Recorder()}, dict)
    variables.note(1, "it = Recorder()")
    assert "it: Recorder, cell 1: Recorder()" in variables.table(0)
    assert calls == []


def test_a_method_that_swallows_the_deadline_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    class Stubborn:
        def __repr__(self) -> str:
            while True:
                try:
                    print("still here")
                    time.sleep(5)
                except Exception:
                    pass

    variables = Variables({"it": Stubborn()}, dict)
    begun = time.monotonic()
    assert "takes too long" in variables.table(0)
    assert time.monotonic() - begun < 3
    assert capsys.readouterr().out == ""


def test_a_name_the_shell_made_is_the_users_once_they_bind_it() -> None:
    made = object()
    names: dict[str, Any] = {"Out": made}
    variables = Variables(names, lambda: {"Out": made})
    assert variables.table(0) == "No variables yet."
    names["Out"] = 5
    variables.note(1, "Out = 5")
    assert "Out: int" in variables.table(0)
