"""Reads through one buffer: a large one for each read, cut to what came, would scatter a heap until it only grows."""

from __future__ import annotations

import os

#: a quarter of the output pipe: larger reads take longer than the kernel takes to fill it again
BYTES = 262_144


class ReadBuffer:
    def __init__(self) -> None:
        self._view = memoryview(bytearray(BYTES))

    def read(self, descriptor: int, limit: int = BYTES) -> bytes:
        """As `os.read`, of at most 262,144 bytes."""
        count = os.readv(descriptor, [self._view[:limit]])
        return bytes(self._view[:count])
