"""From the text of a cell to its syntax tree: what Python reads as it is needs none of IPython's transformations."""

from __future__ import annotations

import ast
import builtins
import re

# Bound here, so that a cell that replaces it does not replace ours.
from builtins import compile as _compile
from keyword import iskeyword
from typing import Any

from IPython.core.autocall import IPyAutocall
from IPython.core.compilerop import CachingCompiler
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.macro import Macro

#: how a line pasted from IPython begins, which Python reads as an annotation
_PROMPT = "In ["
_WORD = re.compile(r"[^\W\d]\w*")


class Compiler(CachingCompiler):
    """Names a cell's code after its number, so that tracebacks and stack dumps speak of `cell 12`."""

    cell = 0
    _codes = 0
    #: source, name and flags of what was read ahead, and its tree
    _ahead: tuple[tuple[str, str, int], ast.AST] | None = None

    def begin(self, cell: int) -> None:
        self.cell, self._codes, self._ahead = cell, 0, None

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        self._codes += 1
        return self._name(self._codes)

    def _name(self, number: int) -> str:
        # Code that a cell compiles besides itself (%run, %timeit) gets a name of its own.
        return f"<cell {self.cell}>" if number == 1 else f"<cell {self.cell}, part {number}>"

    def is_python(self, source: str) -> bool:
        """Whether Python reads `source` as it is; then its tree is kept for `ast_parse`, which comes next."""
        name = self._name(self._codes + 1)
        try:
            tree = _compile(source, name, "exec", self.flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
            return False
        self._ahead = (source, name, self.flags), tree
        return True

    def ast_parse(self, source: str, filename: str = "<unknown>", symbol: str = "exec") -> ast.AST:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and symbol == "exec" and ahead[0] == (source, filename, self.flags):
            return ahead[1]
        return super().ast_parse(source, filename, symbol)


class Plain:
    """
    Tells the cells that IPython would leave as they are. Its transformations look, token by token, for what Python
    would refuse, and that takes longer than to run a small cell.
    """

    def __init__(self, shell: InteractiveShell, compiler: Compiler) -> None:
        self._shell = shell
        self._compiler = compiler
        self._usual = self._rewriters()

    def source(self, cell: str) -> str | None:
        """What is compiled for `cell`; None where IPython has to look at it."""
        source = cell if cell.endswith("\n") else cell + "\n"
        if source[0].isspace() or _PROMPT in source or self._rewriters() != self._usual:
            return None
        one_line = "\n" not in source[:-1]
        if (one_line and self._may_be_command(source)) or not self._compiler.is_python(source):
            return None
        return source

    def _rewriters(self) -> list[Any]:
        """Everything that may rewrite a cell; a cell may add one of its own."""
        shell, manager = self._shell, self._shell.input_transformer_manager
        static = [*manager.cleanup_transforms, *manager.line_transforms, *manager.token_transformers]
        prefilter: Any = shell.prefilter_manager
        return [*static, *shell.input_transformers_post, *prefilter.transformers, *prefilter.checkers, shell.autocall]

    def _may_be_command(self, line: str) -> bool:
        """Whether the first word of a line, such as `ls`, may be a magic, a macro, or something that calls itself."""
        word = _WORD.match(line)
        if word is None or iskeyword(word[0]):
            return False
        namespace = self._shell.user_ns
        if word[0] in namespace:
            return isinstance(namespace[word[0]], (Macro, IPyAutocall))
        find_magic: Any = self._shell.find_magic
        return word[0] not in builtins.__dict__ and find_magic(word[0]) is not None


def may_await(source: str) -> bool:
    """Whether code may have to wait for something at its top level."""
    return "await" in source or "async" in source
