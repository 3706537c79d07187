"""
Runs the cases of packages.cells with the interpreter that runs this, which has those packages, and prints what became
of each as JSON: {case: {outcome, reason, classes}}. An outcome is right, named, refused (though it came back before) or
wrong.

    report.py DIRECTORY
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.parent
sys.path.insert(0, str(HERE))

import cases  # noqa: E402


def main() -> None:
    folder = Path(sys.argv[1])
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, str(HERE / "rounds.py"), "take,give", str(folder), "-", "packages"],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    found = {}
    for number, case in enumerate(cases.read("packages")):
        found[case.name] = _outcome(folder / f"packages-{number}")
        if found[case.name]["outcome"] == "named" and not case.named:
            found[case.name]["outcome"] = "refused"
    print(json.dumps(found))


def _outcome(stem: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side in ("take", "give"):
        report = stem.with_suffix(f".{side}")
        if report.exists():
            found |= json.loads(report.read_text())
    classes = [name for name in found.get("classes", []) if not name.startswith(("builtins.", "__main__."))]
    if "refused" in found and not found.get("unworded"):
        return {"outcome": "named", "reason": found["refused"], "classes": classes}
    right = found.get("undo") == found.get("fresh") == "right"
    reason = "" if right else str({side: found.get(side) for side in ("undo", "fresh", "crashed", "died", "refused")})
    return {"outcome": "right" if right else "wrong", "reason": reason, "classes": classes}


if __name__ == "__main__":
    main()
