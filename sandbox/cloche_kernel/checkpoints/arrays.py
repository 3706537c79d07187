"""Memory that several values look at: numpy arrays and their views, and the blocks of pandas frames."""

from __future__ import annotations

import pickle
import sys
from typing import Any

from cloche_kernel.checkpoints import rebuild
from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope


def reduce_array_like(obj: Any, scope: Scope) -> Reduced:
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(obj) is numpy.ndarray:
        return _reduce_array(obj, numpy)
    if numpy is not None and isinstance(obj, numpy.memmap):
        raise NotKept("an array over a file (numpy.memmap): the file lies outside of what is kept")
    pandas = sys.modules.get("pandas._libs.internals")
    if pandas is not None:
        if type(obj) is pandas.BlockValuesRefs:
            return rebuild.block_refs, ()
        if isinstance(obj, pandas.BlockManager) or type(obj).__name__ == "SingleBlockManager":
            return _reduce_blocks(obj)
    return NotImplemented


def root_of(array: Any, numpy: Any) -> Any:
    """The array that owns the memory; where that is no array, the last one before it."""
    while type(array.base) is numpy.ndarray:
        array = array.base
    return array


def _reduce_array(array: Any, numpy: Any) -> Reduced:
    root = root_of(array, numpy)
    if root is not array:
        return _reduce_view(array, root, _address(root))
    owner = array.base
    if isinstance(owner, (bytearray, bytes)) or type(owner).__name__ == "array":
        start = numpy.frombuffer(owner, "u1") if len(owner) else array
        return _reduce_view(array, owner, _address(start))
    if owner is not None and not isinstance(owner, (memoryview, Ours)) and not _is_library_memory(owner):
        raise NotKept(f"an array over the memory of {type(owner).__module__}.{type(owner).__qualname__}")
    if array.dtype.hasobject:
        return NotImplemented
    if not array.flags.forc:
        # Its own memory, laid out by strides: as bytes in order, and the strides again on top.
        return NotImplemented
    flat = array.reshape(-1, order="A")
    made = numpy.frombuffer, (pickle.PickleBuffer(flat.view("u1") if array.size else flat), array.dtype)
    if not array.size:
        return NotImplemented
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return whole, (made[1][0], array.dtype, array.shape, order, bool(array.flags.writeable))


def whole(buffer: Any, dtype: Any, shape: tuple[int, ...], order: str, writeable: bool) -> Any:
    """An array that has its memory to itself. Memory that cannot be written to, as a small one's, is copied."""
    import numpy

    made = numpy.ndarray(shape, dtype, buffer, order="F" if order == "F" else "C")
    if writeable and not made.flags.writeable:
        made = made.copy(order="A")
    elif not writeable:
        made.flags.writeable = False
    return made


class Ours(bytearray):
    """Memory that a restore gave."""


def _is_library_memory(owner: Any) -> bool:
    return type(owner).__module__.split(".")[0] in ("pyarrow", "polars", "mmap", "builtins", "scipy", "pandas")


def _reduce_view(array: Any, root: Any, start: int) -> Reduced:
    offset = _address(array) - start
    if array.dtype.hasobject and array.size == 0:
        return NotImplemented
    return rebuild.view, (root, offset, array.shape, array.strides, array.dtype, bool(array.flags.writeable))


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _reduce_blocks(manager: Any) -> Reduced:
    """With the tally of who shares which memory: without it a write to one frame would change another."""
    blocks = [(block.values, block.mgr_locs.as_array, block.ndim, block.refs) for block in manager.blocks]
    return rebuild.block_manager, (type(manager), list(manager.axes), blocks)
