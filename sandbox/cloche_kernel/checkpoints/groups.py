"""Co-variables: variables that share anything that can change are taken down together, so that they share it again."""

from __future__ import annotations

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
from collections.abc import Iterable, Iterator
from typing import Any

from cloche_kernel.checkpoints import classes
from cloche_kernel.checkpoints.functions import is_by_reference

#: objects looked at for one variable; one that holds more shares, for all we know, with every other
MOST_OBJECTS = 50_000
_UNCHANGING = (
    int, float, complex, bool, str, bytes, type(None), type(...), type(NotImplemented), range, slice, types.CodeType,
    types.BuiltinFunctionType, types.ModuleType, types.GetSetDescriptorType, types.MemberDescriptorType,
    types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType, types.ClassMethodDescriptorType,
    datetime.date, datetime.time, datetime.datetime, datetime.timedelta, datetime.timezone, decimal.Decimal,
    fractions.Fraction, uuid.UUID, re.Pattern, pathlib.PurePath, weakref.ReferenceType,
)  # fmt: skip
_ATOMS = frozenset(_UNCHANGING)
#: pass through, but sharing one says nothing: what it holds is looked at
_TRANSPARENT = frozenset({tuple, frozenset, types.CellType})


def partition(namespace: dict[str, Any], names: Iterable[str]) -> list[frozenset[str]]:
    """The names in groups that share nothing with one another."""
    parent: dict[str, str] = {name: name for name in names}
    if len(parent) == 1:
        return [frozenset(parent)]

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    owner: dict[int, str] = {}
    large: str | None = None
    keep: list[Any] = []
    for name in parent:
        value = namespace[name]
        if type(value) in _ATOMS:
            continue
        count = 0
        for thing in _shareable(value, namespace, keep):
            count += 1
            other = owner.setdefault(id(thing), name)
            if other != name:
                parent[find(name)] = find(other)
            if count > MOST_OBJECTS:
                if large is not None:
                    parent[find(name)] = find(large)
                large = name
                break
    if large is not None:
        # What else it holds was not seen, so it may share with anything that can be shared.
        for name in parent:
            if type(namespace[name]) not in _ATOMS:
                parent[find(name)] = find(large)
    grouped: dict[str, set[str]] = {}
    for name in parent:
        grouped.setdefault(find(name), set()).add(name)
    return [frozenset(group) for group in grouped.values()]


def _shareable(value: Any, namespace: dict[str, Any], keep: list[Any]) -> Iterator[Any]:
    """Everything reached from a value whose change another holder would see. `keep` holds it, so that ids stay true."""
    seen: set[int] = {id(namespace)}
    todo: list[Any] = [value]
    while todo:
        thing = todo.pop()
        kind = type(thing)
        if kind in _ATOMS or id(thing) in seen:
            continue
        seen.add(id(thing))
        if _is_unchanging(thing, kind):
            continue
        keep.append(thing)
        if kind not in _TRANSPARENT or kind is types.CellType:
            yield thing
        todo.extend(_held(thing, kind))


def _is_unchanging(thing: Any, kind: type) -> bool:
    if issubclass(kind, type):
        return not classes.is_by_value(thing)
    if kind is types.FunctionType:
        return is_by_reference(thing)
    module = kind.__module__
    if module == "numpy" and not hasattr(kind, "base"):
        return True
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(thing, (numpy.dtype, numpy.generic)):
        return True
    extension = sys.modules.get("pandas.core.dtypes.base")
    if extension is not None and isinstance(thing, extension.ExtensionDtype):
        return True
    return module.startswith(("pyarrow", "_cython", "polars"))


def _held(thing: Any, kind: type) -> Iterable[Any]:
    if kind is types.FunctionType:
        scope = thing.__globals__
        own = [] if "__name__" in scope and sys.modules.get(scope["__name__"]) is not None else [scope]
        return [thing.__defaults__, thing.__kwdefaults__, thing.__dict__, *(thing.__closure__ or ()), *own]
    base = getattr(kind, "base", None)
    if base is not None and type(base) is types.GetSetDescriptorType:
        # numpy tells the collector nothing of what a view looks at.
        held = [thing.base] if thing.base is not None else []
        return [*held, *thing.ravel().tolist()] if getattr(thing, "dtype", None) is not None and _objects(thing) else held
    if kind is memoryview:
        return [thing.obj]
    return gc.get_referents(thing)


def _objects(array: Any) -> bool:
    return bool(getattr(array.dtype, "hasobject", False))
