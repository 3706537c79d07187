"""publish: a file leaves the sandbox."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from dataclasses import dataclass

from cloche_kernel import hostcalls


@dataclass(frozen=True)
class Published:
    """A file that was copied out: its absolute `path` on the host and its size in `bytes`."""

    path: str
    bytes: int

    def __repr__(self) -> str:
        return f"Published {self.path} ({self.bytes:,} bytes)"

    def _ipython_display_(self) -> None:
        """Nothing: the host itself says below the cell what was published, wherever in the cell that was."""


def publish(path: str | os.PathLike[str], name: str | None = None) -> Published:
    """
    Copies a file out of the sandbox into ./cloche-out/ of the user's project.

    path: a regular file in the session, for example "report.csv". Folders are not published: zip them first.
    name: file name on the host; the file's own name when absent. Never replaces a file that exists.

    Returns Published(path, bytes), with the absolute path on the host. Raises FileNotFoundError, IsADirectoryError or
    ValueError for what cannot be published, FileExistsError where the name is taken, and HostCallError where the
    host refuses otherwise.
    """
    source = os.fspath(path)
    with open(_descriptor(source), "rb") as file:
        try:
            answer = hostcalls.call("publish", {"name": os.path.basename(source) if name is None else name}, file)
        except hostcalls.HostCallError as error:
            if error.code == "publish.exists":
                raise FileExistsError(str(error)) from None
            raise
    return Published(answer["path"], answer["bytes"])


def _descriptor(path: str) -> int:
    try:
        # Without O_NONBLOCK a FIFO would hold the cell until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ValueError(f"{path} is a link; publish the file it leads to: {os.path.realpath(path)}") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a directory: make one file of it with shutil.make_archive and publish that")
    raise ValueError(f"{path} is not a regular file")


async def publish_async(path: str | os.PathLike[str], name: str | None = None) -> Published:
    """As `publish`, without holding up the event loop."""
    return await asyncio.to_thread(publish, path, name)
