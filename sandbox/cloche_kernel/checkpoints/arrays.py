"""Memory that several values look at: numpy arrays, their views and subclasses."""

from __future__ import annotations

import mmap
import pickle
import sys
from typing import Any

from cloche_kernel.checkpoints import instances, rebuild
from cloche_kernel.checkpoints.contract import Mapped, NotKept, Reduced, Scope


def reduce_array(obj: Any, scope: Scope) -> Reduced:
    """An array or a view of one; NotImplemented for what is none, and where numpy's own pickling is right."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(obj, numpy.ndarray):
        return NotImplemented
    owner = _owner(obj, numpy)
    if isinstance(owner, (mmap.mmap, numpy.memmap)):
        raise NotKept("an array over a file (numpy.memmap): the file lies outside of what is kept")
    if type(obj) is numpy.ndarray:
        return _reduce_plain(obj, owner, numpy)
    # A subclass: its memory as that of a plain array, its attributes on top.
    state = instances.state_of(obj)
    plain = rebuild.seen_as, (_inner(obj, owner, numpy), type(obj))
    return *plain, state, None, None, rebuild.fill_object


def _owner(array: Any, numpy: Any) -> Any:
    """What has the memory: an array without a base, or what exported it to the last array."""
    while isinstance(array.base, numpy.ndarray):
        array = array.base
    found = array.base
    if type(found).__name__ == "DummyArray" and isinstance(getattr(found, "base", None), numpy.ndarray):
        # as_strided and sliding_window_view put it between a view and its array.
        return _owner(found.base, numpy)
    if isinstance(found, memoryview):
        found = found.obj
        while isinstance(found, memoryview):
            found = found.obj
        if isinstance(found, numpy.ndarray):
            return _owner(found, numpy)
    return array if found is None or _is_foreign(found) else found


def _is_foreign(owner: Any) -> bool:
    """Memory of a library's object: what is in it is kept, and no longer the object's own."""
    if isinstance(owner, Mapped):
        return True
    return not (isinstance(owner, (bytearray, bytes, mmap.mmap)) or type(owner).__name__ == "array")


def _inner(obj: Any, owner: Any, numpy: Any) -> Any:
    """The memory of an instance of a subclass, as something that is not the instance."""
    if owner is not obj:
        return Slice(owner, obj)
    if not obj.dtype.hasobject:
        return Whole(numpy.ndarray.view(obj, numpy.ndarray))
    return numpy.array(numpy.ndarray.view(obj, numpy.ndarray), copy=True, order="K")


class Slice:
    """Stands for the part of an owner's memory that an instance of a subclass looks at."""

    def __init__(self, owner: Any, array: Any) -> None:
        self._made = owner, array

    def __reduce__(self) -> Any:
        return _reduce_view(self._made[1], self._made[0])


class Whole:
    """Stands for an array's own memory."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __reduce__(self) -> Any:
        import numpy

        made = _reduce_memory(self._array)
        return made if made is not NotImplemented else numpy.ndarray.copy(self._array, "K").__reduce_ex__(5)


def _reduce_plain(array: Any, owner: Any, numpy: Any) -> Reduced:
    if owner is not array:
        return _reduce_view(array, owner)
    base = array.base
    if base is not None and not _is_library_memory(base):
        raise NotKept(f"an array over the memory of {type(base).__module__}.{type(base).__qualname__}")
    return _reduce_memory(array)


def _reduce_memory(array: Any) -> Reduced:
    if array.dtype == object and array.ndim and array.flags.forc:
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        state = list(array.ravel("K")), bool(array.flags.writeable)
        return empty_of_objects, (array.shape, order), state, None, None, fill_objects
    # Memory laid out by strides, and none at all: numpy's own way is right.
    if array.dtype.hasobject or not array.size or not array.flags.forc or array.dtype.kind == "T":
        return NotImplemented
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    flat = array.reshape(-1, order="A").view("u1")
    return whole, (pickle.PickleBuffer(flat), array.dtype, array.shape, order, bool(array.flags.writeable))


def empty_of_objects(shape: tuple[int, ...], order: str) -> Any:
    import numpy

    return numpy.empty(shape, object, "F" if order == "F" else "C")


def fill_objects(made: Any, state: tuple[list[Any], bool]) -> None:
    import numpy

    items, writeable = state
    made.ravel("K")[:] = numpy.fromiter(items, object, len(items))
    made.flags.writeable = writeable


def whole(buffer: Any, dtype: Any, shape: tuple[int, ...], order: str, writeable: bool) -> Any:
    """An array that has its memory to itself. Memory that cannot be written to, as a small one's, is copied."""
    import numpy

    made = numpy.ndarray(shape, dtype, buffer, order="F" if order == "F" else "C")
    if not made.flags.writeable:
        made = made.copy(order="A")
    # Also where it came over memory that can be written to: a view of it may be written through.
    made.flags.writeable = writeable
    return made


#: libraries whose own objects keep memory that nobody but they write to
_KEEPERS = frozenset({"pyarrow", "polars", "builtins", "scipy", "pandas", "sklearn", "numpy", "matplotlib", "PIL",
                      "duckdb", "_duckdb", "openpyxl", "contourpy", "kiwisolver", "cloche_kernel"})  # fmt: skip


def _is_library_memory(owner: Any) -> bool:
    return type(owner).__module__.split(".")[0] in _KEEPERS


def _reduce_view(array: Any, owner: Any) -> Reduced:
    import numpy

    if array.dtype.hasobject and array.size == 0:
        return NotImplemented
    if isinstance(owner, numpy.ndarray):
        start = _address(owner)
        if owner.base is not None and not _is_library_memory(owner.base):
            kind = type(owner.base)
            raise NotKept(f"an array over the memory of {kind.__module__}.{kind.__qualname__}")
    else:
        start = _address(numpy.frombuffer(owner, "u1")) if len(owner) else _address(array)
    offset = _address(array) - start
    if isinstance(owner, numpy.ndarray) and owner.dtype.hasobject and not _is_field(owner, offset, array):
        raise NotKept("a view of a part of an array of objects")
    if array.dtype.hasobject and not (owner.flags.c_contiguous or owner.flags.f_contiguous):
        raise NotKept("a view of an array of objects that has gaps")
    return rebuild.view, (owner, offset, array.shape, array.strides, array.dtype, bool(array.flags.writeable))


def _is_field(owner: Any, offset: int, array: Any) -> bool:
    within = offset % owner.dtype.itemsize
    return array.dtype == owner.dtype or rebuild.field_at(owner.dtype, within, array.dtype) is not None


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])
