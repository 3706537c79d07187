"""Text, Markdown, HTML and the text of PDF files."""

from __future__ import annotations

import re
from typing import Any

from cloche_kernel.loading import delimited, encoding, engine, lazy, wording
from cloche_kernel.loading.contract import File, LoadError, Session, Value

#: text up to here is one `str`, in `bytes`; a longer one is a list of its lines
STRING_BYTES = 67_108_864
#: memory of text as a multiple of its bytes: as one string (non-Latin text doubles), and as a list of lines
_STRING_RATIO = 2.5
_LIST_RATIO = 4
_FIRST_LINES = 5
_PARSED_HTML = 20_000_000
_HEADINGS = 30
_PAGES_SHOWN = 10


def load(file: File, kind: str, session: Session) -> Value:
    """The value of a document: `str`, a list of lines, or a list of page texts."""
    if kind == "pdf":
        return _pdf(file, session)
    if kind == "empty":
        return _empty(file)
    found = encoding.detect(file.path, file.size)
    if file.size > STRING_BYTES:
        return _lines(file, found, session)
    if file.size * _STRING_RATIO > session.room():
        return _relation(file, found, session)
    text, found = _read(file, found)
    details = {"html": _html, "markdown": _markdown}.get(kind, _plain)(text, file)
    count = text.count("\n") + (not text.endswith("\n"))
    return Value(
        text,
        f"str, {wording.plural(len(text), 'character')}, {wording.plural(count, 'line')}",
        [found.said()],
        [],
        details,
    )


def _empty(file: File) -> Value:
    if file.label.lower().endswith((".csv", ".tsv", ".tab", ".psv")):
        import pandas

        return Value(pandas.DataFrame(), "DataFrame, 0 rows × 0 columns", [], ["the file is empty"], [])
    return Value("", "str, 0 characters", [], ["the file is empty"], [])


def _read(file: File, found: encoding.Encoding) -> tuple[str, encoding.Encoding]:
    """The whole text, newlines as they are, and the encoding that read it."""
    with open(file.path, "rb") as raw:
        data = raw.read()
    codec = "utf-8-sig" if found.plain() else found.codec
    try:
        return data.decode(codec, found.errors), found
    except UnicodeDecodeError as error:
        if found.plain():
            found = encoding.of_broken([data[max(0, error.start - 1_000) : error.start + 200_000]])
            try:
                return data.decode(found.codec, found.errors), found
            except UnicodeDecodeError:
                pass
        found = encoding.Encoding(found.codec, "replace", "bytes that do not fit read as \ufffd")
        return data.decode(found.codec, "replace"), found


def _lines(file: File, found: encoding.Encoding, session: Session) -> Value:
    """A long text as a list of lines, or as a relation of them."""
    if file.size * _LIST_RATIO > session.room():
        return _relation(file, found, session)
    with open(file.path, encoding=found.codec, errors="replace") as text:
        lines = text.read().split("\n")
    if lines and not lines[-1]:
        lines.pop()
    details = ["first lines:", *(f"  {wording.clip(line, 200)}" for line in lines[:_FIRST_LINES])]
    details += ["last line:", f"  {wording.clip(lines[-1], 200)}"]
    note = f"longer than {wording.size(STRING_BYTES)}, so it is a list of lines without their ends"
    return Value(lines, f"list of {wording.plural(len(lines), 'line')}", [found.said()], [note], details)


def _relation(file: File, found: encoding.Encoding, session: Session) -> Value:
    """Text too large for memory: a lazy relation with one column, `line`."""
    import duckdb

    connection = engine.connection(session.memory)
    path = file.path if found.plain() else lazy.transcoded(file, found, session)
    if path != file.origin:
        session.scratch.keep(path)
    for attempt in range(3):
        # a delimiter that text does not hold makes each line one field; no quotes, no types, no nulls
        query = (
            f"SELECT * FROM read_csv({engine.literal(path)}, columns={{'line': 'VARCHAR'}}, auto_detect=false, "
            "header=false, delim=chr(31), quote='', escape='', nullstr='\\u0000', null_padding=true, "
            f"strict_mode=false, max_line_size={2_000_000 if attempt == 0 else 33_554_432})"
        )
        try:
            relation = connection.sql(query)
            measured = lazy.measure(connection, relation)
            break
        except duckdb.Error as error:
            reason = engine.first_line(error)
            if "nicode" in reason and path == file.path:
                path = lazy.transcoded(file, encoding.Encoding("utf-8", "replace"), session)
    else:
        raise LoadError(
            f"{wording.clean(file.label)} is too large for memory and DuckDB could not read its lines: "
            f"{wording.clip(reason, 200)}.",
            f"Read it line by line in a cell: for line in open({file.origin!r}).",
        )
    value = lazy.value(
        relation, measured, file, int(file.size * _LIST_RATIO), session, [found.said()], ["empty lines are left out"]
    )
    value.details = [
        f"query it: {file.expression}.filter(\"line LIKE '%error%'\").limit(20).df()",
        *value.details[value.details.index(next(line for line in value.details if "column" in line)) :],
    ]
    value.notes[0] = value.notes[0].replace("as a DataFrame", "as a list of lines")
    return value


def _plain(text: str, file: File) -> list[str]:
    lines = text[:100_000].splitlines()[:_FIRST_LINES]
    return ["first lines:", *(f"  {wording.clip(line, 200)}" for line in lines)] if lines else []


def _markdown(text: str, file: File) -> list[str]:
    fenced = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = [line for line in fenced.splitlines() if re.match(r"#{1,6} ", line)]
    if not headings:
        return _plain(text, file)
    listed = [f"  {wording.clip(line, 100)}" for line in headings[:_HEADINGS]]
    more = [f"  … {len(headings) - _HEADINGS:,} more"] if len(headings) > _HEADINGS else []
    return ["headings:", *listed, *more]


def _html(text: str, file: File) -> list[str]:
    if len(text) > _PARSED_HTML:
        tables = len(re.findall(r"<table\b", text, re.IGNORECASE))
        return [f"tables: {tables:,} (not parsed, the page is large)", *_plain(text, file)]
    from lxml import etree, html

    try:
        root: Any = html.document_fromstring(text.encode("utf-8", "replace"), parser=html.HTMLParser(encoding="utf-8"))
    except (etree.ParserError, etree.XMLSyntaxError, ValueError, AssertionError):
        return _plain(text, file)
    title = root.findtext(".//title")
    for node in root.xpath("//script | //style"):
        node.drop_tree()
    words = " ".join(root.text_content().split())
    tables = root.xpath("//table")
    details = [f"title: {wording.clip(' '.join(title.split()), 120)}"] if title else []
    links = wording.plural(len(root.xpath("//a[@href]")), "link")
    details.append(f"text without markup: {wording.plural(len(words), 'character')}; {links}")
    details.append(f"tables: {len(tables):,}")
    for index, table in enumerate(tables[:10]):
        rows = table.xpath(".//tr")
        head = [" ".join(cell.text_content().split()) for cell in rows[0].xpath("./th | ./td")] if rows else []
        listed = wording.listed([wording.clip(cell, 24) for cell in head], 8)
        details.append(
            f"  {index}: {wording.plural(len(rows), 'row')}, {wording.plural(len(head), 'column')}: {listed}"
        )
    if tables:
        details.append(f"tables as DataFrames: pd.read_html(io.StringIO({file.expression}))")
    details.append(f"begins: {wording.clip(words, 200)}")
    return details


def _pdf(file: File, session: Session) -> Value:
    """A list with the text of each page."""
    import logging

    import pypdf
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    label = wording.clean(file.label)
    if file.size * 4 > session.room():
        raise delimited.does_not_fit(file, file.size * 4, session)
    try:
        reader = pypdf.PdfReader(file.path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise LoadError(
                f"{label} is a PDF protected by a password.", "Save a copy without the password and load that."
            )
        count = len(reader.pages)
        title = reader.metadata.title if reader.metadata else None
    except pypdf.errors.DependencyError as error:
        raise LoadError(
            f"{label} is an encrypted PDF that needs the package cryptography.", "Save a copy without encryption."
        ) from error
    except PyPdfError as error:
        raise LoadError(
            f"{label} could not be read as PDF: {wording.reason(error, 200)}.",
            "Check that the file is whole, or print it to PDF again.",
        ) from error
    pages, failed = [], []
    for index in range(count):
        try:
            pages.append(reader.pages[index].extract_text())
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception:
            pages.append("")
            failed.append(str(index))
    notes = (
        [f"{wording.plural(len(failed), 'page')} could not be read and left empty: {wording.listed(failed, 10)}"]
        if failed
        else []
    )
    total = sum(map(len, pages))
    if count and total < 20 * count:
        notes.append("hardly any text: probably scanned images, which load does not recognise")
    details = [f"title: {wording.clip(str(title), 120)}"] if title else []
    details += [
        f"  page {i}: {wording.plural(len(p), 'character')}: {wording.clip(' '.join(p.split()), 80)}"
        for i, p in enumerate(pages[:_PAGES_SHOWN])
    ]
    if count > _PAGES_SHOWN:
        details.append(f"  … {count - _PAGES_SHOWN:,} more pages")
    return Value(
        pages, f"list of {wording.plural(count, 'page text')}, {wording.plural(total, 'character')}", [], notes, details
    )
