"""
After each cell: which variables it could have changed, those taken down, and what is new of them sent to the host.

The manifest names every group of the session by its digest; a group the cell did not reach keeps the one it had.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloche_kernel.checkpoints import chunks, process_state, reach, workspace
from cloche_kernel.checkpoints.contract import NotKept, Scope
from cloche_kernel.checkpoints.groups import partition
from cloche_kernel.checkpoints.pickler import Taken, take
from cloche_kernel.checkpoints.placeholder import Placeholder, text_of
from cloche_kernel.patience import TooLong, patiently

#: names of groups that are not variables
PROCESS = "\0process"
FILES = "\0files"
#: seconds that taking down one group may take
_SECONDS = 20.0
_MANIFEST_PIECE = 524_288

Send = Callable[[dict[str, Any], Any], None]
#: asks a fresh process whether what was taken comes back as it was; None, or why not
Proof = Callable[[Taken, dict[str, Any]], "str | None"]


@dataclass
class Group:
    """Variables that were taken down together. `lost` names each that could not be, with type, reason and cell."""

    names: frozenset[str]
    digest: str
    mentions: frozenset[str] | None
    described: dict[str, Any] | None = None
    lost: dict[str, dict[str, Any]] = field(default_factory=dict)


class Checkpoints:
    """What the host knows of this session's state. `send` takes one frame to the host."""

    def __init__(
        self,
        namespace: dict[str, Any],
        hidden: Callable[[], Mapping[str, Any]],
        shell: Any,
        send: Send,
        proof: Proof | None = None,
    ) -> None:
        self._namespace = namespace
        self._hidden = hidden
        self._shell = shell
        self._send = send
        self._proof = proof
        self.groups: dict[str, Group] = {}
        self._identities: dict[str, int] = {}
        self._known: set[str] = set()
        self._process: dict[str, Any] = {}
        self._files: dict[str, workspace.Entry] = {}
        self._file_chunks: dict[str, list[str]] = {}
        self.initial_process: dict[str, Any] = {}

    def begin(self) -> None:
        """Before the first cell: what the process is like when nothing has happened."""
        self.initial_process = self._process = process_state.look()

    def value(self, name: str) -> Any:
        return self._namespace[name]

    def adopt(self, groups: list[tuple[Group, dict[str, Any]]], known: Iterable[str]) -> None:
        """The state is now these groups, of which the host has every chunk."""
        self.groups = {name: group for group, _ in groups for name in group.names}
        self._identities = {name: id(value) for _, values in groups for name, value in values.items()}
        self._known.update(known)

    def learn_files(self, chunks_of: dict[str, list[str]]) -> None:
        self._file_chunks = chunks_of

    def look_again(self) -> None:
        """After the process and the files were put back: what they are like is no change of the next cell's."""
        self._process = process_state.look()
        try:
            self._files = workspace.look()
        except workspace.TooMany:
            self._files = {}

    def forget(self) -> None:
        """The host has nothing any more: the next checkpoint sends everything."""
        self.groups.clear()
        self._identities.clear()
        self._known.clear()
        self._process = {}
        self._files = {}
        self._file_chunks.clear()

    def visible(self) -> dict[str, Any]:
        """The session's variables: all that the shell did not put there itself."""
        hidden = self._hidden()
        return {
            name: value
            for name, value in self._namespace.items()
            if isinstance(name, str)
            and not (name in hidden and hidden[name] is value)
            and name not in ("_", "__", "___", "__builtins__", "__name__", "__doc__", "__loader__", "__spec__")
        }

    def after(self, cell: int, code: str | None) -> dict[str, Any]:
        """Takes down what cell `cell` changed and sends it. `code` None: anything may have changed."""
        now = self.visible()
        dirty = self._dirty(now, code)
        gone = [name for name in self.groups if name not in now and not name.startswith("\0")]
        touched = set(gone)
        for name in dirty:
            if name in self.groups:
                touched |= self.groups[name].names
        before = {name: self.groups[name] for name in touched if name in self.groups}
        for name in touched:
            self.groups.pop(name, None)
            self._identities.pop(name, None)
        fresh: list[Group] = []
        for names in partition(now, sorted((set(dirty) | touched) & set(now))):
            fresh += self._take_group(cell, names, now, before)
        if code is None or dirty or gone or _calls_something(code):
            fresh += self._take_process(cell)
            fresh += self._take_files(cell)
        return self._send_manifest(cell, fresh)

    def _dirty(self, now: dict[str, Any], code: str | None) -> set[str]:
        """Variables the cell may have bound, changed or made share something."""
        if code is None or reach.runs_beside():
            return set(now)
        named = reach.names_in(code, self._shell.transform_cell)
        if named is None:
            return set(now)
        members = {name: group.names for name, group in self.groups.items()}
        mentions = {name: group.mentions for name, group in self.groups.items()}
        reached = reach.closure(named, members, mentions)
        if reached is None:
            return set(now)
        rebound = {name for name, value in now.items() if self._identities.get(name) != id(value)}
        if not rebound <= (reached | named):
            # Something was bound under a name that the code does not spell out: then more may have happened.
            return set(now)
        return (reached | rebound) & set(now)

    def _take_group(
        self, cell: int, names: frozenset[str], now: dict[str, Any], before: Mapping[str, Group]
    ) -> list[Group]:
        """The group, and apart from it each variable of its that cannot be kept."""
        values = {name: now[name] for name in sorted(names)}
        taken, reason = self._attempt(values)
        if taken is not None:
            return [self._keep(cell, values, taken)]
        made: list[Group] = []
        if len(values) > 1:
            failing = {name: why for name, value in values.items() if (why := self._attempt({name: value})[1])}
            if failing and len(failing) < len(values):
                rest = frozenset(values) - failing.keys()
                for name, why in failing.items():
                    made.append(self._lose(cell, {name: now[name]}, why, before))
                return made + self._take_group(cell, rest, now, before)
        made.append(self._lose(cell, values, reason, before))
        return made

    def _attempt(self, values: dict[str, Any]) -> tuple[Taken | None, str]:
        for value in values.values():
            if type(value) is Placeholder:
                return None, text_of(value)
        scope = Scope.of(self._namespace, self._shell)
        try:
            taken = patiently(lambda: take(values, scope), _SECONDS)
            wrong = self._proof(taken, values) if self._proof is not None else None
            return (None, wrong) if wrong else (taken, "")
        except NotKept as error:
            return None, str(error)
        except TooLong:
            return None, f"writing it down takes longer than {_SECONDS:.0f} s"
        except MemoryError:
            return None, "no memory is left to write it down"
        except BaseException as error:
            inner: BaseException | None = error
            while inner is not None:
                if isinstance(inner, NotKept):
                    return None, str(inner)
                inner = inner.__cause__ or inner.__context__
            return None, f"{type(error).__name__}: {str(error)[:200]}"

    def _keep(self, cell: int, values: dict[str, Any], taken: Taken) -> Group:
        header = self._send_chunks(cell, taken.header)
        buffers = [self._send_chunks(cell, buffer) for buffer in taken.buffers]
        names = frozenset(values)
        digest = chunks.digest((sorted(names), header, buffers))
        size = len(taken.header) + sum(buffer.nbytes for buffer in taken.buffers)
        mentions = None if taken.risky else taken.mentions
        described = {"digest": digest, "names": sorted(names), "header": header, "buffers": buffers, "bytes": size,
                     "mentions": None if mentions is None else sorted(mentions)}  # fmt: skip
        return self._note(Group(names, digest, mentions, described), values)

    def _lose(
        self, cell: int, values: dict[str, Any], reason: str, before: Mapping[str, Group]
    ) -> Group:
        lost = {}
        for name, value in values.items():
            old = before[name].lost.get(name) if name in before else None
            same = old is not None and old["reason"] == reason
            kind = type(value)
            entry = {"type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")[:200]}
            lost[name] = {**entry, "reason": reason[:400], "cell": old["cell"] if old and same else cell}
        digest = chunks.digest(("lost", sorted(lost.items(), key=lambda item: item[0]), cell))
        return self._note(Group(frozenset(values), digest, None, None, lost), values)

    def _note(self, group: Group, values: dict[str, Any]) -> Group:
        for name, value in values.items():
            self.groups[name] = group
            self._identities[name] = id(value)
        return group

    def _take_process(self, cell: int) -> list[Group]:
        looked = process_state.look()
        if looked == self._process and PROCESS in self.groups or looked == self._process and not self.groups:
            return []
        self._process = looked
        taken, _ = self._attempt({PROCESS: looked})
        return [] if taken is None else [self._keep(cell, {PROCESS: looked}, taken)]

    def _take_files(self, cell: int) -> list[Group]:
        try:
            found = workspace.look()
        except workspace.TooMany as error:
            return [self._lose(cell, {FILES: None}, str(error), {})]
        if found == self._files:
            return []
        for path in [path for path in self._file_chunks if path not in found]:
            del self._file_chunks[path]
        listing, contents = [], []
        for path, entry in sorted(found.items()):
            listing.append({"path": path, "kind": entry.kind, "mode": entry.mode, "target": entry.target})
            if entry.kind != "file":
                continue
            if self._files.get(path) != entry or path not in self._file_chunks:
                try:
                    self._file_chunks[path] = self._send_chunks(cell, workspace.read(entry))
                except OSError:
                    listing.pop()
                    continue
            contents.append(self._file_chunks[path])
        self._files = found
        header = self._send_chunks(cell, json.dumps(listing).encode("utf-8", "surrogatepass"))
        digest = chunks.digest((FILES, header, contents))
        size = sum(entry.size for entry in found.values())
        described = {"digest": digest, "names": [FILES], "header": header, "buffers": contents, "bytes": size,
                     "mentions": []}  # fmt: skip
        group = Group(frozenset({FILES}), digest, frozenset(), described)
        self.groups[FILES] = group
        return [group]

    def _send_chunks(self, cell: int, data: Any) -> list[str]:
        names = []
        for name, piece in chunks.split(data):
            names.append(name)
            if name not in self._known:
                self._send({"type": "chunk", "cell": cell, "name": name}, piece)
                self._known.add(name)
        return names

    def _send_manifest(self, cell: int, fresh: list[Group]) -> dict[str, Any]:
        every = {group.digest: group for group in self.groups.values()}
        manifest: dict[str, Any] = {
            "groups": [group.described for group in fresh if group.described is not None],
            "members": [digest for digest, group in every.items() if group.described is not None],
            "lost": {name: entry for group in every.values() for name, entry in group.lost.items()},
            "versions": versions(),
            "tokens": {name: group.digest for name, group in self.groups.items() if group.lost},
        }
        text = json.dumps(manifest, separators=(",", ":")).encode("utf-8", "surrogatepass")
        for start in range(0, max(1, len(text)), _MANIFEST_PIECE):
            last = start + _MANIFEST_PIECE >= len(text)
            self._send({"type": "checkpoint", "cell": cell, "last": last}, text[start : start + _MANIFEST_PIECE])
        return manifest


def _calls_something(code: str) -> bool:
    return "(" in code or "import" in code or "%" in code or "!" in code or "[" in code or "." in code


def versions() -> dict[str, str]:
    """What the state was made with: Python, and the packages whose values it may hold."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("numpy", "pandas", "pyarrow", "polars", "sklearn", "scipy", "matplotlib", "duckdb"):
        module = sys.modules.get(name)
        if module is not None:
            found[name] = str(getattr(module, "__version__", "?"))
    return found

