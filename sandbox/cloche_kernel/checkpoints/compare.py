"""
What a group of variables is, as a fingerprint: the same in another process for what came back right, and another one
for what did not.

It goes by types, content, attributes, identity and shared memory, read at the level of C, and knows nothing of how the
values were taken down.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

from cloche_kernel.checkpoints.digests.walk import Line, Walk, known_things


@dataclass(frozen=True)
class Digest:
    """`opaque`: types of which nothing could be seen, so that nothing was compared. `lines`: only where asked for."""

    hex: str
    opaque: frozenset[str]
    lines: tuple[Line, ...] = ()


def digest(
    values: dict[str, Any],
    namespace: dict[str, Any],
    shell: Any = None,
    trace: bool = False,
    known: dict[int, str] | None = None,
) -> Digest:
    """
    The fingerprint of `values`. `namespace`: the globals of the session's functions.

    `trace`: with the records themselves, by which `explain` says where two differ. `known`: what `known_things` said
    before the standard streams were put aside. It may raise what a library raises whose value is looked into.
    """
    walk = Walk(known_things(namespace, shell) if known is None else known, trace=trace)
    collects = gc.isenabled()
    gc.disable()
    try:
        found = walk.run(values)
    finally:
        if collects:
            gc.enable()
    return Digest(found, frozenset(walk.opaque), tuple(walk.lines or ()))


def explain(before: Digest, after: Digest) -> str:
    """Where the second differs from the first, for a person."""
    for one, other in zip(before.lines, after.lines, strict=False):
        if one != other:
            return f"{one[1]}: {_around(one[2], other[2])}" if one[1] == other[1] else f"{one[1]} became {other[1]}"
    return "it holds fewer or more objects"


def _around(one: str, other: str) -> str:
    at = next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    start = max(0, at - 30)
    return f"{one[start : at + 40]!r} became {other[start : at + 40]!r}"
