"""
Telling whether a value was changed in place: a fingerprint that is cheap, and runs no code of the value's own.

What cannot be known that way has no fingerprint (None); the caller then says less instead of something false.
"""

from __future__ import annotations

import sys
import types
import zlib
from typing import Any

#: bytes of one array, table or text that are read; a hash of so much takes some five milliseconds
MOST_BYTES = 8_388_608
#: values that are looked at inside one container, nested ones included
_MOST_ITEMS = 20_000
_MOST_DEPTH = 4
_MOST_COLUMNS = 500
#: bytes that one cell of a table is taken for
_CELL_BYTES = 8

_ATOMS = frozenset({int, float, complex, bool, type(None), range})
_FIXED = frozenset({types.ModuleType, types.FunctionType, types.BuiltinFunctionType})


def fingerprint(value: Any) -> Any:
    """Something that differs once `value` was changed in place; None where that cannot be known cheaply."""
    try:
        return _array_like(value) if type(value).__module__.startswith(("numpy", "pandas")) else _Walk().of(value, 0)
    except Exception:
        return None


class _Unknown(Exception):
    pass


class _Walk:
    """One look into nested builtin containers, which ends when it has seen enough."""

    def __init__(self) -> None:
        self._left = _MOST_ITEMS

    def of(self, value: Any, depth: int) -> Any:
        kind = type(value)
        self._left -= 1
        if kind in _ATOMS:
            return value if kind is not float else repr(value)
        if kind in (str, bytes):
            if len(value) > MOST_BYTES:
                raise _Unknown
            return hash(value)
        if kind in _FIXED or issubclass(kind, type):
            return id(value)
        if depth >= _MOST_DEPTH or self._left < 0:
            raise _Unknown
        if kind in (list, tuple, set, frozenset):
            self._check(len(value))
            return kind.__name__, [self.of(item, depth + 1) for item in value]
        if kind is dict:
            self._check(2 * len(value))
            return "dict", [(self.of(key, depth + 1), self.of(item, depth + 1)) for key, item in value.items()]
        raise _Unknown

    def _check(self, size: int) -> None:
        if size > self._left:
            raise _Unknown


def _array_like(value: Any) -> Any:
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    kind = type(value)
    if numpy is not None and issubclass(kind, (numpy.ndarray, numpy.generic)):
        return _array(value)
    if pandas is not None and issubclass(kind, pandas.DataFrame):
        if value.shape[1] > _MOST_COLUMNS or value.size * _CELL_BYTES > MOST_BYTES:
            return None
        columns = [_column(value.iloc[:, place].array) for place in range(value.shape[1])]
        # Labels are immutable, so a change of theirs is another object.
        return None if None in columns else (value.shape, id(value.index), id(value.columns), columns)
    if pandas is not None and issubclass(kind, pandas.Series):
        column = _column(value.array)
        return None if column is None else (id(value.index), column)
    return None


def _column(values: Any) -> Any:
    arrow = getattr(values, "_pa_array", None)
    if arrow is not None:
        # Arrow data is immutable: a change makes new buffers.
        return [buffer.address for chunk in arrow.chunks for buffer in chunk.buffers() if buffer is not None]
    inner = getattr(values, "_ndarray", None)
    return None if inner is None else _array(inner)


def _array(array: Any) -> Any:
    if array.dtype.hasobject or array.nbytes > MOST_BYTES:
        return None
    data = array if array.flags.c_contiguous else array.copy()
    return array.shape, str(array.dtype), zlib.crc32(data.reshape(-1).view("u1"))
