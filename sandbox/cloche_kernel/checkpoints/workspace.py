"""The files of /workspace as part of the state: taken down when a cell changed them, put back with its variables."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Any

ROOT = "/workspace"
#: entries looked at; a tree with more is not kept, and the person is told
MOST_ENTRIES = 20_000


class TooMany(Exception):
    """There are more files than are kept."""


@dataclass(frozen=True)
class Entry:
    """One file, directory or link: what tells that it changed, and what it is."""

    path: str
    kind: str
    mode: int
    size: int
    changed: int
    number: int
    target: str = ""


def look(root: str = ROOT) -> dict[str, Entry]:
    """What lies below `root`, by relative path. Raises TooMany."""
    found: dict[str, Entry] = {}
    todo = [""]
    while todo:
        below = todo.pop()
        try:
            entries = list(os.scandir(os.path.join(root, below)))
        except OSError:
            continue
        for entry in entries:
            path = os.path.join(below, entry.name)
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            made = _entry(path, os.path.join(root, path), status)
            if made is None:
                continue
            found[path] = made
            if made.kind == "directory":
                todo.append(path)
            if len(found) > MOST_ENTRIES:
                raise TooMany(f"/workspace holds more than {MOST_ENTRIES:,} files")
    return found


def _entry(path: str, full: str, status: os.stat_result) -> Entry | None:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        kind, target = "file", ""
    elif stat.S_ISDIR(mode):
        kind, target = "directory", ""
    elif stat.S_ISLNK(mode):
        kind, target = "link", os.readlink(full)
    else:
        return None
    return Entry(path, kind, stat.S_IMODE(mode), status.st_size if kind == "file" else 0,
                 status.st_ctime_ns if kind == "file" else 0, status.st_ino, target)  # fmt: skip


def read(entry: Entry, root: str = ROOT) -> bytes:
    with open(os.path.join(root, entry.path), "rb") as file:
        return file.read()


def put_back(wanted: list[dict[str, Any]], contents: dict[str, Any], root: str = ROOT) -> list[str]:
    """Makes `root` hold just what was wanted; sentences on what could not be."""
    failed: list[str] = []
    names = {entry["path"] for entry in wanted}
    for path, entry in sorted(look(root).items(), reverse=True):
        if path not in names:
            _quietly(failed, path, lambda path=path, kind=entry.kind: _remove(os.path.join(root, path), kind))
    for item in sorted(wanted, key=lambda item: str(item["path"])):
        _quietly(failed, item["path"], lambda item=item: _make(item, contents, root))
    return failed


def _remove(full: str, kind: str) -> None:
    os.rmdir(full) if kind == "directory" else os.unlink(full)


def _make(item: dict[str, Any], contents: dict[str, Any], root: str) -> None:
    full = os.path.join(root, item["path"])
    if item["kind"] == "directory":
        os.makedirs(full, exist_ok=True)
    elif item["kind"] == "link":
        if os.path.lexists(full):
            os.unlink(full)
        os.symlink(item["target"], full)
        return
    elif item["path"] in contents:
        # Written in place: an open file of the session goes on looking at the same one.
        with open(full, "wb") as file:
            file.write(contents[item["path"]])
    os.chmod(full, item["mode"])


def _quietly(failed: list[str], path: str, work: Any) -> None:
    try:
        work()
    except OSError as error:
        failed.append(f"/workspace/{path} could not be put back: {error.strerror or error}")
