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
import types
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import cloudpickle

from cloche_kernel.checkpoints import (
    arrays,
    classes,
    files,
    frames,
    functions,
    instances,
    iterators,
    libraries,
    reach,
    rebuild,
    runtime,
    singletons,
)
from cloche_kernel.checkpoints.chunks import CHUNK_BYTES
from cloche_kernel.checkpoints.contract import Mark, NotKept, Reduced, Scope, find_ours
from cloche_kernel.checkpoints.deep import with_deep_stack
from cloche_kernel.checkpoints.default_database import DEFAULT
from cloche_kernel.checkpoints.reader import Reader
from cloche_kernel.checkpoints.unframed import unframed

#: contiguous buffers from this size on, in bytes, go beside the pickle instead of into it
OUT_OF_BAND = 65_536

_Reducer = Callable[[Any, Scope], Reduced]


@dataclass
class Taken:
    """
    What a group of names became. `mentions`: names its functions speak of; `kinds`: types that went by reduce; `files`:
    the files that are open in it; `database`: edition of DuckDB's default connection that is part of it, or 0.
    """

    header: bytes
    buffers: list[memoryview] = field(default_factory=list)
    mentions: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    risky: bool = False
    #: nothing but builtin values: containers, numbers, texts
    plain: bool = False
    files: files.Places = field(default_factory=dict)
    database: int = 0


def take(values: dict[str, Any], scope: Scope) -> Taken:
    """
    One group of names as bytes.

    Raises NotKept, with the reason, where a value cannot be kept.
    """
    target, buffers = _explained(lambda: _take(values, scope), scope)
    header = target.getvalue()
    if len(header) > CHUNK_BYTES:
        header = unframed(header)
    mentions, kinds = frozenset(scope.mentions), frozenset(scope.kinds)
    plain = not scope.met_more
    database = DEFAULT.edition if scope.default_database else 0
    return Taken(header, buffers, mentions, kinds, scope.risky, plain, scope.files, database)


def _take(values: dict[str, Any], scope: Scope) -> tuple[io.BytesIO, list[memoryview]]:
    from cloche_kernel.checkpoints.watchful import WatchfulPickler

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


def _dump(kind: type[StatePickler], values: dict[str, Any], scope: Scope) -> tuple[io.BytesIO, list[memoryview]]:
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
    except Exception as error:
        found: BaseException | None = error
        while found is not None:
            if isinstance(found, NotKept):
                raise found from None
            if isinstance(found, RecursionError):
                raise NotKept("it is nested too deeply to be written down") from None
            found = found.__cause__ or found.__context__
        raise NotKept(_sentence(error, scope.asked)) from error


def _sentence(error: Exception, asked: str) -> str:
    named = re.search(r"cannot pickle '([\w.]+)' (?:object|instance)", str(error))
    if named:
        return f"{named[1]}: its library has no way to write it down"
    said = f"{type(error).__name__}: {str(error)[:160]}"
    return f"{asked or 'a value'}: its library failed to write it down ({said})"


def give(header: bytes, buffers: Iterable[Any], namespace: dict[str, Any], shell: Any = None) -> dict[str, Any]:
    """What `take` took, as new objects; `namespace` becomes its functions' globals. Buffers should be writable."""

    with rebuild.into(lambda name: find_ours(name, namespace, shell)):
        reader = Reader(header, buffers, lambda name: find_ours(name, namespace, shell))
        found = cast("dict[str, Any]", reader.load())
        reader.fill_rest()
    return found


class MetNamespace(Exception):
    """A value holds the session's namespace, or something else of the kernel's, itself."""


class StatePickler(cloudpickle.Pickler):  # type: ignore[misc]
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
        self._scope.met_more = True
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


def reduce_value(obj: Any, scope: Scope) -> Any:
    """How one object is taken down, or NotImplemented where its own pickling is right."""
    kind = type(obj)
    if kind is types.BuiltinFunctionType:
        scope.risky |= reach.opens(obj)
    reducer = _REDUCERS.get(kind)
    if reducer is not None:
        return reducer(obj, scope)
    if issubclass(kind, type):
        return classes.reduce_class(obj, scope)
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        return arrays.reduce_array(obj, scope)
    if _is_straight(kind):
        return instances.reduce_instance(obj, scope)
    singleton = singletons.place_of(obj, kind)
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
    if instances.is_plain(kind) or instances.is_declined(obj, kind):
        return instances.reduce_instance(obj, scope)
    return _reduce_speaking(obj, kind, scope)


def _reduce_speaking(obj: Any, kind: type, scope: Scope) -> Any:
    """As its library says; where that was tried in vain, by what it holds."""
    from cloche_kernel.checkpoints import second_way, wrappers

    if second_way.speaks(kind):
        scope.spoken.add(scope.asked)
        by_content = scope.by_content and scope.asked not in scope.worded
        return second_way.reduce_by_content(obj, scope) if by_content else NotImplemented
    if wrappers.is_unspoken(kind):
        scope.spoken.add(scope.asked)
        return wrappers.reduce_wrapper(obj, scope) if scope.by_content else NotImplemented
    return NotImplemented


_straight: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()
_COMMON = frozenset({"__main__", "builtins", "abc", "typing", "enum", "dataclasses"})


def _is_straight(kind: type) -> bool:
    """Whether a class is the session's and derives from nothing that is known better."""
    known = _straight.get(kind)
    if known is None:
        known = kind.__module__ == "__main__" and not issubclass(kind, BaseException)
        known = _straight[kind] = known and all(owner.__module__ in _COMMON for owner in kind.__mro__)
    return known


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
