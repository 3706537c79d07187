"""A session in a process of its own, under a real limit on private memory, as the sandbox sets it.

Reads JSON {limit, scratch, request, cells} from stdin; answers JSON {profile | error, results, peak, before}: text of
the profile, the repr of each cell's last expression, resident bytes at their highest, and before the load.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "sandbox"))


def main() -> None:
    order = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_DATA, (order["limit"], order["limit"]))
    import IPython  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import numpy  # noqa: F401
    import pandas  # noqa: F401
    from IPython.core.interactiveshell import InteractiveShell

    from cloche_kernel import loading
    from cloche_kernel.loading import scratch

    shell = InteractiveShell.instance()
    scratch.SCRATCH = order["scratch"]

    class Memory:
        limit = order["limit"]

        def available(self) -> int:
            return max(0, int(self.limit) - resident())

    answer = {"before": resident(), "results": []}
    try:
        loaded = loading.load(order["request"], Memory())
        answer["profile"] = loaded.profile
        shell.user_ns[order["request"]["name"]] = loaded.value
        for cell in order["cells"]:
            result = shell.run_cell(cell, silent=True, store_history=False)
            result.raise_error()
            answer["results"].append(shell.user_ns.get("answer"))
    except loading.LoadError as error:
        answer["error"] = str(error)
    answer["peak"] = peak()
    print(json.dumps(answer))


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    # not ru_maxrss, which begins with that of the process that forked this one
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
