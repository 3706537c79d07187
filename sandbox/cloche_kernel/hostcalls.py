"""Asking the host for something from inside a cell: `call` sends the request and waits for the reply."""

from __future__ import annotations

import contextvars
import itertools
import os

# Bound here, so that a cell that replaces `json.dumps` does not replace ours.
from json import dumps, loads
from typing import Any, BinaryIO

from cloche_kernel.line import Line
from cloche_kernel.messages import BODY_WINDOW_BYTES, MAX_BODY_PIECE_BYTES

#: the running cell's id; threads and tasks a cell starts through `asyncio.to_thread` carry it with them
current_cell: contextvars.ContextVar[str | None] = contextvars.ContextVar("cloche_cell", default=None)


class HostCallError(RuntimeError):
    """The host refused or failed a call. `code` is for programs; the text says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


_line: Line | None = None
_running: str | None = None
_owner = 0
_ids = itertools.count(1)


def connect(line: Line) -> None:
    """Host calls of this process, and only of this one, go over `line`."""
    global _line, _owner
    _line, _owner = line, os.getpid()


def begin_cell(cell: str | None) -> None:
    """Calls belong to this cell from now on."""
    global _running
    _running = cell
    current_cell.set(cell)


def call(name: str, arguments: dict[str, Any], body: BinaryIO | None = None) -> Any:
    """
    The host's answer to call `name`, as parsed JSON; `body` is streamed along with it.

    Raises HostCallError where the host refuses, and where no cell is running.
    """
    cell = current_cell.get() or _running
    if _line is None or cell is None or os.getpid() != _owner:
        raise HostCallError("hostcall.refused", "The host answers a running cell only, not other processes.")
    key = f"{os.urandom(4).hex()}-{next(_ids)}"
    header = {"type": "call", "id": key, "cell": cell, "name": name}
    with _line.expecting("reply", key), _line.expecting("credit", key):
        _line.send(header | ({"body": True} if body is not None else {}), dumps(arguments).encode())
        if body is not None:
            _stream(_line, key, body)
        reply, payload = _line.wait("reply", key)
    result: Any = loads(payload) if payload else None
    if not reply["ok"]:
        raise HostCallError(result["code"], result["message"])
    return result


def _stream(line: Line, key: str, body: BinaryIO) -> None:
    """Sends the body as fast as the host's credit allows, and stops where the host has already answered."""
    room = BODY_WINDOW_BYTES
    piece = body.read(MAX_BODY_PIECE_BYTES)
    while True:
        following = body.read(MAX_BODY_PIECE_BYTES)
        line.send({"type": "body", "id": key, "last": not following}, piece)
        room -= len(piece)
        if not following:
            return
        piece = following
        while room < len(piece):
            credit = line.wait_any(("credit", key), ("reply", key))
            if credit is None:
                return
            room += int(credit[0]["bytes"])
