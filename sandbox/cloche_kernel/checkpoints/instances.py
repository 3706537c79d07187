"""Instances of classes written in Python: what they hold, without running their code."""

from __future__ import annotations

import _random
import array
import copyreg
import datetime
import decimal
import io
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from typing import Any

from cloche_kernel.checkpoints import classes, rebuild
from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope


def _without_attributes(state: Any) -> Any:
    return state[:-1]


#: content that is put in once the instance is there, so that it may hold the instance
_FILLED: dict[type, Any] = {
    dict: lambda made: list(dict.items(made)),
    OrderedDict: lambda made: list(OrderedDict.items(made)),
    defaultdict: lambda made: (made.default_factory, list(dict.items(made))),
    list: lambda made: list(list.__iter__(made)),
    set: lambda made: list(set.__iter__(made)),
    deque: lambda made: (list(deque.__iter__(made)), made.maxlen),
    bytearray: lambda made: bytes(memoryview(made)),
    property: lambda made: (made.fget, made.fset, made.fdel, made.__doc__),
    staticmethod: lambda made: made.__func__,
    classmethod: lambda made: made.__func__,
    _random.Random: lambda made: _random.Random.getstate(made),
    io.BytesIO: lambda made: (*_without_attributes(io.BytesIO.__getstate__(made)), None),
    io.StringIO: lambda made: (*_without_attributes(io.StringIO.__getstate__(made)), None),
}
#: arguments of the base's own `__new__`
_MADE_WITH: dict[type, Any] = {
    int: lambda made: (int.__add__(made, 0),),
    float: lambda made: (float.__add__(made, 0.0) if made == made and made != 0 else float.__pos__(made),),
    complex: lambda made: (complex(made.real, made.imag),),
    str: lambda made: (str.__str__(made),),
    bytes: lambda made: (bytes.__getitem__(made, slice(None)),),
    tuple: lambda made: (tuple(tuple.__iter__(made)),),
    frozenset: lambda made: (list(frozenset.__iter__(made)),),
    decimal.Decimal: lambda made: (decimal.Decimal(made),),
    array.array: lambda made: (made.typecode, array.array.tobytes(made)),
    datetime.date: lambda made: datetime.date.__reduce__(made)[1],
    datetime.datetime: lambda made: datetime.datetime.__reduce_ex__(made, 4)[1],
    datetime.time: lambda made: datetime.time.__reduce_ex__(made, 4)[1],
    datetime.timedelta: lambda made: datetime.timedelta.__reduce__(made)[1],
    datetime.tzinfo: lambda made: (),
    weakref.ReferenceType: lambda made: (rebuild.Gone() if made() is None else made(), made.__callback__),
}
_ATOMS = frozenset({str, int, float, bool, bytes, type(None), complex})


def reduce_instance(obj: Any, scope: Scope) -> Reduced:
    """By its builtin content, `__dict__` and slots; where it derives from another C class, by that one's pickling."""
    cls: Any = type(obj)
    base = classes.solid_base(cls)
    if base is object:
        content = None
        made: tuple[Any, ...] = (cls, object)
        if cls.__hash__ is not object.__hash__ and cls.__hash__ is not None:
            return _reduce_hashed(obj, cls, scope)
    elif base in _FILLED:
        content = _FILLED[base](obj)
        made = (cls, base)
    elif base in _MADE_WITH:
        content = None
        made = (cls, base, *_MADE_WITH[base](obj))
    else:
        return _reduce_by_base(obj, cls, base, scope)
    return rebuild.new_object, made, _state(obj, cls, content), None, None, rebuild.fill_object


def _reduce_hashed(obj: Any, cls: type, scope: Scope) -> Reduced:
    """What its hash is likely made of is there from the start: in a cycle it may be hashed before its state is set."""
    state = _state(obj, cls, None)
    attributes, slots = state[1:]
    early = {name: value for name, value in (attributes or {}).items() if is_atom(value)}
    early_slots = [found for found in slots if is_atom(found[2])]
    if len(early) + len(early_slots) < len(attributes or ()) + len(slots):
        scope.hashed_by_user = True
    return rebuild.new_hashed, (cls, early, early_slots), state, None, None, rebuild.fill_object


def is_atom(value: Any, depth: int = 2) -> bool:
    kind = type(value)
    if kind is tuple and depth:
        return all(is_atom(part, depth - 1) for part in value)
    return kind in _ATOMS


def _reduce_by_base(obj: Any, cls: type, base: type, scope: Scope) -> Reduced:
    """As the library says of its own class, and then what the session's class adds."""
    scope.note_library(cls)
    for owner in cls.__mro__:
        if not {"__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__"}.isdisjoint(owner.__dict__):
            if owner is not object and classes.is_by_value(owner):
                raise NotKept(f"{cls.__qualname__} derives from {base.__module__}.{base.__qualname__} and says itself "
                              "how it is pickled")  # fmt: skip
            break
    found = obj.__reduce_ex__(5)
    if not isinstance(found, tuple) or any(part is not None for part in found[3:]):
        return found
    function, arguments, *rest = found
    return (
        rebuild.call,
        (function, arguments),
        (rest[0] if rest else None, _state(obj, cls, None)),
        None,
        None,
        rebuild.fill_both,
    )


def state_of(obj: Any) -> tuple[Any, ...]:
    """Attributes and slots, as `rebuild.fill_object` takes them."""
    return _state(obj, type(obj), None)


def _state(obj: Any, cls: type, content: Any) -> tuple[Any, ...]:
    descriptor: Any = rebuild.dict_descriptor(cls)
    attributes = descriptor.__get__(obj, cls) if descriptor is not None else None
    return content, attributes, slots_of(obj, cls)


_slots: weakref.WeakKeyDictionary[type, list[tuple[type, str, Any]]] = weakref.WeakKeyDictionary()


def slots_of(obj: Any, cls: type) -> list[tuple[type, str, Any]]:
    """Values of slots, by the class that has the slot."""
    members = _slots.get(cls)
    if members is None:
        members = [
            (owner, name, member)
            for owner in cls.__mro__
            if not classes.made_in_c(owner)
            for name, member in owner.__dict__.items()
            if type(member) is types.MemberDescriptorType
        ]
        _slots[cls] = members
    found = []
    for owner, name, member in members:
        try:
            found.append((owner, name, member.__get__(obj, cls)))
        except AttributeError:
            continue
    return found


_plain: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def is_plain(cls: type) -> bool:
    """
    Whether a library's class is written in Python and says nothing of its own on how it is pickled.

    Then pickle would do as is done here, but for calling the class's `__new__` and `__getattr__` on an empty object.
    """
    known = _plain.get(cls)
    if known is None:
        known = _plain[cls] = _find_out_whether_plain(cls)
    return known


_declined: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def is_declined(obj: Any, cls: type) -> bool:
    """Whether a library's class, written in Python, says only that its pickling is still to be written."""
    known = _declined.get(cls)
    if known is None:
        known = False
        own = next((owner for owner in cls.__mro__ if "__getstate__" in owner.__dict__), object)
        if own is not object and not classes.made_in_c(own) and classes.solid_base(cls) is object:
            try:
                obj.__getstate__()
            except NotImplementedError:
                known = True
            except Exception:
                pass  # pickle will say it
        _declined[cls] = known
    return known


def _find_out_whether_plain(cls: Any) -> bool:
    if cls in copyreg.dispatch_table or classes.made_in_c(cls):
        return False
    if not is_seen_whole(cls) or _new_needs_nothing(cls):
        return False
    own = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")
    theirs = (owner for owner in cls.__mro__ if not classes.made_in_c(owner))
    return not any(name in owner.__dict__ for owner in theirs for name in own)


def is_seen_whole(cls: type) -> bool:
    """Whether instances are attributes, slots and the content of a builtin type, and nothing else."""
    base = classes.solid_base(cls)
    return base is object or base in _FILLED or base in _MADE_WITH


def _new_needs_nothing(cls: Any) -> bool:
    """Whether its own `__new__` can be called as pickle does: it may set up what instances need, so it is."""
    new = cls.__new__
    if not isinstance(new, types.FunctionType) or hasattr(cls, "__getattr__"):
        return False
    required = new.__code__.co_argcount - len(new.__defaults__ or ()) > 1
    return not required and not new.__code__.co_kwonlyargcount - len(new.__kwdefaults__ or ())


_BUILTIN_EXTRAS = ("name", "obj", "path", "msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset",
                   "print_file_and_line", "value", "code", "encoding", "object", "start", "end", "reason")  # fmt: skip


def reduce_exception(error: BaseException, scope: Scope) -> Reduced:
    """With cause, context and notes; without the traceback, whose frames are gone."""
    cls = type(error)
    base = classes.solid_base(cls)
    if base.__module__ != "builtins":
        scope.note_library(cls)
        return _reduce_library_exception(error, cls)
    descriptor: Any = rebuild.dict_descriptor(cls)
    attributes = descriptor.__get__(error, cls) if descriptor is not None else None
    extra = _error_parts(error)
    for name in _BUILTIN_EXTRAS:
        member: Any = getattr(base, name, None)
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


def _error_parts(error: BaseException) -> dict[str, Any]:
    return {
        "args": error.args,
        "cause": error.__cause__,
        "context": error.__context__,
        "suppressed": error.__suppress_context__,
    }


def _reduce_library_exception(error: BaseException, cls: type) -> Reduced:
    """As the library says of what it keeps in C; what every exception has, as for any other."""
    if cls in copyreg.dispatch_table:
        return NotImplemented
    found = error.__reduce_ex__(5)
    if not isinstance(found, tuple) or any(part is not None for part in found[3:]):
        return NotImplemented
    _, attributes, slots = state_of(error)
    theirs = found[2] if len(found) > 2 else None
    ours = (attributes, slots, _error_parts(error))
    return rebuild.call, found[:2], (theirs, ours), None, None, rebuild.fill_library_exception
