"""Excel workbooks: one sheet becomes a DataFrame, several a dict of sheet name → DataFrame."""

from __future__ import annotations

import re
import zipfile
from typing import Any

from cloche_kernel.loading import delimited, frames, wording, zips
from cloche_kernel.loading.contract import File, LoadError, Session, Value

#: memory of a workbook being read, as a multiple of its unpacked XML (measured: 4 to 6)
_PEAK = 6
#: how much of each XML part is searched for a document type; it can only stand at the beginning
_PROLOGUE = 65_536
_DOCTYPE = re.compile(rb"<!(DOCTYPE|ENTITY)|<\0!\0D\0O\0C\0T\0", re.IGNORECASE)


def load(file: File, session: Session) -> Value:
    """The workbook's values as pandas.read_excel gives them; formulas show their stored results."""
    import pandas

    _refuse_harm(file, session)
    sheets: dict[Any, Any] = pandas.read_excel(file.path, sheet_name=None)
    names = list(sheets)
    if len(names) == 1:
        frame = sheets[names[0]]
        notes = _notes(frame)
        return Value(
            frame,
            frames.summary(frame),
            [f"sheet {wording.show(names[0])}"],
            notes,
            frames.describe(frame, file.expression),
        )
    lines: list[str] = []
    for name in names:
        expression = f"{file.expression}[{name!r}]"
        lines.append(f"{wording.clip(expression, 100)}: {frames.summary(sheets[name])}")
        lines += [f"  note: {note}" for note in _notes(sheets[name])]
        lines += [f"  {line}" for line in frames.describe(sheets[name], expression)] if len(names) <= 5 else []
    return Value(sheets, f"dict of {wording.plural(len(names), 'DataFrame')}, one a sheet", [], [], lines)


def _notes(frame: Any) -> list[str]:
    unnamed = [str(name) for name in frame.columns if str(name).startswith("Unnamed: ")]
    if len(unnamed) < 2 or len(unnamed) * 2 < frame.shape[1]:
        return []
    return ["most columns have no name: the header is probably in a later row, pd.read_excel(path, header=n)"]


def _refuse_harm(file: File, session: Session) -> None:
    """A LoadError for a workbook that is a bomb, declares XML entities, or would not fit into memory."""
    label = wording.clean(file.label)
    with zips.directory(file) as archive:
        total = zips.refuse_sizes(archive, label)
        parts = [member for member in archive.infolist() if member.filename.lower().endswith((".xml", ".rels"))]
        for member in parts:
            try:
                with archive.open(member) as part:
                    prologue = part.read(_PROLOGUE)
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
                raise LoadError(
                    f"{label} could not be read as a workbook: {wording.reason(error, 120)}.", "Save it again."
                ) from error
            if _DOCTYPE.search(prologue):
                raise LoadError(
                    f"{label} declares XML entities, as no spreadsheet program does: it looks like an entity bomb.",
                    "Open it in a spreadsheet program and save it again, or as CSV.",
                )
        sheets = sum(m.file_size for m in parts if m.filename.startswith(("xl/worksheets/", "xl/sharedStrings")))
    if min(total, sheets) * _PEAK > session.room():
        raise delimited.does_not_fit(file, sheets * _PEAK, session)
