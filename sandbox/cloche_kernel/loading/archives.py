"""ZIP and tar archives as a dict of member → value. Members are unpacked one by one, under names of ours."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from cloche_kernel.loading import several, wording, zips
from cloche_kernel.loading.compressed import refuse_bomb
from cloche_kernel.loading.contract import File, LoadError, Session, Value

#: archives within archives
MAX_DEPTH = 3
_PIECE = 1_048_576
#: longest extended header of a tar member, in `bytes`; tarfile would read any length into memory
_MAX_HEADER = 1_048_576
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def load_zip(file: File, session: Session) -> Value:
    """The members of a ZIP file."""
    label = wording.clean(file.label)
    _refuse_depth(label, session)
    with zips.directory(file) as archive:
        members = [m for m in archive.infolist() if not m.is_dir()]
        links = [m.filename for m in members if zips.is_link(m)]
        members = [m for m in members if not zips.is_link(m)]
        if any(m.flag_bits & 1 for m in members):
            raise LoadError(f"{label} is protected by a password.", "Unpack it on the host and load the folder.")
        _take(label, zips.refuse_sizes(archive, label), len(members), session)

        def fetch(member: zipfile.ZipInfo) -> File:
            with archive.open(member) as stream:
                return _unpacked(_pieces(stream, member.file_size), member.filename, file, session)

        entries = ((m.filename, _reader(fetch, m, label)) for m in members)
        return several.mapping(entries, session.inside(), _links(links))


def load_tar(file: File, session: Session) -> Value:
    """The members of a tar file, which by now is no longer compressed."""
    label = wording.clean(file.label)
    _refuse_depth(label, session)
    left_out: list[str] = []
    try:
        with tarfile.open(file.path, "r:", tarinfo=_Member) as archive:
            return several.mapping(_tar_members(archive, file, session, left_out), session.inside(), left_out)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, UnicodeError) as error:
        raise LoadError(
            f"{label} could not be read as a tar archive: {wording.reason(error, 120)}.",
            "Check that the file is whole, for example by copying it again.",
        ) from error


class _Member(tarfile.TarInfo):
    """A member whose extended headers are of sane length."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS and self.size > _MAX_HEADER:
            raise LoadError(
                f"The archive declares a header of {wording.size(self.size)}: it looks like a bomb.",
                "Pack the files again with an ordinary tool.",
            )
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return member


def _tar_members(
    archive: tarfile.TarFile, file: File, session: Session, left_out: list[str]
) -> Iterator[tuple[str, Callable[[], File]]]:
    label = wording.clean(file.label)
    links: list[str] = []

    def fetch(member: tarfile.TarInfo) -> File:
        stream = archive.extractfile(member)
        if stream is None:
            raise LoadError(f"{wording.clip(member.name, 80)} of {label} is not a file.")
        with stream:
            return _unpacked(_pieces(stream, member.size), member.name, file, session)

    total = 0
    for member in archive:
        zips.refuse_path(member.name, label)
        if member.isdir():
            continue
        if member.issym() or member.islnk():
            links.append(member.name)
            continue
        if not member.isfile():
            raise LoadError(
                f'{label} holds the device or pipe "{wording.clip(member.name, 80)}".',
                "Pack it again with regular files only, or unpack it on the host and load the folder.",
            )
        total += member.size
        refuse_bomb(label, total, file.size)
        _take(label, member.size, 1, session)
        yield member.name, _reader(fetch, member, label)
    left_out += _links(links)


def _reader(fetch: Callable[[Any], File], member: Any, label: str) -> Callable[[], File]:
    """`fetch` for one member; what the archive's decoders raise becomes a LoadError."""

    def read() -> File:
        try:
            return fetch(member)
        except LoadError:
            raise
        except (
            zipfile.BadZipFile,
            tarfile.TarError,
            NotImplementedError,
            RuntimeError,
            EOFError,
            ValueError,
            OSError,
        ) as error:
            raise LoadError(
                f"{label} is damaged: {wording.reason(error, 150)}.", "Check that the file is whole."
            ) from error
        except Exception as error:
            if type(error).__name__ in ("error", "LZMAError"):
                raise LoadError(
                    f"{label} is damaged: {wording.reason(error, 150)}.", "Check that the file is whole."
                ) from error
            raise

    return read


def _unpacked(pieces: Iterator[bytes], name: str, archive: File, session: Session) -> File:
    suffix = os.path.splitext(name)[1]
    path, size = session.scratch.write(pieces, name, suffix if suffix.isascii() and suffix.isalnum() else "")
    return File(path, name, path, size, f"{archive.expression}[{name!r}]")


def _pieces(stream: IO[bytes], declared: int) -> Iterator[bytes]:
    total = 0
    while piece := stream.read(_PIECE):
        total += len(piece)
        if total > declared:
            raise LoadError(
                "A member is longer than the archive declares.", "Pack the files again with an ordinary tool."
            )
        yield piece


def _take(label: str, size: int, members: int, session: Session) -> None:
    """Takes from what all archives of this load may unpack."""
    allowance = session.allowance
    if size > allowance.bytes or members > allowance.members:
        what = f"{wording.size(size)}" if size > allowance.bytes else f"{members:,} members"
        raise LoadError(
            f"{label} would unpack to {what} more, beyond what one load takes.",
            "Unpack it on the host and load the part you need, or raise `scratch` in ~/.config/cloche/config.json.",
        )
    allowance.bytes -= size
    allowance.members -= members


def _refuse_depth(label: str, session: Session) -> None:
    if session.depth >= MAX_DEPTH:
        raise LoadError(
            f"{label} lies {MAX_DEPTH} archives deep, and is an archive again.",
            "Unpack it on the host and load the folder.",
        )


def _links(links: list[str]) -> list[str]:
    if not links:
        return []
    names = wording.listed([wording.clip(name, 60) for name in links], 5)
    return [f"{wording.plural(len(links), 'link')} left out: {names}"]
