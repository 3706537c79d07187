"""What the parts of a load hand to each other: the request, one file, one loaded value, the session's limits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict

if TYPE_CHECKING:
    from cloche_kernel.loading.scratch import Scratch


class Source(TypedDict):
    """One staged file; `size` in bytes."""

    path: str
    label: str
    size: int


class LoadRequest(TypedDict):
    """Mirrors `LoadRequest` of src/kernel/messages.ts."""

    name: str
    format: NotRequired[str]
    sources: list[Source]
    directory: bool


class Memory(Protocol):
    """The session's memory, in bytes."""

    @property
    def limit(self) -> int: ...

    def available(self) -> int: ...


@dataclass(frozen=True)
class Loaded:
    """The value to bind and the text that is the load's answer."""

    value: object
    profile: str


class LoadError(Exception):
    """A load that cannot be done: what was tried, and what to do instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class DoesNotFit(LoadError):
    """The value would take more memory than a load may use."""


@dataclass(frozen=True)
class File:
    """One file to read."""

    #: where its bytes are now; differs from `origin` once it was decompressed or unpacked
    path: str
    #: what the user calls it
    label: str
    #: path under /data that user code can open itself
    origin: str
    #: `bytes`
    size: int
    #: Python expression that will reach the value, for the examples in a profile
    expression: str

    def moved(self, path: str, size: int, label: str | None = None) -> File:
        return replace(self, path=path, size=size, label=label or self.label)


@dataclass
class Value:
    """One loaded value and what its profile says."""

    value: object
    #: one line: type and shape
    summary: str
    #: how the file was read: format, encoding, delimiter
    facts: list[str] = field(default_factory=list)
    #: what the reader should know: repairs, doubts, what was left out
    notes: list[str] = field(default_factory=list)
    #: the profile itself
    details: list[str] = field(default_factory=list)


@dataclass
class Allowance:
    """What all archives of one load may still unpack, nested ones included."""

    #: `bytes`
    bytes: int
    members: int


@dataclass
class Session:
    """What a loader may use."""

    memory: Memory
    scratch: Scratch
    allowance: Allowance
    #: archives around the file at hand
    depth: int = 0
    #: format the caller named, else None
    format: str | None = None

    def room(self) -> int:
        """Bytes one value may take: half of what is free."""
        return self.memory.available() // 2

    def inside(self) -> Session:
        """The session for the members of an archive."""
        return replace(self, depth=self.depth + 1, format=None)
