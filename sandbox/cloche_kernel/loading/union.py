"""Several tabular files with the same columns as one table, with a column that says where each row came from."""

from __future__ import annotations

from typing import Any

from cloche_kernel.loading import detect, dialect, engine, frames, lazy, reading, wording
from cloche_kernel.loading.contract import File, LoadError, Session, Value

_TABULAR = ("csv", "tsv", "parquet", "arrow", "jsonl", "json")
#: column that names each row's file
SOURCE = "source_file"


def load(files: list[File], name: str, session: Session) -> Value | None:
    """One DataFrame, or one lazy relation, of all files; None where they are not tables with the same columns."""
    forced = detect.known(session.format) if session.format else None
    kinds = set()
    for file in files:
        found = detect.detect(file, forced)
        kinds.add("compressed" if found.compressed else found.format)
    if not kinds <= {*_TABULAR, "compressed"}:
        return None
    if kinds <= {"csv", "tsv"} or kinds == {"parquet"}:
        expected = _expected(files, kinds, session)
        # the parts and their union are in memory at once
        if expected > session.room() or expected * 2 > session.memory.available() * 0.9:
            return _relation(files, name, expected, session)
    return _frame(files, session)


def _expected(files: list[File], kinds: set[str], session: Session) -> int:
    """Bytes of the frames of all files."""
    from cloche_kernel.loading import columnar, delimited

    if kinds == {"parquet"}:
        return sum(columnar.estimate(file, session)[0] for file in files)
    if sum(file.size for file in files) * 10 < session.room():
        return 0
    return sum(delimited.estimate(file, dialect.detect(file, "tsv" in kinds)) for file in files)


def _frame(files: list[File], session: Session) -> Value | None:
    import pandas

    tables: list[Any] = []
    notes: list[str] = []
    facts: list[str] = []
    for file in files:
        try:
            value = reading.read(file, session)
        except LoadError:
            return None
        if not isinstance(value.value, pandas.DataFrame):
            return None
        if tables and list(value.value.columns) != list(tables[0].columns):
            return None
        tables.append(value.value)
        facts = facts or value.facts
        notes += [f"{wording.clip(file.label, 80)}: {note}" for note in value.notes][: max(0, 20 - len(notes))]
    column = SOURCE
    while column in tables[0].columns:
        column += "_"
    source = pandas.Categorical.from_codes(
        [code for code, table in enumerate(tables) for _ in range(len(table))],
        categories=_distinct([f.label for f in files]),
    )
    frame = pandas.concat(tables, ignore_index=True)
    frame[column] = source
    counts = wording.listed([f"{wording.clip(f.label, 60)} {len(t):,}" for f, t in zip(files, tables, strict=True)], 12)
    notes.insert(
        0,
        f"{len(files):,} files with the same columns were put one after the other; rows: {counts}; "
        f"`{column}` names the file",
    )
    notes[1:1] = _differing_types(tables)
    expression = files[0].expression.split("[")[0]
    return Value(frame, frames.summary(frame), facts, notes, frames.describe(frame, expression))


def _differing_types(tables: list[Any]) -> list[str]:
    """A remark where columns of one name hold different types, which the union widens to one that holds all."""
    differing = []
    for place, column in enumerate(tables[0].columns):
        kinds = list(dict.fromkeys(str(table.dtypes.iloc[place]) for table in tables if len(table)))
        if len(kinds) > 1:
            differing.append(f"{wording.clip(str(column), 40)} ({wording.listed(kinds, 4)})")
    return [f"types differ between the files: {wording.listed(differing, 8)}"] if differing else []


def _relation(files: list[File], name: str, expected: int, session: Session) -> Value | None:
    connection = engine.connection(session.memory)
    parts: list[str] = []
    notes: list[str] = []
    facts: list[str] = []
    columns: list[str] | None = None
    column = SOURCE
    for file in files:
        query, read = _query(file, connection, session, notes)
        found = list(connection.sql(query).columns)
        if columns is not None and found != columns:
            return None
        columns, facts = found, facts or read
        while column in columns:
            column += "_"
        parts.append(f"SELECT *, {engine.literal(file.label)} AS {engine.quoted(column)} FROM ({query})")
    relation = connection.sql(" UNION ALL BY NAME ".join(parts))
    notes.insert(0, f"{len(files):,} files with the same columns, one after the other; `{column}` names the file")
    whole = File(files[0].path, name, files[0].origin, sum(file.size for file in files), name)
    return lazy.value(relation, lazy.measure(connection, relation), whole, expected, session, facts, notes)


def _query(file: File, connection: Any, session: Session, notes: list[str]) -> tuple[str, list[str]]:
    """The SQL that reads one file, and how it reads it."""
    if detect.detect(file, None).format == "parquet":
        return f"SELECT * FROM read_parquet({engine.literal(file.path)})", ["parquet"]
    found = dialect.detect(file, file.label.lower().endswith((".tsv", ".tab")))
    plan, _, _ = lazy.prepared(file, found, session)
    notes += [f"{wording.clip(file.label, 80)}: {note}" for note in plan.notes]
    return plan.sql(), ["csv", *plan.dialect.said()]


def _distinct(labels: list[str]) -> list[str]:
    return labels if len(set(labels)) == len(labels) else [f"{index}: {label}" for index, label in enumerate(labels)]
