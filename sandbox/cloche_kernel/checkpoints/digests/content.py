"""What values of builtin types and of those that derive from them hold, read by the builtin type's own methods."""

from __future__ import annotations

import _random
import array
import ctypes
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from typing import Any

from cloche_kernel.checkpoints.digests.walk import Describe, Walk


def _list(walk: Walk, thing: Any) -> list[Any]:
    return [walk.sequence(thing if type(thing) is list else list(list.__iter__(thing)))]


def _tuple(walk: Walk, thing: Any) -> list[Any]:
    return [walk.sequence(thing if type(thing) is tuple else tuple(tuple.__iter__(thing)))]


def _dict(walk: Walk, thing: Any) -> list[Any]:
    return [walk.pairs(thing)]


def _ordered(walk: Walk, thing: Any) -> list[Any]:
    keys = list(OrderedDict.__iter__(thing))
    return [walk.refs(keys), walk.refs([dict.__getitem__(thing, key) for key in keys])]


def _default(walk: Walk, thing: Any) -> list[Any]:
    return [walk.ref(thing.default_factory), walk.pairs(thing)]


def _set(walk: Walk, thing: Any) -> list[Any]:
    walk.unordered(thing if type(thing) is set else _counted(walk, list(set.__iter__(thing)), thing))
    return [set.__len__(thing)]


def _frozenset(walk: Walk, thing: Any) -> list[Any]:
    walk.unordered(thing if type(thing) is frozenset else _counted(walk, list(frozenset.__iter__(thing)), thing))
    return [frozenset.__len__(thing)]


def _counted(walk: Walk, things: list[Any], owner: Any) -> list[Any]:
    walk.keep.append(things)
    return things


def _deque(walk: Walk, thing: Any) -> list[Any]:
    return [deque.maxlen.__get__(thing), walk.sequence(list(deque.__iter__(thing)))]


def _bytearray(walk: Walk, thing: Any) -> list[Any]:
    size = bytearray.__len__(thing)
    if not size:
        return [0]
    start = ctypes.addressof((ctypes.c_char * size).from_buffer(thing))
    return [size, walk.memory.add(start, size, start, True)]


def _array(walk: Walk, thing: Any) -> list[Any]:
    start, length = array.array.buffer_info(thing)
    size = length * thing.itemsize
    return [thing.typecode, length, walk.memory.add(start, size, start, True) if size else None]


def _number(kind: type) -> Describe:
    def content(walk: Walk, thing: Any) -> list[Any]:
        # By the type's own arithmetic: a subclass may say anything of itself.
        return [walk.ref(kind.__getnewargs__(thing)[0])]  # type: ignore[attr-defined]

    return content


def _complex(walk: Walk, thing: Any) -> list[Any]:
    read = complex.__dict__
    return [read["real"].__get__(thing), read["imag"].__get__(thing)]


def _float(walk: Walk, thing: Any) -> list[Any]:
    # A NaN by its sign alone: which object it is, its number says.
    return [float.hex(thing)]


def _error(walk: Walk, thing: Any) -> list[Any]:
    """An exception without its traceback, whose frames end with their cell."""
    base = BaseException.__dict__
    parts = [walk.ref(base["args"].__get__(thing)), walk.ref(base["__cause__"].__get__(thing))]
    parts += [walk.ref(base["__context__"].__get__(thing)), base["__suppress_context__"].__get__(thing)]
    for owner in type(thing).__mro__:
        if owner.__module__ != "builtins" or owner is BaseException or owner is object:
            continue
        for name, member in sorted(owner.__dict__.items()):
            if type(member) in (types.GetSetDescriptorType, types.MemberDescriptorType) and not name.startswith("__"):
                try:
                    parts.append([name, walk.ref(member.__get__(thing))])
                except AttributeError:
                    continue
    return parts


def _random_state(walk: Walk, thing: Any) -> list[Any]:
    return [walk.sequence(_random.Random.getstate(thing))]


_callback = weakref.ReferenceType.__dict__["__callback__"].__get__


def _reference(walk: Walk, thing: Any) -> list[Any]:
    target = weakref.ReferenceType.__call__(thing)
    return [walk.ref(target), None if target is None else walk.ref(_callback(thing))]


def _c_data(walk: Walk, thing: Any) -> list[Any]:
    """A value of ctypes by its bytes, and who else sees them."""
    start, size = ctypes.addressof(thing), ctypes.sizeof(thing)
    return [size, walk.memory.add(start, size, start, True) if size else None, walk.ref(thing._objects)]


_SIMPLE: type = ctypes.c_int.__mro__[1]

CONTENT: dict[type, Describe] = {
    OrderedDict: _ordered,
    defaultdict: _default,
    dict: _dict,
    list: _list,
    tuple: _tuple,
    set: _set,
    frozenset: _frozenset,
    deque: _deque,
    bytearray: _bytearray,
    array.array: _array,
    int: _number(int),
    float: _float,
    complex: _complex,
    str: _number(str),
    bytes: _number(bytes),
    ctypes.Structure: _c_data,
    ctypes.Union: _c_data,
    ctypes.Array: _c_data,
    _SIMPLE: _c_data,
    BaseException: _error,
    _random.Random: _random_state,
    weakref.ReferenceType: _reference,
}
