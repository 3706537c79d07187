"""
Which variables a cell could have reached, told from the names in its code. Sound rather than tight: a name that is
only an attribute counts too, and where code can reach what it does not spell out, everything counts.
"""

from __future__ import annotations

import _thread
import ast
import types
from collections.abc import Callable, Iterable, Mapping

from cloche_kernel.checkpoints.functions import DYNAMIC, codes

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
#: characters of IPython's own syntax: what holds one is transformed before it is compiled
_MAGIC = frozenset("%!?")


def names_in(code: str, transform: Callable[[str], str]) -> frozenset[str] | None:
    """Names that the code of a cell speaks of; None where it may reach anything."""
    body = None if not _MAGIC.isdisjoint(code) else _compiled(code)
    body = body or _compiled(transform(code))
    if body is None:
        return None
    found = frozenset(name for part in codes(body) for name in part.co_names)
    return None if not DYNAMIC.isdisjoint(found) else found


def _compiled(code: str) -> types.CodeType | None:
    try:
        return compile(code, "<cell>", "exec", _FLAGS, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def closure(
    named: Iterable[str], members: Mapping[str, frozenset[str]], mentions: Mapping[str, frozenset[str] | None]
) -> set[str] | None:
    """
    The variables reached from the names `named`; None for all.

    `members`: variable → the variables of its group. `mentions`: variable → what its group's functions speak of, or
    None where those can reach anything.
    """
    reached: set[str] = set()
    todo = [name for name in named if name in members]
    while todo:
        name = todo.pop()
        if name in reached:
            continue
        spoken = mentions[name]
        if spoken is None:
            return None
        group = members[name]
        reached |= group
        todo.extend(other for other in spoken if other in members and other not in reached)
    return reached


def runs_beside() -> bool:
    """Whether threads of the session go on between its cells, and change what no cell names."""
    return _thread._count() > 0
