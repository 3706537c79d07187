"""Which format a file is in: by its first bytes, then by its extension; a wrong extension is said."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass

from cloche_kernel.loading import encoding, wording
from cloche_kernel.loading.contract import File, LoadError

_HEAD = 65_536
#: what the `format` argument may say, with the other names people use for it
FORMATS = {
    "csv": "csv", "tsv": "tsv", "parquet": "parquet", "feather": "arrow", "arrow": "arrow", "ipc": "arrow",
    "json": "json", "jsonl": "jsonl", "ndjson": "jsonl", "xlsx": "xlsx", "excel": "xlsx", "sqlite": "sqlite",
    "duckdb": "duckdb", "text": "text", "txt": "text", "log": "text", "markdown": "markdown", "md": "markdown",
    "html": "html", "pdf": "pdf", "zip": "zip", "tar": "tar", "image": "image", "npy": "npy", "npz": "npz",
    "binary": "binary", "bytes": "binary",
}  # fmt: skip
_EXTENSIONS = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".psv": "csv", ".parquet": "parquet", ".pq": "parquet",
    ".feather": "arrow", ".arrow": "arrow", ".arrows": "arrow", ".ipc": "arrow", ".json": "json", ".geojson": "json",
    ".ipynb": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".xlsx": "xlsx", ".xlsm": "xlsx", ".sqlite": "sqlite",
    ".sqlite3": "sqlite", ".duckdb": "duckdb", ".ddb": "duckdb", ".txt": "text", ".log": "text", ".md": "markdown",
    ".markdown": "markdown", ".html": "html", ".htm": "html", ".xhtml": "html", ".pdf": "pdf", ".zip": "zip",
    ".tar": "tar", ".npy": "npy", ".npz": "npz", ".pkl": "pickle", ".pickle": "pickle", ".joblib": "pickle",
    ".png": "image", ".jpg": "image", ".jpeg": "image", ".gif": "image", ".webp": "image", ".bmp": "image",
    ".tif": "image", ".tiff": "image",
}  # fmt: skip
#: extensions that cover what several formats look like, so that a differing content is no mistake
_ALIASES = {(".db", "sqlite"), (".db", "duckdb"), (".dat", "csv"), (".txt", "csv"), (".txt", "tsv"), (".zip", "npz")}
_MAGIC = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"SQLite format 3\0", "sqlite"),
    (b"\x93NUMPY", "npy"),
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF87a", "image"),
    (b"GIF89a", "image"),
    (b"II*\0", "image"),
    (b"MM\0*", "image"),
)
_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
#: formats known by sight that have no reader here, and what to do about them
_UNREADABLE = (
    (
        b"\x89HDF\r\n\x1a\n",
        "HDF5",
        "Add h5py with `./setup.sh --packages`, then open it in a cell with h5py.File({path!r}).",
    ),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Microsoft Office file (.xls, .doc)",
        "Save it as .xlsx, .csv or PDF.",
    ),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it on the host and load the folder."),
    (b"Rar!\x1a\x07", "a RAR archive", "Unpack it on the host and load the folder."),
    (b"FEA1", "Feather version 1", "Save it again as Feather 2 or Parquet."),
    (b"ORC", "ORC", "Read it in a cell with pyarrow.orc.read_table({path!r})."),
    (b"Obj\x01", "Avro", "Save it as Parquet or JSON lines."),
)
_PROSE = (
    ".log",
    ".md",
    ".markdown",
    ".rst",
    ".py",
    ".sql",
    ".xml",
    ".yaml",
    ".yml",
    ".toml",
    ".ini",
    ".js",
    ".ts",
    ".tex",
)


@dataclass(frozen=True)
class Detected:
    """A format of FORMATS, "pickle", "empty" or a compression; how it was found, for the profile."""

    format: str
    how: str
    compressed: bool = False


def detect(file: File, forced: str | None) -> Detected:
    """The format of a file; compression comes first, also when the caller named the format inside."""
    with open(file.path, "rb") as stream:
        head = stream.read(_HEAD)
    for magic, codec in _COMPRESSIONS:
        if head.startswith(magic) and forced != "binary":
            return Detected(codec, "by content", compressed=True)
    if len(head) > 9 and head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90") and forced != "binary":
        return Detected("bzip2", "by content", compressed=True)
    extension = os.path.splitext(file.label)[1].lower()
    if forced:
        return Detected(forced, "as asked")
    if not head:
        return Detected("empty", "no bytes")
    found = _binary(file, head, extension)
    if found is None:
        text = encoding.is_text(head)
        found = _text(head, extension) if text else "binary"
        if (
            not text
            and _EXTENSIONS.get(extension) in ("csv", "tsv", "text")
            and b"\n" in head
            and head.count(0) < len(head) // 4
            and encoding.controls(head) <= len(head) // 50
        ):
            found = _EXTENSIONS[extension]
    return Detected(found, _how(found, extension))


def known(name: str) -> str:
    """The format a caller named; a LoadError naming all of them for one that is not there."""
    found = FORMATS.get(name.strip().lower().lstrip("."))
    if found is None:
        names = ", ".join(sorted(FORMATS))
        raise LoadError(
            f'"{wording.clip(name)}" is no format.', f"Leave `format` out to have it detected, or name one of: {names}."
        )
    return found


def _how(found: str, extension: str) -> str:
    expected = _EXTENSIONS.get(extension)
    if expected is None or (extension, found) in _ALIASES:
        return "by content"
    if expected == found:
        return "by content and extension"
    return f"by content, although its name ends in {wording.clip(extension, 16)}"


def _binary(file: File, head: bytes, extension: str) -> str | None:
    """A format with a signature; None where text begins or nothing is known."""
    for magic, format_name in _MAGIC:
        if head.startswith(magic):
            return format_name
    for magic, title, advice in _UNREADABLE:
        if head.startswith(magic) and not (magic == b"ORC" and encoding.is_text(head)):
            raise LoadError(
                f"{wording.clean(file.label)} is {title}, which load does not read.", advice.format(path=file.origin)
            )
    if head[8:12] == b"DUCK":
        return "duckdb"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image"
    if head[:2] == b"BM" and len(head) >= 26 and struct.unpack("<I", head[2:6])[0] == file.size:
        return "image"
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        from cloche_kernel.loading import zips

        return zips.kind(file)
    if head[257:262] == b"ustar" or (extension == ".tar" and len(head) >= 512 and not encoding.is_text(head[:512])):
        return "tar"
    if head.startswith(b"\xff\xff\xff\xff") and _is_arrow_stream(head):
        return "arrow"
    if _is_pickle(head, extension):
        return "pickle"
    if encoding.is_ebcdic(head):
        raise LoadError(
            f"{wording.clean(file.label)} is text in EBCDIC, the code of mainframes, which load does not guess at.",
            f"Convert it on the host with `iconv -f IBM037 -t UTF-8`, or decode it in a cell: "
            f"open({file.origin!r}, 'rb').read().decode('cp037').",
        )
    return None


def _is_arrow_stream(head: bytes) -> bool:
    length = struct.unpack("<i", head[4:8])[0] if len(head) >= 8 else 0
    return 0 < length < 1 << 28 and length % 8 == 0


def _is_pickle(head: bytes, extension: str) -> bool:
    named = _EXTENSIONS.get(extension) == "pickle"
    return (
        head[:1] == b"\x80"
        and head[1:2] in (b"\2", b"\3", b"\4", b"\5")
        and (named or head[2:3] in (b"\x95", b"c", b"}", b"]"))
    )


def _text(head: bytes, extension: str) -> str:
    """The kind of text: what its content proves, else what its extension says."""
    found = encoding.of_bytes([head])
    text = head.decode(found.codec, "replace").lstrip("\ufeff")
    start = text.lstrip()[:200].lower()
    whole = len(head) < _HEAD
    expected = _EXTENSIONS.get(extension)
    if extension in _PROSE:
        return "markdown" if expected == "markdown" else "text"
    if start.startswith(("<!doctype html", "<html")):
        return "html"
    if expected not in ("html", "markdown", "text") and start.startswith(("{", "[")):
        kind = _json_kind(text, whole)
        if kind:
            # one value on one line is either; the name decides
            return "jsonl" if kind == "json" and expected == "jsonl" and "\n" not in text.strip() else kind
        if expected in ("json", "jsonl"):
            return expected
    if expected in ("json", "jsonl"):
        kind = _json_kind(text, whole)
        return kind or ("csv" if _is_grid(text, whole) else expected)
    if expected in ("csv", "tsv", "html", "markdown"):
        return expected
    return "csv" if _is_grid(text, whole) else "text"


def _json_kind(text: str, whole: bool) -> str | None:
    """The text is "jsonl" when the first lines are values of their own, "json" when it is or begins one value."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not whole:
        lines = lines[:-1]
    values = 0
    for line in lines[:20]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            break
        values += isinstance(value, (dict, list))
    if values >= 2 or (values == 1 and (len(lines) > 1 or not whole)):
        return "jsonl"
    if values == 1:
        return "json"
    if not whole:
        return "json" if text.lstrip()[:1] in "{[" and not _is_grid(text, whole) else None
    try:
        json.loads(text)
    except RecursionError:
        return "json"
    except ValueError:
        return None
    return "json"


def _is_grid(text: str, whole: bool) -> bool:
    """Whether lines of unnamed text are rows: five or more, each with the same delimiters, more than prose has."""
    lines = [line for line in text.split("\n") if line.strip()]
    lines = lines[:200] if whole else lines[:-1][:200]
    if len(lines) < 5:
        return False
    for delimiter, fewest in (("\t", 1), (";", 1), ("|", 1), (",", 2)):
        counts = {line.count(delimiter) for line in lines}
        if len(counts) == 1 and counts.pop() >= fewest:
            return True
    return False
