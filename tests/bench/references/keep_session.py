"""
What people do to keep a session and to have it back: `{"what": …, "setup": code, "directory": path}` gives the
milliseconds of one of these, in the namespace that `setup` makes (made once).

- dill: write the namespace down with `dill.dump_module`.
- cloudpickle: take it down with cloudpickle in memory.
- fdatasync: write 4 KiB and wait for the disk.
- read: read a file of as many bytes as the array `big` has, which lies in the page cache, into memory.
- pass: the same as an array, and a sum over it.
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
        print(json.dumps({"ms": (time.perf_counter() - started) * 1_000}), flush=True)
        if os.path.exists(kept):
            os.unlink(kept)


def _dill(module: types.ModuleType, path: str) -> None:
    dill.dump_module(path, module)


def _cloudpickle(module: types.ModuleType, path: str) -> None:
    values = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    cloudpickle.dumps(values, protocol=5)


def _fdatasync(module: types.ModuleType, path: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, bytes(4_096))
    os.fdatasync(descriptor)
    os.close(descriptor)


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


_WAYS: dict[str, Callable[[Any, str], None]] = {
    "dill": _dill,
    "cloudpickle": _cloudpickle,
    "fdatasync": _fdatasync,
    "read": _read,
    "pass": _pass,
}

if __name__ == "__main__":
    main()
