"""
Which bytes of a restored value are still the kept ones: memory that is mapped from the host's files is copied page by
page where it is written to, and Linux tells which pages those are. What was not written to need not be hashed.

`/proc/self/pagemap` (Documentation/admin-guide/mm/pagemap.rst in Linux) has 64 bits for each page: bit 63, it is in
memory; 62, it is swapped out; 61, it is a page of the file's. A page of a private mapping that was written to is in
memory or swapped out, and not the file's.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cloche_kernel.checkpoints.contract import Mapped

#: memory from this size on, in `bytes`: less is hashed in the time that asking takes
WORTH_ASKING = 1_048_576
_PAGE = mmap.PAGESIZE
_HELD = 0b11 << 62
_OF_FILE = 1 << 61


@dataclass(frozen=True)
class _Region:
    memory: weakref.ref[Mapped]
    address: int
    size: int
    names: list[str]
    #: `bytes` of each chunk but the last
    each: int
    #: [from, to) in `bytes` from `address` on: where a file's pages lie, and nothing else
    spans: list[tuple[int, int]]


#: by address. What is freed is forgotten first, so that nothing that comes to lie there is taken for it
_regions: dict[int, _Region] = {}
_tells: list[bool] = []


def address_of(memory: Mapped) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def address_of_view(view: memoryview) -> int:
    import numpy

    return int(numpy.frombuffer(view, "u1").__array_interface__["data"][0])


def remember(
    memory: Mapped, begin: int, size: int, names: list[str], each: int, spans: Iterable[tuple[int, int]]
) -> None:
    """
    From `begin` on, `memory` holds `size` bytes that are the chunks `names`, each of `each` bytes but the last; between
    each of `spans`, counted from there, lie pages of files, mapped privately.
    """
    if size < WORTH_ASKING or len(names) != -(-size // each):
        return
    address = address_of(memory) + begin
    gone = weakref.ref(memory, lambda _: _regions.pop(address, None))
    _regions[address] = _Region(gone, address, size, names, each, list(spans))


def forget() -> None:
    """The names mean nothing any more."""
    _regions.clear()


def names_of(view: memoryview) -> list[str | None] | None:
    """Names of the chunks of `view` that nobody wrote to, None for each other; None where nothing is known of it."""
    if not _regions or view.nbytes < WORTH_ASKING:
        return None
    import numpy

    region = _regions.get(address_of_view(view))
    if region is None or region.size != view.nbytes or region.memory() is None or not _is_told():
        return None
    try:
        written = _written(region, numpy)
    except OSError:
        return None
    return [None if gone else name for name, gone in zip(region.names, written, strict=True)]


def _written(region: _Region, numpy: Any) -> list[bool]:
    """Of each chunk, whether some of its pages are not a file's own any more, or never were."""
    first = region.address // _PAGE
    pages = -(-(region.address + region.size) // _PAGE) - first
    changed = numpy.ones(pages, bool)
    states = _states(first, pages, numpy)
    for begin, end in region.spans:
        within = slice((region.address + begin) // _PAGE - first, -(-(region.address + end) // _PAGE) - first)
        found = states[within]
        changed[within] = ((found & _HELD) != 0) & ((found & _OF_FILE) == 0)
    starts = (first + numpy.flatnonzero(changed)) * _PAGE - region.address
    written = numpy.zeros(len(region.names), bool)
    # One page may hold the end of a chunk and the beginning of the next.
    written[numpy.maximum(starts, 0) // region.each] = True
    written[numpy.minimum(starts + _PAGE - 1, region.size - 1) // region.each] = True
    return list(written.tolist())


def _states(first: int, pages: int, numpy: Any) -> Any:
    """64 bits for each page. Raises OSError."""
    descriptor = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.pread(descriptor, 8 * pages, 8 * first)
    finally:
        os.close(descriptor)
    if len(found) != 8 * pages:
        raise OSError("pagemap is too short")
    return numpy.frombuffer(found, numpy.uint64)


def _is_told() -> bool:
    """Whether this system tells, tried on a file that is there: not each has a pagemap, and some have one that lies."""
    if not _tells:
        try:
            _tells.append(_tried())
        except (OSError, ValueError):
            _tells.append(False)
    return _tells[0]


def _tried() -> bool:
    import numpy

    with open(__file__, "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    page = ctypes.addressof(ctypes.c_char.from_buffer(memory)) // _PAGE

    def is_own() -> bool:
        found = int(_states(page, 1, numpy)[0])
        return bool(found & _HELD) and not found & _OF_FILE

    before = is_own()
    byte = memory[0]
    read = int(_states(page, 1, numpy)[0])
    memory[0] = byte
    return not before and bool(read & _HELD) and bool(read & _OF_FILE) and is_own()
