"""Which description a type gets: that of its own, else that of the builtin or library type it derives from."""

from __future__ import annotations

import enum
from typing import Any

from cloche_kernel.checkpoints import singletons
from cloche_kernel.checkpoints.digests import code, content, interpreter, libraries, objects
from cloche_kernel.checkpoints.digests.walk import Describe, Walk

_EXACT: dict[type, Describe] = {**interpreter.EXACT}
_CONTENT: dict[type, Describe] = {**content.CONTENT}


def handler_of(kind: type) -> Describe:
    """How values of exactly this type are described."""
    exact = _EXACT.get(kind)
    if exact is not None:
        return exact
    if issubclass(kind, type):
        return code.describe_class
    if kind in _CONTENT:
        return _exactly(kind, _CONTENT[kind])
    by_value = code.is_by_value(kind)
    for owner in kind.__mro__:
        found = libraries.handler_of(owner)
        if found is not None:
            return _with_attributes(kind, owner, found, by_value)
    if not by_value and libraries.speaks_for_itself(kind):
        return _by_its_word(kind)
    for owner in kind.__mro__:
        found = _CONTENT.get(owner) or (None if owner is object else _EXACT.get(owner))
        if found is not None:
            return _with_attributes(kind, owner, found, by_value)
    return _with_attributes(kind, object, None, by_value)


def _exactly(kind: type, describe: Describe) -> Describe:
    name = code.name_of(kind)

    def handler(walk: Walk, thing: Any) -> list[Any]:
        return [name, *describe(walk, thing)]

    return handler


def _with_attributes(kind: type, base: type, describe: Describe | None, by_value: bool) -> Describe:
    """What `describe` says of the part that is `base`'s, then attributes and slots; a C part by what can be read."""
    skipped = libraries.skipped(kind)
    hidden = describe is None and objects.has_hidden_part(kind)
    slots = objects.slots_of(kind, skipped, in_c=False)
    in_c = objects.slots_of(kind, skipped, in_c=True)
    descriptor = objects.dict_descriptor(kind)

    def handler(walk: Walk, thing: Any) -> list[Any]:
        if not by_value and (name := _name_of_singleton(thing, kind)) is not None:
            return ["named", name]
        parts = [walk.kind(kind)]
        if describe is not None:
            parts.append(describe(walk, thing))
        elif hidden or in_c:
            parts.append(objects.describe_hidden(walk, thing, kind, None if hidden else in_c))
        if descriptor is not None:
            attributes = descriptor.__get__(thing)
            parts.append(
                walk.ref(attributes) if by_value else objects.describe_attributes(walk, attributes, kind, skipped)
            )
        if slots:
            parts.append(objects.describe_slots(walk, thing, slots))
        return parts

    return handler


def _by_its_word(kind: type) -> Describe:
    skipped = libraries.skipped(kind)

    def handler(walk: Walk, thing: Any) -> list[Any]:
        if (name := _name_of_singleton(thing, kind)) is not None:
            return ["named", name]
        try:
            reduced = objects.reduced_of(thing)
        except Exception:
            walk.note_opaque(kind)
            return ["opaque", walk.kind(kind)]
        walk.keep.append(reduced)
        return [walk.kind(kind), objects.describe_reduced(walk, reduced, skipped)]

    return handler


def _name_of_singleton(thing: Any, kind: type) -> str | None:
    """Where the module of its type keeps this very object, or which member of its enumeration it is."""
    if isinstance(thing, enum.Enum):
        members = kind._member_map_  # type: ignore[attr-defined]
        return f"{code.name_of(kind)}.{thing._name_}" if members.get(thing._name_) is thing else None
    place = singletons.place_of(thing, kind)
    return None if place is None else ".".join(place)
