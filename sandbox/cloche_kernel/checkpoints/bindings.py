"""Which variables there are, and which of them are bound to something else than when this was last asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: what the last expression that was shown gave: no variable, and yet a way to one
SHOWN = "_"
_SHARED_BY_NOBODY: frozenset[type] = frozenset({int, float, complex, bool, str, bytes, type(None)})
_NOT_THE_SESSIONS = frozenset(
    {
        SHOWN,
        "__",
        "___",
        "__builtins__",
        "__builtin__",
        "__name__",
        "__doc__",
        "__loader__",
        "__spec__",
        "__package__",
        "__warningregistry__",
    }
)


class Bindings:
    """Looks at names and identities only, at C's speed: ten thousand variables take half a millisecond."""

    def __init__(self, namespace: dict[str, Any], hidden: Callable[[], Mapping[str, Any]]) -> None:
        self._namespace = namespace
        self._hidden = hidden
        self._names: list[str] = []
        self._ids: list[int] = []

    def changed(self) -> tuple[set[str], set[str]]:
        """Names bound anew, and names gone, since the last call."""
        names, ids = list(self._namespace), list(map(id, self._namespace.values()))
        before, ids_before = self._names, self._ids
        if ids == ids_before and names == before:
            return set(), set()
        self._names, self._ids = names, ids
        if names[: len(before)] == before:
            pairs = zip(before, ids, ids_before, strict=False)
            anew = [name for name, now, then in pairs if now != then] + names[len(before) :]
            gone: set[str] = set()
        else:
            then_of = dict(zip(before, ids_before, strict=True))
            anew = [name for name, now in zip(names, ids, strict=True) if then_of.pop(name, None) != now]
            gone = set(then_of)
        gone.update(name for name in anew if not self.shows(name))
        return {name for name in anew if self.shows(name)}, gone - _NOT_THE_SESSIONS

    def shows_a_part(self) -> bool:
        """Whether what was shown last may be a variable's value, or a part of one, that can change."""
        return type(self._namespace.get(SHOWN)) not in _SHARED_BY_NOBODY

    def shows(self, name: str) -> bool:
        """Whether it is a variable of the session's that exists."""
        if name not in self._namespace or not isinstance(name, str) or name in _NOT_THE_SESSIONS:
            return False
        hidden = self._hidden()
        return not (name in hidden and hidden[name] is self._namespace[name])

    def visible(self) -> dict[str, Any]:
        hidden = self._hidden()
        return {
            name: value
            for name, value in self._namespace.items()
            if isinstance(name, str)
            and name not in _NOT_THE_SESSIONS
            and not (name in hidden and hidden[name] is value)
        }
