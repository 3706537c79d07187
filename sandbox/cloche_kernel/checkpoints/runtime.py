"""Values of the interpreter and the standard library that pickle refuses or gets wrong: locks, files, references."""

from __future__ import annotations

import _thread
import collections
import contextvars
import functools
import gc
import mmap
import os
import queue
import random
import socket
import struct
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

from cloche_kernel.checkpoints import reach, rebuild
from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope
from cloche_kernel.checkpoints.functions import found_by_name


def _refuse(reason: str) -> Callable[[Any, Scope], Reduced]:
    def refuse(obj: Any, scope: Scope) -> Reduced:
        raise NotKept(reason)

    return refuse


def _reduce_lock(lock: Any, scope: Scope) -> Reduced:
    if lock.locked():
        raise NotKept("a lock that is held")
    return rebuild.lock, ()


def _reduce_rlock(lock: Any, scope: Scope) -> Reduced:
    if "owner=0 " not in repr(lock):
        raise NotKept("a lock that is held")
    return rebuild.rlock, ()


def _reduce_reference(reference: Any, scope: Scope) -> Reduced:
    target = reference()
    if target is None:
        return rebuild.dead_reference, (reference.__callback__,)
    return rebuild.reference, (target, reference.__callback__)


def _reduce_weak_method(reference: Any, scope: Scope) -> Reduced:
    method = reference()
    if method is None:
        return rebuild.dead_method, ()
    if reference.__callback__ is not None and reference.__callback__.__qualname__ != "WeakMethod.__new__.<locals>._cb":
        raise NotKept("a weak reference to a method, with a callback")
    return weakref.WeakMethod, (method,)


def _reduce_weak_proxy(proxy: Any, scope: Scope) -> Reduced:
    try:
        # A method of the object itself, through the proxy: nothing else leads to it.
        target = proxy.__dir__.__self__
    except (ReferenceError, AttributeError):
        raise NotKept("a weak proxy whose object is gone or hides itself") from None
    if weakref.proxy(target) is not proxy:
        raise NotKept("a weak proxy with a callback")
    return weakref.proxy, (target,)


def _reduce_simple_queue(found: Any, scope: Scope) -> Reduced:
    items = []
    while not found.empty():
        items.append(found.get_nowait())
    for item in items:
        found.put(item)
    return rebuild.simple_queue, (), items, None, None, rebuild.fill_queue


def _reduce_struct(found: Any, scope: Scope) -> Reduced:
    return struct.Struct, (found.format,)


def _reduce_comparison_key(found: Any, scope: Scope) -> Reduced:
    compare, *value = [held for held in gc.get_referents(found) if held is not type(found)]
    return rebuild.comparison_key, (compare, value)


def _reduce_new_type(found: Any, scope: Scope) -> Reduced:
    if found_by_name(found, found.__module__, found.__qualname__):
        return NotImplemented
    return rebuild.new_object, (typing.NewType, object), (None, found.__dict__, []), None, None, rebuild.fill_object


def _reduce_weak_set(found: Any, scope: Scope) -> Reduced:
    return rebuild.weak_set, (), list(found), None, None, rebuild.fill_weak


def _reduce_weak_dictionary(found: Any, scope: Scope) -> Reduced:
    return rebuild.weak_dictionary, (type(found),), list(found.items()), None, None, rebuild.fill_weak


def _reduce_lru(cached: Any, scope: Scope) -> Reduced:
    if found_by_name(cached, getattr(cached, "__module__", None), getattr(cached, "__qualname__", "")):
        return NotImplemented
    if cached.cache_info().currsize:
        scope.remarks.append(f"the cache of {cached.__qualname__} starts empty")
    options = cached.cache_parameters()
    made = (options["maxsize"], options["typed"], cached.__wrapped__)
    own = {name: value for name, value in cached.__dict__.items() if name != "cache_parameters"}
    return rebuild.lru, made, own, None, None, rebuild.fill_attributes


def _reduce_module(module: Any, scope: Scope) -> Reduced:
    """By its name where it can be imported, else by what it holds."""
    name = next((key for key, value in sys.modules.items() if value is module), module.__name__)
    listed = sys.modules.get(name) is module
    scope.risky |= reach.opens(module)
    if listed and (getattr(module, "__spec__", None) is not None or name in sys.builtin_module_names):
        return rebuild.module, (name,)
    held = vars(module)
    if getattr(module, "__spec__", None) is not None:
        raise NotKept(f"the module {name}, which was loaded by hand or has been loaded anew since")
    scope.remember_module(module)
    return rebuild.new_module, (name, listed), dict(held), None, None, rebuild.fill_module


_GENERATOR = "a generator: where it stands cannot be written down"


def _reduce_type_parameter(found: Any, scope: Scope) -> Reduced:
    if found_by_name(found, found.__module__, found.__name__):
        return NotImplemented
    options = {}
    for name in ("bound", "covariant", "contravariant"):
        value = getattr(found, f"__{name}__", None)
        if value:
            options[name] = value
    return rebuild.type_parameter, (type(found), found.__name__, found.__module__, options)


REDUCERS: dict[type, Callable[[Any, Scope], Reduced]] = {
    types.GeneratorType: _refuse(_GENERATOR),
    types.CoroutineType: _refuse("a coroutine: where it stands cannot be written down"),
    types.AsyncGeneratorType: _refuse("an asynchronous generator: where it stands cannot be written down"),
    types.FrameType: _refuse("a frame of running code"),
    types.TracebackType: _refuse("a traceback: its frames are gone once the cell ends"),
    types.ModuleType: _reduce_module,
    _thread.LockType: _reduce_lock,
    type(threading.RLock()): _reduce_rlock,
    weakref.ReferenceType: _reduce_reference,
    weakref.WeakSet: _reduce_weak_set,
    weakref.WeakKeyDictionary: _reduce_weak_dictionary,
    weakref.WeakValueDictionary: _reduce_weak_dictionary,
    weakref.WeakMethod: _reduce_weak_method,
    weakref.ProxyType: _reduce_weak_proxy,
    weakref.CallableProxyType: _reduce_weak_proxy,
    weakref.finalize: _refuse("a finalizer"),
    functools._lru_cache_wrapper: _reduce_lru,
    queue.SimpleQueue: _reduce_simple_queue,
    struct.Struct: _reduce_struct,
    type(functools.cmp_to_key(lambda one, other: 0)): _reduce_comparison_key,
    typing.NewType: _reduce_new_type,
    typing.ParamSpec: _reduce_type_parameter,
    typing.TypeVarTuple: _reduce_type_parameter,
    random.SystemRandom: lambda source, scope: (random.SystemRandom, ()),
    threading.Thread: _refuse("a thread"),
    threading.Timer: _refuse("a timer, which is a thread"),
    threading.local: _refuse("threading.local: other threads' values cannot be seen"),
    contextvars.ContextVar: _refuse("a context variable"),
    contextvars.Context: _refuse("a context"),
    contextvars.Token: _refuse("a token of a context variable"),
    socket.socket: _refuse("a socket"),
    mmap.mmap: _refuse("a memory map"),
    type(os.scandir("/")): _refuse("an iterator over a directory"),
}

_REFUSED_MODULES = {
    "asyncio": "belongs to an event loop",
    "subprocess": "a process",
    "multiprocessing": "belongs to other processes",
    "concurrent": "belongs to threads or processes",
    "_asyncio": "belongs to an event loop",
    "selectors": "belongs to open descriptors",
    "_thread": "belongs to a thread",
    "sqlite3": "a connection to a database, or part of one",
}


_MERE_DATA = frozenset({"CompletedProcess"})


def reduce_runtime(obj: Any, scope: Scope) -> Reduced:
    kind = type(obj)
    if (kind.__module__ == "builtins" and kind.__name__.endswith("_iterator")) or kind is collections.deque:
        return NotImplemented
    reason = _REFUSED_MODULES.get(str(kind.__module__).split(".")[0])
    if reason is not None and not isinstance(obj, (int, str, tuple)) and kind.__qualname__ not in _MERE_DATA:
        raise NotKept(f"{kind.__module__}.{kind.__qualname__}: {reason}")
    return NotImplemented
