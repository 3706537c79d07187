"""ZIP containers, opened only after their directory proved harmless; Office files and .npz are such containers too."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from typing import IO

from cloche_kernel.loading import compressed, wording
from cloche_kernel.loading.contract import File, LoadError

#: entries of one archive, and bytes of the directory that lists them
MAX_MEMBERS = 10_000
_MAX_DIRECTORY = 16_777_216
#: how far from the end the end-of-directory record may start, in `bytes`
_TAIL = 65_557 + 76


def kind(file: File) -> str:
    """What a ZIP file is: "xlsx", "npz" or "zip"; a LoadError for the Office formats that have no reader here."""
    try:
        names = set(directory(file).namelist())
    except LoadError:
        return "zip"
    if "xl/workbook.xml" in names:
        return "xlsx"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    for part, title in (("xl/workbook.bin", ".xlsb workbook"), ("content.xml", "OpenDocument file")):
        if part in names and ("mimetype" in names or part.startswith("xl/")):
            raise LoadError(
                f"{wording.clean(file.label)} is an {title}, which load does not read.",
                "Save it as .xlsx, .csv or PDF.",
            )
    return "zip"


def directory(file: File) -> zipfile.ZipFile:
    """The archive, open, its directory checked: count, names, overlaps, encryption. The caller closes it."""
    label = wording.clean(file.label)
    with open(file.path, "rb") as raw:
        _refuse_long_directory(raw, label)
    try:
        archive = zipfile.ZipFile(file.path)
    except (
        zipfile.BadZipFile,
        ValueError,
        OSError,
        NotImplementedError,
        struct.error,
        EOFError,
        UnicodeError,
    ) as error:
        raise LoadError(
            f"{label} could not be read as a ZIP archive: {wording.reason(error, 120)}.",
            "Check that the file is whole, for example by copying it again.",
        ) from error
    try:
        _refuse_overlaps(archive, label)
        for member in archive.infolist():
            refuse_path(member.filename, label)
    except LoadError:
        archive.close()
        raise
    return archive


def is_link(member: zipfile.ZipInfo) -> bool:
    mode = member.external_attr >> 16
    return stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)


def refuse_path(name: str, label: str) -> None:
    """A LoadError for a member that would land outside the directory it is unpacked in."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or (len(name) > 1 and name[1] == ":"):
        raise LoadError(
            f'{label} holds a member named "{wording.clip(name, 80)}", which points outside the archive.',
            "Unpack it on the host, look at what it is, and load the folder.",
        )


def refuse_sizes(archive: zipfile.ZipFile, label: str) -> int:
    """The bytes all members unpack to, as declared; a LoadError at the size and ratio of a bomb."""
    total = sum(member.file_size for member in archive.infolist())
    packed = os.path.getsize(archive.filename) if archive.filename else 0
    compressed.refuse_bomb(label, total, packed)
    return total


def _refuse_long_directory(raw: IO[bytes], label: str) -> None:
    end = raw.seek(0, os.SEEK_END)
    raw.seek(max(0, end - _TAIL))
    tail = raw.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        raise LoadError(
            f"{label} could not be read as a ZIP archive: its directory is missing.", "Check that the file is whole."
        )
    entries, size = struct.unpack("<HI", tail[at + 10 : at + 16])
    wide = tail.rfind(b"PK\x06\x06", 0, at)
    if wide >= 0 and wide + 48 <= len(tail):
        entries, size = struct.unpack("<QQ", tail[wide + 32 : wide + 48])
    if entries > MAX_MEMBERS or size > _MAX_DIRECTORY:
        raise LoadError(
            f"{label} lists {entries:,} members; load takes archives of at most {MAX_MEMBERS:,}.",
            "Unpack it on the host and load the part you need.",
        )


def _refuse_overlaps(archive: zipfile.ZipFile, label: str) -> None:
    if len(archive.infolist()) > MAX_MEMBERS:
        raise LoadError(
            f"{label} lists more than {MAX_MEMBERS:,} members.", "Unpack it on the host and load the part you need."
        )
    end = -1
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise LoadError(
                f'{label} is refused: its member "{wording.clip(member.filename, 80)}" overlaps another, as in a bomb.',
                "Pack the files again with an ordinary tool.",
            )
        end = member.header_offset + 30 + member.compress_size
