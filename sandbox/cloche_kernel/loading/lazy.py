"""Files too large for a DataFrame: a DuckDB relation over the file on the default connection, checked and profiled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cloche_kernel.loading import encoding, engine, frames, proof, ragged, wording
from cloche_kernel.loading.contract import File, LoadError, Session, Value
from cloche_kernel.loading.dialect import Dialect
from cloche_kernel.loading.frames import Column

#: what pandas.read_csv takes for null
_NULLS = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
_SNIFFED_ROWS = 100_000
_MOST_ATTEMPTS = 12
_SAMPLE_ROWS = 1_000
_LONGEST_LINE = 33_554_432
_PIECE = 4_194_304


@dataclass
class Plan:
    """How a delimited file is read by DuckDB; repaired until a full pass succeeds."""

    file: File
    dialect: Dialect
    path: str
    names: list[str]
    #: one a column once they are proven
    types: list[str] = field(default_factory=list)
    padded: bool = False
    parallel: bool = True
    #: longest line, in `bytes`; DuckDB's buffers are sized by it
    line: int = 2_000_000
    strict: bool = True
    #: small buffers, for a small memory
    small: bool = False
    notes: list[str] = field(default_factory=list)

    def sql(self, text: bool = False) -> str:
        """The query that reads the file; `text`: all columns as they are written."""
        mark = "''" if self.dialect.unquoted else "'\"'"
        options = [
            engine.literal(self.path),
            f"delim={engine.literal(self.dialect.delimiter)}, quote={mark}, escape={mark}",
            f"header=true, skip={self.dialect.skip}, comment=''",
            f"names=[{', '.join(map(engine.literal, self.names))}]",
            f"nullstr=[{', '.join(map(engine.literal, _NULLS))}]",
            f"sample_size={_SNIFFED_ROWS}, max_line_size={self.line}, strict_mode={str(self.strict).lower()}",
            *([f"buffer_size={engine.BUFFER_BYTES}"] if self.small and self.line < engine.BUFFER_BYTES // 2 else []),
            f"parallel={str(self.parallel).lower()}, null_padding={str(self.padded).lower()}",
        ]
        if self.dialect.decimal == ",":
            options.append("decimal_separator=','")
        if text:
            options.append("all_varchar=true")
        elif self.types:
            pairs = zip(self.names, self.types, strict=True)
            options.append(
                f"types={{{', '.join(f'{engine.literal(name)}: {engine.literal(kind)}' for name, kind in pairs)}}}"
            )
        return f"SELECT * FROM read_csv({', '.join(options)})"


def over_delimited(file: File, dialect: Dialect, expected: int, session: Session) -> Value:
    """A relation over a CSV file of any size, every row of which was read once."""
    plan, relation, measured = prepared(file, dialect, session)
    return value(relation, measured, file, expected, session, plan.dialect.said(), plan.notes)


def prepared(file: File, dialect: Dialect, session: Session) -> tuple[Plan, Any, Sequence[Any]]:
    """The plan that reads a delimited file without an error, its relation, and what `measure` says."""
    from cloche_kernel.loading import delimited

    connection = engine.connection(session.memory)
    path = file.path
    if not dialect.encoding.plain():
        path = transcoded(file, dialect.encoding, session)
    plan = Plan(file, dialect, path, _distinct(delimited.names(file, dialect, len(dialect.header))))
    plan.small = engine.small_buffers(session.memory)
    if dialect.preamble:
        plan.notes.append(f"{wording.plural(len(dialect.preamble), 'line')} before the header set aside")
    if dialect.width > len(dialect.header):
        _pad(plan)
    import duckdb

    for attempt in range(_MOST_ATTEMPTS):
        try:
            plan.types = []
            kinds = proof.guessed([str(kind) for kind in connection.sql(plan.sql()).types])
            text = connection.sql(plan.sql(text=True))
            plan.types, measured = proof.prove(text, plan.names, kinds, plan.dialect.decimal)
            relation = connection.sql(plan.sql())
        except duckdb.Error as error:
            _repair(plan, error, attempt, session)
        else:
            _keep(path, file, session)
            return plan, relation, measured
    raise _unreadable(file, "it kept failing in another way")


def value(
    relation: Any,
    measured: Sequence[Any],
    file: File,
    expected: int,
    session: Session,
    facts: list[str],
    notes: list[str],
) -> Value:
    """The lazy value and its profile, with a line that queries it and one that says how to have it in memory."""
    count = int(measured[0])
    width = len(relation.columns)
    why = (
        f"as a DataFrame it would take about {wording.size(expected)}, more than half of the "
        f"{wording.size(session.memory.available())} that are free; raise `memory` in ~/.config/cloche/config.json "
        "or CLOCHE_MEMORY to load it whole"
    )
    details = [f"query it: {line}" for line in examples(relation, file.expression)] + describe(relation, measured)
    summary = f"lazy DuckDB relation over the file, {wording.plural(count, 'row')} × {wording.plural(width, 'column')}"
    return Value(relation, summary, facts, [why, *notes], details)


def examples(relation: Any, expression: str) -> list[str]:
    """Lines that run as they stand: an aggregate and, where the value has a name of its own, plain SQL."""
    numeric: list[str] = []
    textual: list[str] = []
    for name, kind in zip(relation.columns, relation.types, strict=True):
        if "'" in name or "\\" in name or not name.isprintable() or len(name) > 60:
            continue
        sql = name if re.fullmatch(r"[A-Za-z_]\w*", name) and not _reserved(name) else engine.quoted(name)
        (numeric if _is_number(str(kind)) else textual).append(sql)
    measure_ = f"sum({numeric[-1]})" if numeric else "count(*)"
    group = next(iter(textual or numeric), None)
    if group is None:
        lines = [f"{expression}.aggregate('count(*)').df()"]
    else:
        lines = [f"{expression}.aggregate('{group}, {measure_}', '{group}').df()"]
    if expression.isidentifier():
        table = engine.quoted(expression) if _reserved(expression) else expression
        lines.append(f"duckdb.sql('SELECT count(*) FROM {table}').df()  # after import duckdb")
    return lines


def measure(connection: Any, relation: Any) -> Sequence[Any]:
    """Count of rows, then for each proven column its count, minimum and maximum: one pass over every row."""
    parts = ["count(*)"]
    for index, (name, kind) in enumerate(zip(relation.columns, relation.types, strict=True)):
        if index >= proof.PROVEN_COLUMNS:
            break
        column = engine.quoted(name)
        parts.append(f"count({column})")
        if index < frames.MAX_COLUMNS and _has_range(str(kind)):
            parts += [f"min({column})", f"max({column})"]
        else:
            parts += ["NULL", "NULL"]
    row: Sequence[Any] = relation.aggregate(", ".join(parts)).fetchall()[0]
    return row


def describe(relation: Any, measured: Sequence[Any]) -> list[str]:
    """Columns with exact nulls and ranges, samples from the first rows."""
    count = int(measured[0])
    first = relation.limit(_SAMPLE_ROWS).fetchall()
    columns = []
    for index, (name, kind) in enumerate(zip(relation.columns, relation.types, strict=True)):
        if index >= frames.MAX_COLUMNS:
            break
        known, low, high = measured[1 + 3 * index : 4 + 3 * index]
        if known == 0:
            facts = "all null" if count else ""
        elif low is not None:
            facts = f"{wording.number(low)} … {wording.number(high)}"
        else:
            sample = [row[index] for row in first if row[index] is not None]
            facts = frames.texts(sample, whole=False) if sample and all(isinstance(v, str) for v in sample) else ""
        columns.append(Column(name, str(kind), f"{count - int(known):,}", facts))
    lines = frames.table(columns)
    if len(relation.columns) > frames.MAX_COLUMNS:
        lines.append(f"  … {len(relation.columns) - frames.MAX_COLUMNS:,} more columns")
    if len(relation.columns) > proof.PROVEN_COLUMNS:
        lines.append(f"  only the first {proof.PROVEN_COLUMNS:,} columns were read through")
    if any(str(kind) == "VARCHAR" for kind in relation.types):
        lines.append(f"  nulls and ranges are of all rows, distinct values of the first {len(first):,}")
    return lines + frames.rows(list(relation.columns), first[:3], len(relation.columns))


def _repair(plan: Plan, error: Exception, attempt: int, session: Session) -> None:
    """Changes the plan by what one failed pass taught."""
    import duckdb

    text = str(error)
    kind = type(error).__name__
    if ("null_padding" in text and "parallel" in text) or kind == "InternalException":
        if not plan.parallel:
            raise _unreadable(plan.file, engine.first_line(error)) from error
        plan.parallel = False
    elif "Expected Number of Columns" in text and not plan.padded:
        _pad(plan)
    elif re.search("unicode|utf-?8", text, re.IGNORECASE) and plan.path == plan.file.path:
        found = _encoding_of(plan.file)
        plan.dialect = replace(plan.dialect, encoding=found)
        plan.path = transcoded(plan.file, found, session)
    elif "aximum line size" in text and plan.line < _LONGEST_LINE:
        plan.line = _LONGEST_LINE
        duckdb.execute("SET threads = 1")
    elif re.search("quote", text, re.IGNORECASE) and not plan.dialect.unquoted and "Expected Number" not in text:
        plan.dialect = plan.dialect.without_quotes()
        plan.notes.append("a quote is never closed: quotes were read as ordinary characters")
    elif kind == "OutOfMemoryException" and attempt < 2:
        duckdb.execute("SET threads = 1")
    else:
        raise _unreadable(plan.file, engine.first_line(error)) from error


def _pad(plan: Plan) -> None:
    """Makes room for the longest row and lets the others be short."""
    from cloche_kernel.loading import delimited

    found = ragged.widths(plan.file, plan.dialect)
    usual, widest = len(plan.names), max(found.counts, default=0)
    plan.padded = True
    if found.longer(usual) and widest <= 20_000:
        extra = "extra_1" if widest == usual + 1 else f"extra_1 … extra_{widest - usual}"
        plan.notes.append(ragged.long_rows(found, plan.dialect, f"their further fields are in {extra}"))
        plan.names = _distinct(delimited.names(plan.file, plan.dialect, widest))
    if found.shorter(usual):
        at = ", ".join(map(str, found.short))
        rows = wording.plural(found.shorter(usual), "row")
        plan.notes.append(f"{rows} shorter than the header (first at row {at}): missing fields are null")


def _encoding_of(file: File) -> encoding.Encoding:
    """The encoding of a file whose samples looked like UTF-8 and which is not."""
    with open(file.path, "rb") as raw:
        rest = b""
        while piece := raw.read(_PIECE):
            piece = rest + piece
            try:
                piece.decode("utf-8")
                rest = b""
            except UnicodeDecodeError as error:
                if error.reason == "unexpected end of data" and len(piece) - error.start < 4:
                    rest = piece[error.start :]
                    continue
                text = piece.decode("utf-8", "replace")
                bad = text.count("\ufffd")
                if sum(1 for character in text if ord(character) > 127) - bad > 10 * bad:
                    break
                return encoding.of_broken([piece[max(0, error.start - 1_000) : error.start + 10_000]])
    return encoding.Encoding("utf-8", "replace", "bytes that are not UTF-8 read as \ufffd")


def transcoded(file: File, found: encoding.Encoding, session: Session) -> str:
    """A UTF-8 copy in scratch, which DuckDB needs."""
    path, _ = session.scratch.write(_utf8(file, encoding.lossy(found)), file.label, ".csv")
    session.scratch.keep(path)
    return path


def _utf8(file: File, found: encoding.Encoding) -> Iterator[bytes]:
    with open(file.path, encoding=found.codec, errors=found.errors, newline="") as text:
        while piece := text.read(_PIECE):
            yield piece.encode("utf-8", "replace")


def _keep(path: str, file: File, session: Session) -> None:
    for one in (path, file.path):
        if one != file.origin:
            session.scratch.keep(one)


def _distinct(names: list[str]) -> list[str]:
    """Names that differ also without regard to case, as SQL needs them."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        fresh, count = name, 1
        while fresh.casefold() in seen:
            fresh, count = f"{name}.{count}", count + 1
        seen.add(fresh.casefold())
        names[index] = fresh
    return names


def _reserved(name: str) -> bool:
    """Whether SQL takes this word for its own."""
    import duckdb

    query = "SELECT count(*) FROM duckdb_keywords() WHERE keyword_name = ? AND keyword_category <> 'unreserved'"
    row = duckdb.execute(query, [name.lower()]).fetchall()[0]
    return bool(row[0])


def _is_number(kind: str) -> bool:
    return kind.startswith(
        ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "UINTEGER", "UBIGINT")
    )


def _has_range(kind: str) -> bool:
    return _is_number(kind) or kind.startswith(("DATE", "TIME", "INTERVAL", "USMALLINT", "UTINYINT"))


def _unreadable(file: File, why: str) -> LoadError:
    return LoadError(
        f"{wording.clean(file.label)} is too large for memory and DuckDB could not read it: {wording.clip(why, 300)}.",
        f"Read it piece by piece in a cell, for example pd.read_csv({file.origin!r}, chunksize=100_000).",
    )
