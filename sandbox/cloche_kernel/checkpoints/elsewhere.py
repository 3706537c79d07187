"""
Functions of the session that no variable leads to: handlers, hooks, accessors that a library keeps and calls when it
likes. Each function refers to the session's namespace, so that counting references to that tells whether there are any.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from cloche_kernel.checkpoints import reach
from cloche_kernel.checkpoints.groups import partition

_NAME = "\0elsewhere"
_OPTIMIZED = 1


class Elsewhere:
    """Asked after each cell; `variables` gives all there are, `ours` ids of what belongs to the kernel."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._least = 0
        #: references that nothing leads to; None where that is to be found out
        self._surplus: int | None = 0
        #: this is a fork, which must not run the session's finalizers
        self.is_fork = False
        self._is_tidy = False
        #: what such functions reach; None for anything
        self.reached: frozenset[str] | None = frozenset()

    def begin(self) -> None:
        """No cell has run."""
        self._least = sys.getrefcount(self._namespace)

    def look(self, known: int, variables: Callable[[], dict[str, Any]], ours: Iterable[int]) -> None:
        """`known`: references that variables lead to."""
        if self._count() - known == self._surplus:
            return
        # What an error held, and what was redefined, waits in cycles to be collected: the first is young.
        if not self.is_fork:
            gc.collect(1)
            if self._count() - known != self._surplus:
                gc.collect()
        elif not self._is_tidy:
            self._surplus, self.reached = None, None
            return
        self._surplus = surplus = self._count() - known
        self.reached = self._found(surplus, variables(), ours) if surplus > 0 else frozenset()

    def tidy(self, known: int) -> None:
        """Before a fork that looks. `known`: references that variables led to at the last look."""
        self._is_tidy = self._surplus is None
        if self._is_tidy:
            gc.collect()
        elif self._count() - known != self._surplus:
            gc.collect(1)

    def learned(self) -> tuple[int | None, frozenset[str] | None]:
        """What the last look found, for `learn` in another process."""
        return self._surplus, self.reached

    def learn(self, found: tuple[int | None, frozenset[str] | None]) -> None:
        self._surplus, self.reached = found

    def _count(self) -> int:
        return sys.getrefcount(self._namespace) - self._least - self._held_by_last_error()

    def _held_by_last_error(self) -> int:
        """Frames of the cell that raised last, which the interpreter keeps for a post-mortem."""
        found = 0
        seen: set[int] = set()
        error = getattr(sys, "last_value", None)
        while isinstance(error, BaseException) and id(error) not in seen:
            seen.add(id(error))
            trace = error.__traceback__
            while trace is not None:
                if id(trace.tb_frame) not in seen:
                    seen.add(id(trace.tb_frame))
                    found += self._held_by_frame(trace.tb_frame)
                trace = trace.tb_next
            error = error.__cause__ or error.__context__
        return found

    def _held_by_frame(self, frame: types.FrameType) -> int:
        if frame.f_globals is not self._namespace or frame.f_code.co_flags & _OPTIMIZED:
            return 0
        return sum(
            part is self._namespace or (type(part) is types.FunctionType and part.__code__ is frame.f_code)
            for part in gc.get_referents(frame)
        )

    def _found(self, surplus: int, values: dict[str, Any], ours: Iterable[int]) -> frozenset[str] | None:
        owned = partition(values, ours, self._namespace).owner
        hidden = [
            function
            for function in gc.get_referrers(self._namespace)
            if type(function) is types.FunctionType
            and id(function) not in owned
            and function.__code__.co_flags & _OPTIMIZED
        ]
        if len(hidden) < surplus:
            return None
        names: set[str] = set()
        for function in hidden:
            spoken, dynamic = reach.spoken(function.__code__)
            if dynamic:
                return None
            names |= spoken
        parts = partition({**values, _NAME: hidden}, ours, self._namespace)
        return frozenset(names.union(*(group for group in parts.groups if _NAME in group)) - {_NAME})
