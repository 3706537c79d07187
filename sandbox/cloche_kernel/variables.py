"""What the session holds: which names, and which cell last bound or changed each. Looking changes nothing."""

from __future__ import annotations

import difflib
import re
import time
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cloche_kernel import previews
from cloche_kernel.changes import fingerprint
from cloche_kernel.patience import TooLong, patiently

_PAGE_NAMES = 100
#: seconds one value may take to describe itself, in a table and in detail, and all of a table together
_PATIENCE = 1.0
_PATIENCE_DETAIL = 5.0
_PATIENCE_TABLE = 5.0
#: seconds after a cell that are spent on fingerprints; what is left then counts as unknown
_NOTE_SECONDS = 0.03
_IDENTIFIER = re.compile(r"[^\W\d]\w*")


@dataclass(slots=True)
class _Note:
    """Which cell bound a name, and the last that used a value of which it cannot be known whether it was changed."""

    cell: int
    identity: int
    print: Any
    perhaps: int = 0

    def __str__(self) -> str:
        return f"cell {self.cell}" + (f" (perhaps changed in {self.perhaps})" if self.perhaps else "")


class Variables:
    """
    The user's namespace, with a note for each name. `hidden` holds what the shell put there itself, by name; `unkept`
    gives type, reason and cell of each variable that checkpoints cannot keep.
    """

    def __init__(
        self,
        namespace: dict[str, Any],
        hidden: Callable[[], Mapping[str, Any]],
        unkept: Callable[[], Mapping[str, Mapping[str, Any]]] = dict,
    ) -> None:
        self._namespace = namespace
        self._unkept = unkept
        self._hidden = hidden
        self._notes: dict[str, _Note] = {}

    def note(self, cell: int, code: str) -> None:
        """Compares the namespace with the last look; called after each cell, with its code."""
        until = time.perf_counter() + _NOTE_SECONDS
        named = self._reachable(set(_IDENTIFIER.findall(code)))
        for name, value in self._visible():
            before = self._notes.get(name)
            if before is not None and before.identity == id(value) and name not in named:
                continue
            now = fingerprint(value) if time.perf_counter() < until else None
            if before is None or before.identity != id(value):
                self._notes[name] = _Note(cell, id(value), now)
            elif now is None or before.print is None:
                before.perhaps, before.print = cell, now
            elif now != before.print:
                self._notes[name] = _Note(cell, id(value), now)
        for name in [name for name in self._notes if name not in self._namespace]:
            del self._notes[name]

    def table(self, offset: int) -> str:
        """One line a variable, a page of 100."""
        everything = list(self._visible())
        rows = [(name, value) for name, value in everything if not _is_module(value)]
        modules = [name for name, value in everything if _is_module(value)]
        if not rows and not modules:
            return "No variables yet."
        until = time.monotonic() + _PATIENCE_TABLE
        lines = [self._line(name, value, until) for name, value in rows[offset : offset + _PAGE_NAMES]]
        left = len(rows) - offset - _PAGE_NAMES
        if left > 0:
            lines.append(f"… {left} more: vars {{offset: {offset + _PAGE_NAMES}}}")
        if not lines and offset > 0:
            lines.append(f"There are only {len(rows)} variables.")
        if modules and offset == 0:
            lines.append(f"modules: {', '.join(map(_short, modules[:_PAGE_NAMES]))}")
        return "\n".join(lines)

    def detail(self, name: str, offset: int, limit: int) -> tuple[str, bool]:
        """(text of one variable from `offset` characters on, found)."""
        if name not in self._namespace or name in self._own():
            names = [known for known, _ in self._visible()]
            near = difflib.get_close_matches(name[:100], names[:5_000], 3, 0.5)
            guess = f" Near it: {', '.join(map(_short, near))}." if near else ""
            return f"There is no variable {_short(name)!r}.{guess} vars without a name lists all.", False
        value = self._namespace[name]
        note = self._notes.get(name)
        origin = f", last bound or changed in {note}" if note else ""
        lost = self._unkept().get(name)
        if lost is not None:
            origin += f"; not kept when the session is saved: {lost['reason']}"
        head = f"{_short(name)}: {_words(lambda: previews.facts(value), _PATIENCE)}{origin}"
        body = _words(lambda: previews.body(value), _PATIENCE_DETAIL)
        page = body[offset : offset + limit]
        more = len(body) - offset - len(page)
        tail = f"\n… {more} more characters: vars {{name: {name!r}, offset: {offset + len(page)}}}" if more > 0 else ""
        if offset > len(body):
            page = f"(it has only {len(body):,} characters)"
        return f"{head}\n{page}{tail}", True

    def facts(self, name: str) -> str | None:
        """Type and shape of the user's variable of that name, None where there is none."""
        if name not in self._namespace or name in self._own():
            return None
        return previews.one_line(_words(lambda: previews.facts(self._namespace[name]), _PATIENCE))

    def _line(self, name: str, value: Any, until: float) -> str:
        note = self._notes.get(name)
        origin = (f", {note}" if note else "") + (", not kept" if name in self._unkept() else "")
        left = until - time.monotonic()
        if left <= 0:
            return previews.one_line(f"{_short(name)}: {type(value).__name__}{origin}: (no time left to look at it)")
        facts = _words(lambda: previews.facts(value), min(left, _PATIENCE))
        preview = _words(lambda: previews.preview(value), min(left, _PATIENCE))
        return previews.one_line(f"{_short(name)}: {facts}{origin}{': ' + preview if preview else ''}")

    def _visible(self) -> Iterator[tuple[str, Any]]:
        own = self._own()
        for name, value in list(self._namespace.items()):
            if isinstance(name, str) and not name.startswith("_") and name not in own:
                yield name, value

    def _own(self) -> set[str]:
        """Names that still are what the shell made them; one that the user bound anew is the user's."""
        return {name for name, value in self._hidden().items() if self._namespace.get(name) is value}

    def _reachable(self, named: set[str]) -> set[str]:
        """Names a cell may have changed: those in its code, and those in the code of what it names."""
        todo = list(named)
        while todo:
            for function in _functions(self._namespace.get(todo.pop())):
                fresh = set(function.__code__.co_names) - named
                named |= fresh
                todo.extend(fresh)
        return named


def _functions(value: Any) -> Iterator[types.FunctionType]:
    kind = type(value)
    if kind is types.FunctionType:
        yield value
        return
    owner = value if issubclass(kind, type) else kind
    if owner.__module__ != "__main__":
        return
    for member in type.__getattribute__(owner, "__dict__").values():
        if type(member) is types.FunctionType:
            yield member


def _is_module(value: Any) -> bool:
    # Not isinstance, which would ask the value for its `__class__`.
    return issubclass(type(value), types.ModuleType)


def _words(describe: Callable[[], str], seconds: float) -> str:
    """A value's description of itself, however badly its own methods behave."""
    try:
        return patiently(describe, seconds)
    except TooLong:
        return "(takes too long to show)"
    except BaseException as error:
        return f"(cannot be shown: {type(error).__name__})"


def _short(name: str) -> str:
    # `globals()` takes any text for a name.
    return previews.one_line(name if len(name) <= 100 else name[:100] + "…")
