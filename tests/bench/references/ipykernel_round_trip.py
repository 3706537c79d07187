"""A bare ipykernel over TCP: `{"count": n}` gives n round trips from execute to shell reply, in milliseconds."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from jupyter_client.manager import KernelManager


def main() -> None:
    """Serve requests until stdin ends."""
    manager = KernelManager(kernel_name="python3", transport="tcp")
    manager.start_kernel(stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    # Only what a round trip needs: reading nothing else is in the reference's favour.
    client.start_channels(shell=True, iopub=False, stdin=False, hb=False, control=False)
    try:
        client.kernel_info(reply=True, timeout=60)
        for line in sys.stdin:
            times = [round_trip(client) for _ in range(json.loads(line)["count"])]
            print(json.dumps(times), flush=True)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def round_trip(client: object) -> float:
    """Milliseconds from `execute` to its reply on the shell channel."""
    started = time.perf_counter()
    asked = client.execute("1+1")  # type: ignore[attr-defined]
    while client.get_shell_msg(timeout=30)["parent_header"]["msg_id"] != asked:  # type: ignore[attr-defined]
        pass
    return (time.perf_counter() - started) * 1_000


if __name__ == "__main__":
    main()
