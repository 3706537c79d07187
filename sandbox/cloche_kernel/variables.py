"""What the session holds: which names, of what type, shape and size, and which cell last bound or changed each."""

from __future__ import annotations

import difflib
import re
import signal
import sys
import types
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_PREVIEW = 80
_PAGE_NAMES = 100
_MAX_DETAIL = 2_000_000
#: seconds one value may take to describe itself
_PATIENCE = 1.0
#: bytes of one value that are read to notice a change in place; a larger one counts as changed when a cell names it
_MAX_HASHED = 268_435_456
_IDENTIFIER = re.compile(r"[^\W\d]\w*")


class Variables:
    """The user's namespace, with a note per name of the cell that last bound or changed it."""

    def __init__(self, namespace: dict[str, Any], hidden: Callable[[], set[str]]) -> None:
        self._namespace = namespace
        self._hidden = hidden
        self._notes: dict[str, tuple[int, int, Any]] = {}

    def note(self, cell: int, code: str) -> None:
        """Compares the namespace with the last look; called after each cell, with its code."""
        named = self._reachable(set(_IDENTIFIER.findall(code)))
        for name, value in self._visible():
            before = self._notes.get(name)
            if before is None or before[1] != id(value):
                self._notes[name] = (cell, id(value), _fingerprint(value))
            elif name in named:
                now = _fingerprint(value)
                if now is None or now != before[2]:
                    self._notes[name] = (cell, id(value), now)
        for name in [name for name in self._notes if name not in self._namespace]:
            del self._notes[name]

    def table(self, offset: int) -> str:
        """One line a variable, a page of 100."""
        everything = list(self._visible())
        rows = [(n, v) for n, v in everything if not isinstance(v, types.ModuleType)]
        modules = [n for n, v in everything if isinstance(v, types.ModuleType)]
        if not rows and not modules:
            return "No variables yet."
        lines = []
        for name, value in rows[offset : offset + _PAGE_NAMES]:
            cell = self._notes.get(name, (0,))[0]
            preview = _patiently(_preview, value)
            facts = _patiently(_facts, value)
            lines.append(f"{name}: {facts}, cell {cell}{': ' + preview if preview else ''}")
        left = len(rows) - offset - _PAGE_NAMES
        if left > 0:
            lines.append(f"… {left} more: vars {{offset: {offset + _PAGE_NAMES}}}")
        if modules and offset == 0:
            lines.append(f"modules: {', '.join(modules)}")
        return "\n".join(lines)

    def detail(self, name: str, offset: int, limit: int) -> tuple[str, bool]:
        """(text of one variable from `offset` characters on, found)."""
        visible = dict(self._visible())
        if name not in visible:
            near = difflib.get_close_matches(name, visible, 3, 0.5)
            guess = f" Near it: {', '.join(near)}." if near else ""
            return f"There is no variable {name!r}.{guess} vars without a name lists all.", False
        value = visible[name]
        cell = self._notes.get(name, (0,))[0]
        head = f"{name}: {_patiently(_facts, value)}, last bound or changed in cell {cell}"
        body = _patiently(_body, value, 5.0)
        page = body[offset : offset + limit]
        more = len(body) - offset - len(page)
        tail = f"\n… {more} more characters: vars {{name: {name!r}, offset: {offset + len(page)}}}" if more > 0 else ""
        return f"{head}\n{page}{tail}", True

    def _visible(self) -> Iterator[tuple[str, Any]]:
        hidden = self._hidden()
        for name, value in list(self._namespace.items()):
            if not name.startswith("_") and name not in hidden:
                yield name, value

    def _reachable(self, named: set[str]) -> set[str]:
        """Names a cell may have changed: those in its code, and those in the code of functions it names."""
        todo = list(named)
        while todo:
            value = self._namespace.get(todo.pop())
            members = vars(value).values() if isinstance(value, type) else (value,)
            for member in members:
                if isinstance(member, types.FunctionType):
                    fresh = set(member.__code__.co_names) - named
                    named |= fresh
                    todo.extend(fresh)
        return named


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _patiently(describe: Callable[[Any], str], value: Any, seconds: float = _PATIENCE) -> str:
    """A value's description of itself, however badly its own methods behave."""
    try:
        with _deadline(seconds):
            return describe(value)
    except TimeoutError:
        return "(takes too long to show)"
    except BaseException as error:
        return f"(cannot be shown: {type(error).__name__})"


def _facts(value: Any) -> str:
    kind = type(value)
    parts = [kind.__name__]
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
        parts[0] += " " + " × ".join(f"{n:,}" for n in shape) if shape else " scalar"
    elif isinstance(value, (str, bytes, list, tuple, dict, set, frozenset)):
        parts[0] += f" of {len(value):,}"
    dtype = getattr(value, "dtype", None)
    if dtype is not None and not isinstance(value, type):
        parts.append(str(dtype))
    size = _size(value)
    if size is not None:
        parts.append(_bytes(size))
    return ", ".join(parts)


def _size(value: Any) -> int | None:
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series)):
        usage = value.memory_usage(deep=False)
        return int(usage if isinstance(value, pandas.Series) else usage.sum())
    for name in ("nbytes", "estimated_size"):
        size = getattr(value, name, None)
        if callable(size):
            size = size()
        if isinstance(size, int):
            return size
    if isinstance(value, (types.FunctionType, type)):
        return None
    total = sys.getsizeof(value)
    if isinstance(value, (list, tuple, set, frozenset, dict)) and value:
        items = list(_first(value.values() if isinstance(value, dict) else value, 100))
        total += sum(sys.getsizeof(item) for item in items) * len(value) // len(items)
    return total


def _first(items: Any, count: int) -> Iterator[Any]:
    for index, item in enumerate(items):
        if index >= count:
            return
        yield item


def _bytes(size: int) -> str:
    amount = float(size)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"


def _preview(value: Any) -> str:
    kind = type(value).__module__.partition(".")[0]
    columns = getattr(value, "columns", None)
    if kind in ("pandas", "polars", "duckdb") and columns is not None:
        names = [str(name) for name in _first(columns, 12)]
        text = ", ".join(names) + (f", … {len(columns) - 12} more" if len(columns) > 12 else "")
        return _clip("columns " + text, 2 * _PREVIEW)
    if isinstance(value, str):
        return _clip(repr(value[:_PREVIEW]))
    if isinstance(value, (types.FunctionType, type)):
        doc = (value.__doc__ or "").strip().partition("\n")[0]
        return _clip(doc)
    if isinstance(value, (list, tuple, set, frozenset)):
        inside = ", ".join(_clip(repr(item), 30) for item in _first(value, 4))
        return _clip(inside + (", …" if len(value) > 4 else ""))
    if isinstance(value, dict):
        inside = ", ".join(f"{_clip(repr(k), 20)}: {_clip(repr(v), 20)}" for k, v in _first(value.items(), 4))
        return _clip(inside + (", …" if len(value) > 4 else ""))
    if kind in ("numpy", "pandas", "polars", "pyarrow"):
        return _clip(" ".join(str(value[:6] if getattr(value, "ndim", 1) == 1 else "").split()))
    return _clip(repr(value))


def _clip(text: str, width: int = _PREVIEW) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _body(value: Any) -> str:
    if isinstance(value, str):
        return value
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        columns = "\n".join(
            f"  {name}: {dtype}, {int(value.iloc[:, place].isna().sum()):,} null"
            for place, (name, dtype) in enumerate(value.dtypes.items())
        )
        return f"columns\n{columns}\nfirst rows\n{value.head(20).to_string()}"
    from IPython.lib import pretty

    text = str(pretty.pretty(value, max_width=120, max_seq_length=10_000))  # type: ignore[no-untyped-call]
    return text if len(text) <= _MAX_DETAIL else text[:_MAX_DETAIL] + "\n(cut here)"


def _fingerprint(value: Any) -> Any:
    """Something that differs when the value was changed in place; None where that cannot be known cheaply."""
    if isinstance(value, (int, float, str, bytes, bool, complex, type(None), types.ModuleType, tuple, frozenset)):
        return 0
    numpy = sys.modules.get("numpy")
    pandas = sys.modules.get("pandas")
    try:
        if numpy is not None and isinstance(value, numpy.ndarray):
            return _hash_array(value)
        if pandas is not None and isinstance(value, pandas.DataFrame):
            columns = [_hash_column(value.iloc[:, place]) for place in range(value.shape[1])]
            return value.shape, tuple(map(str, value.columns)), columns
        if pandas is not None and isinstance(value, pandas.Series):
            return _hash_column(value)
        if isinstance(value, (list, set, dict)):
            return len(value), _hash_repr(value), _hash_repr(value.values()) if isinstance(value, dict) else 0
        if isinstance(value, (types.FunctionType, type)):
            return 0
    except BaseException:
        return None
    return None


def _hash_repr(items: Any) -> int:
    return zlib.crc32(repr(list(_first(items, 10_000))).encode("utf-8", "replace"))


def _hash_array(array: Any) -> Any:
    if array.dtype.hasobject or array.nbytes > _MAX_HASHED:
        return None
    data = array if array.flags.c_contiguous else array.copy()
    return array.shape, str(array.dtype), zlib.crc32(data.reshape(-1).view("u1"))


def _hash_column(column: Any) -> Any:
    values = column.array
    inner = getattr(values, "_ndarray", None)
    if inner is not None:
        return _hash_array(inner)
    arrow = getattr(values, "_pa_array", None)
    if arrow is not None:
        # Arrow data is immutable: a change makes new buffers.
        return tuple(b.address for chunk in arrow.chunks for b in chunk.buffers() if b is not None)
    return None
