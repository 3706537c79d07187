"""What the parts of a checkpoint share: the refusal, the shape of a reduction, and where values live."""

from __future__ import annotations

import mmap
import sys
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

#: what `object.__reduce__` may answer, with a state setter as the sixth part; or NotImplemented
Reduced = Any


class NotKept(Exception):
    """A value cannot come back as it is. The text is a reason a person reads: "a running generator (it holds …)"."""


class Mapped(mmap.mmap):
    """Memory that a restore mapped for one value: the session's own, and not a file of the person's."""


class Mark:
    """Stands for something of the kernel's own, by name, in what is written down."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> Any:
        from cloche_kernel.checkpoints import rebuild

        return rebuild.ours, (self.name,)


@dataclass
class Scope:
    """The live session as a pickler sees it, and what it learns on its way."""

    namespace: dict[str, Any]
    #: id of something of the kernel's own → the name it is stored by
    names_of_ours: dict[int, str] = field(default_factory=dict)
    mentions: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    #: something was met that is no plain builtin value
    met_more: bool = False
    marks: dict[str, Mark] = field(default_factory=dict)
    #: id of a function's globals → the module of the session's whose they are, or None
    modules: dict[int, Any] = field(default_factory=dict)
    #: what the person should know of values that are kept
    remarks: list[str] = field(default_factory=list)
    #: path → device and number of a file that is open
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: DuckDB's default connection was met
    default_database: bool = False
    #: a function was met that can reach what its code does not name
    risky: bool = False
    #: an instance was met whose hash may be made of what it refers to
    hashed_by_user: bool = False
    #: whether libraries' instances go by what they hold where their library says otherwise
    by_content: bool = False
    #: types of theirs that go by their library's word nevertheless
    worded: frozenset[str] = frozenset()
    #: class of a library → ids of what its module and the class keep lists of
    listed: dict[type, set[int]] = field(default_factory=dict)
    #: types of those that went, or would go, another way by that
    spoken: set[str] = field(default_factory=set)
    #: the type of the library's value that was asked last how it is pickled
    asked: str = ""

    @classmethod
    def of(cls, namespace: dict[str, Any], shell: Any = None) -> Scope:
        ours: dict[int, str] = {id(namespace): "namespace"}
        main = sys.modules.get("__main__")
        if main is not None:
            ours[id(main)] = "main"
        for name in ("stdin", "stdout", "stderr"):
            ours[id(getattr(sys, name))] = f"sys.{name}"
        for name in ("modules", "path", "argv"):
            ours[id(getattr(sys, name))] = f"sys.{name}"
        if shell is not None:
            ours[id(shell)] = "shell"
        return cls(namespace, ours)

    def mark(self, name: str) -> Mark:
        """What is written in place of something of the kernel's own; one for each name."""
        return self.marks.setdefault(name, Mark(name))

    def remember_module(self, module: Any) -> None:
        self.modules[id(vars(module))] = module

    def note_library(self, kind: type) -> None:
        self.asked = f"{kind.__module__}.{kind.__qualname__}"
        self.kinds.add(self.asked)


def find_ours(name: str, namespace: dict[str, Any], shell: Any = None) -> Any:
    """What `Scope.of` gave a name to, in the kernel that reads."""
    if name == "namespace":
        return namespace
    if name == "main":
        return sys.modules["__main__"]
    if name == "shell":
        return shell
    if name.startswith("nan of "):
        return import_module(name.removeprefix("nan of ")).nan
    if name.startswith("globals of "):
        return vars(import_module(name.removeprefix("globals of ")))
    return getattr(sys, name.removeprefix("sys."))
