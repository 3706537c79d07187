"""What a session may use where no cgroup and no file system counts it: memory, and what it lays down in /scratch."""

from __future__ import annotations

from typing import Any

from cloche_kernel import processes, quota

#: seconds between two looks at the memory of a cell that runs
WATCH_SECONDS = 0.05
#: seconds between two looks at what /scratch holds
_LOOK_SECONDS = 2.0


class Limits:
    def __init__(self, boot: dict[str, Any]) -> None:
        self._boot = boot
        self.next_look = 0.0
        self._next_memory = 0.0
        self._scratch_is_full = False

    def excess(self, now: float, running: bool) -> str | None:
        """Why the kernel has to end, where it has. `running`: a cell runs, and its memory is looked at more often."""
        due = now >= self.next_look
        reason = None
        if self._boot["watchdog"] and (due or (running and now >= self._next_memory)):
            self._next_memory = now + WATCH_SECONDS
            reason = self._memory()
        if not due:
            return reason
        self.next_look = now + _LOOK_SECONDS
        full = quota.excess("/scratch", self._boot["scratch"])
        self._scratch_is_full = full is not None
        return reason or full

    def make_room(self) -> None:
        """Once the kernel has ended for what there was too much of."""
        if self._scratch_is_full:
            quota.wipe("/scratch")

    def _memory(self) -> str | None:
        limit = self._boot["memory"]
        used = processes.private_bytes() + processes.mounted_bytes()
        # A fork that takes down a state ends first: then the session goes on.
        if used <= limit or processes.end_least():
            return None
        return f"it used more than its memory limit of {limit // 1_048_576} MiB"
