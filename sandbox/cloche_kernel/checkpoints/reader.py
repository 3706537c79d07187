"""Reading a stored state: what was written down by a name or a number is found, and the rest is filled in last."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable
from typing import Any, cast

_AHEAD_BYTES = 1_048_576


class Reader(pickle.Unpickler):
    """Finds what was written down by a name or a number instead of by value."""

    def __init__(self, header: bytes, buffers: Iterable[Any], find: Callable[[str], Any]) -> None:
        # Reading ahead is left to this: a pickle without frames says nowhere how much belongs together.
        self._source = io.BufferedReader(cast("io.RawIOBase", io.BytesIO(header)), _AHEAD_BYTES)
        super().__init__(self._source, buffers=buffers)
        self._end = len(header)
        self._find = find
        self._numbered: dict[int, Any] = {}

    def persistent_load(self, name: Any) -> Any:
        if isinstance(name, str):
            return self._find(name)
        number, kind = name
        if number not in self._numbered:
            self._numbered[number] = float("nan") if kind == "nan" else set() if kind == "set" else {}
        return self._numbered[number]

    def fill_rest(self) -> None:
        """Puts in what has to be hashed by the session's code, now that everything has its state."""
        parts = []
        while self._source.tell() < self._end:
            parts += self.load()
        for fill, target, content in parts:
            if fill is None:
                self._numbered[target].update(content)
            else:
                fill(target, content)
