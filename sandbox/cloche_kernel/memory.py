"""How much memory the session may use, and how much of that is left."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cloche_kernel import processes


@dataclass(frozen=True)
class SessionMemory:
    """`limit` in bytes, as the sandbox was started with."""

    limit: int

    def available(self) -> int:
        """Bytes that can still be used: the limit less private memory of all processes and files in tmpfs."""
        used = processes.private_bytes() + _resident(os.getpid()) + processes.mounted_bytes()
        return max(0, self.limit - used)


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
