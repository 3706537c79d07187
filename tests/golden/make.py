"""Writes frames.json, the frames that both sides' tests read: run it after a deliberate change of the wire."""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "sandbox"))

from cloche_kernel.frames import encode  # noqa: E402

CASES: list[tuple[str, dict[str, object], bytes]] = [
    ("execute", {"type": "execute", "id": "abc", "cell": 1}, b"1+1"),
    ("empty payload", {"type": "ping"}, b""),
    ("output of any bytes", {"type": "output", "id": "abc"}, bytes(range(256))),
    ("text beyond ASCII", {"type": "progress", "id": "abc"}, "grün 🌱 日本".encode()),
    ("number at the limit", {"type": "credit", "id": "k", "bytes": 9007199254740991}, b""),
    ("quotes and braces in a string", {"type": "exited", "reason": 'it said "{[\\]}"'}, b""),
    ("boolean", {"type": "body", "id": "d1", "last": True}, b"\x89PNG\r\n\x1a\n"),
]


def main() -> None:
    rows = [
        {"name": name, "header": header, "payload": payload.hex(), "frame": encode(header, payload).hex()}
        for name, header, payload in CASES
    ]
    (HERE / "frames.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
