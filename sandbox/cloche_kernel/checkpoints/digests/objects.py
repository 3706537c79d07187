"""Instances: attributes, slots, and what can be read of a part that is written in C."""

from __future__ import annotations

import copyreg
import functools
import re
import types
from typing import Any

from cloche_kernel.checkpoints.classes import made_in_c
from cloche_kernel.checkpoints.digests.code import is_by_value
from cloche_kernel.checkpoints.digests.unordered import by_key, has_no_order
from cloche_kernel.checkpoints.digests.walk import ATOMS, Walk
from cloche_kernel.checkpoints.wrappers import is_unspoken, words_of

_POINTER = 8
_MEMORY = re.compile(r"^_+(hash|cached?|memo)(_|$)|_(hash|cache|memo)$")
_PLAIN = ATOMS | {tuple, list, dict, frozenset, set}
#: memory of an object itself, which every type has, in bytes
_BARE = object.__basicsize__


def dict_descriptor(kind: type) -> Any:
    """Through which instances have a `__dict__`, whatever the class says of that name; or None."""
    for owner in kind.__mro__:
        found = owner.__dict__.get("__dict__")
        if type(found) is types.GetSetDescriptorType:
            return found
    return None


def describe_attributes(walk: Walk, attributes: dict[str, Any], kind: type, skipped: frozenset[str]) -> Any:
    # A library puts its attributes back in an order of its own.
    kept = [
        name for name in attributes if name not in skipped and not _is_memory(name) and not _is_computed(kind, name)
    ]
    return [[str(name), walk.ref(attributes[name])] for name in sorted(kept, key=str)]


def _is_memory(name: Any) -> bool:
    """Whether a library's attribute is by its name what it remembers of its work and finds again: `_hash`, `_cache`."""
    return type(name) is str and _MEMORY.search(name) is not None


def _is_computed(kind: type, name: Any) -> bool:
    """Whether an attribute is a library's memory of what it computed, which it computes again."""
    for owner in kind.__mro__:
        found = owner.__dict__.get(name)
        if found is not None:
            return isinstance(found, functools.cached_property)
    return False


def slots_of(kind: type, skipped: frozenset[str], in_c: bool) -> list[tuple[str, str, Any]]:
    """Slots as (class, name, descriptor), in an order that is the same in any process; `in_c`: of which classes."""
    found = [
        (owner.__qualname__, name, member)
        for owner in kind.__mro__
        if owner is not object and (made_in_c(owner) and owner.__module__ != "builtins") == in_c
        for name, member in owner.__dict__.items()
        if type(member) is types.MemberDescriptorType
        and name not in skipped
        and not name.startswith("__")
        and not (not is_by_value(owner) and _is_memory(name))
    ]
    return sorted(found, key=lambda slot: slot[:2])


def describe_slots(walk: Walk, thing: Any, slots: list[tuple[str, str, Any]]) -> list[Any]:
    found = []
    for owner, name, member in slots:
        try:
            value = member.__get__(thing)
        except AttributeError:
            continue
        found.append([owner, name, walk.ref(value)])
    return found


def has_hidden_part(kind: type) -> bool:
    """Whether instances hold more, in C, than attributes and slots."""
    slots = sum(
        type(member) is types.MemberDescriptorType and not name.startswith("__weakref")
        for owner in kind.__mro__
        for name, member in owner.__dict__.items()
    )
    expected = _BARE + _POINTER * (slots + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0))
    return kind.__basicsize__ > expected or kind.__itemsize__ > 0


def reduced_of(thing: Any) -> Any:
    """What its own pickling says of it, as pickle asks."""
    registered = copyreg.dispatch_table.get(type(thing))
    return thing.__reduce_ex__(4) if registered is None else registered(thing)


def describe_hidden(walk: Walk, thing: Any, kind: type, else_slots: list[tuple[str, str, Any]] | None) -> list[Any]:
    """
    Plain values that its C descriptors give, and what its own pickling says of it. Without the latter: what lies in
    `else_slots` where that is all there is, else opaque.
    """
    readable = []
    for owner in kind.__mro__:
        for name, member in owner.__dict__.items():
            if type(member) is types.GetSetDescriptorType and not name.startswith("_"):
                try:
                    value = member.__get__(thing, kind)
                except Exception:
                    continue
                if _is_readable(value):
                    walk.keep.append(value)
                    readable.append([name, walk.ref(value)])
    try:
        reduced = reduced_of(thing)
    except Exception:
        if else_slots is not None:
            return describe_slots(walk, thing, else_slots)
        words = words_of(thing) if is_unspoken(kind) else None
        if words is not None:
            return ["words", [word if part is None else walk.ref(part) for part, word in words]]
        walk.note_opaque(kind)
        return ["opaque", sorted(readable, key=lambda part: str(part[0]))]
    if has_no_order(kind):
        reduced = by_key(reduced, len(thing))
    walk.keep.append(reduced)
    return [sorted(readable, key=lambda part: str(part[0])), describe_reduced(walk, reduced)]


def describe_reduced(walk: Walk, reduced: Any, skipped: frozenset[str] = frozenset()) -> list[Any]:
    """What a `__reduce__` answered: what it calls, with what, and the state."""
    if isinstance(reduced, str):
        return ["global", reduced]
    made, args, *rest = reduced
    state, items, pairs = (*rest, None, None, None)[:3]
    return [
        walk.ref(made),
        walk.refs(args),
        _state(walk, state, skipped),
        None if items is None else walk.refs(list(items)),
        None if pairs is None else [walk.refs(pair) for pair in pairs],
    ]


def _state(walk: Walk, state: Any, skipped: frozenset[str]) -> Any:
    """A state's attributes by name: their order is the library's affair."""
    if not state and type(state) in (dict, tuple):
        return None
    if type(state) is tuple and len(state) == 2 and all(type(part) in (dict, type(None)) for part in state):
        return [_state(walk, part, skipped) for part in state]
    if type(state) is not dict:
        return walk.ref(state)
    return [[str(name), walk.ref(state[name])] for name in sorted(state, key=str) if name not in skipped]


def _is_readable(value: Any, depth: int = 0) -> bool:
    kind = type(value)
    if kind in ATOMS:
        return True
    if kind not in _PLAIN or depth > 3 or len(value) > 10_000:
        return False
    items = [*value.keys(), *value.values()] if kind is dict else value
    return all(_is_readable(item, depth + 1) for item in items)
