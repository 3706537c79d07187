"""Rows with more or fewer fields than the header: counted, located and put into words, so that none goes unsaid."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from cloche_kernel.loading import wording
from cloche_kernel.loading.contract import File
from cloche_kernel.loading.dialect import Dialect

#: how far into a file missing fields are looked for once its size is past this, in `bytes`
MEASURED_BYTES = 67_108_864
_BLOCK = 262_144
#: row numbers that a remark names
_EXAMPLES = 3


@dataclass
class Widths:
    """How many fields the rows of a file have."""

    rows: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    #: row numbers (the header is row 1) of the first few that are longer, and that are shorter
    long: list[int] = field(default_factory=list)
    short: list[int] = field(default_factory=list)
    #: the whole file was read
    complete: bool = True

    def longer(self, width: int) -> int:
        return sum(count for fields, count in self.counts.items() if fields > width)

    def shorter(self, width: int) -> int:
        return sum(count for fields, count in self.counts.items() if 0 < fields < width)


def widths(file: File, dialect: Dialect, most_bytes: int | None = None) -> Widths:
    """Counts the fields of every row, as far as `most_bytes` reach."""
    found = Widths()
    usual = len(dialect.header)
    with open(file.path, encoding=dialect.encoding.codec, errors="replace", newline="") as text:
        for _ in range(dialect.skip):
            text.readline()
        reader = csv.reader(_until(text, most_bytes, found), delimiter=dialect.delimiter, quoting=_quoting(dialect))
        while batch := list(islice(reader, 10_000)):
            lengths = [len(row) for row in batch]
            found.counts.update(lengths)
            if len(found.long) < _EXAMPLES and max(lengths) > usual:
                long = [found.rows + index + 1 for index, length in enumerate(lengths) if length > usual]
                found.long += long[: _EXAMPLES - len(found.long)]
            if len(found.short) < _EXAMPLES and any(0 < length < usual for length in lengths):
                short = [found.rows + index + 1 for index, length in enumerate(lengths) if 0 < length < usual]
                found.short += short[: _EXAMPLES - len(found.short)]
            found.rows += len(batch)
    return found


def _until(lines: Iterator[str], most: int | None, found: Widths) -> Iterator[str]:
    used = 0
    for line in lines:
        used += len(line)
        if most is not None and used > most:
            found.complete = False
            return
        yield line


def _quoting(dialect: Dialect) -> Literal[0, 3]:
    return csv.QUOTE_NONE if dialect.unquoted else csv.QUOTE_MINIMAL


def long_rows(found: Widths, dialect: Dialect, what: str) -> str:
    """One sentence on rows longer than the header, none of which is dropped."""
    usual = len(dialect.header)
    rows, fields = wording.plural(found.longer(usual), "row"), wording.plural(usual, "field")
    at = ", ".join(map(str, found.long))
    return f"{rows} longer than the header's {fields} (first at row {at}): {what}; no row was dropped"


def short_rows(file: File, frame: Any, dialect: Dialect, widened: bool) -> str | None:
    """One sentence on rows with too few fields, which pandas fills with nulls and does not mention.

    A short row is null in the last column. So where that column has no nulls, or as many as there are rows that end in
    a delimiter, which is quick to count, no row need be taken apart.
    """
    usual = len(dialect.header)
    if frame.shape[1] < 2 or not len(frame) or usual < 2:
        return None
    last = frame.iloc[:, min(usual, frame.shape[1]) - 1]
    if not last.isna().any():
        return None
    part = file.size > 4 * MEASURED_BYTES
    if not widened and dialect.encoding.plain():
        rows, empty = _endings(file, dialect, MEASURED_BYTES if part else None)
        if int(last.iloc[: rows - 1].isna().sum() if part else last.isna().sum()) == empty:
            return None
    found = widths(file, dialect, MEASURED_BYTES)
    count = found.shorter(usual)
    if not count:
        return None
    where = "" if found.complete else f" of the first {wording.size(MEASURED_BYTES)}"
    at = ", ".join(map(str, found.short))
    return f"{wording.plural(count, 'row')}{where} shorter than the header (first at row {at}): missing fields are null"


def _endings(file: File, dialect: Dialect, most_bytes: int | None) -> tuple[int, int]:
    """Lines that end within `most_bytes`, and how many of them end in a delimiter: their last field is empty."""
    import numpy

    delimiter, lines, empty, carried, left = ord(dialect.delimiter), 0, 0, b"", most_bytes or file.size
    with open(file.path, "rb") as raw:
        while left > 0 and (piece := raw.read(min(_BLOCK, left))):
            left -= len(piece)
            block = numpy.frombuffer(carried + piece, dtype=numpy.uint8)
            ends = block[1:] == 10
            lines += int(numpy.count_nonzero(ends)) if most_bytes else 0
            empty += int(numpy.count_nonzero(ends & (block[:-1] == delimiter)))
            if 13 in piece[:4096]:
                before = (block[2:] == 10) & (block[1:-1] == 13) & (block[:-2] == delimiter)
                empty += int(numpy.count_nonzero(before))
            carried = bytes(block[-1:])
    # the last line of the file may end without a newline
    return lines, empty + (most_bytes is None and carried == bytes((delimiter,)))
