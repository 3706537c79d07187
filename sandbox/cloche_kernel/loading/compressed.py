"""Compressed single files and streams: gzip, bzip2, xz, zstandard and lz4, decompressed piece by piece under a cap."""

from __future__ import annotations

import lzma
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from cloche_kernel.loading import wording
from cloche_kernel.loading.contract import File, LoadError, Session

_PIECE = 1_048_576
#: decompressed bytes below which no ratio is suspicious
BOMB_BYTES = 268_435_456
#: decompressed bytes per compressed byte: text reaches 100 at the outside, a bomb 1,000 and more
BOMB_RATIO = 400
#: dictionary an xz file may ask for, in `bytes`
_XZ_MEMORY = 134_217_728
_SUFFIXES = {
    "gzip": (".gz", ".gzip"),
    "bzip2": (".bz2",),
    "xz": (".xz", ".lzma"),
    "zstd": (".zst", ".zstd"),
    "lz4": (".lz4",),
}
_TAR_SUFFIXES = (".tgz", ".tbz2", ".tbz", ".txz", ".tzst")


def inner_label(label: str, codec: str) -> str:
    """The name a compressed file has once it is decompressed: `a.csv` for `a.csv.gz`."""
    lower = label.lower()
    for suffix in _TAR_SUFFIXES:
        if lower.endswith(suffix):
            return label[: -len(suffix)] + ".tar"
    for suffix in _SUFFIXES[codec]:
        if lower.endswith(suffix):
            return label[: -len(suffix)]
    return label


@contextmanager
def opened(file: File, codec: str) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file as a stream; whatever its decoder raises becomes a LoadError."""
    try:
        with _decoder(file.path, codec) as stream:
            yield stream
    except LoadError:
        raise
    except MemoryError as error:
        raise LoadError(f"Decompressing {wording.clean(file.label)} takes more memory than is free.") from error
    except (OSError, EOFError, ValueError) as error:
        raise _damaged(file, codec, error) from error
    except Exception as error:
        if type(error).__name__ in ("LZMAError", "error", "BadGzipFile"):
            raise _damaged(file, codec, error) from error
        raise


def pieces(file: File, codec: str) -> Iterator[bytes]:
    """The decompressed bytes, a megabyte at a time; a LoadError at the size and ratio of a bomb."""
    total = 0
    with opened(file, codec) as stream:
        while piece := stream.read(_PIECE):
            total += len(piece)
            refuse_bomb(file.label, total, file.size)
            yield bytes(piece)


def refuse_bomb(label: str, unpacked: int, packed: int) -> None:
    """A LoadError when so many bytes came out of so few."""
    if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * max(packed, 1):
        raise LoadError(
            f"{wording.clean(label)} unpacks to more than {BOMB_RATIO} times its size "
            f"({wording.size(packed)} to over {wording.size(unpacked)}): it looks like a decompression bomb.",
            "If it is yours, unpack it on the host and load the result.",
        )


def decompress(file: File, codec: str, session: Session) -> File:
    """The file, decompressed into scratch."""
    label = inner_label(file.label, codec)
    path, size = session.scratch.write(pieces(file, codec), file.label, os.path.splitext(label)[1][:10])
    return file.moved(path, size, label)


def _decoder(path: str, codec: str) -> Any:
    if codec == "gzip":
        import gzip

        return gzip.open(path, "rb")
    if codec == "bzip2":
        import bz2

        return bz2.open(path, "rb")
    if codec == "xz":
        return _Xz(path)
    import pyarrow

    arrow: Any = pyarrow
    return arrow.CompressedInputStream(arrow.OSFile(path, "rb"), codec)


class _Xz:
    """lzma.open with a limit on the memory the file may ask for, which lzma.open does not offer."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed by __exit__
        self._decoder = self._new()

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def read(self, size: int) -> bytes:
        while True:
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b"\0") or self._file.read(_PIECE).lstrip(b"\0")
                if not rest:
                    return b""
                self._decoder = self._new()
                out = self._decoder.decompress(rest, size)
            else:
                more = self._file.read(_PIECE) if self._decoder.needs_input else b""
                if not more and self._decoder.needs_input:
                    raise EOFError("the file ends before the end of its stream")
                out = self._decoder.decompress(more, size)
            if out:
                return out

    def __enter__(self) -> IO[bytes]:
        return cast(IO[bytes], self)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _damaged(file: File, codec: str, error: Exception) -> LoadError:
    return LoadError(
        f"{wording.clean(file.label)} could not be decompressed as {codec}: {wording.reason(error, 200)}.",
        "Check that the file is whole, for example by copying it again.",
    )
