"""
A quick guess whether a cell made something that cannot be kept, while its answer waits: where there may be, the answer
waits a moment longer for the state itself, which knows.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Any

from cloche_kernel.checkpoints import reach

#: code without any of it changes nothing that has a name
_MAY_BIND = re.compile(r"[=(\[@%!.;]|\b(?:import|def|class|for|with|del|match)\b")
_PLAIN: frozenset[Any] = frozenset({
    int, float, complex, bool, str, bytes, bytearray, type(None), range, slice, types.ModuleType, types.FunctionType,
    types.BuiltinFunctionType, type,
})  # fmt: skip
_PLAIN_NAMES = frozenset({("numpy", "ndarray"), ("pandas", "DataFrame"), ("pandas", "Series"), ("pandas", "Index")})
#: items of a container that are looked at
_LOOK_AT = 100


def may_have_made_some(code: str, namespace: dict[str, Any], transform: Callable[[str], str]) -> bool:
    """Whether a variable that `code` speaks of holds more than plain data."""
    if not _MAY_BIND.search(code):
        return False
    names = reach.names_in(code, transform)
    return names is None or any(not _is_plain(namespace[name]) for name in names if name in namespace)


def _is_plain(value: Any, deep: bool = True) -> bool:
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind in (list, tuple, set, frozenset, dict):
        held: Iterable[Any] = chain(value, value.values()) if kind is dict else value
        return deep and all(_is_plain(item, False) for item in islice(held, _LOOK_AT))
    return (kind.__module__.partition(".")[0], kind.__name__) in _PLAIN_NAMES
