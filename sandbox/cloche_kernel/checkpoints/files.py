"""Open files of the session, where they stood. What they hold is kept with the files of /workspace."""

from __future__ import annotations

import contextlib
import gc
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope

#: where files of the session live and are kept
KEPT = ("/workspace/", "/data/", "/cloche/data/")

#: path → device and number of the file that is open there
Places = dict[str, tuple[int, int]]

_NEWLINES = ("", "\n", "\r", "\r\n")
#: where files that are opened again are noted
_noted: Places | None = None


def _reduce_text(file: Any, scope: Scope) -> Reduced:
    options = {"encoding": file.encoding, "errors": file.errors, "newline": _newline(file)}
    own = _own(file, ("mode",))
    if file.closed:
        return closed_text, (file.name, file.mode, options, own)
    if not isinstance(getattr(file.buffer, "raw", None), io.FileIO):
        return _reduce_layer(file, options)
    return _reduce_open(file, file.mode, {**options, "line_buffering": file.line_buffering}, own, scope)


def _newline(file: Any) -> str | None:
    # A text file does not say how it was told to treat ends of lines, but it holds the text it was told.
    found = [held for held in gc.get_referents(file) if type(held) is str and held in _NEWLINES]
    return found[0] if len(found) == 1 else None


def _own(file: Any, known: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in getattr(file, "__dict__", {}).items() if name not in known}


def _reduce_binary(file: Any, scope: Scope) -> Reduced:
    raw = file if isinstance(file, io.FileIO) else file.raw
    if not isinstance(raw, io.FileIO):
        raise NotKept(f"a buffer over {type(raw).__module__}.{type(raw).__qualname__}")
    options = {"buffering": 0} if file is raw else {}
    own = _own(file, ("name",) if file is raw else ())
    if file.closed:
        return closed_binary, (raw.name, raw.mode, options, own)
    return _reduce_open(file, raw.mode, options, own, scope)


def _reduce_open(file: Any, mode: str, options: dict[str, Any], own: dict[str, Any], scope: Scope) -> Reduced:
    name = file.name
    # Its name is what it was opened by: the directory may be another by now, and the file may have been renamed.
    path = os.readlink(f"/proc/self/fd/{file.fileno()}")
    if not isinstance(name, (str, bytes, os.PathLike)) or not path.startswith(KEPT):
        raise NotKept("an open file outside of /workspace")
    if file.writable():
        file.flush()
    if not file.seekable():
        raise NotKept("an open file that has no position")
    opened = os.fstat(file.fileno())
    if _place(path) != (opened.st_dev, opened.st_ino):
        raise NotKept("an open file that was deleted")
    scope.files[path] = opened.st_dev, opened.st_ino
    try:
        position = file.tell()
    except OSError:
        raise NotKept("a text file in the middle of a loop over its lines: where it stands cannot be seen") from None
    return reopened, (name, path, mode, position, options, own)


def _place(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def are_in_place(places: Places) -> bool:
    """Whether the open files still are what lies at their paths."""
    return all(_place(path) == place for path, place in places.items())


@contextlib.contextmanager
def noting() -> Iterator[Places]:
    """Which files are opened again within it."""
    global _noted
    before, _noted = _noted, {}
    try:
        yield _noted
    finally:
        _noted = before


def flush(file: Any) -> None:
    """Writes what an open file holds back."""
    if isinstance(file, io.IOBase):
        with contextlib.suppress(OSError, ValueError):
            file.flush()


def reopened(name: Any, path: str, mode: str, position: int, options: dict[str, Any], own: dict[str, Any]) -> io.IOBase:
    """An open file where it stood. What was opened to be written anew is neither made nor emptied again."""
    line_buffering = options.pop("line_buffering", False)
    made: Any = open(path, mode, opener=_open_as_it_is, **options)  # noqa: SIM115
    if isinstance(made, io.TextIOWrapper) and line_buffering:
        made.reconfigure(line_buffering=True)
    if _noted is not None:
        opened = os.fstat(made.fileno())
        _noted[path] = opened.st_dev, opened.st_ino
    _raw(made).name = name
    made.seek(position)
    _adopt(made, own)
    return made  # type: ignore[no-any-return]


def _open_as_it_is(path: str, flags: int) -> int:
    return os.open(path, flags & ~(os.O_CREAT | os.O_TRUNC | os.O_EXCL))


def _raw(file: Any) -> Any:
    file = getattr(file, "buffer", file)
    return getattr(file, "raw", file)


def _adopt(made: Any, own: dict[str, Any]) -> None:
    for name, value in own.items():
        setattr(made, name, value)


def closed_text(name: Any, mode: str, options: dict[str, Any], own: dict[str, Any]) -> io.IOBase:
    made: Any = open(os.devnull, "r" if "r" in mode and "+" not in mode else "w", **options)  # noqa: SIM115
    made.mode = mode
    return _close(made, name, own)


def closed_binary(name: Any, mode: str, options: dict[str, Any], own: dict[str, Any]) -> io.IOBase:
    plain = mode if "x" not in mode else mode.replace("x", "w")
    return _close(open(os.devnull, plain, **options), name, own)


def _close(made: Any, name: Any, own: dict[str, Any]) -> io.IOBase:
    _raw(made).name = name
    _adopt(made, own)
    made.close()
    return made  # type: ignore[no-any-return]


def _reduce_layer(file: Any, options: dict[str, Any]) -> Reduced:
    """A text layer over a buffer that is no file."""
    if not isinstance(file.buffer, (io.BytesIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom)):
        raise NotKept("a text layer over something that is not kept")
    if file.writable():
        file.flush()
    try:
        position = file.tell() if file.seekable() else None
    except OSError:
        raise NotKept("a text layer in the middle of a loop over its lines: where it stands cannot be seen") from None
    return layer, (file.buffer, options, file.line_buffering), (position, _own(file, ())), None, None, fill_layer


def layer(buffer: Any, options: dict[str, Any], line_buffering: bool) -> io.TextIOWrapper:
    return io.TextIOWrapper(buffer, line_buffering=line_buffering, **options)


def fill_layer(made: io.TextIOWrapper, state: tuple[int | None, dict[str, Any]]) -> None:
    position, own = state
    if position is not None:
        made.seek(position)
    _adopt(made, own)


REDUCERS: dict[type, Callable[[Any, Scope], Reduced]] = {
    io.TextIOWrapper: _reduce_text,
    io.BufferedReader: _reduce_binary,
    io.BufferedWriter: _reduce_binary,
    io.BufferedRandom: _reduce_binary,
    io.FileIO: _reduce_binary,
}
