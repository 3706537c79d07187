"""What the supervisor does once, before its loop: the boot frame, the carrier, the zygote's command."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Any

from cloche_kernel import frames
from cloche_kernel.host_line import HostGone


def read_boot() -> dict[str, Any]:
    reader = frames.FrameReader()
    while True:
        # One byte at a time: what follows `boot` on this stream belongs to the loop.
        chunk = os.read(0, 1)
        if not chunk:
            raise HostGone("end of stdin before boot")
        for header, _, _ in reader.push(chunk):
            if header["type"] != "boot":
                raise HostGone(f"the first frame was {header['type']}, not boot")
            return header


def connect(carrier: str) -> socket.socket | None:
    """The socket in the staging directory, or None where it cannot be reached and stdio has to carry the frames."""
    if carrier == "stdio":
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(2)
        connection.connect(carrier)
    except OSError as error:
        connection.close()
        if error.errno in (errno.EPERM, errno.EACCES):
            os.write(2, f"the socket {carrier} refused: {error}; using stdio\n".encode())
        return None
    return connection


def zygote_command(boot: dict[str, Any]) -> tuple[str, list[str], dict[str, str]]:
    """(program, arguments, environment). One thread per library, so that nothing is running when it forks."""
    python = sys.executable
    zygote = os.path.join(os.path.dirname(os.path.abspath(__file__)), "zygote.py")
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "HOME": "/workspace",
        "SHELL": "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh",
        "TERM": "dumb",
        "PYTHONHASHSEED": "0",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "MPLCONFIGDIR": "/tmp/.matplotlib",
        "MPLBACKEND": "module://cloche_kernel.figures",
        "POLARS_FMT_MAX_COLS": "20",
        "POLARS_FMT_STR_LEN": "80",
        "POLARS_TABLE_WIDTH": "160",
        # There is no index to reach: pip says so at once instead of trying again and again.
        "PIP_NO_INDEX": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "NUMEXPR_MAX_THREADS": "1",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "CLOCHE_CPUS": str(boot["cpus"]),
        "CLOCHE_MEMORY": str(boot["memory"]),
    }
    return python, [python, "-I", "-B", zygote], environment
