"""How a value is described in one line, and in detail. Only the last resort asks the value itself, through `repr`."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from typing import Any

_PREVIEW = 80
_MAX_DETAIL = 2_000_000
#: cells of a table above which its nulls are not counted for a look
_MAX_COUNTED = 50_000_000
#: libraries whose own words about shape and size are taken, because they are cheap and true
_KNOWN = ("numpy", "pandas", "polars", "pyarrow", "scipy", "torch", "xarray")
_BARE_REPR = re.compile(r"^<[\w.]+( object)?( at 0x[0-9a-f]+)?>$")
_CONTAINERS = (list, tuple, set, frozenset, dict)


def facts(value: Any) -> str:
    """Type, shape, dtype and size."""
    kind = type(value)
    parts = [kind.__name__]
    if library(kind) in _KNOWN:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
            parts[0] += " " + " × ".join(f"{n:,}" for n in shape) if shape else " scalar"
        dtype = getattr(value, "dtype", None)
        if dtype is not None and not issubclass(kind, type):
            parts.append(str(dtype))
    elif issubclass(kind, (str, bytes, bytearray, *_CONTAINERS)):
        parts[0] += f" of {len(value):,}"
    size = _size(value)
    if size is not None:
        parts.append(_bytes(size))
    return ", ".join(parts)


def preview(value: Any) -> str:
    """One line of its content, or nothing where that would not help."""
    kind = type(value)
    home = library(kind)
    if home in ("pandas", "polars", "duckdb", "pyarrow"):
        columns = _columns(value)
        if columns is not None:
            names = [str(name) for name in _first(columns, 12)]
            more = f", … {len(columns) - 12} more" if len(columns) > 12 else ""
            return _clip("columns " + ", ".join(names) + more, 2 * _PREVIEW)
    if issubclass(kind, (types.FunctionType, type)):
        return _clip((value.__doc__ or "").strip().partition("\n")[0])
    if kind in _CONTAINERS:
        return _clip(_items(value, 4))
    if home in ("numpy", "pandas", "polars", "pyarrow"):
        return _clip(str(value[:6] if getattr(value, "ndim", 1) == 1 else ""))
    return _brief(value, _PREVIEW)


def body(value: Any) -> str:
    """Everything about it that can be read, at most two million characters."""
    kind = type(value)
    if kind is str:
        return str(value)
    pandas = sys.modules.get("pandas")
    if pandas is not None and issubclass(kind, pandas.DataFrame):
        return f"columns\n{_column_list(value)}\nfirst rows\n{value.head(20).to_string()}"
    from IPython.lib.pretty import pretty

    text = str(pretty(value, max_width=120, max_seq_length=10_000))  # type: ignore[no-untyped-call]
    return text if len(text) <= _MAX_DETAIL else text[:_MAX_DETAIL] + "\n(cut here)"


def one_line(text: str) -> str:
    """`text` with what would end its line, or is no character to look at, escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def library(kind: type) -> str:
    """The top module a type comes from; DuckDB's and Polars' native halves count as theirs."""
    return str(kind.__module__).partition(".")[0].lstrip("_")


def _column_list(frame: Any) -> str:
    counted = frame.size <= _MAX_COUNTED
    lines = []
    for place, (name, dtype) in enumerate(frame.dtypes.items()):
        nulls = f", {int(frame.iloc[:, place].isna().sum()):,} null" if counted else ""
        lines.append(f"  {one_line(str(name))}: {dtype}{nulls}")
    return "\n".join(lines)


def _columns(value: Any) -> Any:
    # A lazy frame would plan its whole query to name its columns.
    if type(value).__name__ == "LazyFrame":
        return None
    return getattr(value, "column_names" if library(type(value)) == "pyarrow" else "columns", None)


def _size(value: Any) -> int | None:
    kind = type(value)
    pandas = sys.modules.get("pandas")
    if pandas is not None and issubclass(kind, (pandas.DataFrame, pandas.Series)):
        usage = value.memory_usage(deep=False)
        return int(usage if issubclass(kind, pandas.Series) else usage.sum())
    if library(kind) in _KNOWN:
        for name in ("nbytes", "estimated_size"):
            size = getattr(value, name, None)
            size = size() if callable(size) else size
            if isinstance(size, int):
                return size
    if kind in (int, float, complex, bool, str, bytes, bytearray):
        return sys.getsizeof(value)
    if kind in _CONTAINERS:
        total = sys.getsizeof(value)
        items = list(_first(value.values() if kind is dict else value, 100))
        return total + (sum(object.__sizeof__(item) for item in items) * len(value) // len(items) if items else 0)
    return None


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


def _items(value: Any, count: int) -> str:
    if type(value) is dict:
        inside = ", ".join(f"{_brief(key, 20)}: {_brief(item, 20)}" for key, item in _first(value.items(), count))
    else:
        inside = ", ".join(_brief(item, 30) for item in _first(value, count))
    return inside + (", …" if len(value) > count else "")


def _brief(value: Any, width: int) -> str:
    """The value in at most `width` characters, without building more than that where it is a builtin."""
    kind = type(value)
    if kind in (str, bytes):
        return _clip(repr(value[:width]), width)
    if kind is int and value.bit_length() > 4 * width:
        return f"int of {value.bit_length():,} bits"
    if kind in _CONTAINERS and len(value) > 4:
        return f"{kind.__name__} of {len(value):,}"
    text = repr(value)
    return f"<{kind.__name__}>" if _BARE_REPR.match(text[:500]) else _clip(text, width)


def _clip(text: str, width: int = _PREVIEW) -> str:
    text = " ".join(text[: 20 * width].split())
    return text if len(text) <= width else text[: width - 1] + "…"
