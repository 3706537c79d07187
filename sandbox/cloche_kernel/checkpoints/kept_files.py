"""The files of /workspace as a group of the state: looked at after each cell that may have changed them."""

from __future__ import annotations

from collections.abc import Callable

# Bound here, so that a cell that replaces it does not replace ours.
from json import dumps

from cloche_kernel.checkpoints import chunks, workspace
from cloche_kernel.checkpoints.held import Group

#: name of the group, which is no variable
FILES = "\0files"

#: sends pieces that the host has not, and gives the names of all
Sent = Callable[[list[tuple[str, memoryview]]], list[str]]


class KeptFiles:
    def __init__(self) -> None:
        self._entries: dict[str, workspace.Entry] = {}
        #: path → names of its content's chunks
        self.chunks: dict[str, list[str]] = {}

    def look_again(self) -> None:
        """What they are like now is no change of the next cell's."""
        try:
            self._entries = workspace.look()
        except workspace.TooMany:
            self._entries = {}

    def are_as_kept(self) -> bool:
        """Whether nothing but cells changed them: a process that a cell left behind does so at any time."""
        try:
            return workspace.look() == self._entries
        except workspace.TooMany:
            return False

    def forget(self) -> None:
        self._entries = {}
        self.chunks.clear()

    def take(self, sent: Sent) -> Group | None:
        """The group, where anything changed. Raises workspace.TooMany."""
        found = workspace.look()
        if found == self._entries:
            return None
        for path in [path for path in self.chunks if path not in found]:
            del self.chunks[path]
        listing, contents = [], []
        for path, entry in sorted(found.items()):
            listing.append({"path": path, "kind": entry.kind, "mode": entry.mode, "target": entry.target})
            if entry.kind != "file":
                continue
            if self._entries.get(path) != entry or path not in self.chunks:
                try:
                    self.chunks[path] = sent(list(chunks.split(workspace.read(entry))))
                except OSError:
                    listing.pop()
                    continue
            contents.append(self.chunks[path])
        self._entries = found
        header = sent(list(chunks.split(dumps(listing).encode("utf-8", "surrogatepass"))))
        digest = chunks.digest((FILES, header, contents))
        size = sum(entry.size for entry in found.values())
        described = {"digest": digest, "names": [FILES], "header": header, "buffers": contents, "bytes": size,
                     "mentions": []}  # fmt: skip
        return Group(frozenset({FILES}), digest, frozenset(), described)
