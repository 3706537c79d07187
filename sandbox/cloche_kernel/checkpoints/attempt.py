"""Taking a group of values down: as their libraries say, and where that does not come back right, by what they hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from cloche_kernel.checkpoints.contract import NotKept, Scope
from cloche_kernel.checkpoints.held import Cut
from cloche_kernel.checkpoints.pickler import Taken, take
from cloche_kernel.checkpoints.second_way import made_once
from cloche_kernel.patience import TooLong, patiently


class Proof(Protocol):
    """Asks a fresh process whether what was taken comes back as it was; None, or why not."""

    seconds: float
    #: structures that need no proof any more, and ways of taking types down that were found to be in vain
    proven: set[int]

    def __call__(self, taken: Taken, values: dict[str, Any]) -> str | None: ...


@dataclass(frozen=True)
class Attempt:
    """`scope`: the session as it is now; `has`: whether the host has every byte, so that it was proved before."""

    scope: Callable[[], Scope]
    proof: Proof | None
    has: Callable[[Cut], bool]
    seconds: float

    def __call__(self, values: dict[str, Any]) -> tuple[Cut | None, str]:
        """What became of the values, or why nothing did. It raises MemoryError."""
        first = self.scope()
        cut, reason = self._take(values, first)
        if cut is not None and not self._is_in_vain(first):
            reason = self._prove(cut, values)
            if not reason:
                return cut, ""
        elif cut is not None:
            reason = ""
        if not first.spoken:
            return None, reason
        other = self._by_content(values)
        if other is not None:
            if self.proof is not None:
                self.proof.proven.add(_way(first))
            return other, ""
        if cut is not None and not reason:
            # In vain before, and perhaps not with these values.
            reason = self._prove(cut, values)
            return (None, reason) if reason else (cut, "")
        return None, reason

    def _by_content(self, values: dict[str, Any]) -> Cut | None:
        """What goes by what it holds, but for types of which each is made only once: those the proof finds."""
        worded: frozenset[str] = frozenset()
        while True:
            scope = self.scope()
            scope.by_content, scope.worded = True, worded
            cut, _ = self._take(values, scope)
            if cut is None:
                return None
            wrong = self._prove(cut, values)
            if not wrong:
                return cut
            once = made_once(wrong)
            if once <= worded:
                return None
            worded |= once

    def _take(self, values: dict[str, Any], scope: Scope) -> tuple[Cut | None, str]:
        try:
            return Cut.of(values, patiently(lambda: take(values, scope), self.seconds)), ""
        except NotKept as error:
            return None, str(error)
        except TooLong:
            scope.spoken.clear()
            return None, f"writing it down takes longer than {self.seconds:.0f} s"
        except MemoryError:
            raise
        except BaseException as error:
            return None, f"{type(error).__name__}: {str(error)[:200]}"

    def _prove(self, cut: Cut, values: dict[str, Any]) -> str:
        try:
            return (self.proof(cut.taken, values) or "") if self.proof is not None and not self.has(cut) else ""
        except MemoryError:
            raise
        except BaseException as error:
            return f"{type(error).__name__}: {str(error)[:200]}"

    def _is_in_vain(self, scope: Scope) -> bool:
        """Whether these types went by what they hold the last time."""
        return self.proof is not None and bool(scope.spoken) and _way(scope) in self.proof.proven


def _way(scope: Scope) -> int:
    return hash(("by content", frozenset(scope.spoken)))
