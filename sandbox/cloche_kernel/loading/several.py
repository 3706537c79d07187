"""A request with one file, several files or a directory: one value, one table of all of them, or a mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from cloche_kernel.loading import reading, wording
from cloche_kernel.loading.contract import File, LoadError, LoadRequest, Session, Value

#: files one load takes, unpacked members included
MAX_FILES = 10_000
#: lines of a mapping's profile that go to one member each
_LISTED = 60


def load(request: LoadRequest, session: Session) -> Value:
    """The value of a request."""
    name = request["name"]
    sources = request["sources"]
    if not sources:
        raise LoadError("There is no file to load.", "Check the path or pattern.")
    if len(sources) > MAX_FILES:
        raise LoadError(f"{len(sources):,} files are more than one load takes ({MAX_FILES:,}).", "Load a part of them.")
    files = [
        File(
            s["path"],
            s["label"],
            s["path"],
            s["size"],
            name if len(sources) == 1 and not request["directory"] else f"{name}[{s['label']!r}]",
        )
        for s in sources
    ]
    if len(files) == 1 and not request["directory"]:
        return reading.read(files[0], session)
    if not request["directory"]:
        from cloche_kernel.loading import union

        together = union.load(files, name, session)
        if together is not None:
            return together
    return mapping(((file.label, partial(_same, file)) for file in files), session)


def _same(file: File) -> File:
    return file


def mapping(
    members: Iterable[tuple[str, Callable[[], File]]], session: Session, left_out: list[str] | None = None
) -> Value:
    """A dict of label → value. A member that cannot be read is left out and named, with the reason."""
    values: dict[str, Any] = {}
    lines: list[str] = []
    failed: list[str] = []
    for label, fetch in members:
        file = fetch()
        try:
            value = reading.read(file, session)
        except LoadError as error:
            failed.append(f"{wording.clip(label, 80)}: {wording.clip(error.message, 200)}")
            continue
        finally:
            session.scratch.drop(file.path)
        values[label] = value.value
        if len(lines) < _LISTED:
            lines.append(f"  {wording.show(label)}: {value.summary}; {value.facts[0] if value.facts else ''}")
            lines += [f"    note: {note}" for note in value.notes]
    if not values and failed:
        none = "Its only file" if len(failed) == 1 else f"None of the {len(failed):,} files"
        could = "could not be read" if len(failed) == 1 else "could be read"
        raise LoadError(f"{none} {could}. {failed[0]}")
    notes = [f"not loaded: {line}" for line in failed[:20]]
    if len(failed) > 20:
        notes.append(f"not loaded: {len(failed) - 20:,} more")
    notes += left_out or []
    if len(values) > _LISTED:
        lines.append(f"  … {len(values) - _LISTED:,} more")
    return Value(values, f"dict of {wording.plural(len(values), 'member')}, by name", [], notes, lines)
