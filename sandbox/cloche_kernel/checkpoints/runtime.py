"""Values of the interpreter and the standard library that pickle refuses or gets wrong: locks, files, references."""

from __future__ import annotations

import _thread
import collections
import contextvars
import functools
import io
import mmap
import os
import random
import re
import socket
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

from cloche_kernel.checkpoints import rebuild
from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope

#: where files of the session live and are kept
_KEPT = ("/workspace/", "/data/", "/cloche/data/")


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
        raise NotKept("a weak reference whose object is gone")
    return rebuild.reference, (target, reference.__callback__)


def _reduce_weak_set(found: Any, scope: Scope) -> Reduced:
    return rebuild.weak_set, (list(found),)


def _reduce_weak_dictionary(found: Any, scope: Scope) -> Reduced:
    return rebuild.weak_dictionary, (type(found), list(found.items()))


def _reduce_lru(cached: Any, scope: Scope) -> Reduced:
    from cloche_kernel.checkpoints.functions import found_by_name

    if found_by_name(cached, getattr(cached, "__module__", None), getattr(cached, "__qualname__", "")):
        return NotImplemented
    if cached.cache_info().currsize:
        scope.remarks.append(f"the cache of {cached.__qualname__} starts empty")
    options = cached.cache_parameters()
    made = (options["maxsize"], options["typed"], cached.__wrapped__)
    own = {name: value for name, value in cached.__dict__.items() if name != "cache_parameters"}
    return rebuild.lru, made, own, None, None, rebuild.fill_attributes


def _reduce_text_file(file: Any, scope: Scope) -> Reduced:
    options = {"encoding": file.encoding, "errors": file.errors, "newline": None}
    return _reduce_file(file, file.mode, options)


def _reduce_binary_file(file: Any, scope: Scope) -> Reduced:
    mode = getattr(file, "mode", None) or getattr(file.raw, "mode", "rb")
    return _reduce_file(file, mode, {"buffering": 0} if isinstance(file, io.FileIO) else {})


def _reduce_file(file: Any, mode: str, options: dict[str, Any]) -> Reduced:
    if file.closed:
        raise NotKept("a file that was closed")
    name = file.name
    path = os.path.abspath(name) if isinstance(name, str) else ""
    if not path.startswith(_KEPT):
        raise NotKept("an open file outside of /workspace")
    if any(letter in mode for letter in "wax+"):
        file.flush()
    if not file.seekable():
        raise NotKept("an open file that has no position")
    return rebuild.open_file, (path, mode, file.tell(), options)


def _reduce_random(source: Any, scope: Scope) -> Reduced:
    return rebuild.random_state, (type(source), source.getstate())


def _reduce_slice_of_bytes(view: Any, scope: Scope) -> Reduced:
    if view.obj is None or not isinstance(view.obj, (bytes, bytearray)) or not view.contiguous:
        raise NotKept("a memoryview over memory that is not kept")
    raise NotKept("a memoryview")


def _reduce_proxy(found: Any, scope: Scope) -> Reduced:
    return rebuild.proxy, (dict(found),)


def _reduce_module(module: Any, scope: Scope) -> Reduced:
    name = module.__name__
    import sys

    if sys.modules.get(name) is module:
        return rebuild.module, (name,)
    raise NotKept(f"the module {name}, which cannot be imported by its name")


def _reduce_path(entry: Any, scope: Scope) -> Reduced:
    raise NotKept("an entry of os.scandir")


_GENERATOR = "a generator: where it stands cannot be written down"

REDUCERS: dict[type, Callable[[Any, Scope], Reduced]] = {
    types.GeneratorType: _refuse(_GENERATOR),
    types.CoroutineType: _refuse("a coroutine: where it stands cannot be written down"),
    types.AsyncGeneratorType: _refuse("an asynchronous generator: where it stands cannot be written down"),
    types.FrameType: _refuse("a frame of running code"),
    types.TracebackType: _refuse("a traceback: its frames are gone once the cell ends"),
    types.ModuleType: _reduce_module,
    types.MappingProxyType: _reduce_proxy,
    _thread.LockType: _reduce_lock,
    type(threading.RLock()): _reduce_rlock,
    weakref.ReferenceType: _reduce_reference,
    weakref.WeakSet: _reduce_weak_set,
    weakref.WeakKeyDictionary: _reduce_weak_dictionary,
    weakref.WeakValueDictionary: _reduce_weak_dictionary,
    weakref.ProxyType: _refuse("a weak proxy"),
    weakref.CallableProxyType: _refuse("a weak proxy"),
    weakref.finalize: _refuse("a finalizer"),
    functools._lru_cache_wrapper: _reduce_lru,
    io.TextIOWrapper: _reduce_text_file,
    io.BufferedReader: _reduce_binary_file,
    io.BufferedWriter: _reduce_binary_file,
    io.BufferedRandom: _reduce_binary_file,
    io.FileIO: _reduce_binary_file,
    random.Random: _reduce_random,
    memoryview: _reduce_slice_of_bytes,
    threading.Thread: _refuse("a thread"),
    threading.Timer: _refuse("a timer, which is a thread"),
    threading.local: _refuse("threading.local: other threads' values cannot be seen"),
    contextvars.ContextVar: _refuse("a context variable"),
    contextvars.Context: _refuse("a context"),
    contextvars.Token: _refuse("a token of a context variable"),
    socket.socket: _refuse("a socket"),
    mmap.mmap: _refuse("a memory map"),
    type(iter({}.keys())): _refuse("an iterator over a dictionary"),
    type(iter({}.values())): _refuse("an iterator over a dictionary"),
    type(iter({}.items())): _refuse("an iterator over a dictionary"),
    type(iter(set())): _refuse("an iterator over a set"),
    type({}.keys()): _refuse("a view of a dictionary"),
    type({}.values()): _refuse("a view of a dictionary"),
    type({}.items()): _refuse("a view of a dictionary"),
    type(iter(re.finditer("", ""))): _refuse("an iterator over matches"),
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


def reduce_runtime(obj: Any, scope: Scope) -> Reduced:
    kind = type(obj)
    if kind.__module__ == "builtins" and kind.__name__.endswith("_iterator") or kind is collections.deque:
        return NotImplemented
    reason = _REFUSED_MODULES.get(kind.__module__.split(".")[0])
    if reason is not None and not isinstance(obj, (int, str, tuple)):
        raise NotKept(f"{kind.__module__}.{kind.__qualname__}: {reason}")
    return NotImplemented
