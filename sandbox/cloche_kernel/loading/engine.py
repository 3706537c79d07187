"""The session's default DuckDB connection, fitted to the sandbox: memory, threads, where it spills."""

from __future__ import annotations

import os
from typing import Any

from cloche_kernel.loading import scratch
from cloche_kernel.loading.contract import Memory

#: share of the free memory DuckDB may hold; it takes more than it counts, and results need room too
_SHARE = 0.5
_LEAST = 50_000_000
#: memory below which a second thread costs more than it brings: each holds buffers of its own
_SINGLE_THREADED = 300_000_000
#: memory below which a CSV reader is given small buffers; its own are 32 MB, several at a time
_SMALL_BUFFERS = 1_000_000_000
BUFFER_BYTES = 8_388_608

_chosen: dict[str, str] = {}


def settings(memory: Memory) -> dict[str, str]:
    """What every DuckDB instance in the sandbox is given."""
    size = max(_LEAST, int(memory.available() * _SHARE))
    threads = 1 if size < _SINGLE_THREADED else _processors()
    spill = os.path.join(scratch.SCRATCH, "duckdb") if os.access(scratch.SCRATCH, os.W_OK) else "/tmp/duckdb"
    return {
        "memory_limit": f"{size // 1_000_000}MB",
        "threads": str(threads),
        "temp_directory": spill,
        # extensions come from the network, which a sandbox does not have: asking for one would hang
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }


def connection(memory: Memory) -> Any:
    """The connection `duckdb.sql` uses, configured; what the user set by hand is left alone."""
    import duckdb

    default = duckdb.default_connection()
    # a bar of carriage returns would fill the answer of the cell
    for name, value in {**settings(memory), "enable_progress_bar": "false"}.items():
        now = str(default.execute(f"SELECT current_setting('{name}')").fetchall()[0][0])
        if name in _chosen and now != _chosen[name]:
            continue
        try:
            default.execute(f"SET {name} = '{value}'")
        except duckdb.Error:
            # the directory cannot change once something was spilled there
            continue
        _chosen[name] = str(default.execute(f"SELECT current_setting('{name}')").fetchall()[0][0])
    return default


def small_buffers(memory: Memory) -> bool:
    """Whether a CSV reader should take BUFFER_BYTES at a time."""
    return memory.available() * _SHARE < _SMALL_BUFFERS


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def was_interrupted(error: Exception) -> bool:
    """Whether DuckDB gave up a query because of SIGINT; it raises no KeyboardInterrupt for that."""
    return isinstance(error, RuntimeError) and "Query interrupted" in str(error)


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _processors() -> int:
    try:
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "") or len(os.sched_getaffinity(0))))
    except ValueError:
        return len(os.sched_getaffinity(0))
