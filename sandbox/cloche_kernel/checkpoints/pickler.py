"""
Taking values down in bytes (pickle protocol 5), bound to the live namespace.

Functions and classes of the session go by value, and their globals stay the session's. Instances of the session's
classes go by what they hold, not by what their `__reduce__` says of it. Views keep their memory, frames their sharing.
What cannot come back as it was raises NotKept with the reason.
"""

from __future__ import annotations

import builtins
import io
import pickle
import re
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import cloudpickle

from cloche_kernel.checkpoints import arrays, classes, files, frames, functions, instances, iterators, libraries, rebuild, runtime
from cloche_kernel.checkpoints.contract import Mark, NotKept, Reduced, Scope, find_ours
from cloche_kernel.checkpoints.deep import with_deep_stack

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

    Raises NotKept, with the reason, where a value cannot be kept.
    """
    target, buffers = _explained(lambda: _take(values, scope), scope)
    return Taken(target.getvalue(), buffers, frozenset(scope.mentions), frozenset(scope.kinds), scope.risky)


def _take(values: dict[str, Any], scope: Scope) -> tuple[io.BytesIO, list[memoryview]]:
    if any(id(value) in scope.names_of_ours for value in values.values()):
        return _dump(WatchfulPickler, values, scope)
    try:
        target, buffers = _dump(StatePickler, values, scope)
    except MetNamespace:
        return _dump(WatchfulPickler, values, scope)
    if scope.hashed_by_user or any(sign in target.getvalue() for sign in _NAN_SIGNS):
        return _dump(WatchfulPickler, values, scope)
    return target, buffers


#: how the pickle of a float that is not a number begins
_NAN_SIGNS = (b"G\x7f\xf8", b"G\xff\xf8")


def _dump(
    kind: type[StatePickler], values: dict[str, Any], scope: Scope
) -> tuple[io.BytesIO, list[memoryview]]:
    def dump() -> tuple[io.BytesIO, list[memoryview]]:
        target, buffers = io.BytesIO(), list[memoryview]()
        made = kind(target, scope, buffers)
        made.dump(values)
        made.finish()
        return target, buffers

    try:
        return dump()
    except RecursionError:
        return with_deep_stack(dump)
    except pickle.PicklingError as error:
        # cloudpickle says so of a recursion that is too deep.
        if isinstance(error.__cause__ or error.__context__, RecursionError):
            return with_deep_stack(dump)
        raise


def _explained(work: Callable[[], tuple[io.BytesIO, list[memoryview]]], scope: Scope) -> Any:
    """Where library code refuses, that as a sentence."""
    try:
        return work()
    except (NotKept, MemoryError):
        raise
    except RecursionError:
        raise NotKept("it is nested too deeply to be written down") from None
    except Exception as error:
        found: BaseException | None = error
        while found is not None:
            if isinstance(found, NotKept):
                raise found from None
            found = found.__cause__ or found.__context__
        raise NotKept(_sentence(error, scope.asked)) from error


def _sentence(error: Exception, asked: str) -> str:
    named = re.search(r"cannot pickle '([\w.]+)' (?:object|instance)", str(error))
    if named:
        return f"{named[1]}: its library has no way to write it down"
    said = f"{type(error).__name__}: {str(error)[:160]}"
    return f"{asked or 'a value'}: its library failed to write it down ({said})"


def give(header: bytes, buffers: Iterable[Any], namespace: dict[str, Any], shell: Any = None) -> dict[str, Any]:
    """What `take` took, as new objects; `namespace` becomes the globals of its functions. Buffers should be writable."""

    with rebuild.into(lambda name: find_ours(name, namespace, shell)):
        reader = Reader(io.BytesIO(header), buffers, lambda name: find_ours(name, namespace, shell))
        found = cast("dict[str, Any]", reader.load())
        reader.fill_rest()
    return found


class Reader(pickle.Unpickler):
    """Finds what was written down by a name or a number instead of by value."""

    def __init__(self, source: io.BytesIO, buffers: Iterable[Any], find: Callable[[str], Any]) -> None:
        super().__init__(source, buffers=buffers)
        self._source = source
        self._find = find
        self._numbered: dict[int, Any] = {}

    def persistent_load(self, name: Any) -> Any:
        if isinstance(name, str):
            return self._find(name)
        number, kind = name
        if number not in self._numbered:
            self._numbered[number] = float("nan") if kind == "nan" else set() if kind == "set" else {}
        return self._numbered[number]

    def fill_rest(self) -> None:
        """Puts in what has to be hashed by the session's code, now that everything has its state."""
        end = len(self._source.getbuffer())
        parts = []
        while self._source.tell() < end:
            parts += self.load()
        for number, items in parts:
            self._numbered[number].update(items)


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

    def finish(self) -> None:
        """After the dump: what is written once everything else is."""

    def reducer_override(self, obj: Any) -> Any:
        ours = self._scope.names_of_ours.get(id(obj))
        if ours is not None:
            if ours == "shell" and type(self) is StatePickler:
                raise MetNamespace
            return rebuild.ours, (ours,)
        if obj is builtins and type(self) is StatePickler:
            # Every namespace holds this module: what holds it may be the session's own.
            raise MetNamespace
        found = reduce_value(obj, self._scope)
        if found is NotImplemented:
            return super().reducer_override(obj)
        return found


class MetNamespace(Exception):
    """A value holds the session's namespace, or something else of the kernel's, itself."""


class WatchfulPickler(StatePickler):
    """
    Looks at every object, several times slower: the namespace stays the namespace, a float that is not a number stays
    the same object, and containers that the session's own code hashes for are filled last.
    """

    def __init__(self, target: io.BytesIO, scope: Scope, buffers: list[memoryview]) -> None:
        super().__init__(target, scope, buffers)
        self._whole: dict[int, Any] = {}
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
        if (kind is dict or kind is set) and self._scope.hashed_by_user and id(obj) not in self._whole and _is_hashed_by_session(obj):
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
            self._spare(found[1], 3)
        return found

    def _spare(self, part: Any, depth: int) -> None:
        """What something is made with has to be whole when that is made."""
        if type(part) in (dict, set):
            self._whole[id(part)] = part
        if depth and type(part) in (dict, set, list, tuple):
            for inner in part.values() if type(part) is dict else part:
                self._spare(inner, depth - 1)

    def _number(self, obj: Any, kind: str) -> tuple[int, str]:
        # The object is held: its id is its own while the pickler lives.
        return self._numbers.setdefault(id(obj), ((len(self._numbers), kind), obj))[0]

    def finish(self) -> None:
        """What is filled last, until filling it brings nothing more that is."""
        filled: set[int] = set()
        parts: list[tuple[int, Any]] = []
        while todo := [key for key in self._later if key not in filled]:
            for key in todo:
                filled.add(key)
                number, held = self._later[key]
                parts.append((number, list(held.items()) if type(held) is dict else list(held)))
            if parts:
                self._extra(parts)
                parts = []

    def _extra(self, parts: list[tuple[int, Any]]) -> None:
        self.dump(parts)


def _nans() -> list[tuple[str, float]]:
    return [(name, sys.modules[name].nan) for name in ("math", "numpy") if name in sys.modules]


def _is_hashed_by_session(held: Any) -> bool:
    return any(_hashes_by_session(key, 3) for key in held)


def _hashes_by_session(key: Any, depth: int) -> bool:
    kind = type(key)
    if kind is str or kind is int:
        return False
    if kind is tuple or kind is frozenset:
        return depth > 0 and any(_hashes_by_session(part, depth - 1) for part in key)
    return isinstance(kind.__hash__, types.FunctionType)


def reduce_value(obj: Any, scope: Scope) -> Any:
    """How one object is taken down, or NotImplemented where its own pickling is right."""
    kind = type(obj)
    reducer = _REDUCERS.get(kind)
    if reducer is not None:
        return reducer(obj, scope)
    if issubclass(kind, type):
        return classes.reduce_class(obj, scope)
    singleton = _name_of_singleton(obj, kind)
    if singleton is not None:
        return rebuild.attribute, singleton
    for reducer in (arrays.reduce_array, frames.reduce_frame, libraries.reduce_library_value):
        found = reducer(obj, scope)
        if found is not NotImplemented:
            return found
    if isinstance(obj, BaseException):
        return instances.reduce_exception(obj, scope)
    if classes.is_by_value(kind):
        return instances.reduce_instance(obj, scope)
    found = runtime.reduce_runtime(obj, scope)
    if found is not NotImplemented:
        return found
    scope.note_library(kind)
    return instances.reduce_instance(obj, scope) if instances.is_plain(kind) else NotImplemented


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
    functions.GlobalsOf: lambda found, scope: NotImplemented,
    **runtime.REDUCERS,
    **iterators.REDUCERS,
    **files.REDUCERS,
}

__all__ = ["NotKept", "StatePickler", "Taken", "give", "reduce_value", "take"]
