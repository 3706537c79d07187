"""What a failed cell shows: the user's frames, the library frame that raised, a hint; never an escape or a crash."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from cloche_kernel import tracebacks


def failure(code: str, name: str = "<cell 3>") -> tracebacks.Failure:
    try:
        exec(compile(code, name, "exec"), {})
    except BaseException:
        return tracebacks.describe(*sys.exc_info())
    raise AssertionError("it did not raise")


def test_the_line_of_the_cell_is_named() -> None:
    text = failure("def f():\n    return 1 / 0\nf()").text
    assert "cell 3, line 3, in <module>" in text
    assert "cell 3, line 2, in f" in text
    assert text.endswith("ZeroDivisionError: division by zero")
    assert "test_tracebacks" not in text


def test_of_a_library_only_the_frame_that_raised_is_shown() -> None:
    text = failure("import json\njson.loads('{')").text
    assert "cell 3, line 2" in text
    assert 'File "json/decoder.py"' in text
    assert 'json/__init__.py"' not in text
    assert "frames of libraries" in text


def test_deep_recursion_is_short() -> None:
    found = failure("def f(n):\n    return f(n + 1)\nf(0)")
    assert found.name == "RecursionError"
    assert len(found.text) < 4_000
    assert "more frames" in found.text


def test_causes_are_shown_with_their_own_frames() -> None:
    text = failure("try:\n    {}['k']\nexcept KeyError as e:\n    raise ValueError('outer') from e").text
    assert text.index("KeyError: 'k'") < text.index("direct cause") < text.index("ValueError: outer")


def test_terminal_escapes_are_taken_out() -> None:
    assert "\x1b" not in failure("raise ValueError('\\x1b[31mred\\x1b[0m')").text


def test_an_absent_package_comes_with_how_to_add_it() -> None:
    text = failure("import no_such_package_here").text
    assert "setup.sh --packages" in text
    assert "setup.sh" not in failure("import json.nothing").text


def test_an_interrupt_says_where() -> None:
    found = failure("x = 1\nraise KeyboardInterrupt")
    assert found.interrupted
    assert "cell 3, line 2" in found.text


@pytest.mark.parametrize(
    "method",
    ["raise ValueError('again')", "raise SystemExit(3)", "return 3", "return self.__str__()"],
)
def test_an_exception_that_misbehaves_still_has_a_name(method: str) -> None:
    found = failure(f"class Bad(Exception):\n    def __str__(self):\n        {method}\nraise Bad()")
    assert found.name == "Bad"
    assert "Bad" in found.text


@pytest.mark.parametrize("what", [lambda: tracebacks.describe(None, None, None)])
def test_nothing_to_describe_is_described(what: Callable[[], Any]) -> None:
    assert what().text
