"""The profile of a DataFrame: a line a column with type, nulls and range or samples, then a few rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cloche_kernel.loading import wording

#: columns listed one by one; the rest is counted by type
MAX_COLUMNS = 60
#: rows looked at for what needs Python objects: distinct values, kinds of value, dates in text
SAMPLE_ROWS = 10_000
#: rows up to which the first and last of dates kept as text are looked for in all of them
_EXACT_DATES = 2_000_000
#: stretches of rows a sample is made of
_PLACES = 20
_SHOWN_ROWS = 3
_SHOWN_COLUMNS = 12
_DATE = re.compile(
    r"\d{4}[-/]\d\d?[-/]\d\d?([T ]\d\d?:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?|\d\d?[./-]\d\d?[./-]\d{4}"
)


@dataclass(frozen=True)
class Column:
    """One line of a profile."""

    name: str
    type: str
    nulls: str
    facts: str


def summary(frame: Any) -> str:
    rows, columns = frame.shape
    return (
        f"DataFrame, {wording.plural(rows, 'row')} × {wording.plural(columns, 'column')}, "
        f"{wording.size(int(frame.memory_usage().sum()))} in memory"
    )


def describe(frame: Any, expression: str) -> list[str]:
    """Columns and first rows of a frame. Nulls and ranges are exact, the rest comes from a sample that is named."""
    if frame.shape[1] == 0:
        return []
    listed = min(frame.shape[1], MAX_COLUMNS)
    sample = _sample(frame.iloc[:, :listed])
    columns = [_column(frame.iloc[:, i], sample.iloc[:, i], expression) for i in range(listed)]
    lines = table(columns)
    if frame.shape[1] > listed:
        kinds = frame.dtypes.iloc[listed:].astype(str).value_counts()
        text = ", ".join(f"{count:,} {kind}" for kind, count in list(kinds.items())[:6])
        lines.append(f"  … {frame.shape[1] - listed:,} more columns ({text}): {expression}.columns")
    if len(sample) < len(frame):
        where = f"{len(sample):,} rows in {_PLACES} places"
        lines.append(f"  nulls and ranges are of all rows; distinct values and samples of {where}")
    # Column by column: a row across numeric columns would turn its integers into floats.
    head = frame.iloc[:_SHOWN_ROWS, :_SHOWN_COLUMNS]
    shown = list(zip(*(head.iloc[:, i].tolist() for i in range(head.shape[1])), strict=True))
    return lines + rows([str(name) for name in frame.columns[:_SHOWN_COLUMNS]], shown, frame.shape[1])


def _sample(frame: Any) -> Any:
    """At most SAMPLE_ROWS rows. Stretches from all over the frame: single rows would make Arrow copy whole columns."""
    if len(frame) <= SAMPLE_ROWS:
        return frame
    import pandas

    size = SAMPLE_ROWS // _PLACES
    starts = [(len(frame) - size) * place // (_PLACES - 1) for place in range(_PLACES)]
    return pandas.concat([frame.iloc[start : start + size] for start in starts])


def table(columns: Sequence[Column]) -> list[str]:
    cells = [(wording.clip(c.name, 40), wording.clip(c.type, 40), c.nulls, c.facts) for c in columns]
    return wording.table(("column", "type", "nulls", "values"), cells)


def rows(names: Sequence[str], values: Sequence[Sequence[object]], width: int) -> list[str]:
    """The first rows of a table of `width` columns."""
    if not values:
        return []
    shown = min(len(names), _SHOWN_COLUMNS)
    left_out = f" of the first {shown} columns" if width > shown else ""
    lines = [f"first {wording.plural(len(values), 'row')}{left_out}:"]
    cells = [
        [wording.clip(str(v) if isinstance(v, str) else wording.show(v), 24) for v in row[:shown]] for row in values
    ]
    return lines + wording.table([wording.clip(name, 24) for name in names[:shown]], cells)


def texts(sample: Sequence[str], whole: bool) -> str:
    """What text values are: how many differ, and a few of them."""
    distinct = list(dict.fromkeys(sample))
    examples = ", ".join(wording.show(value) for value in distinct[: 3 if len(distinct) > 8 else 6])
    if len(distinct) == 1:
        return f"always {examples}" if whole else f"{examples} wherever sampled"
    if len(distinct) == len(sample) and len(sample) > 8:
        return f"all different{'' if whole else ' in the sample'}: {examples}, …"
    more = ", …" if len(distinct) > 6 else ""
    return f"{len(distinct):,} distinct{'' if whole else ' in the sample'}: {examples}{more}"


def _plain(name: Any) -> Any:
    """A column's name as a person writes it: 2019, not np.int64(2019)."""
    return name.item() if hasattr(name, "dtype") and hasattr(name, "item") else name


def _column(values: Any, sample: Any, expression: str) -> Column:
    dtype = str(values.dtype)
    nulls = _nulls(values)
    name = values.name if isinstance(values.name, str) else repr(_plain(values.name))
    try:
        facts = "all null" if nulls == len(values) else _facts(values, sample, expression)
    except (TypeError, ValueError, OverflowError, NotImplementedError, ArithmeticError):
        facts = ""
    return Column(name, dtype, f"{nulls:,}" if len(values) else "", facts if len(values) else "")


def _nulls(values: Any) -> int:
    """How many; of plain numbers without pandas's mask of a byte a row."""
    plain = _plain_numbers(values)
    if plain is None:
        return int(values.isna().sum())
    if plain.dtype.kind in "iu":
        return 0
    import numpy

    return int(numpy.count_nonzero(plain != plain))


def _plain_numbers(values: Any) -> Any:
    """The array itself where it holds integers or floats of the machine, else None."""
    import numpy

    plain = isinstance(values.dtype, numpy.dtype) and values.dtype.kind in "iuf"
    return values.to_numpy() if plain else None


def _facts(values: Any, sample: Any, expression: str) -> str:
    from pandas.api import types

    dtype = values.dtype
    if types.is_bool_dtype(dtype) and dtype.kind != "O":
        true = int(values.sum())
        return f"{true:,} true, {int(values.notna().sum()) - true:,} false"
    if types.is_complex_dtype(dtype):
        return ""
    if types.is_numeric_dtype(dtype):
        return _numbers(values)
    if types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype):
        return f"{values.min()} … {values.max()}"
    known = sample.dropna().tolist()
    whole = len(sample) == len(values)
    if all(isinstance(value, str) for value in known):
        return texts(known, whole) + _dates(known, values, expression)
    return _objects(known, whole)


def _numbers(values: Any) -> str:
    low, high = _ends(values)
    infinite = 0
    if any(isinstance(end, float) and end in (float("inf"), float("-inf")) for end in (low, high)):
        import numpy

        array = values.to_numpy(dtype="float64", na_value=numpy.nan)
        infinite = int(numpy.isinf(array).sum())
        finite = array[numpy.isfinite(array)]
        if not len(finite):
            return f"{infinite:,} infinite"
        low, high = float(finite.min()), float(finite.max())
    text = (
        f"always {wording.number(low)}"
        if low == high and not infinite
        else f"{wording.number(low)} … {wording.number(high)}"
    )
    return f"{text}, {infinite:,} infinite" if infinite else text


def _ends(values: Any) -> tuple[Any, Any]:
    """The least and the greatest. numpy's fmin passes NaN by, without the copies pandas makes to do so."""
    plain = _plain_numbers(values)
    if plain is None:
        return _scalar(values.min()), _scalar(values.max())
    import numpy

    return _scalar(numpy.fmin.reduce(plain)), _scalar(numpy.fmax.reduce(plain))


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _objects(known: list[Any], whole: bool) -> str:
    kinds: dict[str, int] = {}
    for value in known:
        kinds[type(value).__name__] = kinds.get(type(value).__name__, 0) + 1
    where = "" if whole else " in the sample"
    if len(kinds) > 1:
        mixed = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1])[:5])
        return f"mixed{where}: {mixed}"
    kind = next(iter(kinds), "")
    if kind in ("int", "Decimal", "date", "datetime", "time", "float"):
        show = wording.number if kind == "int" else wording.show
        return f"{kind} {show(min(known))} … {show(max(known))}{where}"
    return f"{kind}: {wording.show(known[0])}" if known else ""


def _dates(known: list[str], values: Any, expression: str) -> str:
    """A remark when text is dates, which pandas leaves as text."""
    if len(known) < 1 or not all(_DATE.fullmatch(value.strip()) for value in known[:200]):
        return ""
    column = f"{expression}[{wording.clip(repr(_plain(values.name)), 40)}]"
    if re.match(r"\d{4}", known[0].strip()):
        exact = len(values) <= _EXACT_DATES
        low, high = (values.dropna().min(), values.dropna().max()) if exact else (min(known), max(known))
        span = f"{wording.clip(str(low), 25)} … {wording.clip(str(high), 25)}{'' if exact else ' in the sample'}"
        return f"; dates {span} as text: pd.to_datetime({column})"
    return f"; dates as text: pd.to_datetime({column}, dayfirst=…)"
