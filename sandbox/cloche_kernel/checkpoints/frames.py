"""pandas: frames, series and indexes by what they hold, and the blocks that several of them may share."""

from __future__ import annotations

import sys
from typing import Any

from cloche_kernel.checkpoints import instances, rebuild
from cloche_kernel.checkpoints.contract import Reduced, Scope

#: attributes that pandas computes again when they are asked for
_COMPUTED = frozenset({"_cache", "_item_cache", "_engine"})


def reduce_frame(obj: Any, scope: Scope) -> Reduced:
    """A frame, a series, an index or a part of one; NotImplemented for what is none."""
    internals = sys.modules.get("pandas._libs.internals")
    if internals is None:
        return NotImplemented
    if type(obj) is internals.BlockValuesRefs:
        return block_refs, ()
    if isinstance(obj, internals.BlockManager) or type(obj).__name__ == "SingleBlockManager":
        return _reduce_blocks(obj)
    pandas = sys.modules.get("pandas")
    if pandas is None or not hasattr(pandas, "Index"):
        return NotImplemented
    if type(obj) is pandas.StringDtype:
        # Its mark of a missing value is a NaN by name: one by value would have every object of the frame looked at.
        return string_type, (obj.storage, obj.na_value is pandas.NA)
    if isinstance(obj, (pandas.DataFrame, pandas.Series, pandas.Index)):
        scope.note_library(type(obj))
        _, attributes, slots = instances.state_of(obj)
        kept = {name: value for name, value in (attributes or {}).items() if name not in _COMPUTED}
        if isinstance(obj, pandas.Index):
            kept["_cache"] = {}
            # An index is looked into as soon as it is there, by frames that are made with it: whole from the start.
            return whole_index, (type(obj), kept, slots)
        return rebuild.new_object, (type(obj), object), (None, kept, slots), None, None, rebuild.fill_object
    return NotImplemented


def string_type(storage: str, marks_missing: bool) -> Any:
    import numpy
    import pandas

    return pandas.StringDtype(storage, pandas.NA if marks_missing else numpy.nan)


def whole_index(kind: type, attributes: dict[str, Any], slots: list[Any]) -> Any:
    made: Any = object.__new__(kind)
    rebuild.fill_object(made, (None, attributes, slots))
    return made


def _reduce_blocks(manager: Any) -> Reduced:
    """With the tally of who shares which memory: without it a write to one frame would change another."""
    blocks = [(block.values, block.mgr_locs.as_array, block.ndim, block.refs) for block in manager.blocks]
    return block_manager, (type(manager), list(manager.axes), blocks)


def block_refs() -> Any:
    """The tally by which pandas knows that frames share memory; filled by the blocks that name it."""
    from pandas._libs.internals import BlockValuesRefs

    return BlockValuesRefs()


def block_manager(kind: type, axes: list[Any], blocks: list[tuple[Any, Any, int, Any]]) -> Any:
    from pandas._libs.internals import BlockPlacement
    from pandas.core.internals.blocks import new_block

    made = tuple(new_block(values, BlockPlacement(place), ndim=ndim, refs=refs) for values, place, ndim, refs in blocks)
    if kind.__name__ == "SingleBlockManager":
        return kind(made[0], axes[0], verify_integrity=False)
    return kind(made, axes, verify_integrity=False)
