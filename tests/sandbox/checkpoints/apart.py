"""Runs a piece of a test in a child of its own, so that what it plants or imports stays there."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: seconds a piece may take
_SECONDS = 60


def apart(work: Callable[[], T]) -> T:
    """What `work` returns, which pickle must be able to carry; raises AssertionError with its traceback."""
    answer, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(answer)
        # Its processes can be told from those of others that run meanwhile.
        os.setpgid(0, 0)
        signal.alarm(_SECONDS)
        try:
            found = (True, work())
        except BaseException:
            found = (False, traceback.format_exc())  # type: ignore[assignment]
        with os.fdopen(theirs, "wb") as file:
            file.write(pickle.dumps(found))
        os._exit(0)
    os.close(theirs)
    with os.fdopen(answer, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    assert data, "it died"
    right, value = pickle.loads(data)
    assert right, value
    return value  # type: ignore[no-any-return]
