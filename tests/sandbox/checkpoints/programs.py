"""
Random programs by seed: cells over values that share, hide and reach one another, with undo, kill and fork in between.

In a template `$L1` is some variable that held a list, the same one throughout the template; `$nL1` a name that holds a
list afterwards; `$v1` some value; `$i1` a small number. A cell may raise: a plain replay raises it too.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from dataclasses import dataclass, field

from sections import sections

#: kinds: L list, D dict, S set, F function, C class, O instance, A array, P frame, R series, I iterator, G generator,
#: N number, X anything else
_TEMPLATES = sections("programs")
_WEIGHTS = {"make": 3, "change": 5, "function": 4, "class": 5, "array": 3, "frame": 3, "iterator": 2, "file": 2}
_NAMES = {
    kind: [f"{kind.lower()}{number}" for number in range(1, count)]
    for kind, count in dict(L=6, D=4, S=3, F=6, C=4, O=6, A=5, P=4, R=4, I=4, G=3, N=3, X=6).items()
}
_START = "l1 = [1, 2]; d1 = {'a': [1]}; l2 = l1"


@dataclass
class Step:
    """`kind`: cell (`code`), undo, fork, switch (`to`: how far back, or which session) or kill."""

    kind: str
    code: str = ""
    to: int = 0


@dataclass
class _Writer:
    random: random.Random
    families: list[str]
    kinds: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list, L=["l1", "l2"], D=["d1"]))

    def cell(self) -> str:
        parts = [part for _ in range(self.random.choice((1, 1, 1, 2, 2, 3))) if (part := self._part())]
        code = "\n".join(parts) or "pass"
        return code

    def _part(self) -> str:
        for _ in range(20):
            family = self.random.choices(self.families, [_WEIGHTS[name] for name in self.families])[0]
            written = self._fill(self.random.choice(_TEMPLATES[family]))
            if written is not None:
                return written
        return "pass"

    def _fill(self, template: str) -> str | None:
        chosen: dict[str, str] = {}
        made: list[tuple[str, str]] = []
        for mark in re.findall(r"\$(\w+?\d)", template):
            if mark in chosen:
                continue
            kind = mark[:-1]
            if kind == "i":
                chosen[mark] = str(self.random.randint(1, 6))
            elif kind == "j":
                chosen[mark] = str(self.random.randint(1, 3))
            elif kind == "v":
                chosen[mark] = self._value()
            elif kind == "any":
                names = [name for held in self.kinds.values() for name in held]
                chosen[mark] = self.random.choice(names)
            elif kind[0] in "ng" and len(kind) == 2:
                # A taken name is bound anew as often as not.
                chosen[mark] = self.random.choice(_NAMES[kind[1]])
                made.append((kind[1], chosen[mark]))
            elif self.kinds[kind]:
                chosen[mark] = self.random.choice(self.kinds[kind])
            else:
                return None
        for kind, name in made:
            if name not in self.kinds[kind]:
                self.kinds[kind].append(name)
        return re.sub(r"\$(\w+?\d)", lambda found: chosen[found[1]], template)

    def _value(self) -> str:
        names = [name for held in self.kinds.values() for name in held]
        if self.random.random() < 0.6:
            return self.random.choice(names)
        return self.random.choice(["[1, 2]", "{'k': 1}", "'text'", "3.5", "None", "(1, [2])", "{1, 2}", "b'x'"])


def write(seed: int, cells: int = 25) -> list[Step]:
    """The program of a seed."""
    source = random.Random(seed)
    count = source.randint(2, len(_TEMPLATES))
    families = sorted({"make", "change", *source.sample(sorted(_TEMPLATES), count)})
    writer = _Writer(source, families)
    steps = [Step("cell", _START)]
    for _ in range(cells):
        steps.append(Step("cell", writer.cell()))
        chance = source.random()
        if chance < 0.05:
            steps.append(Step("undo", to=source.randint(1, 4)))
        elif chance < 0.08:
            steps.append(Step("kill"))
        elif chance < 0.10:
            steps.append(Step("fork", to=source.randint(0, 3)))
        elif chance < 0.12:
            steps.append(Step("switch", to=source.randint(0, 3)))
        elif chance < 0.14:
            steps.append(Step("redo", to=source.randint(1, 3)))
    return steps
