"""
A quick guess whether a cell made something that cannot be kept, while its answer waits: where there may be, the answer
waits a moment longer for the state itself, which knows.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import Any

#: code without any of it changes nothing that has a name
_MAY_BIND = re.compile(r"[=(\[@%!.;]|\b(?:import|def|class|for|with|del|match)\b")
_PLAIN: frozenset[Any] = frozenset({
    int, float, complex, bool, str, bytes, bytearray, type(None), range, slice, types.ModuleType, types.FunctionType,
    types.BuiltinFunctionType, type,
})  # fmt: skip
_PLAIN_NAMES = frozenset({("numpy", "ndarray"), ("pandas", "DataFrame"), ("pandas", "Series"), ("pandas", "Index")})
#: items of a container that are looked at, of all containers together, and how deep these may nest
_LOOK_AT = 100
_LOOK_AT_ALL = 2_000
_MOST_DEPTH = 4


def may_bind(code: str) -> bool:
    """Whether code may make or change anything that has a name."""
    return _MAY_BIND.search(code) is not None


def any_among(names: Iterable[str], namespace: Mapping[str, Any]) -> bool:
    """Whether one of these variables holds more than plain data."""
    return any(not _is_plain(namespace[name]) for name in names if name in namespace)


def _is_plain(value: Any) -> bool:
    level = [value]
    left = _LOOK_AT_ALL
    for _ in range(_MOST_DEPTH):
        inner: list[Any] = []
        for thing in level:
            kind = type(thing)
            if kind in (list, tuple, set, frozenset, dict):
                held: Iterable[Any] = chain(thing, thing.values()) if kind is dict else thing
                inner += islice(held, min(_LOOK_AT, left - len(inner)))
            elif kind not in _PLAIN and (str(kind.__module__).partition(".")[0], kind.__name__) not in _PLAIN_NAMES:
                return False
        left -= len(inner)
        level = inner
    return not level
