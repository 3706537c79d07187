"""Taking down values that are nested deeper than this thread's stack allows, in a thread that has a larger one."""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: bytes of address space for the stack; only what is used becomes memory
_STACK = 512 * 1024 * 1024
#: levels of recursion that fit into it
_LEVELS = 400_000


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

    before = threading.stack_size(_STACK)
    limit = sys.getrecursionlimit()
    try:
        # The limit is read when a thread's stack is looked at: it holds for all threads until it is put back.
        sys.setrecursionlimit(max(limit, _LEVELS))
        _thread.start_new_thread(run, ())
        done.acquire()
    finally:
        threading.stack_size(before)
        sys.setrecursionlimit(limit)
    if failed:
        raise failed[0]
    return made[0]
