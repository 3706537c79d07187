"""Values of Arrow: schema, layout and content. Its memory never changes, by contract: who shares it does not count."""

from __future__ import annotations

from typing import Any

import xxhash

from cloche_kernel.checkpoints.digests.walk import Describe, Walk


def fingerprint(thing: Any) -> list[Any]:
    """An array, chunked array, batch or table as text: type or schema, lengths of its chunks, hash of its content."""
    import pyarrow

    if isinstance(thing, pyarrow.Array):
        batches = [pyarrow.record_batch([_storable(thing)], names=["x"])]
        head = str(thing.type)
    elif isinstance(thing, pyarrow.ChunkedArray):
        batches = [pyarrow.record_batch([_storable(chunk)], names=["x"]) for chunk in thing.chunks]
        head = str(thing.type)
    else:
        batches = [thing] if isinstance(thing, pyarrow.RecordBatch) else thing.to_batches()
        head = thing.schema.to_string(show_field_metadata=True, show_schema_metadata=True)
    hasher = xxhash.xxh3_128()
    for batch in batches:
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        hasher.update(memoryview(sink.getvalue()))
    return [head, [len(batch) for batch in batches], hasher.hexdigest()]


def _storable(array: Any) -> Any:
    return array.storage if hasattr(array, "storage") else array


def _columnar(walk: Walk, thing: Any) -> list[Any]:
    return [fingerprint(thing)]


def _scalar(walk: Walk, thing: Any) -> list[Any]:
    import pyarrow

    return [str(thing.type), fingerprint(pyarrow.array([thing.as_py()], thing.type)) if thing.is_valid else None]


def _schema(walk: Walk, thing: Any) -> list[Any]:
    return [bytes(thing.serialize())]


def _field(walk: Walk, thing: Any) -> list[Any]:
    import pyarrow

    return [bytes(pyarrow.schema([thing]).serialize())]


def _type(walk: Walk, thing: Any) -> list[Any]:
    return [str(thing), thing.id]


def _buffer(walk: Walk, thing: Any) -> list[Any]:
    if not thing.size:
        return [0]
    return [thing.size, walk.memory.add(thing.address, thing.size, thing.address, False, apart=True)]


def _options(walk: Walk, thing: Any) -> list[Any]:
    return [bytes(thing.serialize())]


_LIB = "pyarrow.lib."
CONTENT: dict[str, Describe] = {
    **{_LIB + name: _columnar for name in ("Array", "ChunkedArray", "Table", "RecordBatch")},
    _LIB + "Scalar": _scalar,
    _LIB + "Schema": _schema,
    _LIB + "Field": _field,
    _LIB + "DataType": _type,
    _LIB + "Buffer": _buffer,
    "pyarrow._compute.FunctionOptions": _options,
}
