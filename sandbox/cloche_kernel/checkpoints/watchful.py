"""Taking down what only a look at every object gets right: the namespace itself, shared NaNs, hashes by user code."""

from __future__ import annotations

import io
import sys
import types
from typing import Any

from cloche_kernel.checkpoints import rebuild
from cloche_kernel.checkpoints.contract import NotKept, Scope
from cloche_kernel.checkpoints.pickler import StatePickler


class WatchfulPickler(StatePickler):
    """
    Looks at every object, several times slower: the namespace stays the namespace, a float that is not a number stays
    the same object, and containers that the session's own code hashes for are filled last.
    """

    def __init__(self, target: io.BytesIO, scope: Scope, buffers: list[memoryview]) -> None:
        super().__init__(target, scope, buffers)
        self._whole: dict[int, Any] = {}
        self._objects: list[tuple[Any, Any, Any]] = []
        self._later: dict[int, tuple[int, Any]] = {}
        self._numbers: dict[int, tuple[tuple[int, str], Any]] = {}
        self._not_numbers = {id(value): f"nan of {name}" for name, value in _nans()}

    def persistent_id(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is float:
            return None if obj == obj else self._not_numbers.get(id(obj)) or self._number(obj, "nan")
        ours = self._scope.names_of_ours.get(id(obj))
        if ours is not None:
            return ours
        if (kind is dict or kind is set) and self._is_filled_last(obj):
            known = id(obj) in self._numbers
            found = self._number(obj, kind.__name__)
            if not known:
                self._later[id(obj)] = (found[0], obj)
            return found
        return None

    def reducer_override(self, obj: Any) -> Any:
        found = super().reducer_override(obj)
        if not self._scope.hashed_by_user:
            return found
        if found is NotImplemented and not isinstance(obj, (type, types.FunctionType)):
            asked = self.dispatch_table.get(type(obj))
            made = asked(obj) if asked is not None else obj.__reduce_ex__(5)
            found = made if isinstance(made, tuple) else found
        if isinstance(found, tuple):
            # A bound method of a container needs no more than the container.
            if found[0] is not getattr:
                self._spare(found[1], 3)
            found = self._without_what_is_hashed(obj, found)
        return found

    def _without_what_is_hashed(self, obj: Any, found: tuple[Any, ...]) -> tuple[Any, ...]:
        """The same, where what the session's code hashes for is put in at the end."""
        if len(found) == 6 and found[5] is rebuild.fill_object:
            content, *rest = found[2]
            if isinstance(obj, (dict, set)) and _is_hashed_by_session(_keys(obj)):
                self._objects.append((rebuild.fill_builtin, obj, content))
                return (*found[:2], (None, *rest), *found[3:])
        if len(found) == 6 and found[5] is rebuild.fill_weak:
            self._objects.append((rebuild.fill_weak, obj, found[2]))
            return (*found[:2], [], *found[3:])
        if len(found) == 5 and found[4] is not None and isinstance(obj, dict):
            items = list(found[4])
            if _is_hashed_by_session(key for key, _ in items):
                self._objects.append((rebuild.fill_items, obj, items))
                return (*found[:4], None)
            return (*found[:4], iter(items))
        return found

    def _spare(self, part: Any, depth: int) -> None:
        """What something is made with has to be whole when that is made."""
        if type(part) in (dict, set):
            if id(part) in self._later:
                raise NotKept(
                    "it is made from a container that is filled after it, for the session's code hashes its keys"
                )
            self._whole[id(part)] = part
        if depth and type(part) in (dict, set, list, tuple):
            for inner in part.values() if type(part) is dict else part:
                self._spare(inner, depth - 1)

    def _is_filled_last(self, obj: Any) -> bool:
        return self._scope.hashed_by_user and id(obj) not in self._whole and _is_hashed_by_session(obj)

    def _number(self, obj: Any, kind: str) -> tuple[int, str]:
        # The object is held: its id is its own while the pickler lives.
        return self._numbers.setdefault(id(obj), ((len(self._numbers), kind), obj))[0]

    def finish(self) -> None:
        """What is filled last, until filling it brings nothing more that is."""
        filled: set[int] = set()
        while (todo := [key for key in self._later if key not in filled]) or self._objects:
            parts, self._objects = list[tuple[Any, Any, Any]](self._objects), []
            for key in todo:
                filled.add(key)
                number, held = self._later[key]
                parts.append((None, number, list(held.items()) if type(held) is dict else list(held)))
            self.dump(parts)


def _nans() -> list[tuple[str, float]]:
    return [(name, sys.modules[name].nan) for name in ("math", "numpy") if name in sys.modules]


def _keys(held: Any) -> Any:
    return dict.keys(held) if isinstance(held, dict) else set.__iter__(held)


def _is_hashed_by_session(held: Any) -> bool:
    return any(_hashes_by_session(key, 3) for key in held)


def _hashes_by_session(key: Any, depth: int) -> bool:
    kind = type(key)
    if kind is str or kind is int:
        return False
    if kind is tuple or kind is frozenset:
        return depth > 0 and any(_hashes_by_session(part, depth - 1) for part in key)
    return isinstance(kind.__hash__, types.FunctionType)
