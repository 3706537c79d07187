"""Running code that is not ours for a limited time: a value's own methods may hang, raise, print or do anything."""

from __future__ import annotations

import contextlib
import io
import signal
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: seconds between two attempts to get out of code that swallows the first
_AGAIN_SECONDS = 0.05


class TooLong(BaseException):
    """The time is up. Not an Exception, so that a method with `except Exception` cannot keep it."""


def patiently(work: Callable[[], T], seconds: float) -> T:
    """
    What `work` returns; raises TooLong where it takes longer, and whatever it raises itself.

    What it prints is not shown. A timer or handler of the user's for SIGALRM is as before afterwards. Main thread only.
    """
    watch = _Watch(seconds)
    try:
        try:
            watch.start()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                return work()
        finally:
            watch.stop()
    finally:
        # The alarm may have gone off within the first.
        watch.stop()


class _Watch:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._on = False

    def start(self) -> None:
        self._handler = signal.signal(signal.SIGALRM, self._late)
        self._since = time.monotonic()
        self._on = True
        self._timer = signal.setitimer(signal.ITIMER_REAL, self._seconds, _AGAIN_SECONDS)

    def stop(self) -> None:
        if not self._on:
            return
        self._on = False
        left, interval = self._timer
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - self._since)), interval)

    def _late(self, *_: object) -> None:
        if self._on:
            raise TooLong
