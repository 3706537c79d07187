"""How a delimited file is written: delimiter, encoding, decimal comma, lines before the header."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice

from cloche_kernel.loading import encoding
from cloche_kernel.loading.contract import File
from cloche_kernel.loading.encoding import Encoding

_SAMPLE = 262_144
_SAMPLE_ROWS = 500
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_PLAIN_NUMBER = re.compile(r"-?\d+")
_DATA = re.compile(r"[-+]?\d[\d.,:/ TZ+-]*")
_MOST_PREAMBLE = 20

csv.field_size_limit(1 << 30)


@dataclass(frozen=True)
class Dialect:
    """What a reader has to be told."""

    delimiter: str
    encoding: Encoding
    decimal: str = "."
    #: lines before the header, blank ones included
    skip: int = 0
    #: quotes mean nothing: a file with one that is never closed
    unquoted: bool = False
    #: text of the lines before the header
    preamble: tuple[str, ...] = ()
    #: fields of the header, and of most rows of the sample
    header: tuple[str, ...] = ()
    width: int = 0
    #: every sampled row ends with a delimiter that the header does not have
    trailing: bool = False
    #: the first line looks like data
    headless: bool = False
    #: columns of digits some of which begin with a zero
    codes: tuple[str, ...] = ()

    def said(self) -> list[str]:
        facts = [self.encoding.said(), f"delimiter {_NAMES.get(self.delimiter, repr(self.delimiter))}"]
        return facts + (["decimal comma"] if self.decimal == "," else [])

    def without_quotes(self) -> Dialect:
        return replace(self, unquoted=True)


def detect(file: File, tabs: bool) -> Dialect:
    """The dialect of a file, from its first lines; `tabs`: its name says that it is tab-separated."""
    found = encoding.detect(file.path, file.size)
    with open(file.path, "rb") as raw:
        head = raw.read(_SAMPLE)
    text = head.decode(found.codec, "replace").lstrip("\ufeff")
    lines = text.splitlines(keepends=True)
    if len(head) == _SAMPLE and len(lines) > 1:
        lines.pop()
    choices = sorted("\t,;|" if tabs else ",\t;|", key=lambda choice: -_fit(lines, choice))
    delimiter = choices[0]
    rows = _rows(lines, delimiter)
    skip, preamble = _preamble(lines, rows, delimiter)
    rows = [row for row in rows if row][len(preamble) :]
    header = tuple(rows[0]) if rows else ()
    widths = Counter(len(row) for row in rows[1:])
    width = widths.most_common(1)[0][0] if widths else len(header)
    longer = [row for row in rows[1:] if len(row) == len(header) + 1]
    return Dialect(
        delimiter,
        found,
        decimal="," if delimiter != "," and _decimal_comma(rows[1:]) else ".",
        skip=skip,
        preamble=preamble,
        header=header,
        width=width,
        trailing=bool(longer) and all(row[-1] == "" for row in longer),
        codes=_codes(header, rows[1:]),
        headless=len(rows) > 1 and bool(header) and all(_DATA.fullmatch(cell.strip()) for cell in header),
    )


def _rows(lines: list[str], delimiter: str) -> list[list[str]]:
    try:
        return list(islice(csv.reader(lines, delimiter=delimiter), _SAMPLE_ROWS))
    except csv.Error:
        return [line.rstrip("\r\n").split(delimiter) for line in lines[:_SAMPLE_ROWS]]


def _fit(lines: list[str], delimiter: str) -> float:
    """How well a delimiter explains the lines: the share of rows with the commonest count of fields above one."""
    rows = [row for row in _rows(lines, delimiter) if row]
    if not rows:
        return 0.0
    width, count = Counter(len(row) for row in rows).most_common(1)[0]
    if width < 2:
        return 0.01 * sum(len(row) > 1 for row in rows) / len(rows)
    share = count / len(rows)
    if len(rows[0]) not in (width, width - 1):
        share *= 0.6
    return share + min(width, 50) * 1e-4


def _preamble(lines: list[str], rows: list[list[str]], delimiter: str) -> tuple[int, tuple[str, ...]]:
    """Lines before the header: how many with the blank ones, and their text without."""
    blank = 0
    while blank < len(lines) and not lines[blank].strip():
        blank += 1
    filled = [(index, row) for index, row in enumerate(rows) if row]
    tail = Counter(len(row) for _, row in filled[_MOST_PREAMBLE:] or filled[len(filled) // 2 :])
    if not tail or len(filled) < 4:
        return blank, ()
    width, count = tail.most_common(1)[0]
    if width < 3 or count < 0.9 * tail.total() or len(filled[0][1]) >= width - 1:
        return blank, ()
    for order, (index, row) in enumerate(filled[: _MOST_PREAMBLE + 1]):
        if len(row) == width and all(cell.strip() for cell in row):
            text = "".join(lines[:index])
            if '"' in text:
                return blank, ()
            return index, tuple(line.strip() for line in lines[:index] if line.strip())[:order]
    return blank, ()


def _codes(header: tuple[str, ...], rows: list[list[str]]) -> tuple[str, ...]:
    found = []
    for index, name in enumerate(header[:1_000]):
        cells = [row[index] for row in rows if index < len(row) and row[index]]
        if any(cell[0] == "0" and len(cell) > 1 for cell in cells) and all(cell.isdecimal() for cell in cells):
            found.append(name)
    return tuple(found)


def _decimal_comma(rows: list[list[str]]) -> bool:
    """Whether some column is numbers with a decimal comma and nothing else."""
    columns: dict[int, list[str]] = {}
    for row in rows:
        for index, cell in enumerate(row):
            if cell.strip():
                columns.setdefault(index, []).append(cell.strip())
    for cells in columns.values():
        with_comma = [cell for cell in cells if _DECIMAL_COMMA.fullmatch(cell)]
        if with_comma and all(_DECIMAL_COMMA.fullmatch(cell) or _PLAIN_NUMBER.fullmatch(cell) for cell in cells):
            return True
    return False
