"""Values of pandas: axes, blocks, and who shares memory with whom."""

from __future__ import annotations

from typing import Any

from cloche_kernel.checkpoints.digests import arrow
from cloche_kernel.checkpoints.digests.walk import Describe, Walk


def _manager(walk: Walk, manager: Any) -> list[Any]:
    blocks = [
        [walk.ref(block.values), [int(place) for place in block.mgr_locs.as_array], block.ndim, _refs(walk, block.refs)]
        for block in manager.blocks
    ]
    return [walk.refs(manager.axes), blocks]


def _refs(walk: Walk, refs: Any) -> Any:
    """The tally of who shares a block; one that nobody else has is as good as none."""
    return walk.fresh() if refs is None else walk.ref(refs)


def _tally(walk: Walk, refs: Any) -> list[Any]:
    return ["tally"]


def _backed(walk: Walk, thing: Any) -> list[Any]:
    return [walk.ref(thing._ndarray), walk.ref(thing.dtype)]


def _over_arrow(walk: Walk, thing: Any) -> list[Any]:
    """Its Arrow data in one piece: pandas cuts it as it likes."""
    return [arrow.fingerprint(thing._pa_array.combine_chunks())]


def _moment(walk: Walk, thing: Any) -> list[Any]:
    """A Timestamp or Timedelta: its value in its unit, and its zone."""
    return [thing._value, thing.unit, walk.ref(getattr(thing, "tzinfo", None)), getattr(thing, "fold", 0)]


def _flags(walk: Walk, flags: Any) -> list[Any]:
    return [bool(flags.allows_duplicate_labels)]


_CORE = "pandas._libs."
CONTENT: dict[str, Describe] = {
    "pandas._libs.internals.BlockManager": _manager,
    "pandas.core.internals.managers.BlockManager": _manager,
    "pandas.core.internals.managers.SingleBlockManager": _manager,
    _CORE + "internals.BlockValuesRefs": _tally,
    _CORE + "arrays.NDArrayBacked": _backed,
    "pandas.core.arrays.arrow.array.ArrowExtensionArray": _over_arrow,
    "pandas.arrays.ArrowExtensionArray": _over_arrow,
    _CORE + "tslibs.timestamps._Timestamp": _moment,
    _CORE + "tslibs.timedeltas._Timedelta": _moment,
    "pandas.core.flags.Flags": _flags,
    "pandas.api.internals.Flags": _flags,
}

SKIPPED: dict[str, frozenset[str]] = {
    "pandas.core.generic.NDFrame": frozenset({"_item_cache", "_cacher", "_typ"}),
    "pandas.core.indexes.base.Index": frozenset({"_cache", "_engine", "_id", "_references"}),
    "pandas.Index": frozenset({"_cache", "_engine", "_id", "_references"}),
    "pandas.core.internals.managers.BaseBlockManager": frozenset(
        {"_known_consolidated", "_is_consolidated", "_blknos", "_blklocs", "_cache", "axes", "blocks"}
    ),
    "pandas.core.arrays.base.ExtensionArray": frozenset({"_cache"}),
    "pandas.core.arrays.arrow.array.ArrowExtensionArray": frozenset({"_pa_array"}),
    "pandas.arrays.ArrowExtensionArray": frozenset({"_pa_array"}),
}
