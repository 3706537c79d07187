"""
Bringing a session to a state the host kept: what the live kernel holds already stays, the rest is read and bound.

Nothing is bound before everything was read, so a restore that fails leaves the kernel as it was.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass, field

# Bound here, so that a cell that replaces it does not replace ours.
from json import loads
from typing import Any

from cloche_kernel.checkpoints import modules, process_state, workspace
from cloche_kernel.checkpoints.capture import PROCESS, Checkpoints
from cloche_kernel.checkpoints.default_database import DEFAULT, NAME
from cloche_kernel.checkpoints.files import flush, noting
from cloche_kernel.checkpoints.held import Group
from cloche_kernel.checkpoints.kept_files import FILES
from cloche_kernel.checkpoints.pickler import give
from cloche_kernel.checkpoints.pieces import Pieces
from cloche_kernel.checkpoints.placeholder import Placeholder


@dataclass
class Restored:
    """What came of it: names bound, names that could not be read (with the reason), sentences for the person."""

    bound: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Lacking(Exception):
    """The request takes groups for granted that are not here any more: `digests`. Nothing was changed."""

    def __init__(self, digests: list[str]) -> None:
        super().__init__(f"{len(digests)} groups are not held any more")
        self.digests = digests


def restore(request: dict[str, Any], state: Checkpoints, namespace: dict[str, Any], shell: Any) -> Restored:
    """
    Makes the session what `request` says. Raises Lacking.

    `request`: {members: [{digest, names, header, buffers, at: {header, buffers}, mentions, bytes}], held, lost, tokens,
    files}; `header` and `buffers` are chunk names, `at` where their bytes lie. `held`: digests of more members, which
    the session should have as they are to be.
    """
    live = _still_live(request, state)
    if not state.files.are_as_kept():
        live = {digest: group for digest, group in live.items() if FILES not in group.names}
    with Pieces(request["files"]) as pieces:
        files = _wanted_files(request, live, state, pieces)
        stale = files.stale_modules(live, state)
        if any(name in stale for member in request["members"] for name in member["names"]):
            # Variables lead to modules, and to what those define, by name: which of them do cannot be told.
            live = {digest: group for digest, group in live.items() if not _is_of_variables(group.names)}
        lacking = [digest for digest in request["held"] if not _is_held(digest, live, state)]
        if lacking:
            raise Lacking(lacking)
        modules.drop(stale)
        return _restore(request, files, live, pieces, state, namespace, shell)


def _restore(
    request: dict[str, Any],
    files: _Files,
    live: dict[str, Group],
    pieces: Pieces,
    state: Checkpoints,
    namespace: dict[str, Any],
    shell: Any,
) -> Restored:
    result = Restored()
    # What a file that could not be kept holds back would be written over what is put back, once it goes.
    for name in state.groups.lost():
        flush(namespace.get(name))
    kept = [live[digest] for digest in request["held"]]
    fresh: list[Group] = []
    # Values name classes of modules that lie in /workspace, and modules are looked for along the process's path.
    files.put_back(request, pieces, state, result)
    _put_back_process(request, kept, pieces, state, namespace, shell, result)
    for name in sorted(name for member in request["members"] for name in member["names"] if _is_of_module(name)):
        modules.load(name)
    if not any(NAME in group.names for group in live.values()):
        DEFAULT.begin_anew()
    values: dict[str, Any] = {}
    for member in request["members"]:
        if not _is_of_variables(member["names"]):
            fresh.append(_group_of(member))
            continue
        group = live.get(member["digest"])
        if group is not None:
            kept.append(group)
            continue
        DEFAULT.was_read = False
        try:
            with noting() as opened:
                values.update(_read(member, pieces, namespace, shell))
        except BaseException as error:
            for name in member["names"]:
                result.failed[name] = f"{type(error).__name__}: {str(error)[:200]}"
            continue
        fresh.append(_group_of(member))
        fresh[-1].files, fresh[-1].database = opened, DEFAULT.edition if DEFAULT.was_read else 0
    values.pop(NAME, None)
    for name in [name for name in values if _is_of_module(name)]:
        try:
            modules.put_back(name, values.pop(name))
        except BaseException as error:
            result.notes.append(f"{name[1:]} could not be put back: {type(error).__name__}: {str(error)[:200]}")
    bound = {name for group in (*kept, *fresh) for name in group.names}
    _place_lost(request, state, values, kept, fresh, result)
    _bind(state, namespace, values, bound | request["lost"].keys() | result.failed.keys())
    state.adopt(kept, fresh, _chunks(request["members"]))
    state.look_again()
    result.bound = sorted(values)
    return result


def _is_of_variables(names: Iterable[str]) -> bool:
    return FILES not in names and PROCESS not in names


def _is_of_module(name: str) -> bool:
    return name.startswith(modules.PREFIX)


def _is_held(digest: str, live: dict[str, Group], state: Checkpoints) -> bool:
    """Whether nothing has to be read for this group."""
    group = live.get(digest)
    return group is not None and (PROCESS not in group.names or state.kept_process[0] == digest)


def _still_live(request: dict[str, Any], state: Checkpoints) -> dict[str, Group]:
    """Groups that the kernel holds as they are asked for, and all that they share something with too."""
    wanted = {member["digest"] for member in request["members"]}
    wanted.update(request["held"], request["tokens"].values())
    displaced = state.groups.displaced()
    live = {}
    for group in state.groups.values():
        kin = [state.groups[name] for name in group.kin if name in state.groups]
        if group.digest in wanted and not group.names & displaced and all(other.digest in wanted for other in kin):
            live[group.digest] = group
    return live


def _group_of(member: dict[str, Any]) -> Group:
    mentions = None if member["mentions"] is None else frozenset(member["mentions"])
    described = {key: value for key, value in member.items() if key != "at"}
    return Group(frozenset(member["names"]), member["digest"], mentions, described)


def _read(member: dict[str, Any], pieces: Pieces, namespace: dict[str, Any], shell: Any) -> dict[str, Any]:
    at = member["at"]
    located = zip(at["buffers"], member["buffers"], strict=True)
    buffers = [pieces.buffer(one, names) for one, names in located]
    return give(pieces.joined(at["header"]), buffers, namespace, shell)


@dataclass
class _Files:
    """What /workspace is to hold: `member` None where that is there, `chunks_of` None where it was not kept."""

    member: dict[str, Any] | None
    listing: list[dict[str, Any]]
    #: path → chunks of a file
    chunks_of: dict[str, list[str]] | None

    def stale_modules(self, live: dict[str, Group], state: Checkpoints) -> set[str]:
        """The session's modules that do not hold what they are to hold, or whose file is to be another."""
        if self.chunks_of is None:
            return set()
        sound = set()
        for name in {name for group in live.values() for name in group.names if _is_of_module(name)}:
            path = modules.path_of(name)
            if path in self.chunks_of and state.files.chunks.get(path) == self.chunks_of[path]:
                sound.add(name)
        return set(state.modules.names() - sound)

    def put_back(self, request: dict[str, Any], pieces: Pieces, state: Checkpoints, result: Restored) -> None:
        if self.chunks_of is None:
            reason = request["lost"][FILES]["reason"]
            result.notes.append(f"files in /workspace were not kept ({reason}); they stay as they are")
            return
        if self.member is None:
            return
        located = zip(self.chunks_of, self.member["at"]["buffers"], strict=True)
        result.notes += workspace.put_back(self.listing, {path: pieces.buffer(at, []) for path, at in located})
        # A module's file may be one that was not there when its directory was last looked at.
        importlib.invalidate_caches()
        state.files.chunks = self.chunks_of


def _wanted_files(request: dict[str, Any], live: dict[str, Group], state: Checkpoints, pieces: Pieces) -> _Files:
    member = next((member for member in request["members"] if FILES in member["names"]), None)
    if any(FILES in group.names and group.described is not None for group in live.values()):
        return _Files(None, [], state.files.chunks)
    if member is None:
        nothing: dict[str, Any] = {"at": {"buffers": []}}
        return _Files(None, [], None) if FILES in request["lost"] else _Files(nothing, [], {})
    listing = loads(pieces.joined(member["at"]["header"]))
    paths = [item["path"] for item in listing if item["kind"] == "file"]
    return _Files(member, listing, dict(zip(paths, member["buffers"], strict=True)))


def _put_back_process(
    request: dict[str, Any],
    kept: list[Group],
    pieces: Pieces,
    state: Checkpoints,
    namespace: dict[str, Any],
    shell: Any,
    result: Restored,
) -> None:
    member = next((member for member in request["members"] if PROCESS in member["names"]), None)
    if member is not None:
        state.kept_process = member["digest"], _read(member, pieces, namespace, shell)[PROCESS]
        parts = state.kept_process[1]
    else:
        parts = state.kept_process[1] if any(PROCESS in group.names for group in kept) else state.initial_process
    result.notes += process_state.put_back(parts)


def _place_lost(
    request: dict[str, Any],
    state: Checkpoints,
    values: dict[str, Any],
    kept: list[Group],
    fresh: list[Group],
    result: Restored,
) -> None:
    """Placeholders for what was not kept, except where the live value is that very one still."""
    entries: dict[str, dict[str, Any]] = dict(request["lost"])
    for name, reason in result.failed.items():
        if not name.startswith("\0") or name == NAME:
            entries[name] = {"type": "value", "reason": f"reading it back failed: {reason}", "cell": 0}
    tokens = request.get("tokens", {})
    live = _still_live(request, state)
    for name, entry in entries.items():
        if name.startswith("\0") and name != NAME:
            continue
        group = live.get(tokens.get(name, ""))
        if group is not None and name in group.lost and (name in state.visible() or name == NAME):
            kept.append(group)
            continue
        made = f", made in cell {entry['cell']}," if entry["cell"] else ""
        if name == NAME:
            result.notes.append(f"{name[1:]} is empty now, and was not kept: {entry['reason']}")
        else:
            values[name] = Placeholder(f"{name} ({entry['type']}){made} was not kept: {entry['reason']}")
        # Under a token of its own: it is not what the cell made.
        fresh.append(Group(frozenset({name}), f"placeholder:{name}:{entry['cell']}", None, None, {name: entry}))


def _bind(state: Checkpoints, namespace: dict[str, Any], values: dict[str, Any], wanted: set[str]) -> None:
    for name in [name for name in state.visible() if name not in wanted]:
        del namespace[name]
    namespace.update(values)


def _chunks(members: list[dict[str, Any]]) -> list[str]:
    return [name for member in members for part in (member["header"], *member["buffers"]) for name in part]
