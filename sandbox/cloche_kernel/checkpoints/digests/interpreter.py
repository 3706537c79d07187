"""Values of the interpreter and the standard library: methods, references, iterators, locks, files."""

from __future__ import annotations

import _queue
import _thread
import collections
import contextvars
import ctypes
import functools
import gc
import io
import itertools
import logging
import operator
import os
import pathlib
import re
import struct
import sys
import threading
import types
import weakref
from typing import Any

from cloche_kernel.checkpoints.digests import code
from cloche_kernel.checkpoints.digests.objects import describe_reduced
from cloche_kernel.checkpoints.digests.walk import Describe, Walk


def _method(walk: Walk, thing: Any) -> list[Any]:
    return ["method", walk.ref(thing.__func__), walk.ref(thing.__self__)]


def _builtin(walk: Walk, thing: Any) -> list[Any]:
    """A function written in C: that of a module by name, that of an object by the object."""
    owner = thing.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return ["builtin", str(thing.__module__), thing.__qualname__]
    return ["builtin of", thing.__name__, walk.ref(owner)]


def _wrapper(walk: Walk, thing: Any) -> list[Any]:
    return ["wrapper of", thing.__name__, walk.ref(thing.__self__)]


def _descriptor(walk: Walk, thing: Any) -> list[Any]:
    return [type(thing).__name__, thing.__name__, walk.ref(thing.__objclass__)]


def _members(*names: str) -> Describe:
    """By members that the type itself reads; then attributes, where it has them."""

    def describe(walk: Walk, thing: Any) -> list[Any]:
        kind = type(thing)
        parts: list[Any] = [code.name_of(kind), *(walk.ref(getattr(thing, name)) for name in names)]
        own = getattr(thing, "__dict__", None)
        return [*parts, walk.ref(own) if own else None]

    return describe


def _wrapped(walk: Walk, thing: Any) -> list[Any]:
    """A static or class method. Made by hand it copies its function's attributes, made by `type` it does not."""
    own = {name: value for name, value in vars(thing).items() if name not in _COPIED}
    walk.keep.append(own)
    return [code.name_of(type(thing)), walk.ref(thing.__func__), walk.ref(own) if own else None]


def _by_reduce(walk: Walk, thing: Any) -> list[Any]:
    """What the interpreter's own pickling says: it is the interpreter's, so it is right."""
    try:
        reduced = thing.__reduce_ex__(4)
    except TypeError:
        walk.note_opaque(type(thing))
        return ["opaque", code.name_of(type(thing))]
    walk.keep.append(reduced)
    return [code.name_of(type(thing)), describe_reduced(walk, reduced)]


def _opaque(walk: Walk, thing: Any) -> list[Any]:
    walk.note_opaque(type(thing))
    return ["opaque", code.name_of(type(thing))]


def _held(walk: Walk, thing: Any) -> list[Any]:
    """By what the collector says it holds."""
    return [code.name_of(type(thing)), walk.refs(gc.get_referents(thing))]


def _mapping(walk: Walk, thing: Any) -> list[Any]:
    """A mapping that cannot be written to: that of a class by the class, any other by the dictionary behind it."""
    (held,) = gc.get_referents(thing)
    if type(held) is dict:
        for member in held.values():
            owner = getattr(member, "__objclass__", None) if type(member) is types.GetSetDescriptorType else None
            if isinstance(owner, type) and gc.get_referents(type.__dict__["__dict__"].__get__(owner))[0] is held:
                return ["members of", walk.ref(owner)]
    return ["mapping", walk.ref(held)]


def _module(walk: Walk, thing: Any) -> list[Any]:
    return ["module", str(thing.__name__)]


def _reference(walk: Walk, thing: Any) -> list[Any]:
    target = weakref.ReferenceType.__call__(thing)
    return [code.name_of(type(thing)), walk.ref(target), None if target is None else walk.ref(thing.__callback__)]


def _weak_method(walk: Walk, thing: Any) -> list[Any]:
    method = thing()
    if method is None:
        return ["weak method", None]
    return ["weak method", walk.ref(method.__func__), walk.ref(method.__self__)]


def _proxy(walk: Walk, thing: Any) -> list[Any]:
    held = thing.__repr__.__self__  # the proxy hands every attribute on to its object
    return ["weak proxy", walk.ref(held)]


def _weak_set(walk: Walk, thing: Any) -> list[Any]:
    things = list(thing)
    walk.keep.append(things)
    walk.unordered(things)
    return ["weak set", len(things), walk.ref(vars(thing).get("note"))]


def _weak_dictionary(walk: Walk, thing: Any) -> list[Any]:
    items = list(thing.items())
    return [code.name_of(type(thing)), walk.refs([key for key, _ in items]), walk.refs([value for _, value in items])]


def _lock(walk: Walk, thing: Any) -> list[Any]:
    return ["lock", thing.locked()]


def _rlock(walk: Walk, thing: Any) -> list[Any]:
    return ["reentrant lock", "owner=0 " in repr(thing)]


def _cache(walk: Walk, thing: Any) -> list[Any]:
    """A memory of results, which may be empty: what it calls and how much it holds."""
    if code.found_by_name(thing, getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)):
        return ["named", code.name_of(thing)]
    own = {name: value for name, value in vars(thing).items() if name != "cache_parameters"}
    walk.keep.append(own)
    return ["lru_cache", sorted(thing.cache_parameters().items()), walk.ref(own)]


def _file(walk: Walk, thing: Any) -> list[Any]:
    kind = code.name_of(type(thing))
    name = getattr(thing, "name", None)
    if thing.closed:
        return [kind, "closed", walk.ref(name)]
    if not isinstance(name, str):
        # Over something else than a file of the disk.
        walk.note_opaque(type(thing))
        return [kind, "opaque"]
    if thing.writable():
        thing.flush()
    mode = getattr(thing, "mode", None)
    try:
        place = thing.tell() if thing.seekable() else None
    except OSError:
        # In the middle of an iteration over its lines.
        walk.note_opaque(type(thing))
        place = None
    parts: list[Any] = [kind, walk.ref(name), os.path.abspath(name), str(mode), place]
    return [*parts, *(getattr(thing, attribute, None) for attribute in ("encoding", "errors", "line_buffering"))]


def _text_buffer(walk: Walk, thing: Any) -> list[Any]:
    kind = code.name_of(type(thing))
    if thing.closed:
        return [kind, "closed"]
    content = thing.getvalue()
    return [kind, content, thing.tell(), walk.ref(thing.__dict__) if thing.__dict__ else None]


def _pattern(walk: Walk, thing: Any) -> list[Any]:
    return ["pattern", thing.pattern, thing.flags]


def _path(walk: Walk, thing: Any) -> list[Any]:
    return [code.name_of(type(thing)), str(thing)]


def _logger(walk: Walk, thing: Any) -> list[Any]:
    name: str = thing.name
    if logging.Logger.manager.loggerDict.get(name) is thing or thing is logging.root:
        return ["logger", name]
    return ["logger apart", name, walk.ref(vars(thing))]


def _simple_queue(walk: Walk, thing: Any) -> list[Any]:
    held = gc.get_referents(thing)
    if len(held) == 1 and type(held[0]) is list and sys.version_info < (3, 13):
        # One list, in which what was taken out has left gaps before the rest.
        held = held[0]
    return ["queue", walk.refs(held[len(held) - thing.qsize() :])]


def _memoryview(walk: Walk, thing: Any) -> list[Any]:
    try:
        parts: list[Any] = [thing.format, thing.shape, thing.strides, thing.readonly]
    except ValueError:
        return ["memoryview", "released"]
    import numpy

    array = numpy.asarray(thing)
    low, high = numpy.lib.array_utils.byte_bounds(array)
    at = int(array.__array_interface__["data"][0])
    walk.keep.append(array)
    span = walk.memory.add(low, high - low, at, not thing.readonly) if array.size else None
    return ["memoryview", *parts, walk.ref(thing.obj), span]


def _bare(walk: Walk, thing: Any) -> list[Any]:
    return ["object"]


ctypes_field = type(vars(type("", (ctypes.Structure,), {"_fields_": [("x", ctypes.c_int)]}))["x"])
_COPIED = frozenset({*functools.WRAPPER_ASSIGNMENTS, "__wrapped__", "__annotate__"})
_property = _members("fget", "fset", "fdel", "__doc__")
_ITERATORS: tuple[type, ...] = (
    type(iter([])), type(iter(())), type(iter("")), type(iter("é")), type(iter(b"")), type(iter(bytearray())),
    type(iter(range(0))), type(iter(range(1 << 70))), type(iter(set())), type(iter({})), type(iter({}.values())),
    type(iter({}.items())), type(reversed([])), type(reversed({})), reversed, enumerate, zip, map, filter,
    type(iter(int, 1)), type(iter(type("", (), {"__getitem__": lambda s, i: i})())),
    *(kind for kind in vars(itertools).values() if isinstance(kind, type)),
    type(iter(collections.deque())),
)  # fmt: skip

EXACT: dict[type, Describe] = {
    object: _bare,
    type(NotImplemented): _bare,
    types.FunctionType: code.describe_function,
    types.CodeType: code.describe_code,
    types.CellType: code.describe_cell,
    types.MethodType: _method,
    types.BuiltinFunctionType: _builtin,
    types.MethodWrapperType: _wrapper,
    types.WrapperDescriptorType: _descriptor,
    types.MethodDescriptorType: _descriptor,
    types.ClassMethodDescriptorType: _descriptor,
    types.GetSetDescriptorType: _descriptor,
    types.MemberDescriptorType: _descriptor,
    types.ModuleType: _module,
    types.MappingProxyType: _mapping,
    types.GeneratorType: _opaque,
    types.CoroutineType: _opaque,
    types.AsyncGeneratorType: _opaque,
    types.FrameType: _opaque,
    types.TracebackType: _opaque,
    types.GenericAlias: _by_reduce,
    types.UnionType: _members("__args__"),
    types.SimpleNamespace: lambda walk, thing: ["namespace", walk.ref(thing.__dict__)],
    type({}.keys()): _held,
    type({}.values()): _held,
    type({}.items()): _held,
    property: _property,
    staticmethod: _wrapped,
    classmethod: _wrapped,
    super: _members("__thisclass__", "__self__"),
    slice: _members("start", "stop", "step"),
    functools.partial: _members("func", "args", "keywords"),
    functools._lru_cache_wrapper: _cache,
    type(functools.cmp_to_key(lambda a, b: 0)): _held,
    operator.itemgetter: _by_reduce,
    operator.attrgetter: _by_reduce,
    operator.methodcaller: _by_reduce,
    weakref.ReferenceType: _reference,
    weakref.WeakMethod: _weak_method,
    weakref.ProxyType: _proxy,
    weakref.CallableProxyType: _proxy,
    weakref.WeakSet: _weak_set,
    weakref.WeakKeyDictionary: _weak_dictionary,
    weakref.WeakValueDictionary: _weak_dictionary,
    weakref.finalize: _opaque,
    _thread.LockType: _lock,
    type(threading.RLock()): _rlock,
    threading.local: _opaque,
    contextvars.ContextVar: _opaque,
    contextvars.Context: _opaque,
    contextvars.Token: _opaque,
    io.TextIOWrapper: _file,
    io.BufferedReader: _file,
    io.BufferedWriter: _file,
    io.BufferedRandom: _file,
    io.FileIO: _file,
    io.StringIO: _text_buffer,
    io.BytesIO: _text_buffer,
    re.Pattern: _pattern,
    pathlib.PurePosixPath: _path,
    pathlib.PosixPath: _path,
    logging.Logger: _logger,
    logging.RootLogger: _logger,
    memoryview: _memoryview,
    _queue.SimpleQueue: _simple_queue,
    re.Match: _members("re", "string", "pos", "endpos", "regs"),
    struct.Struct: _members("format", "size"),
    ctypes_field: _members("offset", "size"),
    **dict.fromkeys(_ITERATORS, _by_reduce),
}
