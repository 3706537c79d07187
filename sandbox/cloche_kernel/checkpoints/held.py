"""What is kept of the session: its groups of variables, and what all of them come to, counted as they change."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cloche_kernel.checkpoints import chunks
from cloche_kernel.checkpoints.default_database import DEFAULT
from cloche_kernel.checkpoints.files import Places, are_in_place
from cloche_kernel.checkpoints.pickler import Taken


@dataclass
class Group:
    """Variables that were taken down together. `lost` names each that could not be, with type, reason and cell."""

    names: frozenset[str]
    digest: str
    mentions: frozenset[str] | None
    described: dict[str, Any] | None = None
    lost: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: files of the session that are open in it
    files: Places = field(default_factory=dict)
    #: edition of DuckDB's default connection that is part of it; 0: none is
    database: int = 0
    #: `names`, and those it shares something with that could not be kept, or that could where these could not
    kin: frozenset[str] = frozenset()
    #: seconds that taking it down took
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.kin = self.kin or self.names

    @property
    def is_in_place(self) -> bool:
        """Whether what it shares with the world outside of the values is what it was."""
        return self.database in (0, DEFAULT.edition) and are_in_place(self.files)


def lost_entry(kind: type, reason: str, cell: int) -> dict[str, Any]:
    """What a state says of a value of that type that cell `cell` made and that could not be kept."""
    named = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return {"type": named[:200], "reason": reason[:400], "cell": cell}


@dataclass
class Cut:
    """What a group was taken down as, in pieces with their names."""

    taken: Taken
    digest: str
    header: list[tuple[str, memoryview]]
    buffers: list[list[tuple[str, memoryview]]]
    size: int

    @classmethod
    def of(cls, values: dict[str, Any], taken: Taken) -> Cut:
        header = list(chunks.split_by_content(taken.header))
        buffers = [list(chunks.split_buffer(buffer)) for buffer in taken.buffers]
        digest = chunks.digest((sorted(values), _names(header), [_names(buffer) for buffer in buffers]))
        return cls(taken, digest, header, buffers, len(taken.header) + sum(part.nbytes for part in taken.buffers))


def _names(pieces: list[tuple[str, memoryview]]) -> list[str]:
    return [name for name, _ in pieces]


_editions = itertools.count(1)


class Groups(dict[str, Group]):
    """Variable → its group. Changed through `add` and `drop` alone."""

    def __init__(self) -> None:
        super().__init__()
        #: another number after each change, and with each new one of these
        self.edition = next(_editions)
        #: references to the session's namespace that variables lead to, one for each function of the session's
        self.holds = 0
        self._holds: dict[str, int] = {}
        self._members: dict[str, int] = {}
        self._losing: dict[str, Group] = {}
        #: groups with an open file or a database, by each of their names
        self._placed: dict[str, Group] = {}

    def add(self, group: Group) -> Group:
        self.edition = next(_editions)
        for name in group.names:
            self[name] = group
            if group.lost:
                self._losing[name] = group
            if group.files or group.database:
                self._placed[name] = group
        if group.described is not None:
            self._members[group.digest] = self._members.get(group.digest, 0) + len(group.names)
        return group

    def keep(self, group: Group, before: Groups) -> None:
        """Adds a group whose values stayed since `before`."""
        self.add(group)
        self.hold({name: before._holds[name] for name in group.names if name in before._holds})

    def drop(self, name: str) -> None:
        group = self.pop(name, None)
        if group is None:
            return
        self.edition = next(_editions)
        self._losing.pop(name, None)
        self._placed.pop(name, None)
        self.holds -= self._holds.pop(name, 0)
        if group.described is not None:
            self._members[group.digest] -= 1
            if not self._members[group.digest]:
                del self._members[group.digest]

    def hold(self, references: dict[str, int]) -> None:
        """Notes how many references to the namespace variables lead to."""
        for name, count in references.items():
            self.holds += count - self._holds.get(name, 0)
            self._holds[name] = count

    def holds_of(self, names: Iterable[str]) -> dict[str, int]:
        return {name: self._holds[name] for name in names if name in self._holds}

    def displaced(self) -> set[str]:
        """
        Kin of groups with an open file that is gone from its path, or that another took the place of, or with DuckDB's
        default connection that is another by now.
        """
        gone = [group.kin for group in self._placed.values() if not group.is_in_place]
        return {name for kin in gone for name in kin if name in self}

    def members(self) -> list[str]:
        """Digests of what is kept."""
        return list(self._members)

    def lost(self) -> dict[str, dict[str, Any]]:
        return {name: group.lost[name] for name, group in self._losing.items() if name in group.lost}

    def tokens(self) -> dict[str, str]:
        return {name: group.digest for name, group in self._losing.items()}


#: what a state says beside its groups, and its members
Said = tuple[dict[str, Any], frozenset[str]]


@dataclass
class Learned:
    """What a fork that took a state down has the kernel know."""

    #: names whose groups are gone, and the groups that are new
    dropped: set[str]
    groups: list[Group]
    holds: dict[str, int]
    #: chunks that were sent
    known: set[str]
    elsewhere: tuple[int | None, frozenset[str] | None]
    said: Said
    #: structures that were proven
    proven: set[int]
    #: where memory was cut
    cuts: chunks.Cuts
