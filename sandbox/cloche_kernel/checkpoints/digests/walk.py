"""
The walk over a group of values: every object gets a number when it is first met, and one record of what it holds.

A record names other objects by their number, so identity, cycles and sharing are part of what is compared. Nothing here
asks the pickler or its reducers, and no method of a session's class runs. The walk keeps its own list of what is left
to do: depth costs no stack.
"""

from __future__ import annotations

import builtins
import itertools
import marshal
import numbers
import operator
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import xxhash

from cloche_kernel.checkpoints.classes import made_in_c

#: types whose values are their content; marshal writes them exactly, told apart by type, floats by their bits
ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, type(...)})
_MAY_BE_NAN = frozenset({float, complex})
#: marshal without references and interning, so that equal values give equal bytes
_FORMAT = 2
#: tuples up to this length, and this deep in one another, are written where they are met
_SMALL_TUPLE = 64
_TUPLE_DEPTH = 2
#: objects looked at to tell the elements of a set apart
_SIGNATURE_OBJECTS = 64

#: what an object of one kind holds, as parts of its record
Describe = Callable[["Walk", Any], list[Any]]
#: record of one object: its number, its type's name, its parts
Line = tuple[int, str, str]


class Walk:
    """One walk. `known`: id of something that is the session's or the process's own → what it is called."""

    def __init__(self, known: dict[int, str], outer: dict[int, int] | None = None, trace: bool = False) -> None:
        from cloche_kernel.checkpoints.digests.memory import Memory

        self.known = known
        self.opaque: set[str] = set()
        self.memory = Memory()
        self.lines: list[Line] | None = [] if trace else None
        self.keep: list[Any] = []
        self._outer = outer or {}
        self._numbers: dict[int, int] = {}
        self._queue: deque[Any] = deque()
        self._sets: deque[Any] = deque()
        self._hasher = xxhash.xxh3_128()
        self._kinds: dict[type, Any] = {}
        self._numeric: dict[type, bool] = {}
        self._handlers: dict[type, Describe] = {}

    # What a record is made of ---------------------------------------------------------------------------------------

    def ref(self, thing: Any, depth: int = 0) -> Any:
        """How a record names a value: an atom by itself, everything else by its number."""
        kind = type(thing)
        if kind in ATOMS and not (kind in _MAY_BE_NAN and thing != thing):
            return thing
        key = id(thing)
        number = self._numbers.get(key)
        if number is not None:
            return (number,)
        if key in self._outer:
            return ("outer", self._outer[key])
        name = self.known.get(key)
        if name is not None:
            return ("known", name)
        if kind is tuple and len(thing) <= _SMALL_TUPLE:
            # Which tuple it is does not matter: constants of code come back apart from what is equal to them.
            if _is_plain(thing):
                return ("tuple", thing)
            if depth < _TUPLE_DEPTH:
                return ("tuple of", [self.ref(item, depth + 1) for item in thing])
        if kind is range:
            return ("range", thing.start, thing.stop, thing.step)
        if kind.__name__.endswith("DType") and (inline := _as_value(self, thing)) is not None:
            return inline
        if self._is_number(kind):
            return ("number", f"{kind.__module__}.{kind.__qualname__}", repr(thing))
        number = self._numbers[key] = len(self._numbers)
        self.keep.append(thing)
        self._queue.append(thing)
        return (number,)

    def _is_number(self, kind: type) -> bool:
        """Whether a type is a library's of numbers, made in C: none can be changed, so who shares it says nothing."""
        known = self._numeric.get(kind)
        if known is None:
            own = kind.__module__ not in ("builtins", "decimal", "numpy")
            known = own and kind.__dictoffset__ == 0 and made_in_c(kind) and issubclass(kind, numbers.Number)
            self._numeric[kind] = known
        return known

    def refs(self, things: Iterable[Any]) -> list[Any]:
        ref = self.ref
        return [ref(thing) for thing in things]

    def kind(self, kind: type) -> Any:
        """How a record names a type: one that can be imported by name, one of the session by its number."""
        found = self._kinds.get(kind)
        if found is None:
            from cloche_kernel.checkpoints.digests.code import is_by_value, name_of

            found = self._kinds[kind] = self.ref(kind) if is_by_value(kind) else name_of(kind)
        return found

    def fresh(self) -> Any:
        """A number for something that stands for an object nobody else holds."""
        return self.ref(object())

    def sequence(self, things: list[Any] | tuple[Any, ...]) -> Any:
        """Elements in order. Plain ones at the speed of C, rows of plain ones too."""
        kinds = set(map(type, things))
        if kinds <= ATOMS and not _holds_nan(kinds, things):
            return things
        if len(kinds) == 1 and len(things) > 8 and (rows := self._rows(things, next(iter(kinds)))) is not None:
            return rows
        return self.refs(things)

    def pairs(self, mapping: dict[Any, Any]) -> Any:
        """Items of a dictionary in their order."""
        if dict.__contains__(mapping, "__builtins__"):
            # Globals: the interpreter puts this in by itself, wherever it stands then.
            mapping = {name: value for name, value in dict.items(mapping) if name != "__builtins__"}
        values = list(dict.values(mapping))
        keys = list(dict.keys(mapping))
        return [self.sequence(keys), self.sequence(values)]

    def unordered(self, things: Any) -> None:
        """Elements of a set, later: those that are reached from elsewhere are numbered by then."""
        self._sets.append(things)

    def note_opaque(self, kind: type) -> None:
        self.opaque.add(f"{kind.__module__}.{kind.__qualname__}")

    def _rows(self, things: Any, kind: type) -> Any:
        """Distinct dictionaries, lists or tuples of atoms as one piece; None where they are anything else."""
        if kind is dict:
            inner = itertools.chain.from_iterable(map(dict.values, things))
            keys = set(map(type, itertools.chain.from_iterable(things)))
        elif kind is list or kind is tuple:
            inner, keys = itertools.chain.from_iterable(things), set()
        else:
            return None
        kinds = set(map(type, inner)) | keys
        if not kinds <= ATOMS:
            return None
        if not kinds.isdisjoint(_MAY_BE_NAN):
            for row in things:
                if _holds_nan(_MAY_BE_NAN, list(row.values()) + list(row) if kind is dict else row):
                    return None
        if kind is tuple:
            return ["rows", things]
        ids = list(map(id, things))
        if len(set(ids)) != len(ids) or not self._numbers.keys().isdisjoint(ids):
            return None
        if not self._outer.keys().isdisjoint(ids) or not self.known.keys().isdisjoint(ids):
            return None
        start = len(self._numbers)
        self._numbers.update(zip(ids, itertools.count(start)))
        return ["rows", start, things]

    # The walk itself ------------------------------------------------------------------------------------------------

    def run(self, values: dict[str, Any], most: int | None = None) -> str:
        """Walks all and answers with the digest in hex. `most`: objects looked at."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._write(-1, "variables", [[name, self.ref(values[name])] for name in sorted(values)])
            count = 0
            while self._queue or self._sets:
                if self._queue:
                    thing = self._queue.popleft()
                    self._write(self._numbers[id(thing)], type(thing).__qualname__, self._describe(thing))
                else:
                    things = self._sets.popleft()
                    self._write(self._numbers.get(id(things), -1), "elements", self._elements(things))
                count += 1
                if most is not None and count >= most:
                    break
        for index, part in enumerate(self.memory.parts()):
            self._write(index, "memory", part)
        return str(self._hasher.hexdigest())

    def _describe(self, thing: Any) -> list[Any]:
        kind = type(thing)
        handler = self._handlers.get(kind)
        if handler is None:
            from cloche_kernel.checkpoints.digests.kinds import handler_of

            handler = self._handlers[kind] = handler_of(kind)
        return handler(self, thing)

    def _write(self, number: int, kind: str, parts: list[Any]) -> None:
        self._hasher.update(marshal.dumps((number, parts), _FORMAT))
        if self.lines is not None:
            self.lines.append((number, kind, repr(parts)[:20_000]))

    def _elements(self, things: Any) -> list[Any]:
        """A set's elements in an order that is the same in any process."""
        kinds = set(map(type, things))
        if kinds <= ATOMS and not _holds_nan(kinds, things):
            return [frozenset(things)]
        plain, numbered, others = [], [], []
        for thing in things:
            if type(thing) in ATOMS and thing == thing:
                plain.append(thing)
            elif id(thing) in self._numbers:
                numbered.append(self._numbers[id(thing)])
            else:
                others.append((self._signature(thing), thing))
        others.sort(key=operator.itemgetter(0))
        return [frozenset(plain), sorted(numbered), [self.ref(thing) for _, thing in others]]

    def _signature(self, thing: Any) -> str:
        if len(self._outer) > 0:
            return ""  # a set within an element of a set
        inner = Walk(self.known, self._numbers)
        return inner.run({"": thing}, _SIGNATURE_OBJECTS)


def _as_value(walk: Walk, thing: Any) -> Any:
    """A dtype: numpy makes equal ones one and the same as it pleases."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(thing, numpy.dtype):
        return None
    from cloche_kernel.checkpoints.digests.ndarrays import describe_dtype

    return describe_dtype(walk, thing)


def _is_plain(thing: tuple[Any, ...], depth: int = 0) -> bool:
    """Whether a tuple holds atoms, and tuples of them, alone."""
    for item in thing:
        kind = type(item)
        if kind in _MAY_BE_NAN:
            if item != item:
                return False
        elif kind not in ATOMS and not (
            kind is tuple and depth < _TUPLE_DEPTH and len(item) <= _SMALL_TUPLE and _is_plain(item, depth + 1)
        ):
            return False
    return True


def _holds_nan(kinds: Iterable[type], things: Iterable[Any]) -> bool:
    """Whether a NaN is among atoms: two of them are told apart by identity."""
    if _MAY_BE_NAN.isdisjoint(kinds):
        return False
    return True in map(operator.ne, things, things)


def known_things(namespace: dict[str, Any], shell: Any) -> dict[int, str]:
    """What stands in every session by itself and is named, not described."""
    found = {id(namespace): "namespace", id(builtins): "builtins", id(builtins.__dict__): "builtins"}
    main = sys.modules.get("__main__")
    if main is not None:
        found[id(main)] = "main"
    for name in ("stdin", "stdout", "stderr"):
        found[id(getattr(sys, name))] = f"sys.{name}"
    if shell is not None:
        found[id(shell)] = "shell"
    return found
