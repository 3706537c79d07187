"""Instances of the session's classes and exceptions: what they hold, without running their code."""

from __future__ import annotations

import types
from collections import OrderedDict, defaultdict, deque
from typing import Any

from cloche_kernel.checkpoints import classes, rebuild
from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope

_FILLED: dict[type, Any] = {
    dict: lambda made: list(dict.items(made)),
    OrderedDict: lambda made: list(OrderedDict.items(made)),
    defaultdict: lambda made: (made.default_factory, list(dict.items(made))),
    list: lambda made: list(list.__iter__(made)),
    set: lambda made: list(set.__iter__(made)),
    deque: lambda made: list(deque.__iter__(made)),
}
_IMMUTABLE: dict[type, Any] = {
    int: lambda made: int.__add__(made, 0),
    float: lambda made: float.__add__(made, 0.0) if made == made and made != 0 else float.__pos__(made),
    complex: lambda made: complex(made.real, made.imag),
    str: lambda made: str.__str__(made),
    bytes: lambda made: bytes.__getitem__(made, slice(None)),
    bytearray: lambda made: bytes(memoryview(made)),
    tuple: lambda made: tuple(tuple.__iter__(made)),
    frozenset: lambda made: list(frozenset.__iter__(made)),
}


def reduce_instance(obj: Any, scope: Scope) -> Reduced:
    """By its builtin content, `__dict__` and slots; by its own pickling where it derives from another C class."""
    cls = type(obj)
    base = classes.solid_base(cls)
    if base is object:
        return rebuild.new_object, (cls, object), _state(obj, cls, None), None, None, rebuild.fill_object
    if base in _FILLED:
        made: tuple[Any, ...] = (cls, base)
        if base is deque:
            made = (cls, base, (), obj.maxlen)
            state = _state(obj, cls, _FILLED[base](obj))
            # deque.__new__ takes no length: only its `__init__` sets one.
            if obj.maxlen is not None:
                raise NotKept(f"{cls.__qualname__} is a deque of limited length by a class of the session's")
            made = (cls, base)
            return rebuild.new_object, made, state, None, None, rebuild.fill_object
        return rebuild.new_object, made, _state(obj, cls, _FILLED[base](obj)), None, None, rebuild.fill_object
    if base in _IMMUTABLE:
        content = _IMMUTABLE[base](obj)
        return rebuild.new_object, (cls, base, content), _state(obj, cls, None), None, None, rebuild.fill_object
    scope.note_library(cls)
    return NotImplemented


def _state(obj: Any, cls: type, content: Any) -> tuple[Any, ...]:
    descriptor = rebuild.dict_descriptor(cls)
    attributes = descriptor.__get__(obj, cls) if descriptor is not None else None
    return content, attributes, slots_of(obj, cls)


def slots_of(obj: Any, cls: type) -> list[tuple[type, str, Any]]:
    """Values of slots, by the class that has the slot."""
    found = []
    for owner in cls.__mro__:
        if not owner.__flags__ & (1 << 9):
            continue
        for name, member in owner.__dict__.items():
            if type(member) is types.MemberDescriptorType:
                try:
                    found.append((owner, name, member.__get__(obj, cls)))
                except AttributeError:
                    continue
    return found


_BUILTIN_EXTRAS = ("name", "obj", "path", "msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset",
                   "print_file_and_line", "value", "code", "encoding", "object", "start", "end", "reason")  # fmt: skip


def reduce_exception(error: BaseException, scope: Scope) -> Reduced:
    """With cause, context and notes; without the traceback, whose frames are gone."""
    cls = type(error)
    base = classes.solid_base(cls)
    if base.__module__ != "builtins":
        return NotImplemented
    descriptor = rebuild.dict_descriptor(cls)
    attributes = descriptor.__get__(error, cls) if descriptor is not None else None
    extra: dict[str, Any] = {
        "args": error.args,
        "cause": error.__cause__,
        "context": error.__context__,
        "suppressed": error.__suppress_context__,
    }
    for name in _BUILTIN_EXTRAS:
        member = getattr(base, name, None)
        if type(member) in (types.MemberDescriptorType, types.GetSetDescriptorType):
            try:
                extra[name] = member.__get__(error, cls)
            except AttributeError:
                continue
    made = (cls, base, *error.args) if issubclass(base, (OSError, BaseExceptionGroup)) else (cls, base)
    if issubclass(base, BaseExceptionGroup):
        made = (cls, base, error.message, list(error.exceptions))  # type: ignore[attr-defined]
    own = [slot for slot in slots_of(error, cls)]
    return rebuild.new_object, made, (attributes, own, extra), None, None, rebuild.fill_exception
