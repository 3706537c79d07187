"""Bytes in pieces that are named by their hash, so that what the host has already is not sent again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import xxhash

from cloche_kernel.checkpoints import unwritten

#: `bytes`: no larger than a piece of a frame's body, so that the host waits for one piece at most
CHUNK_BYTES = 262_144


def split(data: bytes | memoryview) -> Iterator[tuple[str, memoryview]]:
    """(hash in hex, bytes) of each piece."""
    view = memoryview(data).cast("B")
    known = unwritten.names_of(view)
    for index, start in enumerate(range(0, len(view), CHUNK_BYTES)):
        piece = view[start : start + CHUNK_BYTES]
        yield (known and known[index]) or xxhash.xxh3_128_hexdigest(piece), piece


def digest(parts: Iterable[Any]) -> str:
    """One name for a sequence of texts."""
    hasher = xxhash.xxh3_128()
    for part in parts:
        hasher.update(repr(part).encode("utf-8", "surrogatepass"))
        hasher.update(b"\0")
    return hasher.hexdigest()
