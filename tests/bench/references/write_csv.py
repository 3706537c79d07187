"""Makes the file to load: `{"path": file, "bytes": n}` writes a CSV of about n bytes and gives its rows.

Columns of the usual kinds: a counter, a time, a category, names, money, a measurement, a flag, a number with gaps.
"""

from __future__ import annotations

import json
import sys

import numpy
import pyarrow
import pyarrow.csv

_ROWS_A_BLOCK = 200_000


def main() -> None:
    """Serve requests until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps({"rows": write(request["path"], request["bytes"])}), flush=True)


def write(path: str, size: int) -> int:
    """Write about `size` bytes to `path`; the rows written."""
    random = numpy.random.default_rng(7)
    rows = 0
    with open(path, "wb") as file:
        while file.tell() < size:
            options = pyarrow.csv.WriteOptions(include_header=rows == 0, quoting_style="needed")
            pyarrow.csv.write_csv(block(random, rows), file, options)
            rows += _ROWS_A_BLOCK
    return rows


def block(random: numpy.random.Generator, start: int) -> pyarrow.Table:
    """`_ROWS_A_BLOCK` rows, counted from `start`."""
    count = _ROWS_A_BLOCK
    seconds = numpy.datetime64("2024-01-01T00:00:00") + (start + numpy.arange(count)).astype("timedelta64[s]")
    customers = numpy.char.add("customer-", random.integers(0, 500_000, count).astype(str))
    quantity = random.integers(1, 50, count)
    return pyarrow.table(
        {
            "id": numpy.arange(start, start + count),
            "time": pyarrow.array(seconds),
            "region": numpy.array(["north", "south", "east", "west"])[random.integers(0, 4, count)],
            "customer": customers,
            "amount": random.lognormal(4, 1, count).round(2),
            "measure": random.normal(size=count),
            "active": pyarrow.array(random.random(count) < 0.7),
            "quantity": pyarrow.array(quantity, mask=random.random(count) < 0.05),
        }
    )


if __name__ == "__main__":
    main()
