"""The host's files that a restore reads: where values' bytes lie, and memory made of them without copying it."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from types import TracebackType
from typing import Any

from cloche_kernel.checkpoints import unwritten
from cloche_kernel.checkpoints.chunks import CHUNK_BYTES, name_of
from cloche_kernel.checkpoints.contract import Mapped

#: buffers and parts of buffers from this size on are mapped; smaller ones are read
_MAPPED_BYTES = 65_536
_PAGE = mmap.ALLOCATIONGRANULARITY
_FIXED = 0x10
_FAILED = ctypes.c_void_p(-1).value
#: parts mapped at a time: Linux gives a process 65,530 mappings, and the session needs some of its own
_MOST_PARTS = 16_384

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64
)  # fmt: skip

#: parts of the memory that is there, by the address of each
_parts: dict[int, int] = {}

#: [file, offset, length] in `bytes`
Piece = list[int]
#: [from, to) in `bytes`
Span = tuple[int, int]


class Pieces:
    """
    The host's files, mapped privately: writing to a value never reaches them. Each value has memory of its own, also
    where equal ones lie in one place.
    """

    def __init__(self, files: list[str]) -> None:
        self._files = files
        self._open: dict[int, int] = {}

    def __enter__(self) -> Pieces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def joined(self, pieces: list[Piece]) -> bytes:
        """A copy. Raises EOFError where a file is too short."""
        return b"".join(map(self._read, pieces))

    def buffer(self, pieces: list[Piece], names: list[str]) -> Any:
        """
        Writable memory: the files' own pages, copied only where written to. `names`: its chunks, which keep those names
        for as long as their pages are not written to.
        """
        total = sum(length for _, _, length in pieces)
        if total < _MAPPED_BYTES:
            return bytearray(self.joined(pieces))
        if len(pieces) == 1:
            made, before, spans = self._in_one_piece(pieces[0])
        else:
            before = 0
            made, spans = self._scattered(pieces, total)
        view = memoryview(made)[before:]
        if total >= unwritten.WORTH_ASKING and names[:1] == [name_of(view[:CHUNK_BYTES])]:
            unwritten.remember(made, before, total, names, CHUNK_BYTES, spans)
        return view

    def _in_one_piece(self, piece: Piece) -> tuple[Mapped, int, list[Span]]:
        """The memory, where in it the piece begins, and what of it is the file's."""
        index, offset, length = piece
        before = offset % _PAGE
        descriptor = self._descriptor(index)
        if os.fstat(descriptor).st_size < offset + length:
            raise _missing(piece)
        made = Mapped(descriptor, before + length, access=mmap.ACCESS_COPY, offset=offset - before)
        return made, before, [(0, length)]

    def _scattered(self, pieces: list[Piece], total: int) -> tuple[Mapped, list[Span]]:
        """
        One stretch of memory over which the pieces are laid, page by page; what does not begin at a page's edge, or is
        small, is read into it.
        """
        made = _reserved(total)
        spans: list[Span] = []
        start = 0
        room = _MOST_PARTS - sum(_parts.values())
        for piece in pieces:
            laid = self._lay(made, start, piece, last=start + piece[2] == total) if len(spans) < room else 0
            if laid is None:
                # What a failed attempt left there is not known.
                made = _reserved(total)
                self._read_all(made, pieces)
                return made, []
            self._read_into(made, start + laid, [piece[0], piece[1] + laid, piece[2] - laid])
            if laid:
                spans.append((start, start + laid))
            start += piece[2]
        address = unwritten.address_of(made)
        _parts[address] = len(spans)
        weakref.finalize(made, _parts.pop, address, None).atexit = False
        return made, spans

    def _lay(self, made: Mapped, start: int, piece: Piece, *, last: bool) -> int | None:
        """Maps a piece over `made` from `start` on: the `bytes` that are there then; None where that went wrong."""
        index, offset, length = piece
        if length < _MAPPED_BYTES or start % _PAGE or offset % _PAGE:
            return 0
        # A page that the next piece begins in is not this one's.
        laid = length if last else length - length % _PAGE
        descriptor = self._descriptor(index)
        if os.fstat(descriptor).st_size < offset + length:
            raise _missing(piece)
        reading, how = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | _FIXED
        found = _libc.mmap(unwritten.address_of(made) + start, laid, reading, how, descriptor, offset)
        return None if found == _FAILED else laid

    def _read_all(self, made: Mapped, pieces: list[Piece]) -> None:
        start = 0
        for piece in pieces:
            self._read_into(made, start, piece)
            start += piece[2]

    def _read_into(self, made: Mapped, start: int, piece: Piece) -> None:
        index, offset, length = piece
        with memoryview(made) as whole, whole[start : start + length] as part:
            done = 0
            while done < length:
                read = os.preadv(self._descriptor(index), [part[done:]], offset + done)
                if not read:
                    raise _missing(piece)
                done += read

    def _read(self, piece: Piece) -> bytes:
        index, offset, length = piece
        found = os.pread(self._descriptor(index), length, offset)
        if len(found) < length:
            raise _missing(piece)
        return found

    def _descriptor(self, index: int) -> int:
        if index not in self._open:
            self._open[index] = os.open(self._files[index], os.O_RDONLY | os.O_CLOEXEC)
        return self._open[index]


def _reserved(size: int) -> Mapped:
    return Mapped(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _missing(piece: Piece) -> EOFError:
    return EOFError(f"{piece[2]} bytes of a state are missing")
