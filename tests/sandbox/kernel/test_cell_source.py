"""Cells that go past IPython's transformations: the same code is compiled as with them."""

from __future__ import annotations

import warnings

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.macro import Macro

from cloche_kernel import shell as shells

SHELL = shells.build()

PLAIN = [
    "1+1", "x = 5\n", "x = [\n  1,\n 2]\nx", "def f(a):\n    return a\n\nf(2)", "print(1); print(2);", "import os",
    "# only words", "'%time'", 'f"{1!r} {2 % 2}"', "a = 7 % 3", "a != b", "x = '''\n!ls\n%time\n'''", "lambda: (yield)",
    "é = 1", "@staticmethod\ndef g(): pass", "async def h():\n    await k()", "if 1:\n  pass\nelse:\n  pass",
    "print\\\n(1)",
]  # fmt: skip
LOOKED_AT = [
    "%time 1", "!echo a", "x = !echo a", "x = %who_ls", "print?", "?print", "%%time\n1", "  1+1", "\n\n1+1", ">>> 1+1",
    "In [1]: 5", "In [3]: x", ",f a b", ";f a b", "/f a", "who", "ls", "1 +", "def", "", " ", "\t", "\x00",
    "%%writefile a.py\nx", "cd ..", "for i in x:\n!echo {i}", "exit", "quit",
]  # fmt: skip


def ipython(cell: str) -> str:
    return str(InteractiveShell.transform_cell(SHELL, cell))


@pytest.mark.parametrize("cell", PLAIN + LOOKED_AT)
def test_a_cell_is_compiled_as_ipython_has_it(cell: str) -> None:
    assert SHELL.transform_cell(cell) == ipython(cell)


@pytest.mark.parametrize("cell", PLAIN)
def test_what_python_reads_is_not_looked_at(cell: str) -> None:
    assert SHELL.plain is not None
    assert SHELL.plain.source(cell) is not None


@pytest.mark.parametrize("cell", LOOKED_AT)
def test_what_means_something_to_ipython_is(cell: str) -> None:
    assert SHELL.plain is not None
    assert SHELL.plain.source(cell) is None


def test_a_name_of_the_users_is_no_command() -> None:
    assert SHELL.plain is not None
    SHELL.user_ns["ls"] = 5
    try:
        assert SHELL.plain.source("ls") == "ls\n" == ipython("ls")
    finally:
        del SHELL.user_ns["ls"]


def test_a_macro_is_expanded() -> None:
    SHELL.user_ns["again"] = Macro("1+1\n")
    try:
        assert "1+1" in SHELL.transform_cell("again")
    finally:
        del SHELL.user_ns["again"]


def test_what_a_cell_taught_ipython_is_heeded() -> None:
    def louder(lines: list[str]) -> list[str]:
        return [line.upper() for line in lines]

    for transforms in (SHELL.input_transformers_post, SHELL.input_transformer_manager.cleanup_transforms):
        transforms.append(louder)
        try:
            assert SHELL.transform_cell("x = a") == "X = A\n"
        finally:
            transforms.remove(louder)
    SHELL.run_cell("%autocall 1")
    try:
        assert SHELL.transform_cell("callable") == ipython("callable")
    finally:
        SHELL.run_cell("%autocall 0")


def test_a_pasted_docstring_keeps_its_prompts() -> None:
    cell = '"""\n>>> 1\n"""'
    assert SHELL.transform_cell(cell) == cell + "\n"


def test_a_warning_of_the_compiler_names_the_cell_and_comes_once() -> None:
    compiler = SHELL.compile
    assert isinstance(compiler, shells.Compiler)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        SHELL.run(12, "y = '\\d'")
    assert [warning.filename for warning in seen] == ["<cell 12>"]


def test_future_features_stay() -> None:
    SHELL.run(13, "from __future__ import annotations")
    SHELL.run(14, "def f(a: nowhere): pass")
    assert SHELL.user_ns["f"].__annotations__ == {"a": "nowhere"}
    assert SHELL.run(15, "1 = 2") is not None


@pytest.mark.parametrize(
    "code, waits",
    [("1+1", False), ("await x", True), ("[i async for i in a]", True), ("async def f(): await g()", False)],
)
def test_only_what_waits_runs_in_a_loop(code: str, waits: bool) -> None:
    found = SHELL.should_run_async(code, transformed_cell=SHELL.transform_cell(code))
    assert found is waits
