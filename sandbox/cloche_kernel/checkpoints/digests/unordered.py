"""Mappings and sets of libraries, made in C, that keep their elements in no order: another one after each start."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Reversible, Set
from typing import Any

from cloche_kernel.checkpoints.classes import made_in_c
from cloche_kernel.checkpoints.digests.walk import ATOMS

#: keys in an order that neither hashing nor sorting would give
_PROBE = ("m", "c", "x", "a", "q", "f", "z", "b", "t", "k", "y", "d")

_known: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def has_no_order(kind: type) -> bool:
    """Whether one that is made from elements in an order does not give them back in that."""
    found = _known.get(kind)
    if found is None:
        own = made_in_c(kind) and kind.__module__ != "builtins"
        found = own and issubclass(kind, (Mapping, Set)) and not issubclass(kind, Reversible) and _forgets(kind)
        _known[kind] = found
    return found


def _forgets(kind: Any) -> bool:
    elements = [(key, 0) for key in _PROBE] if issubclass(kind, Mapping) else list(_PROBE)
    try:
        given = list(kind(elements))
    except Exception:
        return False
    return given != list(_PROBE) and set(given) == set(_PROBE)


def by_key(reduced: Any, count: int) -> Any:
    """What a `__reduce__` answered, with all `count` elements in it in the order of their keys, if these are plain."""
    if not isinstance(reduced, tuple) or len(reduced) < 2 or type(reduced[1]) is not tuple:
        return reduced
    return reduced[0], tuple(_sorted(part, count) for part in reduced[1]), *reduced[2:]


def _sorted(part: Any, count: int) -> Any:
    if type(part) not in (list, tuple, dict) or len(part) != count:
        return part
    items = list(part.items()) if type(part) is dict else list(part)
    pairs = type(part) is dict or all(type(item) is tuple and len(item) == 2 for item in items)
    keys = [item[0] if pairs else item for item in items]
    if not all(map(_is_plain, keys)):
        return part
    return [items[place] for place in sorted(range(count), key=lambda place: repr(keys[place]))]


def _is_plain(key: Any) -> bool:
    return type(key) in ATOMS or (type(key) is tuple and all(type(part) in ATOMS for part in key))
