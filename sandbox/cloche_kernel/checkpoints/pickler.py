"""
Taking values down in bytes (pickle protocol 5), bound to the live namespace.

Functions and classes of the session go by value, and their globals stay the session's. Instances of the session's
classes go by what they hold, not by what their `__reduce__` says of it. Views keep their memory, frames their sharing.
What cannot come back as it was raises NotKept with the reason.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import cloudpickle

from cloche_kernel.checkpoints import arrays, classes, functions, instances, rebuild, runtime
from cloche_kernel.checkpoints.contract import Mark, NotKept, Reduced, Scope, find_ours

#: contiguous buffers from this size on, in bytes, go beside the pickle instead of into it
OUT_OF_BAND = 65_536

_Reducer = Callable[[Any, Scope], Reduced]


@dataclass
class Taken:
    """What a group of names became. `mentions`: names that its functions speak of; `kinds`: types that went by reduce."""

    header: bytes
    buffers: list[memoryview] = field(default_factory=list)
    mentions: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    risky: bool = False


def take(values: dict[str, Any], scope: Scope) -> Taken:
    """
    One group of names as bytes.

    Raises NotKept where a value cannot be kept, and whatever the library code that was asked raised.
    """
    try:
        target, buffers = _dump(StatePickler, values, scope)
    except MetNamespace:
        target, buffers = _dump(_WatchfulPickler, values, scope)
    return Taken(
        target.getvalue(), buffers, frozenset(scope.mentions), frozenset(scope.kinds), scope.risky
    )


def _dump(
    kind: type[StatePickler], values: dict[str, Any], scope: Scope
) -> tuple[io.BytesIO, list[memoryview]]:
    target, buffers = io.BytesIO(), list[memoryview]()
    kind(target, scope, buffers).dump(values)
    return target, buffers


def give(header: bytes, buffers: Iterable[Any], namespace: dict[str, Any], shell: Any = None) -> dict[str, Any]:
    """What `take` took, as new objects; `namespace` becomes the globals of its functions. Buffers should be writable."""

    class Reader(pickle.Unpickler):
        def persistent_load(self, name: Any) -> Any:
            return find_ours(name, namespace, shell)

    with rebuild.into(lambda name: find_ours(name, namespace, shell)):
        return cast("dict[str, Any]", Reader(io.BytesIO(header), buffers=buffers).load())


class StatePickler(cloudpickle.Pickler):  # type: ignore[misc,name-defined]
    def __init__(self, target: io.BytesIO, scope: Scope, buffers: list[memoryview]) -> None:
        def keep_aside(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes < OUT_OF_BAND:
                return True
            buffers.append(raw)
            return False

        super().__init__(target, protocol=5, buffer_callback=keep_aside)
        self._scope = scope

    def reducer_override(self, obj: Any) -> Any:
        ours = self._scope.names_of_ours.get(id(obj))
        if ours is not None:
            if ours == "shell" and type(self) is StatePickler:
                raise MetNamespace
            return rebuild.ours, (ours,)
        found = reduce_value(obj, self._scope)
        if found is NotImplemented:
            return super().reducer_override(obj)
        return found


class MetNamespace(Exception):
    """A value holds the session's namespace, or something else of the kernel's, itself."""


class _WatchfulPickler(StatePickler):
    """Looks at every dictionary too, so that the namespace stays the namespace; several times slower."""

    def persistent_id(self, obj: Any) -> Any:
        return self._scope.names_of_ours.get(id(obj))


def reduce_value(obj: Any, scope: Scope) -> Any:
    """How one object is taken down, or NotImplemented where its own pickling is right."""
    kind = type(obj)
    reducer = _REDUCERS.get(kind)
    if reducer is not None:
        return reducer(obj, scope)
    if issubclass(kind, type):
        return classes.reduce_class(obj, scope)
    found = arrays.reduce_array_like(obj, scope)
    if found is not NotImplemented:
        return found
    if isinstance(obj, BaseException):
        return instances.reduce_exception(obj, scope)
    if classes.is_by_value(kind):
        return instances.reduce_instance(obj, scope)
    found = runtime.reduce_runtime(obj, scope)
    if found is not NotImplemented:
        return found
    singleton = _name_of_singleton(obj, kind)
    if singleton is not None:
        return rebuild.attribute, singleton
    scope.note_library(kind)
    return NotImplemented


_tables: dict[str, tuple[int, dict[int, str]]] = {}


def _name_of_singleton(obj: Any, kind: type) -> tuple[str, str] | None:
    """Where a module keeps this very object: sentinels are compared by identity, so copies would be false."""
    name = getattr(kind, "__module__", None)
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is None or name in ("__main__", "builtins"):
        return None
    members = vars(module)
    size, table = _tables.get(name, (-1, {}))
    if size != len(members):
        table = {id(value): key for key, value in list(members.items()) if isinstance(key, str)}
        _tables[name] = (len(members), table)
    key = table.get(id(obj))
    return (name, key) if key is not None and members.get(key) is obj else None


_REDUCERS: dict[type, _Reducer] = {
    types.FunctionType: functions.reduce_function,
    types.CodeType: functions.reduce_code,
    types.CellType: functions.reduce_cell,
    types.MethodType: functions.reduce_method,
    Mark: lambda mark, scope: NotImplemented,
    **runtime.REDUCERS,
}

__all__ = ["NotKept", "StatePickler", "Taken", "give", "reduce_value", "take"]
