"""IPython as Cloche runs it: no history, no prompt, results and errors shown our way. One cell at a time."""

from __future__ import annotations

import builtins
import getpass
import logging
import os
import re
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from contextlib import nullcontext

# Bound here, so that a cell that replaces them does not replace ours.
from os import _exit
from os import write as _write
from typing import Any, NoReturn

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from traitlets.config import Config

from cloche_kernel import notebook_bars, tracebacks
from cloche_kernel.cell_source import Compiler, Plain, may_await
from cloche_kernel.display import Display


class Refused(RuntimeError):
    """What cannot be done from inside a cell; the text says what to do instead."""


# What the user reads is the name, not where the class lives.
Refused.__module__ = "builtins"


_NO_SCREEN = "There is no screen here; figures are shown as images by themselves."


class _DisplayHook(DisplayHook):
    """Shows the value of a cell's last expression."""

    def __call__(self, result: Any = None) -> None:
        shell = self.shell
        assert isinstance(shell, Shell)
        if result is None or shell.quiet:
            return
        shell.user_ns["_"] = result
        self.fill_exec_result(result)
        if shell.display is not None:
            shell.display.show(result, last=True)


class _DisplayPublisher(DisplayPublisher):
    """Where `display(...)` of IPython ends."""

    def publish(self, data: dict[str, Any], *_: Any, **__: Any) -> None:
        shell = self.shell
        if isinstance(shell, Shell) and shell.display is not None:
            shell.display.publish(data)

    def clear_output(self, wait: bool = False) -> None:
        """There is nothing to clear: output has gone out already."""


class Shell(InteractiveShell):
    """The session's shell. `display` is set once the kernel has its line to the supervisor."""

    display: Display | None = None
    quiet = False
    failure: tracebacks.Failure | None = None
    plain: Plain | None = None
    #: told when the first of a cell's code runs
    begins: Callable[[], None] = staticmethod(lambda: None)

    def _tee(self, channel: str) -> Any:
        # IPython would keep every printed string for a history that Cloche does not use.
        return nullcontext()

    def run(self, cell: int, code: str) -> tracebacks.Failure | None:
        """Runs one cell; what it raised, or None."""
        self.failure = None
        self.quiet = False
        compiler = self.compile
        assert isinstance(compiler, Compiler)
        compiler.begin(cell)
        stripped = code.rstrip()
        if stripped.endswith(";") or "#" in stripped.rpartition("\n")[2]:
            self.quiet = DisplayHook.semicolon_at_end_of_expression(code) if _tokenizes(code) else False
        if not isinstance(self.run_cell(code, store_history=False), ExecutionResult):
            # It ran nothing, and would go on saying that all is well.
            _write(2, b"A cell replaced how IPython runs code, so this kernel runs none any more.\n")
            _exit(1)
        return self.failure

    def transform_cell(self, raw_cell: str) -> str:
        source = self.plain.source(raw_cell) if self.plain is not None else None
        return str(super().transform_cell(raw_cell)) if source is None else source

    def should_run_async(self, raw_cell: str, *, transformed_cell: Any = None, **others: Any) -> bool:
        # IPython would compile every cell once more to see.
        return may_await(transformed_cell or raw_cell) and bool(
            super().should_run_async(raw_cell, transformed_cell=transformed_cell, **others)
        )

    async def run_code(self, code_obj: Any, result: Any = None, *, async_: bool = False) -> Any:
        self.begins()
        return await super().run_code(code_obj, result, async_=async_)

    def showtraceback(self, exc_tuple: Any = None, *_: Any, **__: Any) -> None:
        kind, value, trace = self._get_exc_info(exc_tuple)
        self.failure = tracebacks.describe(kind, value, trace)

    def showsyntaxerror(self, *_: Any, **__: Any) -> None:
        self.failure = tracebacks.describe(*sys.exc_info())

    showindentationerror = showsyntaxerror

    def system(self, cmd: str) -> None:
        """`!command`: it writes to the cell's own descriptors, so that its output comes in order."""
        command = self.var_expand(cmd, depth=1)
        status = subprocess.call(command, shell=True, executable=os.environ.get("SHELL"))
        # As IPython has it: negative for a signal, and never returned, because a value would be shown.
        self.user_ns["_exit_code"] = 128 - status if status > 128 else status
        if status and re.search(r"\binstall\b", command):
            print(tracebacks.HOW_TO_ADD_PACKAGES)
        if status and self.system_raise_on_error:
            raise subprocess.CalledProcessError(status, command)

    def ask_exit(self) -> None:
        raise Refused("exit() does not end the session; the reset tool starts it over.")

    def enable_gui(self, gui: str | None = None) -> None:
        if gui:
            raise Refused(_NO_SCREEN)

    def enable_matplotlib(self, gui: str | None = None) -> tuple[str, str]:
        """What `%matplotlib` asks for: figures are images here already, and a window there is not."""
        if gui not in (None, "auto", "inline", "agg", "Agg"):
            raise Refused(_NO_SCREEN)
        return "inline", "inline"


def build() -> Shell:
    """The shell, ready to run a cell; made once in the zygote."""
    HistoryManager.enabled = False
    config = Config()
    config.InteractiveShell.cache_size = 0
    config.InteractiveShell.colors = "NoColor"
    config.InteractiveShell.xmode = "Plain"
    config.HistoryManager.enabled = False
    Shell.compiler_class = Compiler
    Shell.displayhook_class = _DisplayHook
    Shell.display_pub_class = _DisplayPublisher
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    shell = Shell.instance(config=config, user_module=main)
    shell.compile = Compiler()
    shell.plain = Plain(shell, shell.compile)
    builtins.input = _refuse_input
    getpass.getpass = _refuse_input
    for name in ("pip", "conda", "mamba", "micromamba", "uv"):
        shell.register_magic_function(_refuse_install, "line", name)
    warnings.filterwarnings("ignore", message="To exit: use")
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    notebook_bars.install()
    shell.run_cell("None", store_history=False)
    shell.user_ns.pop("_", None)
    shell.user_ns_hidden.update(shell.user_ns)
    return shell


def _tokenizes(code: str) -> bool:
    try:
        DisplayHook.semicolon_at_end_of_expression(code)
    except Exception:
        return False
    return True


def _refuse_input(*_: object, **__: object) -> NoReturn:
    raise Refused("input() cannot be answered: nobody types into a cell. Ask the user and put the answer in the code.")


def _refuse_install(_: str) -> NoReturn:
    raise Refused(tracebacks.HOW_TO_ADD_PACKAGES)
