"""Temporary files of a load: decompressed, unpacked or transcoded copies, on disk and within the room there is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable

from cloche_kernel.loading import wording
from cloche_kernel.loading.contract import LoadError, Memory

#: where a sandbox has disk of its own; everything else in it is memory
SCRATCH = "/scratch"
#: share of the free disk one load may fill, so that queries can still spill
_DISK_SHARE = 0.6
#: share of the free memory where temporary files are memory
_MEMORY_SHARE = 0.25


class Scratch:
    """A directory that disappears with the load, but for the files a lazy value still reads."""

    def __init__(self, memory: Memory) -> None:
        self._disk = os.path.isdir(SCRATCH) and os.access(SCRATCH, os.W_OK)
        self._memory = memory
        self._directory: str | None = None
        self._kept: set[str] = set()
        self._count = 0

    def room(self) -> int:
        """Bytes that may still be written."""
        free = int(shutil.disk_usage(SCRATCH if self._disk else tempfile.gettempdir()).free * _DISK_SHARE)
        return free if self._disk else min(free, int(self._memory.available() * _MEMORY_SHARE))

    def new(self, suffix: str = "") -> str:
        """Path of a file that does not exist yet."""
        if self._directory is None:
            self._directory = tempfile.mkdtemp(prefix="load-", dir=SCRATCH if self._disk else None)
        self._count += 1
        return os.path.join(self._directory, f"{self._count}{suffix}")

    def write(self, pieces: Iterable[bytes], label: str, suffix: str = "") -> tuple[str, int]:
        """A file of these pieces and its size; a LoadError when the disk has no room for them."""
        path, room, total = self.new(suffix), self.room(), 0
        with open(path, "wb") as file:
            for piece in pieces:
                total += len(piece)
                if total > room:
                    raise LoadError(
                        f"{wording.clean(label)} needs more than {wording.size(room)} of temporary disk.",
                        "Raise `scratch` in ~/.config/cloche/config.json, or load a smaller part of it.",
                    )
                file.write(piece)
        return path, total

    def keep(self, path: str) -> None:
        """Leave this file where it is: a value reads it when asked."""
        self._kept.add(path)

    def drop(self, path: str) -> None:
        """Give back a file nobody keeps; one that is not ours is left alone."""
        if path not in self._kept and self._directory and os.path.dirname(path) == self._directory:
            os.unlink(path)

    def close(self) -> None:
        if self._directory is None:
            return
        for entry in os.listdir(self._directory):
            path = os.path.join(self._directory, entry)
            if path not in self._kept:
                os.unlink(path)
        if not self._kept:
            os.rmdir(self._directory)
