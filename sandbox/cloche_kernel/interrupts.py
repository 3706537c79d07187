"""SIGINT becomes KeyboardInterrupt in the cell, at a moment when nothing of Cloche's is half done."""

from __future__ import annotations

# Bound here, so that a cell that replaces `signal.signal` does not replace ours; and of C, because `signal.getsignal`
# takes longer to make an enum of what it finds than a small cell takes to run.
from _signal import SIGINT, getsignal, signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import NoReturn


class Interrupts:
    """Raises KeyboardInterrupt only while a cell runs, and never inside `deferred`."""

    def __init__(self) -> None:
        self._in_cell = False
        self._depth = 0
        self._pending = False
        #: the user's code has not begun, and an interrupt came: whoever ran then may have swallowed it
        self._early = self._missed = False

    def install(self) -> None:
        signal(SIGINT, self._on_signal)

    @contextmanager
    def cell(self) -> Iterator[None]:
        """The user's code runs inside. A handler that an earlier cell put in place is taken out again."""
        if getsignal(SIGINT) != self._on_signal:
            self.install()
        self._pending = self._missed = False
        self._in_cell = self._early = True
        try:
            yield
        finally:
            self._in_cell = False

    def begin_code(self) -> None:
        """The user's code begins now: raises the interrupt that a callback of IPython's swallowed before it."""
        self._early = False
        if self._missed:
            self._missed = False
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """An interrupt that arrives inside is raised on the way out; other threads are not concerned."""
        if current_thread() is not main_thread():
            yield
            return
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0 and self._pending and self._in_cell:
                self._pending = False
                self._interrupt()

    def _on_signal(self, *_: object) -> None:
        if not self._in_cell:
            return
        if self._depth:
            self._pending = True
        else:
            self._interrupt()

    def _interrupt(self) -> NoReturn:
        self._missed = self._early
        raise KeyboardInterrupt
