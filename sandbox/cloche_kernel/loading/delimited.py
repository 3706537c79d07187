"""CSV and its relatives as a DataFrame equal to what pandas.read_csv gives; where rows are ragged, nothing is lost."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

from cloche_kernel.loading import dialect as dialects
from cloche_kernel.loading import encoding, frames, lazy, ragged, wording
from cloche_kernel.loading.contract import DoesNotFit, File, LoadError, Session, Value
from cloche_kernel.loading.dialect import Dialect

#: what pandas.read_csv takes at its peak, as a multiple of the finished frame (measured: 1.6 to 2.1)
READER_PEAK = 2.2
_SAMPLE = 524_288
_SPOTS = 3
#: widest row that is still taken as a row, not as the wreck of a broken quote
_MOST_FIELDS = 20_000
#: bytes of a frame per byte of file that no file exceeds, so that a small one needs no estimate
_MOST_EXPANSION = 40


def load(file: File, session: Session, tabs: bool = False) -> Value:
    """A DataFrame, or a lazy relation over the file where the frame would not fit."""
    dialect = dialects.detect(file, tabs)
    expected = 0 if file.size * _MOST_EXPANSION < session.room() else estimate(file, dialect)
    if not fits(expected, session):
        return lazy.over_delimited(file, dialect, expected, session)
    try:
        frame, notes, dialect = read(file, dialect)
    except MemoryError:
        return lazy.over_delimited(file, dialect, expected, session)
    return Value(frame, frames.summary(frame), dialect.said(), notes, frames.describe(frame, file.expression))


def fits(expected: int, session: Session) -> bool:
    """Whether a frame of so many bytes leaves half of the free memory, and its reader some."""
    return expected <= session.room() and expected * READER_PEAK <= session.memory.available() * 0.9


def estimate(file: File, dialect: Dialect) -> int:
    """Bytes of the frame, from what samples of the file take."""
    import io

    pandas = _pandas()
    pieces: list[bytes] = []
    with open(file.path, "rb") as raw:
        if file.size <= _SAMPLE * _SPOTS or not dialect.encoding.plain():
            pieces.append(raw.read(_SAMPLE * _SPOTS))
        else:
            for index in range(_SPOTS):
                raw.seek((file.size - _SAMPLE) * index // (_SPOTS - 1))
                pieces.append(raw.read(_SAMPLE))
    worst = 1.0
    for index, piece in enumerate(pieces):
        end = piece.rfind(b"\n") + 1 if len(piece) < file.size else len(piece)
        start = piece.find(b"\n") + 1 if index else 0
        body = piece[start:end].decode(dialect.encoding.codec, "replace")
        if not body.strip():
            continue
        options = {"sep": dialect.delimiter, "decimal": dialect.decimal, "on_bad_lines": "skip", "header": None}
        for quoting in (0, 3):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    frame = pandas.read_csv(
                        io.StringIO(body), skiprows=1, names=_wide(body, dialect), quoting=quoting, **options
                    )
            except (ValueError, OverflowError):
                continue
            worst = max(worst, float(frame.memory_usage(deep=True).sum()) / max(1, end - start))
            break
    return int(worst * file.size)


def _wide(body: str, dialect: Dialect) -> list[int]:
    return list(range(max(len(dialect.header), dialect.width, body[: body.find("\n")].count(dialect.delimiter) + 1)))


@dataclass
class Reading:
    """One attempt: what pandas is told, and what the profile will say about it."""

    dialect: Dialect
    options: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read(file: File, dialect: Dialect) -> tuple[Any, list[str], Dialect]:
    """The frame, notes on what was repaired, and the dialect that served in the end."""
    reading = Reading(dialect)
    if dialect.preamble:
        shown = wording.listed([wording.show(line) for line in dialect.preamble], 3)
        reading.notes.append(f"{wording.plural(len(dialect.preamble), 'line')} before the header set aside: {shown}")
    if dialect.trailing:
        _widen(file, reading)
    frame = _attempt(file, reading)
    frame = _without_empty_extras(frame, reading)
    _note_index(frame, dialect, reading)
    short = ragged.short_rows(file, frame, reading.dialect, widened="names" in reading.options)
    if short:
        reading.notes.append(short)
    lost = [name for name in dialect.codes if name in frame.columns and frame[name].dtype.kind in "iuf"]
    if lost:
        reading.notes.append(
            "leading zeros were dropped, as pandas does, in "
            f"{wording.listed([wording.show(name) for name in lost], 5)}: "
            f"pd.read_csv({file.path!r}, dtype={{{wording.show(lost[0])}: str}}, …) keeps them"
        )
    if dialect.headless:
        reading.notes.append(
            "the first line looks like data but was taken as the header, as pandas does: "
            f"pd.read_csv({file.path!r}, header=None) reads it as a row"
        )
    return frame, reading.notes, reading.dialect


def _attempt(file: File, reading: Reading) -> Any:
    """Reads, repairing one cause of failure after the other; each repair is noted."""
    pandas = _pandas()
    for _ in range(5):
        dialect = reading.dialect
        options = {"sep": dialect.delimiter, "encoding": dialect.encoding.codec, **reading.options}
        if dialect.encoding.errors != "strict":
            options["encoding_errors"] = dialect.encoding.errors
        if dialect.decimal != ".":
            options["decimal"] = dialect.decimal
        if dialect.preamble:
            options.setdefault("skiprows", dialect.skip)
        if dialect.unquoted:
            options["quoting"] = 3
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                frame = pandas.read_csv(file.path, **options)
        except pandas.errors.EmptyDataError:
            reading.notes.append("the file holds no columns")
            return pandas.DataFrame()
        except UnicodeError as error:
            _read_other_encoding(error, reading)
        except pandas.errors.ParserError as error:
            _repair(file, reading, error)
        else:
            for warning in caught:
                if issubclass(warning.category, pandas.errors.DtypeWarning):
                    reading.notes.append(wording.clip("mixed types: " + str(warning.message), 300))
            return frame
    raise LoadError(
        f"{wording.clean(file.label)} could not be read as a delimited file.",
        f"Read it in a cell: open({file.origin!r}).",
    )


def _read_other_encoding(error: UnicodeError, reading: Reading) -> None:
    dialect = reading.dialect
    if (
        dialect.encoding.codec.startswith("utf-8")
        and isinstance(error, UnicodeDecodeError)
        and dialect.encoding.errors == "strict"
    ):
        around = bytes(error.object[max(0, error.start - 200) : error.start + 2_000])
        found = encoding.of_broken([around])
        if found.codec == "utf-8" or (error.object and _mostly_utf8(bytes(error.object))):
            found = encoding.Encoding(dialect.encoding.codec, "replace", "bytes that are not UTF-8 read as \ufffd")
    else:
        found = encoding.lossy(dialect.encoding)
        reading.notes.append(f"bytes that are not {dialect.encoding.codec} were read as \ufffd")
    reading.dialect = replace(dialect, encoding=found)


def _mostly_utf8(piece: bytes) -> bool:
    text = piece.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    return sum(1 for character in text if ord(character) > 127) - bad > 10 * bad


def _repair(file: File, reading: Reading, error: Exception) -> None:
    text = str(error)
    if "EOF inside string" in text and not reading.dialect.unquoted:
        reading.dialect = reading.dialect.without_quotes()
        reading.notes.append("a quote is never closed: quotes were read as ordinary characters")
        return
    if re.search(r"Expected \d+ fields", text) and "names" not in reading.options:
        _widen(file, reading)
        return
    raise LoadError(
        f"{wording.clean(file.label)} could not be read as a delimited file: {wording.clip(text, 200)}.",
        f"Read it in a cell with other options: pd.read_csv({file.origin!r}, …).",
    )


def _widen(file: File, reading: Reading) -> None:
    """Makes room for the longest row, in columns extra_1, extra_2, …, so that no field is lost."""
    dialect = reading.dialect
    found = ragged.widths(file, dialect)
    usual, widest = len(dialect.header), max(found.counts)
    if widest > _MOST_FIELDS:
        raise LoadError(
            f"{wording.clean(file.label)} has a row of {widest:,} fields under a header of {usual:,}.",
            f"Its quotes or delimiters are broken; look at it in a cell: open({file.origin!r}).",
        )
    reading.options["names"] = names(file, dialect, widest)
    reading.options["header"] = None
    reading.options["skiprows"] = dialect.skip + 1
    if not dialect.trailing or found.longer(usual + 1):
        reading.notes.append(ragged.long_rows(found, dialect, f"their further fields are in {_extras(widest - usual)}"))


def names(file: File, dialect: Dialect, width: int) -> list[str]:
    """Column names as pandas makes them from the header, and extra_1, extra_2, … up to `width`."""
    skip = {"skiprows": dialect.skip} if dialect.preamble else {}
    quoting = {"quoting": 3} if dialect.unquoted else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = _pandas().read_csv(
            file.path, sep=dialect.delimiter, encoding=dialect.encoding.codec, encoding_errors="replace",
            nrows=0, index_col=False, **skip, **quoting,
        )  # fmt: skip
    found = [str(name) for name in header.columns]
    return found + [f"extra_{index + 1}" for index in range(width - len(found))]


def _extras(count: int) -> str:
    return "extra_1" if count == 1 else f"extra_1 … extra_{count}"


def _without_empty_extras(frame: Any, reading: Reading) -> Any:
    """Rows that merely end in a delimiter need no column for it."""
    if not reading.dialect.trailing or "extra_1" not in frame.columns or not frame["extra_1"].isna().all():
        return frame
    if frame.columns[-1] != "extra_1":
        return frame
    reading.notes.append("every row ends with a delimiter that the header does not have; it was taken as no field")
    return frame.drop(columns="extra_1")


def _note_index(frame: Any, dialect: Dialect, reading: Reading) -> None:
    from pandas import RangeIndex

    # pandas makes a RangeIndex of consecutive numbers too, so a first column 1, 2, 3 shows by where it starts.
    made_here = isinstance(frame.index, RangeIndex) and frame.index.start == 0
    if not made_here and len(frame):
        more = dialect.width - len(dialect.header)
        reading.notes.append(
            f"rows have {wording.plural(max(1, more), 'field')} more than the header: the first became the index, "
            "as pandas does (reset_index() makes it a column)"
        )


def _pandas() -> Any:
    import pandas

    return pandas


def does_not_fit(file: File, expected: int, session: Session) -> DoesNotFit:
    """The refusal for what has no lazy form."""
    return DoesNotFit(
        f"{wording.clean(file.label)} would take about {wording.size(expected)} of memory; "
        f"{wording.size(session.memory.available())} of {wording.size(session.memory.limit)} are free.",
        "Raise `memory` in ~/.config/cloche/config.json or CLOCHE_MEMORY, or read it piece by piece in a cell "
        f"from {file.origin!r}.",
    )
