"""
Memory that several values look at: two of them share it after a restore where they did before, and hold the same bytes.

Values are told apart by where their memory lies. Memory that nobody can write to is compared by content alone: whether
it is shared cannot be seen.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import xxhash


@dataclass(frozen=True)
class _Span:
    """Memory from `start` to `end`, in bytes, of which a value looks at what begins at `at`."""

    start: int
    end: int
    at: int
    writeable: bool
    #: whether its bytes are its value; where not, what looks at it describes what it holds
    raw: bool
    #: whether its owner promises that nobody writes to it, so that it shares with nobody that matters
    apart: bool


class Memory:
    def __init__(self) -> None:
        self._spans: list[_Span] = []

    def add(self, start: int, size: int, at: int, writeable: bool, raw: bool = True, apart: bool = False) -> int:
        """Notes that a value looks at memory, and answers with its number."""
        self._spans.append(_Span(start, start + size, at, writeable, raw, apart))
        return len(self._spans) - 1

    def parts(self) -> list[list[Any]]:
        """A record for each value that looks at memory, and one for each piece of memory."""
        order = sorted(range(len(self._spans)), key=lambda index: self._spans[index].start)
        blocks: list[list[int]] = []
        current: list[int] = []
        end = -1
        for index in order:
            span = self._spans[index]
            if span.apart:
                blocks.append([index])
                continue
            if span.start >= end:
                current = []
                blocks.append(current)
            current.append(index)
            end = max(end, span.end)
        found: list[list[Any]] = [[] for _ in self._spans]
        contents: list[list[Any]] = []
        seen: dict[tuple[int, int], str] = {}
        for block in sorted(blocks, key=min):
            spans = [self._spans[index] for index in block]
            start = min(span.start for span in spans)
            stop = max(span.end for span in spans)
            shared = any(span.writeable for span in spans)
            raw = all(span.raw for span in spans)
            if shared:
                contents.append([len(contents), stop - start, _hash(start, stop, seen) if raw else None])
            for index, span in zip(block, spans, strict=True):
                if shared:
                    found[index] = [len(contents) - 1, span.at - start]
                else:
                    found[index] = [span.at - span.start, _hash(span.start, span.end, seen) if span.raw else None]
        return found + contents


def _hash(start: int, end: int, seen: dict[tuple[int, int], str]) -> str:
    digest = seen.get((start, end))
    if digest is None:
        octets = (ctypes.c_char * (end - start)).from_address(start)
        digest = seen[start, end] = xxhash.xxh3_128_hexdigest(memoryview(octets))
    return digest
