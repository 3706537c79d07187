"""Plain matplotlib: `{"code": source}` gives the milliseconds of drawing figures and saving each as PNG."""

from __future__ import annotations

import io
import json
import sys
import time

import matplotlib.pyplot as plt
import numpy

plt.rcParams["figure.dpi"] = 100


def main() -> None:
    """Serve requests until stdin ends."""
    for line in sys.stdin:
        code = json.loads(line)["code"]
        started = time.perf_counter()
        exec(code, {"plt": plt, "np": numpy})
        for number in plt.get_fignums():
            plt.figure(number).savefig(io.BytesIO(), format="png", bbox_inches="tight")
        plt.close("all")
        print(json.dumps((time.perf_counter() - started) * 1_000), flush=True)


if __name__ == "__main__":
    main()
