"""Parquet and Arrow IPC (Feather is its file form) as DataFrames, or as lazy relations where they do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloche_kernel.loading import engine, frames, lazy, wording
from cloche_kernel.loading.contract import File, LoadError, Session, Value

#: pandas' copy beside Arrow's
_PEAK = 2.0
_SAMPLE_ROWS = 5_000
_STREAM_MARK = b"ARROW1"


def load_parquet(file: File, session: Session) -> Value:
    """A DataFrame as pandas.read_parquet gives it, or a lazy relation."""
    import pandas

    expected, groups = estimate(file, session)
    facts = [wording.plural(groups, "row group")]
    if not _fits(expected, session):
        return _over_parquet(file, file.path, expected, session, facts)
    frame = pandas.read_parquet(file.path)
    return Value(frame, frames.summary(frame), facts, [], frames.describe(frame, file.expression))


def estimate(file: File, session: Session) -> tuple[int, int]:
    """Bytes of the frame of a Parquet file, from its footer and its first rows; and its count of row groups."""
    from pyarrow import parquet

    with parquet.ParquetFile(file.path) as opened:
        metadata = opened.metadata
        groups: int = metadata.num_row_groups
        stored = sum(metadata.row_group(index).total_byte_size for index in range(groups))
        _refuse_lies(file, metadata, stored)
        if metadata.num_columns == 0 or metadata.num_rows == 0:
            return 0, groups
        return max(stored, _per_row(opened, session) * metadata.num_rows), groups


def load_arrow(file: File, session: Session) -> Value:
    """A DataFrame of an Arrow file or stream, or a lazy relation over a Parquet copy of it in scratch."""
    import pyarrow

    with open(file.path, "rb") as raw:
        streamed = raw.read(6) != _STREAM_MARK
    facts = ["stream" if streamed else "file"]
    expected = 0
    for batch in _batches(file, streamed):
        expected += batch.nbytes
        if not _fits(expected, session):
            return _over_arrow(file, streamed, session, facts)
    source = pyarrow.memory_map(file.path)
    reader = pyarrow.ipc.open_stream(source) if streamed else pyarrow.ipc.open_file(source)
    with source, reader:
        table = reader.read_all()
        frame = table.to_pandas()
        del table
    # values must not point into a mapping of the file
    frame = frame.copy()
    return Value(frame, frames.summary(frame), facts, [], frames.describe(frame, file.expression))


def _fits(expected: int, session: Session) -> bool:
    return expected <= session.room() and expected * _PEAK <= session.memory.available() * 0.9


def _per_row(opened: Any, session: Session) -> int:
    """Bytes one row takes in memory, measured on the first rows."""
    metadata = opened.metadata
    first = max(
        (metadata.row_group(0).column(i).total_uncompressed_size for i in range(metadata.row_group(0).num_columns)),
        default=0,
    )
    if first > session.room():
        return 0
    for batch in opened.iter_batches(batch_size=_SAMPLE_ROWS, use_threads=False):
        if batch.num_rows:
            sample = batch.to_pandas()
            rows: int = batch.num_rows
            return int(sample.memory_usage(deep=True).sum()) // rows + 1
    return 0


def _refuse_lies(file: File, metadata: Any, stored: int) -> None:
    """A footer that promises absurd sizes is damaged or hostile; readers allocate what it promises."""
    values = sum(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
    if stored < 0 or values != metadata.num_rows or metadata.num_rows < 0:
        raise LoadError(
            f"{wording.clean(file.label)} has a damaged Parquet footer: its sizes contradict each other.",
            "Write the file again.",
        )


def _over_parquet(file: File, path: str, expected: int, session: Session, facts: list[str]) -> Value:
    connection = engine.connection(session.memory)
    relation = connection.sql(f"SELECT * FROM read_parquet({engine.literal(path)})")
    if path != file.origin:
        session.scratch.keep(path)
    measured = lazy.measure(connection, relation)
    return lazy.value(relation, measured, file, expected, session, facts, [])


def _over_arrow(file: File, streamed: bool, session: Session, facts: list[str]) -> Value:
    from pyarrow import parquet

    path = session.scratch.new(".parquet")
    writer, expected = None, 0
    try:
        for batch in _batches(file, streamed):
            expected += batch.nbytes
            if writer is None:
                writer = parquet.ParquetWriter(path, batch.schema, compression="zstd")
            writer.write_batch(batch)
    finally:
        if writer is not None:
            writer.close()
    return _over_parquet(file, path, expected, session, [*facts, "copied to Parquet in /scratch"])


def _batches(file: File, streamed: bool) -> Iterator[Any]:
    import pyarrow

    with pyarrow.memory_map(file.path) as source:
        if streamed:
            with pyarrow.ipc.open_stream(source) as reader:
                yield from reader
        else:
            with pyarrow.ipc.open_file(source) as reader:
                for index in range(reader.num_record_batches):
                    yield reader.get_batch(index)
