"""Values that look into others: iterators in the middle, views of dictionaries, matches, memoryviews."""

from __future__ import annotations

import gc
import operator
import re
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope

_NAMES = ("keys", "values", "items")
_BOTH: tuple[Any, Any] = ({}, OrderedDict())
_VIEWS = {type(getattr(made, name)()): name for made in _BOTH for name in _NAMES}
_ITERATORS = {type(iter(getattr(made, name)())): name for made in _BOTH for name in _NAMES}
_REVERSED = {type(reversed(getattr({}, name)())): name for name in _NAMES}


def _reduce_view(found: Any, scope: Scope) -> Reduced:
    return view_of, (_container(found), _VIEWS[type(found)])


def view_of(mapping: Any, name: str) -> Any:
    owner = OrderedDict if isinstance(mapping, OrderedDict) else dict
    return getattr(owner, name)(mapping)


def _container(found: Any) -> Any:
    referents = [held for held in gc.get_referents(found) if isinstance(held, (dict, set, frozenset))]
    return referents[0] if referents else None


def _reduce_dict_iterator(found: Any, scope: Scope) -> Reduced:
    """The same iterator over the same dictionary, as far on."""
    kind = type(found)
    mapping = _container(found)
    if mapping is None:
        return finished, (kind in _REVERSED,)
    if isinstance(mapping, OrderedDict):
        raise NotKept("an iterator over an ordered dictionary")
    left = operator.length_hint(found)
    if not left and (len(mapping) or _has_changed(found)):
        raise NotKept("an iterator over a dictionary that has since changed, or that is at its end")
    name = _ITERATORS.get(kind) or _REVERSED[kind]
    return advanced, (mapping, name, kind in _REVERSED, len(mapping), left)


def _has_changed(found: Any) -> bool:
    try:
        found.__reduce__()
    except RuntimeError:
        return True
    return False


def finished(backwards: bool) -> Iterator[Any]:
    made: Iterator[Any] = reversed({}) if backwards else iter({})
    next(made, None)
    return made


def advanced(mapping: Any, name: str, backwards: bool, size: int, left: int) -> Iterator[Any]:
    if len(mapping) != size:
        raise NotKept("an iterator over a dictionary that holds the iterator itself")
    view = view_of(mapping, name)
    made: Iterator[Any] = reversed(view) if backwards else iter(view)
    for _ in range(size - left):
        next(made)
    return made


def _reduce_set_iterator(found: Any, scope: Scope) -> Reduced:
    held = _container(found)
    if held is None:
        return rest_of_set, ([],)
    left = found.__reduce__()[1][0]
    if len(left) == len(held):
        return iter, (held,)
    if not left:
        raise NotKept("an iterator over a set that has since changed, or that is at its end")
    return rest_of_set, (left,)


def rest_of_set(left: list[Any]) -> Iterator[Any]:
    """What an iterator over a set had not given yet. The order within a set is not kept, its place cannot be either."""
    return iter(set(left))


def _reduce_proxy(proxy: Any, scope: Scope) -> Reduced:
    mapping = gc.get_referents(proxy)[0]
    if type(mapping) is dict and "__module__" in mapping:
        for owner in gc.get_referrers(mapping):
            if isinstance(owner, type) and gc.get_referents(owner.__dict__)[0] is mapping:
                return members_of, (owner,)
    return types.MappingProxyType, (mapping,)


def members_of(cls: type) -> Any:
    return cls.__dict__


def reduce_match(match: Any, scope: Scope) -> Reduced:
    """By the search that finds it again; also where a library matches as `re` does."""
    pattern, place = match.re, (match.string, match.pos, match.endpos)
    for method in ("search", "match", "fullmatch"):
        if _same(getattr(pattern, method)(*place), match):
            return match_again, (pattern, method, *place)
    for number, found in enumerate(pattern.finditer(*place)):
        if _same(found, match):
            return match_nth, (pattern, number, *place)
    raise NotKept("a match of a regular expression that no search gives again")


def _same(found: Any, match: Any) -> bool:
    return found is not None and _read(found) == _read(match)


def _read(match: Any) -> tuple[Any, ...]:
    own = () if type(match) is re.Match else (match.allspans(), match.partial, match.fuzzy_counts, match.fuzzy_changes)
    return match.regs, match.lastindex, match.pos, match.endpos, *own


def match_again(pattern: re.Pattern[Any], method: str, string: Any, pos: int, endpos: int) -> Any:
    return getattr(pattern, method)(string, pos, endpos)


def match_nth(pattern: re.Pattern[Any], number: int, string: Any, pos: int, endpos: int) -> Any:
    for index, found in enumerate(pattern.finditer(string, pos, endpos)):
        if index == number:
            return found
    raise ValueError("the match is not found again")


def _reduce_memoryview(view: memoryview, scope: Scope) -> Reduced:
    """Over the same memory, at the same place."""
    try:
        owner = view.obj
    except ValueError:
        raise NotKept("a memoryview that was released") from None
    arrays = sys.modules.get("numpy")
    if not (isinstance(owner, (bytes, bytearray)) or type(owner).__name__ == "array"
            or (arrays is not None and isinstance(owner, arrays.ndarray))):  # fmt: skip
        raise NotKept("a memoryview over memory that is not kept")
    if not view.nbytes:
        return memoryview_at, (owner, 0, 0, view.format, view.shape, None, view.readonly)
    step = None
    if not view.c_contiguous:
        if view.ndim != 1 or not view.strides or view.strides[0] % view.itemsize:
            raise NotKept("a memoryview with gaps between its rows")
        step = view.strides[0] // view.itemsize
    start = _address(view) - _address(memoryview(owner))
    length = view.nbytes
    if step is not None:
        reach = (len(view) - 1) * abs(step) * view.itemsize
        length = reach + view.itemsize
        start -= reach if step < 0 else 0
    return memoryview_at, (owner, start, length, view.format, view.shape, step, view.readonly)


def _address(view: memoryview) -> int:
    import numpy

    return int(numpy.asarray(view).__array_interface__["data"][0])


def memoryview_at(
    owner: Any, start: int, length: int, form: str, shape: tuple[int, ...], step: int | None, readonly: bool
) -> memoryview:
    octets: Any = memoryview(owner).cast("B")[start : start + length]
    made: Any = octets
    if step is not None:
        made = octets.cast(form)[::step]
    elif len(shape) == 1:
        made = octets if form == "B" else octets.cast(form)
    else:
        made = octets.cast(form, shape)
    found: memoryview = made.toreadonly() if readonly and not made.readonly else made
    return found


def _refuse_scanner(scanner: Any, scope: Scope) -> Reduced:
    raise NotKept("an iterator over matches: how far it is cannot be seen")


REDUCERS: dict[type, Callable[[Any, Scope], Reduced]] = {
    **{kind: _reduce_view for kind in _VIEWS},
    **{kind: _reduce_dict_iterator for kind in (*_ITERATORS, *_REVERSED)},
    type(iter(set())): _reduce_set_iterator,
    types.MappingProxyType: _reduce_proxy,
    re.Match: reduce_match,
    memoryview: _reduce_memoryview,
    type(re.compile("").scanner("")): _refuse_scanner,  # type: ignore[attr-defined]
}
