"""
The second way of taking down instances of libraries' classes that say how they are pickled: by what they hold. It is
gone where the first, their own word, was found to lose something; the proof decides whether it loses nothing.

Here is what the proof could not see: numbers that stand for something outside of the process, objects made only once.
"""

from __future__ import annotations

import collections
import enum
import re
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from cloche_kernel.checkpoints import classes, instances
from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope
from cloche_kernel.checkpoints.digests import libraries as words
from cloche_kernel.checkpoints.digests.objects import reduced_of

#: numbers from here on may be addresses, identities or hashes, which are others in another process
_LARGE = 1 << 31
#: names of attributes whose number stands for something that the system or a library in C holds
_HANDLE = re.compile(
    r"(^|_)(fd|fds|fileno|descriptor|handle|ptr|pointer|addr|address|pid|tid|ppid|sock|socket|port|ident|inode|hash)s?(_|$|\d)",
    re.IGNORECASE,
)
#: modules that lead out of the process, and functions of `os` that do
_OUTSIDE = frozenset(
    {"ctypes", "_ctypes", "cffi", "_cffi_backend", "socket", "_socket", "ssl", "select", "selectors", "fcntl", "mmap",
     "subprocess", "multiprocessing", "signal", "asyncio", "termios", "pty", "resource", "shmem", "weakptr"}
)  # fmt: skip
_CALLS = frozenset(
    {"fileno", "dup", "dup2", "pipe", "pipe2", "mkstemp", "memfd_create", "eventfd", "getpid", "getppid", "get_ident",
     "get_native_id", "fork", "openpty", "pidfd_open", "addressof", "from_address", "detach"}
)  # fmt: skip
#: objects that are looked at for the numbers in what a library says, and how deep
_MOST = 2_000
_DEPTH = 4
_ONCE = "their library makes each only once: "
#: instances of one class that are asked whether each is made only once
_MOST_ASKED = 16

_speaking: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()
_leaving: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def speaks(cls: type) -> bool:
    """Whether a library's class, written in Python, says how it is pickled, and no test holds it to its word."""
    known = _speaking.get(cls)
    if known is None:
        known = _speaking[cls] = _find_out_whether_it_speaks(cls)
    return known


def _find_out_whether_it_speaks(cls: type) -> bool:
    if classes.made_in_c(cls) or classes.is_by_value(cls) or issubclass(cls, (type, enum.Enum, BaseException)):
        return False
    if str(cls.__module__).partition(".")[0] in sys.stdlib_module_names or words.speaks_for_itself(cls):
        return False
    return instances.is_seen_whole(cls) and not instances.is_plain(cls)


def reduce_by_content(obj: Any, scope: Scope) -> Reduced:
    """As an instance of a class of the session goes; NotImplemented where that may bring back something stale."""
    if not _may_go(obj) or id(obj) in _listed(type(obj), scope):
        return NotImplemented
    found = instances.reduce_instance(obj, scope)
    return (made, (found[0], found[1]), *found[2:])


_made: list[Any] | None = None


def made(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What stands in a state for an instance that went this way."""
    found = function(*arguments)
    if _made is not None:
        _made.append(found)
    return found


@contextmanager
def watched() -> Iterator[Callable[[], None]]:
    """
    Within it, in a process that is to end, what comes back by what it holds is noted. What it gives asks of that, and
    raises NotKept where a library makes each of its kind only once.
    """
    global _made
    noted = _made = []
    try:
        yield lambda: _refuse_made_once(noted)
    finally:
        _made = None


def _refuse_made_once(noted: list[Any]) -> None:
    asked: dict[type, int] = {}
    once: set[str] = set()
    for found in noted:
        kind = type(found)
        asked[kind] = asked.get(kind, 0) + 1
        if asked[kind] <= _MOST_ASKED and _is_made_once(found):
            once.add(f"{kind.__module__}.{kind.__qualname__}")
    if once:
        raise NotKept(_ONCE + " ".join(sorted(once)))


def made_once(reason: str) -> frozenset[str]:
    """The types that a refusal by `watched` is about."""
    return frozenset(reason.partition(_ONCE)[2].split())


def _is_made_once(thing: Any) -> bool:
    try:
        function, arguments = reduced_of(thing)[:2]
        one, other = function(*arguments), function(*arguments)
    except Exception:
        return False
    return one is other


def _may_go(obj: Any) -> bool:
    """Whether no number that its library leaves out, or makes anew, stands for something outside of the process."""
    cls = type(obj)
    try:
        reduced = reduced_of(obj)
    except Exception:
        return False  # it may be kept in no way
    if not isinstance(reduced, tuple):
        return False
    said: set[int] = set()
    _find_numbers(reduced[1:3], said)
    _, attributes, slots = instances.state_of(obj)
    held = [*(attributes or {}).items(), *((name, value) for _, name, value in slots)]
    for name, value in held:
        numbers: set[int] = set()
        _find_numbers((value,), numbers)
        left_out = numbers - said
        if any(abs(number) >= _LARGE for number in left_out):
            return False
        if left_out and (_leads_outside(cls) or (isinstance(name, str) and _HANDLE.search(name))):
            return False
    return True


def _listed(cls: type, scope: Scope) -> set[int]:
    """What lists, tables and weak sets of its module and of the class itself hold: what is not made by its library's
    own hands would be missing there."""
    found = scope.listed.get(cls)
    if found is None:
        found = scope.listed[cls] = set()
        for owner in cls.__mro__:
            module = sys.modules.get(owner.__module__)
            if classes.made_in_c(owner) or _is_standard(owner) or module is None:
                continue
            for held in [*vars(module).values(), *owner.__dict__.values()]:
                if isinstance(held, _LISTS) and len(held) <= _MOST_LISTED:
                    found.update(id(part) for part in list(held))
                    if isinstance(held, _TABLES):
                        found.update(id(part) for part in list(held.values()))
    return found


_TABLES = (dict, weakref.WeakValueDictionary, weakref.WeakKeyDictionary)
_LISTS = (*_TABLES, list, tuple, set, frozenset, weakref.WeakSet, collections.deque)
_MOST_LISTED = 100_000


def _find_numbers(things: Iterable[Any], found: set[int]) -> None:
    """Numbers in containers, as far as one sees in a moment."""
    level, left = list(things), _MOST
    for _ in range(_DEPTH):
        inner: list[Any] = []
        for thing in level:
            kind = type(thing)
            if kind is int:
                found.add(thing)
            elif kind in _HOLDING and left > 0:
                parts = list(_parts(thing))[:left]
                left -= len(parts)
                inner += parts
        level = inner


_HOLDING = frozenset({list, tuple, dict, set, frozenset})


def _parts(thing: Any) -> Iterator[Any]:
    if type(thing) is dict:
        yield from thing.keys()
        yield from thing.values()
    else:
        yield from thing


def _leads_outside(cls: type) -> bool:
    """Whether code of a class, or what its module has at hand, may take hold of something outside of the process."""
    known = _leaving.get(cls)
    if known is None:
        known = _leaving[cls] = any(
            _has_outside(owner) for owner in cls.__mro__ if not classes.made_in_c(owner) and not _is_standard(owner)
        )
    return known


def _is_standard(owner: type) -> bool:
    return str(owner.__module__).partition(".")[0] in sys.stdlib_module_names


def _has_outside(owner: type) -> bool:
    module = sys.modules.get(owner.__module__)
    for value in list(vars(module).values()) if module is not None else ():
        if type(value) is types.ModuleType:
            if value.__name__.partition(".")[0] in _OUTSIDE or _is_compiled(value):
                return True
        elif str(getattr(type(value), "__module__", "")).partition(".")[0] in _OUTSIDE:
            return True
    for value in owner.__dict__.values():
        code = getattr(getattr(value, "__func__", value), "__code__", None)
        if code is not None and not _CALLS.isdisjoint(code.co_names):
            return True
    return False


def _is_compiled(module: types.ModuleType) -> bool:
    """Whether a package's module is written in C, and not one of arrays, which are looked into."""
    file = getattr(module, "__file__", None)
    own = module.__name__.partition(".")[0] not in sys.stdlib_module_names
    return own and isinstance(file, str) and file.endswith((".so", ".pyd"))
