"""The kernel's end of its line: what it waits for beside requests."""

from __future__ import annotations

import os
import socket

from cloche_kernel.frames import encode
from cloche_kernel.interrupts import Interrupts
from cloche_kernel.line import Line


def line() -> tuple[Line, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return Line(ours, Interrupts()), theirs


def test_something_that_has_ended_is_not_waited_for() -> None:
    made, _supervisor = line()
    assert not made.requested_before(-1)


def test_whichever_comes_first_is_told() -> None:
    made, supervisor = line()
    reading, writing = os.pipe()
    os.write(writing, b"x")
    assert not made.requested_before(reading)
    supervisor.send(encode({"type": "inspect", "id": "a", "deaths": 0}))
    assert made.requested_before(reading)
    assert made.next_request()[0]["id"] == "a"
