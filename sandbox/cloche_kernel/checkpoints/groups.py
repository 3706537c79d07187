"""Co-variables: variables that share anything that can change are taken down together, so that they share it again."""

from __future__ import annotations

import builtins
import datetime
import decimal
import fractions
import gc
import pathlib
import re
import sys
import types
import uuid
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress
from typing import Any

from cloche_kernel.checkpoints import classes
from cloche_kernel.checkpoints.functions import is_by_reference

#: objects looked at for one variable; one that holds more shares, for all we know, with every other
MOST_OBJECTS = 20_000_000
#: what leads to nothing that can change
ATOMS: frozenset[type] = frozenset(
    {
        int, float, complex, bool, str, bytes, type(None), type(...), type(NotImplemented), range, slice,
        types.CodeType, types.GetSetDescriptorType, types.MemberDescriptorType, types.MethodDescriptorType,
        types.WrapperDescriptorType, types.ClassMethodDescriptorType, datetime.date, datetime.time, datetime.datetime,
        datetime.timedelta, datetime.timezone, decimal.Decimal, fractions.Fraction, uuid.UUID, re.Pattern, re.Match,
        pathlib.PurePath, pathlib.PosixPath, pathlib.PurePosixPath,
    }
)  # fmt: skip
#: pass through, but sharing one says nothing: what it holds is looked at
_TRANSPARENT = frozenset({tuple, frozenset})
#: the collector knows all that these hold, and nothing has to be asked of them
_PLAIN: frozenset[Any] = frozenset({tuple, list, dict, set, frozenset, types.CellType})
#: and no weak reference leads to these
_STRONG: frozenset[Any] = frozenset({tuple, list, dict, types.CellType})
#: objects from which on they are looked at all together first
_MANY = 1_000
#: what `map(sys.getrefcount, …)` counts for a thing that one container holds, and the list that is mapped
_REFERENCES_ALONE = 1 + next(map(sys.getrefcount, [[]]))


@dataclass
class Partition:
    """
    `groups`: names that share nothing with those of another. `holds`: name → references to the namespace it has.
    `owner`: id of each thing → the name that reached it first.
    """

    groups: list[frozenset[str]]
    holds: dict[str, int]
    owner: dict[int, str]


class TooMany(Exception):
    """There are more objects than were to be looked at."""


def partition(
    values: dict[str, Any], ours: Iterable[int], namespace: dict[str, Any], most: int | None = None
) -> Partition:
    """
    The names of `values` in groups. `ours`: ids of what belongs to the kernel and is nobody's.

    Raises TooMany where there are clearly more than `most` objects, early enough to cost little.
    """
    parent: dict[str, str] = {name: name for name in values}

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    owner: dict[int, str] = dict.fromkeys(ours, "")
    owner[id(vars(builtins))] = ""
    kept: list[list[Any]] = []
    holds: dict[str, int] = {}
    large: str | None = None
    for name, value in values.items():
        if type(value) in ATOMS:
            continue
        walk = _Walk(namespace, owner, name, kept, most)
        walk.from_root(value)
        most = walk.left
        if walk.holds:
            holds[name] = walk.holds
        for other in walk.met:
            parent[find(name)] = find(other)
        if walk.count > MOST_OBJECTS:
            if large is not None:
                parent[find(name)] = find(large)
            large = name
    if large is not None:
        # What else it holds was not seen, so it may share with anything that can be shared.
        for name, value in values.items():
            if type(value) not in ATOMS:
                parent[find(name)] = find(large)
    grouped: dict[str, set[str]] = {}
    for name in parent:
        grouped.setdefault(find(name), set()).add(name)
    return Partition([frozenset(group) for group in grouped.values()], holds, owner)


class _Walk:
    """
    All that one variable reaches. `owner`: id → the variable that reached it first, "" for what is nobody's; `met`:
    variables that reached some of it before; `kept` holds what was seen, so that ids stay true.
    """

    def __init__(
        self,
        namespace: dict[str, Any],
        owner: dict[int, str],
        name: str,
        kept: list[list[Any]],
        most: int | None = None,
    ) -> None:
        self._namespace = namespace
        self._owner = owner
        self._name = name
        self._kept = kept
        self._passed: set[int] = set()
        self.met: set[str] = set()
        self.count = 0
        self.holds = 0
        #: objects that may still be looked at; None: any number
        self.left = most

    def from_root(self, value: Any) -> None:
        level = [value]
        while level and self.count <= MOST_OBJECTS:
            level = self._next(self._new(level))
            if self.left is not None:
                self._spend(len(level))

    def _spend(self, count: int) -> None:
        assert self.left is not None
        self.left -= count
        if self.left < 0:
            raise TooMany

    def _new(self, found: list[Any]) -> list[Any]:
        """Those that this variable is the first to reach, and what sharing says nothing of."""
        owner, name, passed = self._owner, self._name, self._passed
        kinds = set(map(type, found))
        if kinds <= ATOMS:
            return []
        fresh: list[Any] = []
        if len(found) > _MANY and kinds <= _STRONG:
            # Nothing else leads to them, so nobody else meets them: they need not be remembered.
            counts = list(map(sys.getrefcount, found))
            fresh = list(compress(found, map(_REFERENCES_ALONE.__eq__, counts)))
            found = list(compress(found, map(_REFERENCES_ALONE.__ne__, counts)))
        for thing in found:
            kind = type(thing)
            if kind in ATOMS:
                continue
            number = id(thing)
            if kind in _TRANSPARENT:
                if number not in passed:
                    passed.add(number)
                    fresh.append(thing)
                continue
            first = owner.get(number)
            if first is None:
                owner[number] = name
                fresh.append(thing)
            elif first == "":
                self.holds += thing is self._namespace
            elif first is not name:
                self.met.add(first)
        return fresh

    def _next(self, fresh: list[Any]) -> list[Any]:
        found: list[Any] = []
        are_plain = _PLAIN.issuperset(map(type, fresh))
        plain: list[Any] = fresh if are_plain else []
        for thing in () if are_plain else fresh:
            kind = type(thing)
            if kind in _PLAIN:
                plain.append(thing)
            elif kind is types.FrameType:
                # Its locals cannot be reached but through it; what it keeps alive of the session's counts.
                own = self._namespace
                held = gc.get_referents(thing)
                found.extend(x for x in held if x is own or (type(x) is types.FunctionType and x.__globals__ is own))
            elif kind is types.TracebackType:
                found += [thing.tb_frame, thing.tb_next]
            elif _is_unchanging(thing, kind):
                self._owner[id(thing)] = ""
            else:
                found.extend(_held(thing, kind))
        self.count += len(fresh)
        self._kept.append(fresh)
        if plain:
            if self.left is not None and len(plain) + sum(map(_size, plain)) > self.left:
                raise TooMany
            found += gc.get_referents(*plain)
        return found


def _size(container: Any) -> int:
    return 1 if type(container) is types.CellType else len(container)


def _is_unchanging(thing: Any, kind: type) -> bool:
    if issubclass(kind, type):
        return not classes.is_by_value(thing)
    if kind is types.FunctionType:
        return is_by_reference(thing)
    if kind is types.ModuleType:
        return sys.modules.get(thing.__name__) is thing
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, (numpy.dtype, numpy.generic, numpy.ufunc)):
        return True
    extension = sys.modules.get("pandas.core.dtypes.base")
    if extension is not None and issubclass(kind, extension.ExtensionDtype):
        return True
    return str(kind.__module__).startswith(("pyarrow", "_cython"))


def _held(thing: Any, kind: type) -> Iterable[Any]:
    found = gc.get_referents(thing)
    if kind is types.FunctionType:
        scope = thing.__globals__
        module = sys.modules.get(scope.get("__name__", ""))
        if module is not None and vars(module) is scope and scope.get("__name__") != "__main__":
            # The module's own: what changes there is found where the module is.
            return [part for part in found if part is not scope]
        return found
    if issubclass(kind, weakref.ReferenceType):
        return [*found, thing()]
    if kind is memoryview:
        return [*found, thing.obj]
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, numpy.flatiter):
        return [*found, thing.base]
    if numpy is not None and issubclass(kind, numpy.ndarray):
        # It tells the collector nothing of what a view looks at, and of the objects in it.
        return [*found, thing.base, *(_objects(thing) if thing.dtype.hasobject else ())]
    return found


def _objects(array: Any) -> list[Any]:
    flat = array.ravel().tolist()
    return flat if type(flat) is list else [flat]
