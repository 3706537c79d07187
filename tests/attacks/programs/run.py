"""
The command line of the attacks. `list` prints what there is; a target in JSON on standard input and names as arguments
run them here, one JSON line each.
"""

from __future__ import annotations

import json
import sys

if __name__ == "__main__":
    import os

    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from programs import files, kernel_calls, machine, network, processes, sessions
from programs.harness import ATTACKS, Target, run

FAMILIES = (network, files, processes, kernel_calls, machine, sessions)


def main() -> None:
    if sys.argv[1:] == ["list"]:
        for attack in ATTACKS.values():
            family = attack.body.__module__.rpartition(".")[2].replace("_", " ")
            print(json.dumps({"family": family, "name": attack.name, "stoppedBy": attack.stopped_by}))
        return
    target = Target(**json.loads(sys.stdin.read()))
    for name in sys.argv[1:] or ATTACKS:
        print(json.dumps({"name": name, **run(name, target)}), flush=True)


if __name__ == "__main__":
    main()
