"""
Whether what was taken down comes back as it was: it is read in a process that never ran the session's cells, described
there, and compared with the description of the live values.

Which states need it: those of types whose own pickling was trusted, each time; others once for each structure.
"""

from __future__ import annotations

import gc
import itertools
import os
import sys
from collections.abc import Iterable

# Bound here, so that a cell that replaces it does not replace ours.
from json import loads
from typing import Any

import xxhash

from cloche_kernel.checkpoints import second_way
from cloche_kernel.checkpoints.compare import Digest, digest, explain
from cloche_kernel.checkpoints.default_database import NAME
from cloche_kernel.checkpoints.digests import kinds as _warm
from cloche_kernel.checkpoints.digests.walk import ATOMS, known_things
from cloche_kernel.checkpoints.pickler import Taken, give
from cloche_kernel.checkpoints.pristine import Failed, Gone, Pristine, answer_in_child, wait_for, written
from cloche_kernel.patience import TooLong, patiently

#: seconds for reading a state back and describing it, and for describing the live values
SECONDS = 5.0
#: where packages are installed, and no code of the user's
_PREFIXES = (sys.prefix + "/", sys.base_prefix + "/lib")
#: proofs remembered
_MOST_KNOWN = 10_000
#: objects looked at to tell a structure
_STRUCTURE_OBJECTS = 2_000
_ATOMS = ATOMS
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
#: how deep builtin containers may nest, and how many objects a level may hold, to be told plain in a moment
_PLAIN_LEVELS = 5
_PLAIN_OBJECTS = 1_000_000
#: packages that start threads when they are imported: a child that is forked behind them waits for those for ever
_THREADED = frozenset({"duckdb", "_duckdb", "ibis"})
#: packages whose types are pickled as the tests of this project hold them to, one by one
_TESTED = frozenset(
    {"builtins", "collections", "datetime", "decimal", "fractions", "uuid", "pathlib", "re", "zoneinfo", "ipaddress",
     "numpy", "pandas", "pyarrow"}
)  # fmt: skip


class Proofs:
    """Made before any code of the user's runs: it forks the process that states are read in."""

    def __init__(self, namespace: dict[str, Any], shell: Any, seconds: float = SECONDS) -> None:
        self._namespace = namespace
        self._shell = shell
        self.seconds = seconds
        #: structures that need no proof any more
        self.proven: set[int] = set()
        self._read: dict[str, Digest | str] = {}
        self._pristine: Pristine | None = None

    def begin(self) -> None:
        assert _warm  # imported before the fork, for all that will be read
        self._pristine = Pristine(lambda header, buffers, request: _describe(header, buffers, request, {}, self._shell))

    def descriptors(self) -> list[int]:
        """What a process that asks needs open."""
        return [] if self._pristine is None else [self._pristine.fileno()]

    def __call__(self, taken: Taken, values: dict[str, Any]) -> str | None:
        """None where the state comes back as it was or needs no proof; else why it is not kept."""
        named = values.keys() - {NAME}
        if not named or any(name.startswith("\0") for name in named) or not self.needs_proof(taken, values):
            return None
        reason = self.prove(taken, values)
        if reason is None and not _untested(taken.kinds):
            self.proven.add(structure_of(values))
        return reason

    def needs_proof(self, taken: Taken, values: dict[str, Any]) -> bool:
        """Plain values need none, nor does a structure that was proven; types with a reducer of their own always do."""
        if taken.plain:
            return False
        if _untested(taken.kinds):
            return True
        if all(map(is_plain, values.values())):
            return False
        return structure_of(values) not in self.proven

    def prove(self, taken: Taken, values: dict[str, Any]) -> str | None:
        """The round trip and the comparison. What was read once from these very bytes is not read again."""
        try:
            live = self._live(values, trace=False)
        except TooLong:
            return f"comparing it with what comes back takes longer than {self.seconds:g} s"
        except Exception as error:
            return f"looking into it raised {type(error).__name__}: {str(error)[:200]}"
        if live.opaque:
            return f"{sorted(live.opaque)[0]}: what it holds cannot be seen, nor whether it comes back as it was"
        name = _name(taken)
        try:
            back = self._read.get(name)
            if back is None:
                back = self._ask(taken, trace=False)
                if len(self._read) >= _MOST_KNOWN:
                    self._read.clear()
                self._read[name] = back
            if isinstance(back, str):
                return back
            if back.hex == live.hex:
                return None
            return f"it does not come back as it was ({self._difference(taken, values)})"
        except Failed as error:
            # The same bytes would fail again, and perhaps only at the deadline.
            self._read[name] = str(error)
            return str(error)

    def _live(self, values: dict[str, Any], trace: bool) -> Digest:
        known = known_things(self._namespace, self._shell)
        return patiently(lambda: digest(values, self._namespace, self._shell, trace, known), self.seconds)

    def _difference(self, taken: Taken, values: dict[str, Any]) -> str:
        try:
            return explain(self._live(values, trace=True), self._ask(taken, trace=True))
        except (TooLong, Failed):
            return "and where it differs takes too long to say"

    def _ask(self, taken: Taken, trace: bool) -> Digest:
        request = {
            "cwd": _folder(),
            "path": [part for part in sys.path if isinstance(part, str)],
            "trace": trace,
            "modules": _installed(taken.kinds),
        }
        if self._pristine is not None:
            try:
                return _digest_of(self._pristine.ask(taken.header, taken.buffers, request, self.seconds))
            except Gone:
                self._pristine = None
        return _digest_of(self._ask_fork(taken, request))

    def _ask_fork(self, taken: Taken, request: dict[str, Any]) -> Any:
        """Where the pristine process is gone: a fork of the kernel whose namespace is emptied first."""

        namespace = self._namespace
        state, answer = written(taken.header, taken.buffers), os.memfd_create("answer", os.MFD_CLOEXEC)
        request["sizes"] = [len(taken.header), *(buffer.nbytes for buffer in taken.buffers)]
        try:
            child = os.fork()
            if child == 0:

                def read(header: bytes, buffers: list[Any], request: dict[str, Any]) -> Any:
                    _silence()
                    namespace.clear()
                    return _describe(header, buffers, request, namespace, self._shell)

                answer_in_child(state, answer, request, read)
            word = wait_for(child, answer, self.seconds)
            if word != "read":
                raise Failed(word)
            return loads(os.pread(answer, os.fstat(answer).st_size, 0))
        finally:
            os.close(state)
            os.close(answer)


def _describe(header: bytes, buffers: list[Any], request: dict[str, Any], namespace: dict[str, Any], shell: Any) -> Any:
    """In the process that reads: what came back, described."""
    with second_way.watched() as ask:
        values = give(header, buffers, namespace, shell)
    found = digest(values, namespace, shell, request["trace"])
    ask()
    return [found.hex, sorted(found.opaque), [list(line) for line in found.lines]]


def _digest_of(answer: Any) -> Digest:
    hex, opaque, lines = answer
    return Digest(hex, frozenset(opaque), tuple((number, kind, parts) for number, kind, parts in lines))


def _silence() -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"


def _installed(kinds: Iterable[str]) -> list[str]:
    """Modules of installed packages that these types come from: imported once for all that is read back."""
    found = set()
    for kind in kinds:
        name = kind.rpartition(".")[0]
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.startswith(_PREFIXES) and name.partition(".")[0] not in _THREADED:
            found.add(name)
    return sorted(found)


def _name(taken: Taken) -> str:
    hasher = xxhash.xxh3_128(taken.header)
    for buffer in taken.buffers:
        hasher.update(b"\0")
        hasher.update(buffer)
    return str(hasher.hexdigest())


def _untested(kinds: Iterable[str]) -> bool:
    return any(kind.split(".")[0] not in _TESTED for kind in kinds)


def is_plain(value: Any) -> bool:
    """Whether a value is a builtin one all through, or an array of numbers that has its memory to itself."""
    kind = type(value)
    if kind not in _CONTAINERS:
        return kind in _ATOMS or _is_own_array(value, kind)
    level: list[Any] = [value]
    for _ in range(_PLAIN_LEVELS):
        inner = itertools.chain.from_iterable(map(_inside, level))
        level = list(inner)
        kinds = set(map(type, level))
        if kinds <= _ATOMS:
            return True
        if len(level) > _PLAIN_OBJECTS:
            return False
        others = [thing for thing in level if type(thing) not in _ATOMS] if kinds & _ATOMS else level
        arrays = [thing for thing in others if type(thing) not in _CONTAINERS]
        if not all(_is_own_array(thing, type(thing)) for thing in arrays):
            return False
        level = [thing for thing in others if type(thing) in _CONTAINERS] if arrays else others
    return False


def _inside(thing: Any) -> Iterable[Any]:
    return itertools.chain(thing.keys(), thing.values()) if type(thing) is dict else thing


def _is_own_array(value: Any, kind: type) -> bool:
    if kind.__module__ != "numpy" or kind.__name__ != "ndarray":
        return False
    return value.base is None and not value.dtype.hasobject and value.flags.forc


def structure_of(values: dict[str, Any]) -> int:
    """Which types hold which, as far as one sees in a moment; the same for a second value of the same build."""
    edges: set[tuple[int, int]] = set()
    seen = {id(values)}
    todo: list[Any] = [values]
    while todo and len(seen) < _STRUCTURE_OBJECTS:
        holder = todo.pop()
        above = _build_of(holder)
        for thing in gc.get_referents(holder):
            if type(thing) in _ATOMS:
                continue
            edges.add((above, _build_of(thing)))
            if id(thing) not in seen and gc.is_tracked(thing) and _is_looked_into(thing):
                seen.add(id(thing))
                todo.append(thing)
    return hash(frozenset(edges))


def _build_of(thing: Any) -> int:
    """A type by its identity; a function by its code, a class by itself, since each is a structure of its own."""
    kind = type(thing)
    code = getattr(thing, "__code__", None) if kind.__name__ == "function" else None
    if code is not None:
        return hash((id(kind), code))
    return hash((id(kind), id(thing))) if issubclass(kind, type) else id(kind)


def _is_looked_into(thing: Any) -> bool:
    """Not what any session holds by itself: modules, their globals, classes that can be imported."""
    kind = type(thing)
    if kind.__name__ == "module":
        return False
    if kind is dict and "__builtins__" in thing:
        return False
    return not (issubclass(kind, type) and thing.__module__ != "__main__")
