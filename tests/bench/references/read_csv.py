"""Plain pandas: `{"path": file}` gives the milliseconds of `pandas.read_csv`, and the rows it read."""

from __future__ import annotations

import json
import sys
import time

import pandas


def main() -> None:
    """Serve requests until stdin ends."""
    for line in sys.stdin:
        started = time.perf_counter()
        frame = pandas.read_csv(json.loads(line)["path"])
        print(json.dumps({"ms": (time.perf_counter() - started) * 1_000, "rows": len(frame)}), flush=True)


if __name__ == "__main__":
    main()
