"""Reads cells that lie in sections: a line `#: name` begins one, an empty line ends a cell."""

from __future__ import annotations

import re
from pathlib import Path


def sections(name: str) -> dict[str, list[str]]:
    parts = re.split(r"^#: (.*)\n", Path(__file__).with_name(f"{name}.cells").read_text(), flags=re.M)[1:]
    return {title: text.strip("\n").split("\n\n") for title, text in zip(parts[::2], parts[1::2], strict=True)}
