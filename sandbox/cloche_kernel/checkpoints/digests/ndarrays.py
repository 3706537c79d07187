"""Values of numpy: arrays by their memory and how they look at it, scalars by their bytes."""

from __future__ import annotations

import sys
import types
from typing import Any

from cloche_kernel.checkpoints.digests.walk import Describe, Walk


def root_of(array: Any) -> Any:
    """The array that owns the memory; where none does, the last one before what does."""
    import numpy

    while True:
        below = array.base
        if not isinstance(below, numpy.ndarray):
            # `as_strided` puts an object of its own between an array and the one it looks at.
            below = getattr(below, "base", None) if type(below).__name__ == "DummyArray" else None
        if not isinstance(below, numpy.ndarray):
            return array
        array = below


def _array(walk: Walk, array: Any) -> list[Any]:
    import numpy

    read = numpy.ndarray.__dict__
    shape, strides = read["shape"].__get__(array), read["strides"].__get__(array)
    dtype, flags = read["dtype"].__get__(array), read["flags"].__get__(array)
    parts: list[Any] = [describe_dtype(walk, dtype), shape, bool(flags.writeable)]
    root = root_of(array)
    if not array.size:
        return parts
    # The stride of a dimension with one element is never walked.
    parts.append([step if size > 1 else None for size, step in zip(shape, strides, strict=True)])
    plain = numpy.ndarray.view(root, numpy.ndarray)
    low, high = numpy.lib.array_utils.byte_bounds(plain)
    at = int(read["__array_interface__"].__get__(array)["data"][0])
    own_low, own_high = numpy.lib.array_utils.byte_bounds(numpy.ndarray.view(array, numpy.ndarray))
    low, high = min(low, own_low), max(high, own_high)
    apart = type(root.base).__module__.split(".")[0] in ("pyarrow", "polars")
    raw = not dtype.hasobject and not root.dtype.hasobject
    writeable = bool(root.flags.writeable or flags.writeable)
    parts.append(walk.memory.add(low, high - low, at, writeable, raw, apart))
    if dtype.hasobject:
        elements = numpy.ndarray.view(array, numpy.ndarray).ravel().tolist()
        walk.keep.append(elements)
        parts.append(walk.sequence(elements))
    return parts


def describe_dtype(walk: Walk, dtype: Any) -> list[Any]:
    """Layout, names, unit, byte order and metadata."""
    metadata = walk.ref(dict(dtype.metadata)) if dtype.metadata else None
    parts: list[Any] = [dtype.str, repr(dtype), dtype.itemsize, dtype.alignment, metadata]
    if dtype.names:
        for name in dtype.names:
            field = dtype.fields[name]
            parts.append([name, field[1], describe_dtype(walk, field[0])])
    if dtype.subdtype:
        parts.append(describe_dtype(walk, dtype.subdtype[0]))
    return parts


def _dtype(walk: Walk, dtype: Any) -> list[Any]:
    return describe_dtype(walk, dtype)


def _masked(walk: Walk, array: Any) -> list[Any]:
    """With the value that fills what is masked: the array's own, or its type's where none was asked for yet."""
    import numpy

    fill = vars(array).get("_fill_value")
    if fill is None:
        fill = numpy.ma.default_fill_value(array.dtype)
    return [*_array(walk, array), repr(numpy.asarray(fill).tolist())]


def _scalar(walk: Walk, scalar: Any) -> list[Any]:
    parts = describe_dtype(walk, scalar.dtype)
    if scalar.dtype.hasobject:
        item = scalar.item()
        walk.keep.append(item)
        return [*parts, walk.ref(item)]
    return [*parts, scalar.tobytes()]


def _is_library(name: str, module: Any) -> bool:
    return name != "__main__" and type(module) is types.ModuleType and getattr(module, "__spec__", None) is not None


def _ufunc(walk: Walk, ufunc: Any) -> list[Any]:
    import numpy

    name = str(ufunc.__name__)
    if vars(numpy).get(name) is ufunc:
        return ["numpy", name]
    if any(vars(module).get(name) is ufunc for key, module in list(sys.modules.items()) if _is_library(key, module)):
        return ["named", name, ufunc.nin, ufunc.nout, ufunc.types, ufunc.signature, ufunc.__doc__]
    try:
        reduced: Any = ufunc.__reduce__()
    except Exception:
        reduced = None
    if not isinstance(reduced, str):
        walk.note_opaque(type(ufunc))
    return [reduced if isinstance(reduced, str) else None, name, ufunc.nin, ufunc.nout]


CONTENT: dict[str, Describe] = {
    "numpy.ndarray": _array,
    "numpy.ma.MaskedArray": _masked,
    "numpy.ma.core.MaskedArray": _masked,
    "numpy.dtype": _dtype,
    "numpy.generic": _scalar,
    "numpy.ufunc": _ufunc,
}

SKIPPED: dict[str, frozenset[str]] = {
    "numpy.ma.MaskedArray": frozenset({"_fill_value"}),
    "numpy.ma.core.MaskedArray": frozenset({"_fill_value"}),
}
