"""Memory that cells cannot take: one that fills the session leaves enough to say so, and to free it with another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from resource import RLIM_INFINITY, RLIMIT_DATA, getrlimit, setrlimit

#: bytes below the process's limit that only the kernel itself uses
_RESERVE_BYTES = 16_777_216
#: bytes of it that a cell gets where an earlier one filled everything
_STEP_BYTES = 4_194_304


class Reserve:
    def __init__(self) -> None:
        self._hard = getrlimit(RLIMIT_DATA)[1]
        self._low = self._hard - _RESERVE_BYTES
        self._applies = self._hard != RLIM_INFINITY and self._low > 0
        #: memory ran out: the next cell gets a part of the reserve
        self.tight = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """The user's code runs within."""
        if not self._applies:
            yield
            return
        try:
            setrlimit(RLIMIT_DATA, (self._for_the_cell(), self._hard))
            yield
        finally:
            setrlimit(RLIMIT_DATA, (self._hard, self._hard))

    def _for_the_cell(self) -> int:
        if not self.tight:
            return self._low
        self.tight = self.exhausted()
        return min(self._hard, max(self._low, _used() + _STEP_BYTES))

    def exhausted(self) -> bool:
        """Is there next to nothing left for cells?"""
        return self._applies and _used() + _STEP_BYTES > self._low


def _used() -> int:
    """Bytes that count against RLIMIT_DATA, and the stack, which does not."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
