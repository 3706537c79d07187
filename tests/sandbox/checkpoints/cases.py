"""Reads the corpus: cells that make values, and the cells that must still hold once those were restored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
#: a family of its own, of packages that the sandbox does not have
PACKAGES = Path(__file__).parent / "packages"
_NAMED = " (named)"


@dataclass(frozen=True)
class Case:
    """`named`: it may be refused with a reason. Every other case must come back right."""

    family: str
    name: str
    setup: str
    check: str
    named: bool


def read(family: str) -> list[Case]:
    folder = PACKAGES if family == "packages" else CORPUS
    parts = re.split(r"^#: (.*)$", (folder / f"{family}.cells").read_text(), flags=re.M)[1:]
    found: list[Case] = []
    for title, setup, then, check in zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=True):
        assert then == "then", f"{family}: {title} has no check"
        found.append(Case(family, title.removesuffix(_NAMED), setup, check, title.endswith(_NAMED)))
    return found


def families() -> list[str]:
    return sorted(path.stem for path in CORPUS.glob("*.cells"))
