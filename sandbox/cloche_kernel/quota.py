"""What a session leaves in the places it can write to: how much /scratch may take, and emptying all of them."""

from __future__ import annotations

import os
import shutil

#: room that stays free on the host's disk, in bytes
RESERVE_BYTES = 1 << 30
#: entries looked at in one go; more than that is counted as too much to be looked through
_MAX_ENTRIES = 50_000


def excess(path: str, quota: int) -> str | None:
    """
    Why what lies below `path` is too much (`quota` in bytes), in words; None while it is not.

    The directory lies on the host's file system, so nothing but this holds it back.
    """
    stats = os.statvfs(path)
    used, entries = _used(path)
    # A file that was deleted while open is not found by looking; the room left on the disk is.
    if used > 0 and stats.f_bavail * stats.f_frsize < RESERVE_BYTES:
        return "the disk that holds /scratch is nearly full"
    if used > quota:
        return f"it wrote more than {quota / 1e9:.1f} GB to /scratch"
    if entries > _MAX_ENTRIES:
        return f"it made more than {_MAX_ENTRIES:,} files in /scratch"
    return None


def wipe(*paths: str) -> None:
    """Empties directories. What cannot be removed is left: it ends with the sandbox."""
    for path in paths:
        try:
            entries = list(os.scandir(path))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
                continue
            try:
                os.unlink(entry.path)
            except OSError:
                pass


def _used(path: str) -> tuple[int, int]:
    """(bytes on disk, entries) below `path`, without following links."""
    total = entries = 0
    todo = [path]
    while todo and entries <= _MAX_ENTRIES:
        try:
            found = list(os.scandir(todo.pop()))
        except OSError:
            continue
        for entry in found:
            entries += 1
            try:
                stats = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            total += stats.st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                todo.append(entry.path)
    return total, entries
