"""
Instances of C types that only hold other objects and small numbers, such as a view of a mapping or a vertex of a graph.

Every word of such an instance's memory can be told, so that one is seen whole though its library has no way to write it
down; what its type makes of the same parts is held to the same words.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import types
from collections.abc import Callable
from functools import partial
from typing import Any

from cloche_kernel.checkpoints import classes
from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope

_WORD = ctypes.sizeof(ctypes.c_void_p)
#: before what the type adds, in bytes
_HEAD = object.__basicsize__
#: words of an instance at most
_MOST = 16
#: a number below is no address: nothing is ever mapped there
_SMALL = 1 << 16
#: what has one of these stands for something that is open
_OPEN = ("fileno", "close", "__exit__", "__next__", "acquire")
_VIEWS = ("keys", "values", "items")
#: a word that is no object: an empty one, or -1 as a mark for what is not known yet
_UNSET = (0, -1)


def is_unspoken(kind: type) -> bool:
    """Whether a library's type is made in C and its instances may be told by their words."""
    if not classes.made_in_c(kind) or str(kind.__module__).partition(".")[0] in sys.stdlib_module_names:
        return False
    if issubclass(kind, type) or _HEAD != 2 * _WORD:
        return False
    size = kind.__basicsize__ - _HEAD
    if kind.__itemsize__ or kind.__dictoffset__ or size % _WORD or not 0 < size <= _MOST * _WORD:
        return False
    return not any(hasattr(kind, name) for name in _OPEN)


def words_of(thing: Any) -> list[tuple[Any, int]] | None:
    """
    Each word as (the object it refers to or None, the number it is); None where a word is neither.

    Where the collector is not told of an object, one of the type's own descriptors gives it.
    """
    kind = type(thing)
    held: list[Any] = [part for part in gc.get_referents(thing) if part is not kind]
    held += _described(thing, kind)
    by_id = {id(part): part for part in held}
    size = (kind.__basicsize__ - _HEAD) // _WORD
    read = (ctypes.c_ssize_t * size).from_address(id(thing) + _HEAD)
    found: list[tuple[Any, int]] = []
    for index, word in enumerate(read):
        if _HEAD + index * _WORD == kind.__weakrefoffset__:
            continue
        if word in by_id:
            found.append((by_id[word], 0))
        elif word in _UNSET or 0 < word < _SMALL:
            found.append((None, word))
        else:
            return None
    return found if any(part is not None for part, _ in found) else None


def _described(thing: Any, kind: type) -> list[Any]:
    found = []
    for owner in kind.__mro__:
        for member in list(owner.__dict__.values()):
            if owner is not object and type(member) in (types.GetSetDescriptorType, types.MemberDescriptorType):
                try:
                    found.append(member.__get__(thing, kind))
                except Exception:
                    continue
    return found


def reduce_wrapper(obj: Any, scope: Scope) -> Reduced:
    """NotImplemented where its library does have a way to write it down, or not all of it can be told."""
    try:
        obj.__reduce_ex__(4)
    except Exception:
        words = words_of(obj)
        return NotImplemented if words is None else (wrapper, (type(obj), words))
    return NotImplemented


def wrapper(kind: type, words: list[tuple[Any, int]]) -> Any:
    """
    An instance of `kind` with these words: its type is given the parts of it in their order, as many as it takes; or
    the one object gives a view of itself.
    """
    objects = [part for part, _ in words if part is not None]
    numbers = [word for part, word in words if part is None and word >= 0]
    ways: list[Callable[[], Any]] = [partial(kind, *objects, *numbers[:count]) for count in range(len(numbers) + 1)]
    if len(objects) == 1 and not numbers and classes.made_in_c(type(objects[0])):
        ways += [partial(_view, objects[0], name) for name in _VIEWS]
    for way in ways:
        try:
            made = way()
        except Exception:
            continue
        found = words_of(made) if type(made) is kind else None
        if found is not None and _is_same(found, words):
            return made
    raise NotKept(f"{kind.__module__}.{kind.__qualname__}: its type makes another one of what it holds")


def _view(held: Any, name: str) -> Any:
    return getattr(held, name)()


def _is_same(found: list[tuple[Any, int]], words: list[tuple[Any, int]]) -> bool:
    return len(found) == len(words) and all(
        one[0] is other[0] and one[1] == other[1] for one, other in zip(found, words, strict=True)
    )
