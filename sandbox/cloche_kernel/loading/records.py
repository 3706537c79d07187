"""JSON and JSON lines: arrays of records become DataFrames, chunk by chunk; everything else stays what JSON says."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from cloche_kernel.loading import delimited, encoding, engine, frames, lazy, wording
from cloche_kernel.loading.contract import File, LoadError, Session, Value

#: memory of parsed JSON, as a multiple of its text (measured on small records: 6 to 9)
_OBJECT_RATIO = 9
#: memory of the frames that flat records are turned into chunk by chunk, as a multiple of their text
_FRAME_RATIO = 3
_CHUNK_ROWS = 20_000
_PIECE = 1_048_576
_LOOKED_AT = 200
_BAD_SHOWN = 5
_BLANK = re.compile(r"[ \t\n\r]*")


@dataclass
class Records:
    """Values on their way to a frame: as dicts for one chunk, as frames before it."""

    parts: list[Any] = field(default_factory=list)
    chunk: list[dict[str, Any]] = field(default_factory=list)

    def add(self, record: dict[str, Any]) -> None:
        self.chunk.append(record)
        if len(self.chunk) == _CHUNK_ROWS:
            self._close()

    def frame(self) -> Any:
        import pandas

        if self.chunk or not self.parts:
            self._close()
        if len(self.parts) == 1:
            return self.parts[0]
        names = list(dict.fromkeys(name for part in self.parts for name in part.columns))
        # a column that is null throughout one chunk would turn the numbers of the others into objects
        filled = [part.drop(columns=[n for n in part.columns if part[n].isna().all()]) for part in self.parts]
        frame = pandas.concat(filled, ignore_index=True)
        frame = frame.reindex(columns=names)
        for name in names:
            if all(name not in part.columns for part in filled):
                frame[name] = pandas.Series([None] * len(frame), dtype=object)
        return frame

    def _close(self) -> None:
        import pandas

        try:
            part = pandas.DataFrame(self.chunk)
        except UnicodeEncodeError:
            part = _with_lone_surrogates(self.chunk)
        self.parts.append(part)
        self.chunk = []


def _with_lone_surrogates(chunk: list[dict[str, Any]]) -> Any:
    """A frame of records whose text pandas' string type cannot hold: such columns stay Python strings."""
    import pandas

    frame = pandas.DataFrame(chunk, dtype=object)
    for name in frame.columns:
        with contextlib.suppress(UnicodeEncodeError):
            frame[name] = frame[name].infer_objects()
    return frame


def load_json(file: File, session: Session) -> Value:
    """A DataFrame for an array of objects, else the Python value."""
    found = encoding.detect(file.path, file.size)
    if _begins_with_records(file, found):
        expected = file.size * _ratio(islice(_items(file, found), _LOOKED_AT))
        if expected > session.room():
            return _lazy(file, session, "array", found, expected)
        frame = _array(file, found)
        if frame is not None:
            return _framed(frame, file, [found.said()], [])
    if file.size * _OBJECT_RATIO > session.room():
        raise delimited.does_not_fit(file, file.size * _OBJECT_RATIO, session)
    with _text(file, found) as text:
        try:
            value = json.load(text)
        except json.JSONDecodeError as error:
            raise _not_json(file, str(error)) from error
    return Value(value, shape(value), [found.said()], [], structure(value))


def load_lines(file: File, session: Session) -> Value:
    """A DataFrame of the objects on the lines, else a list of the values; lines that are no JSON are counted."""
    found = encoding.detect(file.path, file.size)
    expected = file.size * _ratio(_first_lines(file, found))
    if expected > session.room():
        return _lazy(file, session, "newline_delimited", found, expected)
    records, count = Records(), 0
    others: list[Any] = []
    bad: list[int] = []
    with _text(file, found) as text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError:
                bad.append(number)
                continue
            count += 1
            if others or not isinstance(value, dict):
                others.append(value)
                if len(others) == 1 and count > 1:
                    break
            else:
                records.add(value)
    if others and count > 1:
        return _mixed_lines(file, found, session)
    if not count:
        raise _not_json(file, f"none of {wording.plural(len(bad), 'line')} is a JSON value")
    notes = _bad_lines(bad)
    if others:
        return Value(others, shape(others), [found.said()], notes, structure(others))
    return _framed(records.frame(), file, [found.said()], notes)


def shape(value: Any) -> str:
    """The type and size of a parsed value."""
    if isinstance(value, dict):
        return f"dict of {wording.plural(len(value), 'key')}"
    if isinstance(value, list):
        return f"list of {wording.plural(len(value), 'item')}"
    return f"{type(value).__name__} {wording.show(value)}"


def structure(value: Any, depth: int = 0) -> list[str]:
    """An outline of nested dicts and lists: keys with the type of what they hold, three levels deep."""
    pad = "  " * (depth + 1)
    if depth == 3:
        return []
    if isinstance(value, dict):
        lines = []
        for key, item in list(value.items())[: 30 if depth == 0 else 12]:
            lines.append(f"{pad}{wording.show(key)}: {shape(item)}")
            lines += structure(item, depth + 1)
        left = len(value) - (30 if depth == 0 else 12)
        return lines + ([f"{pad}… {left:,} more keys"] if left > 0 else [])
    if isinstance(value, list) and value:
        kinds: dict[str, int] = {}
        for item in value[:10_000]:
            kinds[type(item).__name__] = kinds.get(type(item).__name__, 0) + 1
        text = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
        return [f"{pad}items: {text}; first: {shape(value[0])}", *structure(value[0], depth + 1)]
    return []


def _mixed_lines(file: File, found: encoding.Encoding, session: Session) -> Value:
    if file.size * _OBJECT_RATIO > session.room():
        raise delimited.does_not_fit(file, file.size * _OBJECT_RATIO, session)
    values, bad = [], []
    with _text(file, found) as text:
        for number, line in enumerate(text, 1):
            if line.strip():
                try:
                    values.append(json.loads(line))
                except ValueError:
                    bad.append(number)
    return Value(values, shape(values), [found.said()], _bad_lines(bad), structure(values))


def _bad_lines(bad: list[int]) -> list[str]:
    if not bad:
        return []
    at = wording.listed([str(number) for number in bad], _BAD_SHOWN)
    return [f"{wording.plural(len(bad), 'line')} not JSON and left out: line {at}"]


def _framed(frame: Any, file: File, facts: list[str], notes: list[str]) -> Value:
    return Value(frame, frames.summary(frame), facts, notes, frames.describe(frame, file.expression))


def _text(file: File, found: encoding.Encoding) -> io.TextIOWrapper:
    # surrogatepass: a lone surrogate in the bytes stays one, as it does in an escape
    errors = "surrogatepass" if found.plain() else "replace"
    codec = "utf-8-sig" if found.plain() else found.codec
    return open(file.path, encoding=codec, errors=errors)


def _begins_with_records(file: File, found: encoding.Encoding) -> bool:
    with _text(file, found) as text:
        head = text.read(4096)
    return re.match(r"\s*\[\s*\{", head) is not None


def _array(file: File, found: encoding.Encoding) -> Any:
    """The frame of an array of objects; None when some item is no object."""
    records = Records()
    for item in _items(file, found):
        if not isinstance(item, dict):
            return None
        records.add(item)
    return records.frame()


def _items(file: File, found: encoding.Encoding) -> Iterator[Any]:
    """The items of one JSON array, decoded one by one, so that text and values never are in memory whole."""
    decode = json.JSONDecoder().raw_decode
    count = 0
    with _text(file, found) as text:
        buffer = text.read(_PIECE)
        at = _blank(buffer, 0) + 1
        closed = False
        while not closed:
            try:
                start = _blank(buffer, at)
                item, end = decode(buffer, start)
                end = _blank(buffer, end)
                closed = buffer[end] == "]"
                if not closed and buffer[end] != ",":
                    raise _not_json(file, f"no comma follows item {count}")
            except (ValueError, IndexError) as error:
                more = text.read(max(_PIECE, len(buffer) - at))
                if not more:
                    raise _not_json(file, f"item {count} is cut off or malformed") from error
                buffer, at = buffer[at:] + more, 0
                continue
            yield item
            count += 1
            at = end + 1
            if at > _PIECE:
                buffer, at = buffer[at:], 0
        if (buffer[at:] + text.read(1024)).strip():
            raise _not_json(file, "there is more text after the array")


def _blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _ratio(values: Iterator[Any]) -> int:
    """Memory of the frame of such records, as a multiple of their text: nested values stay Python objects."""
    for value in values:
        if isinstance(value, dict) and any(isinstance(item, (dict, list)) for item in value.values()):
            return _OBJECT_RATIO
    return _FRAME_RATIO


def _first_lines(file: File, found: encoding.Encoding) -> Iterator[Any]:
    with _text(file, found) as text:
        for line in islice(text, _LOOKED_AT):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _lazy(file: File, session: Session, form: str, found: encoding.Encoding, expected: int) -> Value:
    """A relation over records that do not fit as a frame."""
    import duckdb

    connection = engine.connection(session.memory)
    path = file.path if found.plain() else lazy.transcoded(file, found, session)
    if path != file.origin:
        session.scratch.keep(path)
    relation, measured, notes = None, None, list[str]()
    # every record is looked at: a type guessed from the first would bend or refuse the later ones
    for options in ("sample_size=-1", "sample_size=-1, ignore_errors=true"):
        if "ignore" in options and form == "array":
            break
        query = f"SELECT * FROM read_json({engine.literal(path)}, format='{form}', {options})"
        try:
            relation = connection.sql(query)
            measured = lazy.measure(connection, relation)
            if "ignore" in options:
                notes.append("some lines are not valid JSON; their fields are null")
            break
        except duckdb.Error as error:
            reason = engine.first_line(error)
    if measured is None:
        raise _not_json(file, reason)
    return lazy.value(relation, measured, file, expected, session, [found.said()], notes)


def _not_json(file: File, why: str) -> LoadError:
    return LoadError(
        f"{wording.clean(file.label)} could not be read as JSON: {wording.clip(why, 200)}.",
        'Load it with format: "text" to look at it.',
    )
