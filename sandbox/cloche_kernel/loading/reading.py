"""One file in any format to a value: detects, decompresses, hands to the format's loader, words its failures."""

from __future__ import annotations

from cloche_kernel.loading import compressed, detect, engine, wording
from cloche_kernel.loading.contract import File, LoadError, Session, Value
from cloche_kernel.loading.detect import Detected

#: compressions around one file
_MOST_LAYERS = 3


def read(file: File, session: Session) -> Value:
    """The value of one file. Every failure is a LoadError, but for interrupts and bugs of ours."""
    forced = detect.known(session.format) if session.format else None
    layers: list[str] = []
    found = detect.detect(file, forced)
    while found.compressed:
        if len(layers) == _MOST_LAYERS:
            raise LoadError(
                f"{wording.clean(file.label)} is compressed more than {_MOST_LAYERS} times over.",
                "Unpack it on the host and load the result.",
            )
        packed = file
        file = compressed.decompress(file, found.format, session)
        session.scratch.drop(packed.path)
        layers.append(found.format)
        found = detect.detect(file, forced)
    try:
        value = _load(file, found, session)
    except LoadError:
        raise
    except MemoryError as error:
        raise LoadError(
            f"{wording.clean(file.label)} does not fit into {wording.size(session.memory.available())} of free memory.",
            "Free some with `del`, raise `memory` in ~/.config/cloche/config.json or CLOCHE_MEMORY, or load a part.",
        ) from error
    except RecursionError as error:
        raise LoadError(
            f"{wording.clean(file.label)} is nested too deeply to be read as {found.format}.",
            'Load it with format: "text" and take it apart in a cell.',
        ) from error
    except Exception as error:
        if engine.was_interrupted(error):
            raise KeyboardInterrupt from None
        raise _unreadable(file, found, error) from error
    how = f"{found.format} ({found.how})"
    value.facts = [" in ".join([how, *reversed(layers)]), *value.facts]
    return value


def _load(file: File, found: Detected, session: Session) -> Value:
    """The loader of a format; imported here, so that a load pays only for its own."""
    kind = found.format
    if kind in ("csv", "tsv"):
        from cloche_kernel.loading import delimited

        return delimited.load(file, session, tabs=kind == "tsv")
    if kind in ("parquet", "arrow"):
        from cloche_kernel.loading import columnar

        return columnar.load_parquet(file, session) if kind == "parquet" else columnar.load_arrow(file, session)
    if kind in ("json", "jsonl"):
        from cloche_kernel.loading import records

        return records.load_json(file, session) if kind == "json" else records.load_lines(file, session)
    if kind == "xlsx":
        from cloche_kernel.loading import spreadsheets

        return spreadsheets.load(file, session)
    if kind in ("sqlite", "duckdb"):
        from cloche_kernel.loading import databases

        return databases.load_sqlite(file, session) if kind == "sqlite" else databases.load_duckdb(file, session)
    if kind in ("text", "markdown", "html", "pdf", "empty"):
        from cloche_kernel.loading import documents

        return documents.load(file, kind, session)
    if kind in ("zip", "tar"):
        from cloche_kernel.loading import archives

        return archives.load_zip(file, session) if kind == "zip" else archives.load_tar(file, session)
    from cloche_kernel.loading import binaries

    return binaries.load(file, kind, session)


def _unreadable(file: File, found: Detected, error: Exception) -> LoadError:
    """What a reader's own exception means to the caller: what was tried, why it failed, what else there is."""
    reason = wording.reason(error)
    return LoadError(
        f"{wording.clean(file.label)} could not be read as {found.format} ({found.how}): {reason}.",
        f'Name another `format`, or load it with format: "binary" and look at its bytes in a cell ({file.origin}).',
    )
