"""
After each cell: which variables it could have changed, those taken down, and what is new of them sent to the host.

The manifest names every group of the session by its digest; a group the cell did not reach keeps the one it had.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

# Bound here, so that a cell that replaces it does not replace ours.
from json import dumps
from typing import Any

from cloche_kernel import tracebacks
from cloche_kernel.checkpoints import chunks, modules, process_state, suspects, unwritten, workspace
from cloche_kernel.checkpoints.affected import Affected, calls_something
from cloche_kernel.checkpoints.attempt import Attempt, Proof
from cloche_kernel.checkpoints.beside import Beside, Lost, Send
from cloche_kernel.checkpoints.bindings import Bindings
from cloche_kernel.checkpoints.contract import Scope
from cloche_kernel.checkpoints.default_database import DEFAULT, NAME
from cloche_kernel.checkpoints.elsewhere import Elsewhere
from cloche_kernel.checkpoints.groups import Partition, TooMany, partition
from cloche_kernel.checkpoints.held import Cut, Group, Groups, Learned, lost_entry
from cloche_kernel.checkpoints.kept_files import FILES, KeptFiles
from cloche_kernel.checkpoints.manifests import Manifests
from cloche_kernel.checkpoints.placeholder import Placeholder, text_of

#: name of a group that is no variable
PROCESS = "\0process"
#: seconds that taking down one group may take
_SECONDS = 20.0
#: what a fork beside a cell may take longer, in times
_SLOWER = 4
#: objects, and seconds of last time, from which on the next cell does not wait for them: a fork takes about as long
_MOST_OBJECTS = 100_000
_MOST_SECONDS = 0.1


class Checkpoints:
    """
    What the host knows of this session's state. `send` takes one frame to the host; `beside` takes down in a fork what
    the next cell should not wait for.
    """

    def __init__(
        self,
        namespace: dict[str, Any],
        hidden: Callable[[], Mapping[str, Any]],
        shell: Any,
        send: Send,
        proof: Proof | None = None,
        beside: Beside | None = None,
    ) -> None:
        self._namespace = namespace
        self._shell = shell
        self._send = send
        self._proof = proof
        self._beside = beside
        #: this is a fork of the kernel
        self._is_fork = False
        #: a fork failed: the next state is taken down without one
        self._forks_failed = False
        self.groups = Groups()
        self.bindings = Bindings(namespace, hidden)
        self.modules = modules.Modules()
        self._modules: frozenset[str] = frozenset()
        self._known: set[str] = set()
        self._process: dict[str, Any] = {}
        self.files = KeptFiles()
        self._manifests = Manifests()
        self._affected = Affected(namespace, self.bindings.shows_a_part, lambda code: str(shell.transform_cell(code)))
        #: nothing is known of what the host has
        self._forgotten = False
        #: variables that the cell bound to something else
        self._rebound: set[str] = set()
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

    def visible(self) -> dict[str, Any]:
        """The session's variables: all that the shell did not put there itself."""
        return self.bindings.visible()

    def adopt(self, kept: list[Group], fresh: list[Group], known: Iterable[str]) -> None:
        """The state is now `kept`, whose values stayed, and `fresh`; the host has the chunks `known`."""
        self._manifests.forget()
        before, self.groups = self.groups, Groups()
        for group in kept:
            self.groups.keep(group, before)
        for group in fresh:
            self.groups.add(group)
        self._known.update(known)
        self._forgotten = False
        names = {name for group in fresh for name in group.names}
        values = {name: value for name, value in self._values(names).items() if name in names}
        parts = partition(values, Scope.of(self._namespace, self._shell).names_of_ours, self._namespace)
        self.groups.hold(parts.holds)

    def look_again(self) -> None:
        """After the process and the files were put back: what they are like is no change of the next cell's."""
        self._process = process_state.look()
        self.bindings.changed()
        self.files.look_again()
        DEFAULT.rebase(NAME in self.groups and NAME not in self.groups[NAME].lost)

    def forget(self) -> None:
        """The host has nothing any more: the next checkpoint sends everything."""
        self._manifests.forget()
        self.groups = Groups()
        self._known.clear()
        unwritten.forget()
        self._process = {}
        self.files.forget()
        self._forgotten = True

    def may_lose(self, code: str) -> bool:
        """A quick guess whether the cell that ran `code` made something that cannot be kept."""
        if self.groups.displaced() or DEFAULT.may_be_lost():
            return True
        if not suspects.may_bind(code):
            return False
        names = self._affected.names_in(code)
        return names is None or suspects.any_among(names, self._namespace)

    def after(self, cell: int, code: str | None) -> dict[str, Any]:
        """
        Takes down what cell `cell` changed and sends it, or has a fork do so. `code` None: anything may have changed.
        """
        self.settle()
        # The shell keeps the last result, and with an error all its frames: nothing of the session's.
        self._shell.last_execution_result = None
        changed, gone = self.bindings.changed()
        self._rebound = changed
        hidden = None if self._forgotten else self._elsewhere.reached
        if hidden is not None:
            hidden |= self.modules.names()
        now = self._values(self._affected.by(code, changed, gone, hidden, self.groups))
        around = code is None or self._forgotten or bool(now) or bool(gone) or calls_something(code)
        now.update(DEFAULT.look() if around else {})
        touched = {name for name in gone | self._modules_gone() if name in self.groups} | self.groups.displaced()
        for name in now:
            if name in self.groups:
                touched |= self.groups[name].names
        now.update(self._values(touched - now.keys()))
        parts = self._parts(now, touched) if now else None
        fresh: list[Group] = []
        if now and parts is None and self._beside is not None and not self._forks_failed and self._beside.fits():
            # What the next cell changes under a fork is taken down before.
            fresh = self._take_process(cell) + self._take_files(cell)
            if self._begin(self._beside, cell, now, touched, fresh):
                return {}
        fresh += self._take(cell, now, touched, parts)
        if around:
            fresh += self._take_process(cell) + self._take_files(cell)
        self._forgotten = self._forks_failed = False
        manifest, pieces = self._manifests.pieces(fresh, self.groups)
        for number, piece in enumerate(pieces, 1):
            self._send({"type": "checkpoint", "cell": cell, "last": number == len(pieces)}, piece)
        return manifest

    @property
    def busy(self) -> bool:
        """Whether a fork takes down the state after the last cell."""
        return self._beside is not None and self._beside.cell is not None

    def fileno(self) -> int:
        """Readable once that fork has ended."""
        return -1 if self._beside is None else self._beside.fileno()

    def settle(self, seconds: float | None = None) -> None:
        """Learns what the fork found once it has ended; waits for that at most `seconds`, None: as long as it works."""
        beside = self._beside
        if beside is None or beside.cell is None or not beside.ended(seconds):
            return
        cell = beside.cell
        try:
            learned: Learned | None = beside.result()
        except Lost:
            learned = None
            self._send({"type": "uncaptured", "cell": cell}, b"")
        self._forks_failed = learned is None
        if learned is None or self._forgotten:
            self.forget()
            return
        for name in learned.dropped:
            self.groups.drop(name)
        for group in learned.groups:
            self.groups.add(group)
        self.groups.hold(learned.holds)
        self._manifests.learn(learned.said, self.groups)
        self._known |= learned.known
        self._elsewhere.learn(learned.elsewhere)
        chunks.cuts.update(learned.cuts)
        if self._proof is not None:
            self._proof.proven |= learned.proven

    def _parts(self, now: dict[str, Any], touched: set[str]) -> Partition | None:
        """What shares something; None where that, or taking it down, is expected to take long."""
        ours = Scope.of(self._namespace, self._shell).names_of_ours
        if self._beside is None or self._forks_failed:
            return partition(now, ours, self._namespace)
        groups = {id(group): group.seconds for group in map(self.groups.__getitem__, touched)}
        if sum(groups.values()) > _MOST_SECONDS:
            return None
        try:
            return partition(now, ours, self._namespace, _MOST_OBJECTS)
        except TooMany:
            return None

    def _begin(self, beside: Beside, cell: int, now: dict[str, Any], touched: set[str], fresh: list[Group]) -> bool:
        """Whether a fork takes down what is left of the state after `cell`; else nothing has changed."""
        self._elsewhere.tidy(self.groups.holds)
        known = frozenset(self._known)

        def work(send: Send) -> tuple[Learned | None, list[bytes]]:
            self._is_fork = self._elsewhere.is_fork = True
            self._send = send
            proven: set[int] = set()
            if self._proof is not None:
                proven = set(self._proof.proven)
                self._proof.seconds *= _SLOWER
            try:
                groups = self._take(cell, now, touched, None)
                _, pieces = self._manifests.pieces(fresh + groups, self.groups)
            except BaseException as error:
                reason = tracebacks.describe(type(error), error, None).text
                return None, [dumps({"failed": reason.strip()[-500:]}).encode("utf-8", "replace")]
            learned = self._proof.proven - proven if self._proof is not None else set()
            return Learned(
                touched,
                groups,
                self.groups.holds_of(now),
                self._known - known,
                self._elsewhere.learned(),
                self._manifests.said,
                learned,
                chunks.cuts,
            ), pieces

        # Said first: a fork may be done before this goes on.
        self._send({"type": "beside", "cell": cell}, b"")
        begun = beside.begin(cell, work)
        if begun:
            self._forgotten = False
        return begun

    def _take(self, cell: int, now: dict[str, Any], touched: set[str], parts: Partition | None) -> list[Group]:
        """Takes down the variables `now`, in place of what there was of `touched`."""
        before = {name: self.groups[name] for name in touched if name in self.groups}
        for name in touched:
            self.groups.drop(name)
        fresh: list[Group] = []
        ours = Scope.of(self._namespace, self._shell).names_of_ours
        if now:
            parts = parts or partition(now, ours, self._namespace)
            for names in parts.groups:
                fresh += self._take_kin(cell, names, now, before)
            self.groups.hold(parts.holds)
            del parts
            DEFAULT.rebase()
        self._elsewhere.look(self.groups.holds, lambda: self._values(None), ours)
        return fresh

    def _modules_gone(self) -> set[str]:
        names, self._modules = self._modules, self.modules.names()
        return set(names - self._modules)

    def _values(self, names: Iterable[str] | None) -> dict[str, Any]:
        """Variables by name, those of modules of the session's included; None: all."""
        if names is None:
            return {**self.visible(), **self.modules.values(), **DEFAULT.values()}
        found = {name: self._namespace[name] for name in names if self.bindings.shows(name)}
        found.update(DEFAULT.values() if NAME in names else {})
        return found | self.modules.values()

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
        start = time.perf_counter()
        taken, reason = self._attempt(values)
        if taken is not None:
            kept = self._keep(cell, values, taken)
            kept.seconds = time.perf_counter() - start
            return [kept]
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
        patience = _SECONDS * (_SLOWER if self._is_fork else 1)
        attempt = Attempt(lambda: Scope.of(self._namespace, self._shell), self._proof, self._has, patience)
        try:
            return attempt(values)
        except MemoryError:
            if self._is_fork:
                raise
            return None, "no memory is left to write it down"

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
        made = Group(frozenset(values), cut.digest, mentions, described, {}, taken.files, taken.database)
        return self.groups.add(made)

    def _lose(self, cell: int, values: dict[str, Any], reason: str, before: Mapping[str, Group]) -> Group:
        lost = {}
        for name, value in values.items():
            old = before[name].lost.get(name) if name in before else None
            if old is not None and type(value) is Placeholder:
                lost[name] = old
                continue
            same = old is not None and old["reason"] == reason and name not in self._rebound
            lost[name] = lost_entry(type(value), reason, old["cell"] if old and same else cell)
        digest = chunks.digest(("lost", sorted(lost.items(), key=lambda item: item[0]), cell))
        return self.groups.add(Group(frozenset(values), digest, None, None, lost, {}, DEFAULT.edition_of(values)))

    def _take_process(self, cell: int) -> list[Group]:
        looked = process_state.look()
        if looked == self._process and (PROCESS in self.groups or not self.groups):
            return []
        self._process = looked
        cut, _ = self._attempt({PROCESS: looked})
        if cut is None:
            return []
        self.groups.drop(PROCESS)
        made = self._keep(cell, {PROCESS: looked}, cut)
        self.kept_process = made.digest, looked
        return [made]

    def _take_files(self, cell: int) -> list[Group]:
        try:
            made = self.files.take(lambda pieces: self._send_chunks(cell, pieces))
        except workspace.TooMany as error:
            return [self._lose(cell, {FILES: None}, str(error), {})]
        if made is None:
            return []
        self.groups.drop(FILES)
        return [self.groups.add(made)]

    def _send_chunks(self, cell: int, pieces: list[tuple[str, memoryview]]) -> list[str]:
        for name, piece in pieces:
            if name not in self._known:
                self._send({"type": "chunk", "cell": cell, "name": name}, piece)
                self._known.add(name)
        return [name for name, _ in pieces]
