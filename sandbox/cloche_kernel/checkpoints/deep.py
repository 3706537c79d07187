"""Taking down values that are nested deeper than this thread's stack allows, in a thread that has a larger one."""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: sizes of a stack to try, in bytes of address space: only what is used becomes memory, but all counts for some limits
_STACKS = (512 * 1024 * 1024, 64 * 1024 * 1024)
#: bytes that one level of recursion is given; less than half of that was needed
_LEVEL = 1_342


def with_deep_stack(work: Callable[[], T]) -> T:
    """What `work` returns, run in a thread of its own; raises what it raises."""
    made: list[T] = []
    failed: list[BaseException] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            made.append(work())
        except BaseException as error:
            failed.append(error)
        finally:
            done.release()

    before = threading.stack_size()
    limit = sys.getrecursionlimit()
    try:
        _start(run, limit)
        done.acquire()
    finally:
        threading.stack_size(before)
        sys.setrecursionlimit(limit)
    if failed:
        raise failed[0]
    return made[0]


def _start(run: Callable[[], None], limit: int) -> None:
    for size in _STACKS:
        threading.stack_size(size)
        # The limit is read when a thread's stack is looked at: it holds for all threads until it is put back.
        sys.setrecursionlimit(max(limit, size // _LEVEL))
        try:
            _thread.start_new_thread(run, ())
            return
        except RuntimeError:
            continue
    raise RecursionError("no memory for a stack that is deep enough")
