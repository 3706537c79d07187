"""
Bringing a session to a state the host kept: what the live kernel holds already stays, the rest is read and bound.

Nothing is bound before everything was read, so a restore that fails leaves the kernel as it was.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cloche_kernel.checkpoints import process_state, workspace
from cloche_kernel.checkpoints.capture import FILES, PROCESS, Checkpoints, Group
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
    The host's files, mapped privately: writing to a value never reaches them.

    A piece is [file, offset, length] in `bytes`.
    """

    def __init__(self, files: list[str]) -> None:
        self._files = files
        self._maps: dict[int, mmap.mmap] = {}

    def bytes(self, pieces: list[list[int]]) -> bytes:
        return b"".join(bytes(self._view(piece)) for piece in pieces)

    def buffer(self, pieces: list[list[int]]) -> Any:
        """Writable memory: the file's own pages, copied only where written to, or a copy of scattered pieces."""
        if len(pieces) == 1 and pieces[0][2] >= _MAPPED_BYTES:
            return self._view(pieces[0])
        made = bytearray(sum(length for _, _, length in pieces))
        at = 0
        for piece in pieces:
            made[at : at + piece[2]] = self._view(piece)
            at += piece[2]
        return made

    def _view(self, piece: list[int]) -> memoryview:
        index, offset, length = piece
        if index not in self._maps:
            with open(self._files[index], "rb") as file:
                self._maps[index] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return memoryview(self._maps[index])[offset : offset + length]


def restore(request: dict[str, Any], state: Checkpoints, namespace: dict[str, Any], shell: Any) -> Restored:
    """
    Makes the session what `request` says.

    `request`: {members: [{digest, names, header, buffers, at: {header, buffers}, mentions, bytes}], lost, tokens,
    files}; `header` and `buffers` are chunk names, `at` where their bytes lie.
    """
    pieces = Pieces(request["files"])
    live = {group.digest: group for group in state.groups.values()}
    result = Restored()
    values: dict[str, Any] = {}
    groups: list[tuple[Group, dict[str, Any]]] = []
    process: dict[str, Any] | None = None
    files: tuple[list[dict[str, Any]], dict[str, Any]] | None = None
    for member in request["members"]:
        group = live.get(member["digest"])
        if group is not None:
            groups.append((group, {name: namespace.get(name) for name in group.names}))
            continue
        mentions = None if member["mentions"] is None else frozenset(member["mentions"])
        described = {key: value for key, value in member.items() if key != "at"}
        group = Group(frozenset(member["names"]), member["digest"], mentions, described)
        at = member["at"]
        if FILES in group.names:
            listing = json.loads(pieces.bytes(at["header"]))
            paths = [item["path"] for item in listing if item["kind"] == "file"]
            files = (listing, dict(zip(paths, (pieces.buffer(one) for one in at["buffers"]), strict=True)))
            state.learn_files(dict(zip(paths, member["buffers"], strict=True)))
            groups.append((group, {}))
            continue
        try:
            found = give(pieces.bytes(at["header"]), [pieces.buffer(one) for one in at["buffers"]], namespace, shell)
        except BaseException as error:
            for name in group.names:
                result.failed[name] = f"{type(error).__name__}: {str(error)[:200]}"
            continue
        if PROCESS in group.names:
            process = found[PROCESS]
            groups.append((group, {}))
            continue
        values.update(found)
        groups.append((group, found))
    kept_names = {name for group, _ in groups for name in group.names}
    lost = _place_lost(request, state, values, groups, result, kept_names)
    _bind(state, namespace, values, kept_names | lost)
    state.adopt(groups, [chunk for member in request["members"] for chunk in _chunks(member)])
    if process is not None:
        result.notes += process_state.put_back(process)
    elif not any(PROCESS in group.names for group, _ in groups):
        result.notes += process_state.put_back(state.initial_process)
    if files is not None:
        result.notes += workspace.put_back(*files)
    elif not any(FILES in group.names for group, _ in groups):
        result.notes += workspace.put_back([], {})
    state.look_again()
    result.bound = sorted(values)
    return result


def _place_lost(
    request: dict[str, Any],
    state: Checkpoints,
    values: dict[str, Any],
    groups: list[tuple[Group, dict[str, Any]]],
    result: Restored,
    kept: set[str],
) -> set[str]:
    """Placeholders for what was not kept, except where the live value is that very one still."""
    entries: dict[str, dict[str, Any]] = dict(request["lost"])
    for name, reason in result.failed.items():
        if not name.startswith("\0"):
            entries[name] = {"type": "value", "reason": f"reading it back failed: {reason}", "cell": 0}
    tokens = request.get("tokens", {})
    for name, entry in entries.items():
        live = state.groups.get(name)
        if live is not None and name in live.lost and live.digest == tokens.get(name):
            groups.append((live, {name: state.value(name)}))
            continue
        made = f", made in cell {entry['cell']}," if entry["cell"] else ""
        placeholder = Placeholder(f"{name} ({entry['type']}){made} was not kept: {entry['reason']}")
        values[name] = placeholder
        token = tokens.get(name) or f"lost:{name}:{entry['cell']}"
        groups.append((Group(frozenset({name}), token, None, None, {name: entry}), {name: placeholder}))
    return set(entries)


def _bind(state: Checkpoints, namespace: dict[str, Any], values: dict[str, Any], wanted: set[str]) -> None:
    for name in [name for name in state.visible() if name not in wanted]:
        del namespace[name]
    namespace.update(values)


def _chunks(member: dict[str, Any]) -> list[str]:
    return [*member["header"], *(name for buffer in member["buffers"] for name in buffer)]


Restore = Callable[[dict[str, Any]], Restored]
