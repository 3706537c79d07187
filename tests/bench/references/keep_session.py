"""
What people do to keep a session and to have it back: `{"what": …, "setup": code, "directory": path}` gives the
milliseconds of one of these, in the namespace that `setup` makes (made once), and the bytes it wrote to disk.

- dill: write the namespace down with `dill.dump_module`.
- cloudpickle: take it down with cloudpickle in memory.
- durable: take it down with cloudpickle, write that and wait for the disk.
- fdatasync: write 4 KiB and wait for the disk.
- read: read a file of as many bytes as the array `big` has, which lies in the page cache, into memory.
- pass: the same as an array, and a sum over it.
- sum: a sum over `big` in memory.
"""

from __future__ import annotations

import json
import os
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import cloudpickle
import dill


def main() -> None:
    """Serve requests until stdin ends."""
    made: dict[str, types.ModuleType] = {}
    for line in sys.stdin:
        request = json.loads(line)
        module = made.get(request["setup"])
        if module is None:
            module = made[request["setup"]] = types.ModuleType("session")
            exec(request["setup"], vars(module))
        kept = os.path.join(request["directory"], "kept")
        reads = request["what"] in ("read", "pass")
        path = _cached(module, os.path.join(request["directory"], "bytes")) if reads else kept
        started = time.perf_counter()
        _WAYS[request["what"]](module, path)
        ms = (time.perf_counter() - started) * 1_000
        written = os.path.getsize(kept) if os.path.exists(kept) else 0
        print(json.dumps({"ms": ms, "bytes": written}), flush=True)
        if written:
            os.unlink(kept)


def _dill(module: types.ModuleType, path: str) -> None:
    dill.dump_module(path, module)


def _cloudpickle(module: types.ModuleType, path: str) -> None:
    _pickled(module)


def _durable(module: types.ModuleType, path: str) -> None:
    _write(path, _pickled(module))


def _pickled(module: types.ModuleType) -> bytes:
    values = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    return cloudpickle.dumps(values, protocol=5)


def _fdatasync(module: types.ModuleType, path: str) -> None:
    _write(path, bytes(4_096))


def _write(path: str, data: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(data)
        os.fdatasync(file.fileno())


def _cached(module: types.ModuleType, path: str) -> str:
    """A file of the bytes of `big`, all of which were just read."""
    if not os.path.exists(path):
        module.big.tofile(path)
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass
    return path


def _read(module: types.ModuleType, path: str) -> None:
    with open(path, "rb") as file:
        file.read()


def _pass(module: types.ModuleType, path: str) -> None:
    import numpy

    numpy.fromfile(path).sum()


def _sum(module: types.ModuleType, path: str) -> None:
    module.big.sum()


_WAYS: dict[str, Callable[[Any, str], None]] = {
    "dill": _dill,
    "cloudpickle": _cloudpickle,
    "durable": _durable,
    "fdatasync": _fdatasync,
    "read": _read,
    "pass": _pass,
    "sum": _sum,
}

if __name__ == "__main__":
    main()
