"""What a failed cell shows: the user's own frames, the library frame that raised, and a hint where one helps."""

from __future__ import annotations

import os
import re
import sys
import traceback
from dataclasses import dataclass
from types import TracebackType

HOW_TO_ADD_PACKAGES = (
    "Packages cannot be installed from inside: the sandbox has no network. Add them on the host: list them in a "
    "requirements file and run ./setup.sh --packages requirements.txt in Cloche's directory."
)

_OUT_OF_MEMORY = (
    "\nThe session's memory limit is reached. Free variables with del, work in pieces, or raise `memory` in the "
    "configuration."
)

_NO_HOST_FILES = "\nThe session sees no file of the host: bring it in with the load tool, which copies it to /data."

_LIMIT = 16_000
#: frames shown at each end of a deep stack
_FRAMES_SHOWN = 6
#: where Cloche's own code lies: its frames tell the user nothing
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_CELL_FILE = re.compile(r'File "<?(cell \d+(?:, part \d+)?)>?"')
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]")


@dataclass
class Failure:
    """What a cell raised."""

    name: str
    text: str
    interrupted: bool
    #: no line of the user's raised it: Python, IPython or Cloche failed around the cell
    foreign: bool = False
    out_of_memory: bool = False


def describe(kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> Failure:
    """Never raises, whatever the exception's own methods do and a cell took from Python."""
    try:
        return _describe(kind, value, trace)
    except BaseException as error:
        return Failure(
            type(error).__name__,
            f"The cell failed, and what it raised could not be shown ({type(error).__name__}).",
            False,
            True,
        )


def out_of_memory() -> Failure:
    """For a cell that failed because nothing was left to tell how."""
    return Failure("MemoryError", "MemoryError" + _OUT_OF_MEMORY, False, True, True)


def _describe(kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> Failure:
    if kind is None or value is None:
        return Failure("Exception", "The cell failed.", False)
    if kind is KeyboardInterrupt:
        return Failure("KeyboardInterrupt", _where(trace), True)
    if kind is SystemExit:
        return Failure("SystemExit", f"SystemExit: {value}. The session goes on; the reset tool starts it over.", False)
    foreign = not any(_is_users(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(trace))
    if foreign and isinstance(cause := value.__context__, MemoryError):
        # IPython needs memory too to say that there is none.
        kind, value, trace = MemoryError, cause, cause.__traceback__
    if foreign and kind is MemoryError and _innermost(trace) == "ast_parse":
        return Failure("MemoryError", "MemoryError: the code is nested too deeply for Python's parser.", False)
    try:
        text = _render(kind, value, trace)
    except MemoryError:
        text = kind.__name__ + _OUT_OF_MEMORY
    except BaseException as error:
        text = f"{kind.__name__} (its own message could not be shown: {type(error).__name__})"
    return Failure(kind.__name__, _shorten(text), False, foreign, _OUT_OF_MEMORY in text)


def _render(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> str:
    described = traceback.TracebackException(kind, value, trace, compact=True)
    _trim(described, set())
    text = "".join(described.format(chain=True))
    text = _ESCAPES.sub("", text).rstrip()
    text = _CELL_FILE.sub(r"\1", text)
    if isinstance(value, ModuleNotFoundError) and value.name and _is_absent(value.name):
        text += f"\n{value.name.partition('.')[0]} is not in this sandbox. {HOW_TO_ADD_PACKAGES}"
    if isinstance(value, FileNotFoundError) and _is_of_the_host(value.filename):
        text += _NO_HOST_FILES
    if isinstance(value, MemoryError):
        text += _OUT_OF_MEMORY
    return text


def _innermost(trace: TracebackType | None) -> str:
    """Name of the function that raised."""
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(trace)]
    return names[-1] if names else ""


def _is_of_the_host(path: object) -> bool:
    """A path that somebody may have taken from the host: not one below the session's own directories."""
    if not isinstance(path, str):
        return False
    return os.path.isabs(path) is False or not path.startswith(("/workspace", "/data", "/tmp", "/scratch"))


def _is_absent(name: str) -> bool:
    top = name.partition(".")[0]
    return top == name and top not in sys.modules


class _Trimmed(traceback.StackSummary):
    """Frames of the user, and of the library only the one that raised."""

    def format(self, **_: object) -> list[str]:
        kept = [index for index, frame in enumerate(self) if _is_users(frame.filename)]
        if self and len(self) - 1 not in kept:
            kept.append(len(self) - 1)
        lines: list[str] = []
        following = kept[0] if kept and _is_users(self[kept[0]].filename) else 0
        for index in kept:
            if index > following:
                lines.append(f"  … {index - following} frames of libraries …\n")
            following = index + 1
            lines.append(self._line(self[index]))
        return _collapse(lines)

    def _line(self, frame: traceback.FrameSummary) -> str:
        plain = traceback.StackSummary.from_list([frame])
        text = "".join(plain.format())
        return text.replace(f'File "{frame.filename}"', _place(frame.filename), 1)


def _collapse(lines: list[str]) -> list[str]:
    """Deep recursion is shown by its first and last frames."""
    if len(lines) <= 2 * _FRAMES_SHOWN:
        return lines
    left_out = len(lines) - 2 * _FRAMES_SHOWN
    return [*lines[:_FRAMES_SHOWN], f"  … {left_out} more frames …\n", *lines[-_FRAMES_SHOWN:]]


def _trim(described: traceback.TracebackException, seen: set[int]) -> None:
    if id(described) in seen:
        return
    seen.add(id(described))
    described.stack = _Trimmed(frame for frame in described.stack if not frame.filename.startswith(_OWN))
    if isinstance(getattr(described, "text", None), str) and not any(_is_users(f.filename) for f in described.stack):
        described.stack = None  # type: ignore[assignment] # code that does not compile has no frames of its own
    for linked in (described.__cause__, described.__context__, *(getattr(described, "exceptions", None) or ())):
        if linked is not None:
            _trim(linked, seen)


def _is_users(filename: str) -> bool:
    return filename.startswith(("<cell", "/workspace/", "/tmp/", "/scratch/"))


def _place(filename: str) -> str:
    if filename.startswith("<cell"):
        return filename[1:-1]
    for top in sys.path:
        if top and filename.startswith(top + os.sep):
            return f'File "{filename[len(top) + 1 :]}"'
    return f'File "{filename}"'


def _where(trace: TracebackType | None) -> str:
    """The user's innermost line, for an interrupted cell."""
    frames = [frame for frame in traceback.extract_tb(trace) if _is_users(frame.filename)]
    if not frames:
        return "Interrupted."
    frame = frames[-1]
    return f"Interrupted at {_place(frame.filename)}, line {frame.lineno}: {frame.line}"


def _shorten(text: str) -> str:
    if len(text) <= _LIMIT:
        return text
    half = _LIMIT // 2
    return f"{text[:half]}\n… {len(text) - _LIMIT} characters left out …\n{text[-half:]}"
