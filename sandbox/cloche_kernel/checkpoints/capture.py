"""
After each cell: which variables it could have changed, those taken down, and what is new of them sent to the host.

The manifest names every group of the session by its digest; a group the cell did not reach keeps the one it had.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping

# Bound here, so that a cell that replaces it does not replace ours.
from json import dumps
from types import ModuleType
from typing import Any

from cloche_kernel.checkpoints import chunks, modules, process_state, reach, suspects, unwritten, workspace
from cloche_kernel.checkpoints.bindings import SHOWN, Bindings
from cloche_kernel.checkpoints.contract import NotKept, Scope
from cloche_kernel.checkpoints.elsewhere import Elsewhere
from cloche_kernel.checkpoints.groups import partition
from cloche_kernel.checkpoints.held import Cut, Group, Groups
from cloche_kernel.checkpoints.pickler import Taken, take
from cloche_kernel.checkpoints.placeholder import Placeholder, text_of
from cloche_kernel.patience import TooLong, patiently

#: names of groups that are not variables
PROCESS = "\0process"
FILES = "\0files"
#: seconds that taking down one group may take
_SECONDS = 20.0
_MANIFEST_PIECE = 524_288
_NONE_SENT: tuple[int, dict[str, Any], frozenset[str]] = (0, {}, frozenset())

Send = Callable[[dict[str, Any], Any], None]
#: asks a fresh process whether what was taken comes back as it was; None, or why not
Proof = Callable[[Taken, dict[str, Any]], "str | None"]


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
        #: the latest cell's code, and the names that it speaks of
        self._spoken: tuple[str, frozenset[str] | None] | None = None
        self.groups = Groups()
        self.bindings = Bindings(namespace, hidden)
        self.modules = modules.Modules()
        self._modules: frozenset[str] = frozenset()
        self._known: set[str] = set()
        self._process: dict[str, Any] = {}
        self._files: dict[str, workspace.Entry] = {}
        self.file_chunks: dict[str, list[str]] = {}
        self._ran_beside = False
        #: edition of the groups, what else a state says, and its members: those of the state that went out last
        self._sent: tuple[int, dict[str, Any], frozenset[str]] = _NONE_SENT
        #: what was shown last may be a variable's, or a part of one
        self._shown = False
        #: variables that the cell bound to something else
        self._rebound: set[str] = set()
        #: variables that a cell stored in a module
        self._given: set[str] = set()
        self._elsewhere = Elsewhere(namespace)
        self.initial_process: dict[str, Any] = {}
        #: digest of the process state that is kept, and its parts
        self.kept_process: tuple[str, dict[str, Any]] = ("", {})

    def begin(self) -> None:
        """Before the first cell: what the process is like when nothing has happened."""
        self.initial_process = self._process = process_state.look()
        self.bindings.changed()
        self._modules = self.modules.names()
        self._elsewhere.begin()

    def value(self, name: str) -> Any:
        return self._namespace[name]

    def visible(self) -> dict[str, Any]:
        """The session's variables: all that the shell did not put there itself."""
        return self.bindings.visible()

    def adopt(self, kept: list[Group], fresh: list[Group], known: Iterable[str]) -> None:
        """The state is now `kept`, whose values stayed, and `fresh`; the host has the chunks `known`."""
        self._sent = _NONE_SENT
        before, self.groups = self.groups, Groups()
        for group in kept:
            self.groups.keep(group, before)
        for group in fresh:
            self.groups.add(group)
        self._known.update(known)
        names = {name for group in fresh for name in group.names}
        values = {name: value for name, value in self._values(names).items() if name in names}
        parts = partition(values, Scope.of(self._namespace, self._shell).names_of_ours, self._namespace)
        self.groups.hold(parts.holds)

    def learn_files(self, chunks_of: dict[str, list[str]]) -> None:
        self.file_chunks = chunks_of

    def look_again(self) -> None:
        """After the process and the files were put back: what they are like is no change of the next cell's."""
        self._process = process_state.look()
        self.bindings.changed()
        try:
            self._files = workspace.look()
        except workspace.TooMany:
            self._files = {}

    def forget(self) -> None:
        """The host has nothing any more: the next checkpoint sends everything."""
        self._sent = _NONE_SENT
        self.groups = Groups()
        self._known.clear()
        unwritten.forget()
        self._process = {}
        self._files = {}
        self.file_chunks.clear()

    def may_lose(self, code: str) -> bool:
        """A quick guess whether the cell that ran `code` made something that cannot be kept."""
        if not suspects.may_bind(code):
            return False
        names = self._names_in(code)
        return names is None or suspects.any_among(names, self._namespace)

    def after(self, cell: int, code: str | None) -> dict[str, Any]:
        """Takes down what cell `cell` changed and sends it. `code` None: anything may have changed."""
        # The shell keeps the last result, and with an error all its frames: nothing of the session's.
        self._shell.last_execution_result = None
        changed, gone = self.bindings.changed()
        self._rebound = changed
        now = self._values(self._dirty(code, changed, gone))
        touched = {name for name in gone | self._modules_gone() if name in self.groups}
        for name in now:
            if name in self.groups:
                touched |= self.groups[name].names
        before = {name: self.groups[name] for name in touched if name in self.groups}
        for name in touched:
            self.groups.drop(name)
        now.update(self._values(touched - now.keys()))
        fresh: list[Group] = []
        ours = Scope.of(self._namespace, self._shell).names_of_ours
        if now:
            parts = partition(now, ours, self._namespace)
            for names in parts.groups:
                fresh += self._take_kin(cell, names, now, before)
            self.groups.hold(parts.holds)
            del parts
        self._elsewhere.look(self.groups.holds, lambda: self._values(None), ours)
        if code is None or now or gone or _calls_something(code):
            fresh += self._take_process(cell)
            fresh += self._take_files(cell)
        return self._send_manifest(cell, fresh)

    def _modules_gone(self) -> set[str]:
        names, self._modules = self._modules, self.modules.names()
        return set(names - self._modules)

    def _values(self, names: Iterable[str] | None) -> dict[str, Any]:
        """Variables by name, those of modules of the session's included; None: all."""
        if names is None:
            return {**self.visible(), **self.modules.values()}
        found = {name: self._namespace[name] for name in names if self.bindings.shows(name)}
        held = self.modules.values()
        return {**found, **held} if held else found

    def _dirty(self, code: str | None, changed: set[str], gone: set[str]) -> set[str] | None:
        """Variables the cell may have bound, changed or made share something; None for all."""
        shown, self._shown = self._shown, self.bindings.shows_a_part()
        if code is not None:
            self._given |= reach.given_to_modules(code, self._is_module)
        beside = reach.runs_beside()
        ran_beside, self._ran_beside = self._ran_beside, beside
        if code is None or beside or ran_beside or self._elsewhere.reached is None:
            return None
        named = self._names_in(code)
        if named is None:
            return None
        everywhere = self.modules.names() | self._elsewhere.reached | self._given
        reached = reach.closure(named | everywhere, self.groups)
        if reached is None or (shown and self._speaks_of_shown(named, reached)):
            return None
        if not (changed | gone) <= (reached | named):
            # Something was bound under a name that the code does not spell out: then more may have happened.
            return None
        return reached | changed

    def _speaks_of_shown(self, named: frozenset[str], reached: set[str]) -> bool:
        """Whether the cell may have changed what was shown last, which may be any variable's."""
        return SHOWN in named or any(SHOWN in (self.groups[name].mentions or ()) for name in reached)

    def _names_in(self, code: str) -> frozenset[str] | None:
        """Told once for a cell, whose answer and whose state both ask."""
        if self._spoken is None or self._spoken[0] is not code:
            self._spoken = code, reach.names_in(code, self._shell.transform_cell)
        return self._spoken[1]

    def _is_module(self, name: str) -> bool:
        return type(self._namespace.get(name)) is ModuleType

    def _take_kin(
        self, cell: int, names: frozenset[str], now: dict[str, Any], before: Mapping[str, Group]
    ) -> list[Group]:
        """What shares something: as one group, and apart from it each variable that cannot be kept."""
        made = self._take_group(cell, names, now, before)
        for group in made:
            group.kin = names
        return made

    def _take_group(
        self, cell: int, names: frozenset[str], now: dict[str, Any], before: Mapping[str, Group]
    ) -> list[Group]:
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

    def _attempt(self, values: dict[str, Any]) -> tuple[Cut | None, str]:
        for value in values.values():
            if type(value) is Placeholder:
                return None, text_of(value)
        scope = Scope.of(self._namespace, self._shell)
        try:
            cut = Cut.of(values, patiently(lambda: take(values, scope), _SECONDS))
            wrong = self._proof(cut.taken, values) if self._proof is not None and not self._has(cut) else None
            return (None, wrong) if wrong else (cut, "")
        except NotKept as error:
            return None, str(error)
        except TooLong:
            return None, f"writing it down takes longer than {_SECONDS:.0f} s"
        except MemoryError:
            return None, "no memory is left to write it down"
        except BaseException as error:
            return None, f"{type(error).__name__}: {str(error)[:200]}"

    def _has(self, cut: Cut) -> bool:
        """Whether the host has every byte of it, so that it was proved when those were new."""
        return all(name in self._known for part in (cut.header, *cut.buffers) for name, _ in part)

    def _keep(self, cell: int, values: dict[str, Any], cut: Cut) -> Group:
        header = self._send_chunks(cell, cut.header)
        buffers = [self._send_chunks(cell, buffer) for buffer in cut.buffers]
        taken = cut.taken
        mentions = None if taken.risky else taken.mentions
        described = {"digest": cut.digest, "names": sorted(values), "header": header, "buffers": buffers,
                     "bytes": cut.size, "mentions": None if mentions is None else sorted(mentions)}  # fmt: skip
        return self.groups.add(Group(frozenset(values), cut.digest, mentions, described))

    def _lose(self, cell: int, values: dict[str, Any], reason: str, before: Mapping[str, Group]) -> Group:
        lost = {}
        for name, value in values.items():
            old = before[name].lost.get(name) if name in before else None
            same = old is not None and old["reason"] == reason and name not in self._rebound
            if old is not None and type(value) is Placeholder:
                lost[name] = old
                continue
            kind = type(value)
            entry = {"type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")[:200]}
            lost[name] = {**entry, "reason": reason[:400], "cell": old["cell"] if old and same else cell}
        digest = chunks.digest(("lost", sorted(lost.items(), key=lambda item: item[0]), cell))
        return self.groups.add(Group(frozenset(values), digest, None, None, lost))

    def _take_process(self, cell: int) -> list[Group]:
        looked = process_state.look()
        if looked == self._process and (PROCESS in self.groups or not self.groups):
            return []
        self._process = looked
        taken, _ = self._attempt({PROCESS: looked})
        if taken is None:
            return []
        self.groups.drop(PROCESS)
        made = self._keep(cell, {PROCESS: looked}, taken)
        self.kept_process = made.digest, looked
        return [made]

    def _take_files(self, cell: int) -> list[Group]:
        try:
            found = workspace.look()
        except workspace.TooMany as error:
            return [self._lose(cell, {FILES: None}, str(error), {})]
        if found == self._files:
            return []
        for path in [path for path in self.file_chunks if path not in found]:
            del self.file_chunks[path]
        listing, contents = [], []
        for path, entry in sorted(found.items()):
            listing.append({"path": path, "kind": entry.kind, "mode": entry.mode, "target": entry.target})
            if entry.kind != "file":
                continue
            if self._files.get(path) != entry or path not in self.file_chunks:
                try:
                    self.file_chunks[path] = self._send_chunks(cell, list(chunks.split(workspace.read(entry))))
                except OSError:
                    listing.pop()
                    continue
            contents.append(self.file_chunks[path])
        self._files = found
        header = self._send_chunks(cell, list(chunks.split(dumps(listing).encode("utf-8", "surrogatepass"))))
        digest = chunks.digest((FILES, header, contents))
        size = sum(entry.size for entry in found.values())
        described = {"digest": digest, "names": [FILES], "header": header, "buffers": contents, "bytes": size,
                     "mentions": []}  # fmt: skip
        self.groups.drop(FILES)
        return [self.groups.add(Group(frozenset({FILES}), digest, frozenset(), described))]

    def _send_chunks(self, cell: int, pieces: list[tuple[str, memoryview]]) -> list[str]:
        for name, piece in pieces:
            if name not in self._known:
                self._send({"type": "chunk", "cell": cell, "name": name}, piece)
                self._known.add(name)
        return [name for name, _ in pieces]

    def _send_manifest(self, cell: int, fresh: list[Group]) -> dict[str, Any]:
        members = self.groups.members()
        state = {"lost": self.groups.lost(), "versions": versions(), "tokens": self.groups.tokens()}
        if self._is_as_sent(state, members):
            self._send({"type": "checkpoint", "cell": cell, "last": True}, b'{"same":true}')
            return {"same": True}
        manifest = {"groups": [group.described for group in fresh if group.described is not None], **state}
        rest = dumps(manifest, separators=(",", ":"))
        # Ten thousand digests take a JSON encoder longer than all else together.
        listed = '["' + '","'.join(members) + '"]' if members else "[]"
        text = f'{rest[:-1]},"members":{listed}}}'.encode("utf-8", "surrogatepass")
        for start in range(0, max(1, len(text)), _MANIFEST_PIECE):
            last = start + _MANIFEST_PIECE >= len(text)
            self._send({"type": "checkpoint", "cell": cell, "last": last}, text[start : start + _MANIFEST_PIECE])
        return {**manifest, "members": members}

    def _is_as_sent(self, state: dict[str, Any], members: list[str]) -> bool:
        """Was the state that went out last this very one? Notes this one."""
        edition, before, had = self._sent
        if edition == self.groups.edition and state == before:
            return True
        unordered = frozenset(members)
        self._sent = self.groups.edition, state, unordered
        return unordered == had and state == before


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
