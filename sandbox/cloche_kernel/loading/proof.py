"""The types of a delimited file's columns, proven on every value: DuckDB's own guess from a sample rounds 1.5 to 2 when
it meets it under a column of integers, and cuts the time off a date. Here a column keeps a type only if all its text
means exactly that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloche_kernel.loading import engine, frames

#: columns proven by reading them through; the others stay text
PROVEN_COLUMNS = 1_000
#: integers longer than this many digits do not fit a 64-bit type
_DIGITS = 18
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_FLOATS = ("FLOAT", "DOUBLE", "DECIMAL")
#: what a column becomes when some value is not of its type
_NEXT = {"BIGINT": "DOUBLE", "DATE": "TIMESTAMP"}


def guessed(kinds: Sequence[str]) -> list[str]:
    """Types to be proven, from those DuckDB guessed: one integer, one float, dates in ISO form, booleans, else text."""
    return [_simplified(kind) for kind in kinds]


def prove(text: Any, names: list[str], kinds: list[str], decimal: str) -> tuple[list[str], list[Any]]:
    """The types that hold for every value of `text`, a relation of VARCHAR columns, and what `lazy.measure` would say.

    Raises duckdb.Error where the file cannot be read.
    """
    kinds = [*kinds[:PROVEN_COLUMNS], *("VARCHAR" for _ in kinds[PROVEN_COLUMNS:])]
    measured: list[Any] = [0] + [None] * 3 * len(kinds)
    pending = list(range(min(len(kinds), PROVEN_COLUMNS)))
    while True:
        parts = ["count(*)"]
        for index in pending:
            parts += _questions(engine.quoted(names[index]), kinds[index], decimal, index < frames.MAX_COLUMNS)
        row = text.aggregate(", ".join(parts)).fetchall()[0]
        measured[0] = row[0]
        again = []
        for position, index in enumerate(pending):
            known, fitting, odd, low, high = row[1 + 5 * position : 6 + 5 * position]
            if fitting == known and not odd:
                measured[1 + 3 * index : 4 + 3 * index] = [known, low, high]
            else:
                kinds[index] = _NEXT.get(kinds[index], "VARCHAR")
                again.append(index)
        if not again:
            return kinds, measured
        pending = again


def _simplified(kind: str) -> str:
    if kind in _INTEGERS:
        return "BIGINT"
    if kind.startswith(_FLOATS):
        return "DOUBLE"
    return kind if kind in ("BOOLEAN", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE") else "VARCHAR"


def _questions(column: str, kind: str, decimal: str, ranged: bool) -> list[str]:
    """Count of values, count that are of the type, count that are only nearly, minimum and maximum."""
    if kind == "VARCHAR":
        return [f"count({column})", f"count({column})", "0", "NULL", "NULL"]
    text = f"replace({column}, ',', '.')" if decimal == "," and kind == "DOUBLE" else column
    value = f"TRY_CAST({text} AS {kind})"
    # a code like 01067 is text, and so is an integer that a float would round
    digits = f"regexp_full_match({column}, '[-+]?[0-9]+')"
    code = f"(starts_with({column}, '0') AND strlen({column}) > 1 AND {digits})"
    odd = {
        "BIGINT": f"NOT regexp_full_match({column}, ' *[-+]?(0|[1-9][0-9]*) *')",
        "DOUBLE": f"(strlen({column}) > {_DIGITS} AND {digits}) OR {code} OR contains({column}, '_')",
        "DATE": f"strlen({column}) > 10",
        "TIMESTAMP": f"strlen({column}) > 26",
        "BOOLEAN": f"lower({column}) NOT IN ('true', 'false')",
    }.get(kind, "false")
    ends = [f"min({value})", f"max({value})"] if ranged and kind != "BOOLEAN" else ["NULL", "NULL"]
    return [f"count({column})", f"count({value})", f"count(*) FILTER (WHERE {odd})", *ends]
