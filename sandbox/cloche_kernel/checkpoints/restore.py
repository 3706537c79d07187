"""
Bringing a session to a state the host kept: what the live kernel holds already stays, the rest is read and bound.

Nothing is bound before everything was read, so a restore that fails leaves the kernel as it was.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field

# Bound here, so that a cell that replaces it does not replace ours.
from json import loads
from typing import Any

from cloche_kernel.checkpoints import files, modules, process_state, workspace
from cloche_kernel.checkpoints.capture import FILES, PROCESS, Checkpoints
from cloche_kernel.checkpoints.contract import Mapped
from cloche_kernel.checkpoints.held import Group
from cloche_kernel.checkpoints.pickler import give
from cloche_kernel.checkpoints.placeholder import Placeholder

#: buffers from this size on are mapped where they lie in one piece; smaller ones are read
_MAPPED_BYTES = 65_536


@dataclass
class Restored:
    """What came of it: names bound, names that could not be read (with the reason), sentences for the person."""

    bound: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Pieces:
    """
    The host's files, mapped privately: writing to a value never reaches them. Each value has a mapping of its own, also
    where equal ones lie in one place.

    A piece is [file, offset, length] in `bytes`.
    """

    def __init__(self, files: list[str]) -> None:
        self._files = files

    def joined(self, pieces: list[list[int]]) -> bytes:
        return b"".join(map(self._read, pieces))

    def buffer(self, pieces: list[list[int]]) -> Any:
        """Writable memory: the file's own pages, copied only where written to, or a copy of scattered pieces."""
        if len(pieces) == 1 and pieces[0][2] >= _MAPPED_BYTES:
            index, offset, length = pieces[0]
            before = offset % mmap.ALLOCATIONGRANULARITY
            with open(self._files[index], "rb") as file:
                made = Mapped(file.fileno(), before + length, access=mmap.ACCESS_COPY, offset=offset - before)
            return memoryview(made)[before:]
        total = sum(length for _, _, length in pieces)
        if total < _MAPPED_BYTES:
            return bytearray(self.joined(pieces))
        # Read once, into memory of its own: a gigabyte of which one element changed is not held three times.
        made = Mapped(-1, total, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        rest = memoryview(made)
        for index, offset, length in pieces:
            _read_into(rest[:length], self._files[index], offset)
            rest = rest[length:]
        return memoryview(made)

    def _read(self, piece: list[int]) -> bytes:
        index, offset, length = piece
        with open(self._files[index], "rb") as file:
            return os.pread(file.fileno(), length, offset)


def _read_into(target: memoryview, path: str, offset: int) -> None:
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        while target:
            read = file.readinto(target)
            if not read:
                raise EOFError(f"{len(target)} bytes of a state are missing")
            target = target[read:]


def restore(request: dict[str, Any], state: Checkpoints, namespace: dict[str, Any], shell: Any) -> Restored:
    """
    Makes the session what `request` says.

    `request`: {members: [{digest, names, header, buffers, at: {header, buffers}, mentions, bytes}], lost, tokens,
    files}; `header` and `buffers` are chunk names, `at` where their bytes lie.
    """
    pieces = Pieces(request["files"])
    live = _still_live(request, state)
    result = Restored()
    # What a file that could not be kept holds back would be written over what is put back, once it goes.
    for name in state.groups.lost():
        files.flush(namespace.get(name))
    # Values name classes of modules that lie in /workspace, and modules are looked for along the process's path.
    groups = _put_back_surroundings(request, live, pieces, state, namespace, shell, result)
    values: dict[str, Any] = {}
    for member in request["members"]:
        if FILES in member["names"] or PROCESS in member["names"]:
            continue
        group = live.get(member["digest"])
        if group is not None:
            groups.append(group)
            continue
        try:
            values.update(_read(member, pieces, namespace, shell))
        except BaseException as error:
            for name in member["names"]:
                result.failed[name] = f"{type(error).__name__}: {str(error)[:200]}"
            continue
        groups.append(_group_of(member))
    for name in [name for name in values if name.startswith(modules.PREFIX)]:
        try:
            modules.put_back(name, values.pop(name))
        except BaseException as error:
            result.notes.append(f"{name[1:]} could not be put back: {type(error).__name__}: {str(error)[:200]}")
    kept = {name for group in groups for name in group.names}
    _place_lost(request, state, values, groups, result)
    _bind(state, namespace, values, kept | request["lost"].keys() | result.failed.keys())
    state.adopt([(group, {}) for group in groups], _chunks(request["members"]))
    state.look_again()
    result.bound = sorted(values)
    return result


def _still_live(request: dict[str, Any], state: Checkpoints) -> dict[str, Group]:
    """Groups that the kernel holds as they are asked for, and all that they share something with too."""
    wanted = {member["digest"] for member in request["members"]} | set(request["tokens"].values())
    live = {}
    for group in state.groups.values():
        kin = [state.groups[name] for name in group.kin if name in state.groups]
        if group.digest in wanted and all(other.digest in wanted for other in kin):
            live[group.digest] = group
    return live


def _group_of(member: dict[str, Any]) -> Group:
    mentions = None if member["mentions"] is None else frozenset(member["mentions"])
    described = {key: value for key, value in member.items() if key != "at"}
    return Group(frozenset(member["names"]), member["digest"], mentions, described)


def _read(member: dict[str, Any], pieces: Pieces, namespace: dict[str, Any], shell: Any) -> dict[str, Any]:
    at = member["at"]
    return give(pieces.joined(at["header"]), [pieces.buffer(one) for one in at["buffers"]], namespace, shell)


def _put_back_surroundings(
    request: dict[str, Any],
    live: dict[str, Group],
    pieces: Pieces,
    state: Checkpoints,
    namespace: dict[str, Any],
    shell: Any,
    result: Restored,
) -> list[Group]:
    """Files, process state, and which of the session's modules are loaded; the groups of the first two."""
    members: list[dict[str, Any]] = request["members"]
    groups: list[Group] = []
    found: dict[str, Any] = {}
    for special in (FILES, PROCESS):
        member = next((member for member in members if special in member["names"]), None)
        if member is not None:
            groups.append(_group_of(member))
        found[special] = member
    files, process = found[FILES], found[PROCESS]
    if files is None and FILES in request["lost"]:
        reason = request["lost"][FILES]["reason"]
        result.notes.append(f"files in /workspace were not kept ({reason}); they stay as they are")
    elif files is None:
        result.notes += workspace.put_back([], {})
        _drop_modules(live, {}, state)
    elif files["digest"] not in live:
        listing = loads(pieces.joined(files["at"]["header"]))
        paths = [item["path"] for item in listing if item["kind"] == "file"]
        contents = dict(zip(paths, (pieces.buffer(one) for one in files["at"]["buffers"]), strict=True))
        result.notes += workspace.put_back(listing, contents)
        chunks_of = dict(zip(paths, files["buffers"], strict=True))
        _drop_modules(live, chunks_of, state)
        state.learn_files(chunks_of)
    else:
        _drop_modules(live, state.file_chunks, state)
    if process is None:
        result.notes += process_state.put_back(state.initial_process)
    else:
        result.notes += process_state.put_back(_read(process, pieces, namespace, shell)[PROCESS])
    for name in sorted({name for member in members for name in member["names"] if name.startswith(modules.PREFIX)}):
        modules.load(name)
    return groups


def _drop_modules(live: dict[str, Group], chunks_of: dict[str, list[str]], state: Checkpoints) -> None:
    """Forgets modules that are not as wanted, or whose file is another now; `chunks_of`: path → its wanted chunks."""
    keep = set()
    for digest, group in list(live.items()):
        for name in [name for name in group.names if name.startswith(modules.PREFIX)]:
            path = modules.path_of(name)
            if path is not None and path in chunks_of and state.file_chunks.get(path) == chunks_of[path]:
                keep.add(name)
            else:
                live.pop(digest, None)
    modules.drop(keep)


def _place_lost(
    request: dict[str, Any],
    state: Checkpoints,
    values: dict[str, Any],
    groups: list[Group],
    result: Restored,
) -> None:
    """Placeholders for what was not kept, except where the live value is that very one still."""
    entries: dict[str, dict[str, Any]] = dict(request["lost"])
    for name, reason in result.failed.items():
        if not name.startswith("\0"):
            entries[name] = {"type": "value", "reason": f"reading it back failed: {reason}", "cell": 0}
    tokens = request.get("tokens", {})
    live = _still_live(request, state)
    for name, entry in entries.items():
        if name.startswith("\0"):
            continue
        group = live.get(tokens.get(name, ""))
        if group is not None and name in group.lost and name in state.visible():
            groups.append(group)
            continue
        made = f", made in cell {entry['cell']}," if entry["cell"] else ""
        values[name] = Placeholder(f"{name} ({entry['type']}){made} was not kept: {entry['reason']}")
        # Under a token of its own: it is not what the cell made.
        groups.append(Group(frozenset({name}), f"placeholder:{name}:{entry['cell']}", None, None, {name: entry}))


def _bind(state: Checkpoints, namespace: dict[str, Any], values: dict[str, Any], wanted: set[str]) -> None:
    for name in [name for name in state.visible() if name not in wanted]:
        del namespace[name]
    namespace.update(values)


def _chunks(members: list[dict[str, Any]]) -> list[str]:
    return [name for member in members for part in (member["header"], *member["buffers"]) for name in part]
