"""The processes of this sandbox, as its PID 1 sees them: list, end, stop, count their memory."""

from __future__ import annotations

import os
import signal
import time

#: file systems in memory; what they hold counts against the session's limit
_IN_MEMORY = ("/workspace", "/tmp", "/dev/shm")

#: flag of a process in /proc/<pid>/stat that has begun to exit
_PF_EXITING = 0x4
#: badness that a process gives itself which is worth least
_LEAST = 1_000


def others(spare: frozenset[int]) -> list[int]:
    """Pids of every process here but this one and `spare`."""
    me = os.getpid()
    return [pid for name in os.listdir("/proc") if name.isdigit() and (pid := int(name)) != me and pid not in spare]


def end_all(spare: frozenset[int], reaped: dict[int, int], deadline: float = 5.0) -> bool:
    """
    Kills every process but this one and `spare` and waits until they are gone; False past `deadline` seconds.

    All are stopped first: a process with a signal pending cannot fork, so nothing grows while it is being killed.
    `spare` goes on afterwards. Exit statuses met on the way go to `reaped`.
    """
    until = time.monotonic() + deadline
    signal_all(signal.SIGSTOP)
    try:
        while True:
            alive = [pid for pid in others(spare) if not _is_zombie(pid)]
            if not alive:
                return True
            for pid in alive:
                send_signal(pid, signal.SIGKILL)
            _reap(reaped)
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
    finally:
        _reap(reaped)
        for pid in spare:
            send_signal(pid, signal.SIGCONT)


def send_signal(pid: int, number: int) -> None:
    """Signals a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def signal_all(number: int) -> None:
    """Signals every process of this sandbox but this one."""
    try:
        os.kill(-1, number)
    except (ProcessLookupError, PermissionError):
        pass


def private_bytes() -> int:
    """Memory of all processes here that no other process shares, in bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for pid in others(frozenset()):
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                fields = file.read().split()
        except OSError:
            continue
        total += (int(fields[1]) - int(fields[2])) * page
    return total


def end_least() -> bool:
    """Kills what the system would kill first where memory is short, and says whether there was anything."""
    found = [pid for pid in others(frozenset()) if _is_least(pid)]
    for pid in found:
        send_signal(pid, signal.SIGKILL)
    return bool(found)


def _is_least(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/oom_score_adj", "rb") as file:
            return int(file.read()) == _LEAST and not _is_zombie(pid)
    except OSError:
        return False


def cpu_ticks(pid: int) -> int:
    """Processor time of a process, in ticks of the clock; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def mounted_bytes() -> int:
    """What the file systems in memory hold, in bytes."""
    total = 0
    for path in _IN_MEMORY:
        stats = os.statvfs(path)
        total += (stats.f_blocks - stats.f_bfree) * stats.f_frsize
    return total


def wait_briefly(pid: int) -> int | None:
    """How a child ended, or None where it has not in a tenth of a second."""
    for _ in range(20):
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return signal.SIGKILL
        if ended:
            return status
        time.sleep(0.005)
    return None


def is_exiting(pid: int) -> bool:
    """Has it begun to end? It lets go of its descriptors first, and where it held much, long before it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return bool(int(file.read().rpartition(b")")[2].split()[6]) & _PF_EXITING)
    except OSError:
        return True


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


def _reap(reaped: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        reaped[pid] = status
