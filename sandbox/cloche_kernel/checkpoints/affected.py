"""Which variables the latest cell may have affected: told from its code, from what was bound, and from what goes on."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from cloche_kernel.checkpoints import reach
from cloche_kernel.checkpoints.bindings import SHOWN
from cloche_kernel.checkpoints.held import Groups


class Affected:
    """`shows_a_part`: whether the value that was shown last may be a variable's, or a part of one, that can change."""

    def __init__(
        self, namespace: dict[str, Any], shows_a_part: Callable[[], bool], transform: Callable[[str], str]
    ) -> None:
        self._namespace = namespace
        self._shows_a_part = shows_a_part
        self._transform = transform
        #: the latest cell's code, and the names that it speaks of
        self._spoken: tuple[str, frozenset[str] | None] | None = None
        self._ran_beside = False
        #: the value that was shown before the latest cell does
        self._shown = False
        #: variables that a cell stored in a module
        self._given: set[str] = set()

    def names_in(self, code: str) -> frozenset[str] | None:
        """Told once for a cell, whose answer and whose state both ask."""
        if self._spoken is None or self._spoken[0] is not code:
            self._spoken = code, reach.names_in(code, self._transform)
        return self._spoken[1]

    def by(
        self, code: str | None, changed: set[str], gone: set[str], hidden: frozenset[str] | None, groups: Groups
    ) -> set[str] | None:
        """
        Variables that the cell may have bound, changed or made share something; None for all. Asked once for each cell.
        `code` None: it may have done anything; `hidden`: what functions reach that no variable leads to, None for all.
        """
        if code is not None:
            self._given |= reach.given_to_modules(code, self._is_module)
        beside = reach.runs_beside()
        ran_beside, self._ran_beside = self._ran_beside, beside
        shown, self._shown = self._shown, self._shows_a_part()
        if code is None or beside or ran_beside or hidden is None:
            return None
        named = self.names_in(code)
        if named is None:
            return None
        spoken = named | hidden | self._given
        reached = reach.closure(spoken, groups)
        if reached is None or (shown and _speaks_of(SHOWN, spoken, reached, groups)):
            return None
        if not (changed | gone) <= (reached | named):
            # Something was bound under a name that the code does not spell out: then more may have happened.
            return None
        return reached | changed

    def _is_module(self, name: str) -> bool:
        return type(self._namespace.get(name)) is ModuleType


def calls_something(code: str) -> bool:
    """Whether it may reach anything that has no name."""
    return "(" in code or "import" in code or "%" in code or "!" in code or "[" in code or "." in code


def _speaks_of(name: str, spoken: frozenset[str], reached: set[str], groups: Groups) -> bool:
    """Whether a cell's code or what it reaches does."""
    return name in spoken or any(name in (groups[other].mentions or ()) for other in reached)
