"""Runs a program in sessions with checkpoints, then each session's cells plainly, and says where the two differ."""

from __future__ import annotations

import collections
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from canon import near
from programs import Step
from session import Ran, Session, Store, Warm

#: a full scan after so many cells must find nothing new
_AUDIT_EVERY = 10


@dataclass
class _Line:
    """One session, and what a plain replay of it has to run. An entry of `past`: a cell, or names that were lost."""

    session: Session
    past: list[tuple[str, Ran] | list[str]]
    at: dict[int, list[tuple[str, Ran] | list[str]]] = field(default_factory=dict)


@dataclass
class Tally:
    cells: int = 0
    restores: int = 0
    lost: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: list[float] = field(default_factory=list)


def check(steps: list[Step], warm: Warm, tally: Tally | None = None) -> str | None:
    """The first difference, in words; None where there is none."""
    tally = tally or Tally()
    directory = Path(tempfile.mkdtemp(prefix="cloche-store-"))
    lines: list[_Line] = []
    try:
        lines.append(_Line(Session(warm, Store(directory)), []))
        return _run(steps, lines, warm, tally)
    finally:
        for line in lines:
            line.session.end()
        shutil.rmtree(directory)


def _run(steps: list[Step], lines: list[_Line], warm: Warm, tally: Tally) -> str | None:
    now = lines[0]
    for number, step in enumerate(steps):
        session = now.session
        if step.kind == "cell":
            ran = session.run(step.code)
            tally.cells += 1
            tally.seconds.append(ran.seconds)
            now.past = [*now.past, (step.code, ran)]
            now.at[session.cell] = now.past
            if (number + 1) % _AUDIT_EVERY == 0 and (missed := session.audit()):
                return f"step {number}: a full scan finds {missed[:3]}"
            continue
        tally.restores += 1
        if step.kind == "switch":
            now = lines[step.to % len(lines)]
            continue
        cells = sorted(now.at)
        place = cells[max(0, len(cells) - 1 - step.to)] if cells else None
        if step.kind == "kill":
            answer = session.kill()
        elif place is None:
            continue
        elif step.kind == "fork":
            answer = None
            now = _Line(session.fork(place, f"fork {number}"), now.at[place])
            lines.append(now)
        else:
            answer = session.reset(place)
            now.past = now.at[place]
        # A module whose file a cell removed is named as lost.
        failed = [why for why in (answer or {}).get("failed", {}).values() if "ModuleNotFoundError" not in why]
        if answer and (failed or answer["notes"]):
            return f"step {number} ({step.kind}): {answer['failed']} {answer['notes']}"
        if gone := now.session.kernel.ask("placeholders"):
            now.past = [*now.past, gone]
        if step.kind == "kill" and now.at:
            now.at[session.head.cell if session.head else 0] = now.past
    for line in lines:
        if line.session.head is None:
            continue
        for entry in line.session.head.lost.values():
            tally.lost[entry["reason"][:80]] += 1
        if wrong := _compare(line, warm):
            return f"session {line.session.name}: {wrong}"
        if missed := line.session.audit():
            return f"session {line.session.name}: a full scan finds {missed[:3]}"
    return None


def _compare(line: _Line, warm: Warm) -> str | None:
    plain = warm.kernel(checkpoints=False)
    try:
        for number, entry in enumerate(line.past):
            if isinstance(entry, list):
                plain.ask("bind_placeholders", entry)
                continue
            code, before = entry
            ran = plain.ask("run", number, code)[0]
            if (_told(ran), ran.error) != (_told(before), before.error):
                return f"cell {code!r} gave {before.output!r} {before.error}, replayed {ran.output!r} {ran.error}"
        without = line.session.lost()
        ours, theirs = line.session.canon(without), plain.ask("canon", without)
    finally:
        plain.end()
    if ours == theirs:
        return None
    pairs = [(a, b) for a, b in zip(ours.splitlines(), theirs.splitlines(), strict=False) if a != b]
    a, b = pairs[0] if pairs else (ours[-200:], theirs[-200:])
    return f"has {near(a, b)!r} of {a[:20]!r}, replayed {near(b, a)!r}"


def _told(ran: Ran) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", ran.output)


def shrink(steps: list[Step], warm: Warm) -> list[Step]:
    """A smaller program that fails as well."""
    size = max(1, len(steps) // 2)
    while True:
        start = 0
        while start < len(steps):
            fewer = steps[:start] + steps[start + size :]
            if fewer and _fails(fewer, warm):
                steps = fewer
            else:
                start += size
        if size == 1:
            return steps
        size = max(1, size // 2)


def _fails(steps: list[Step], warm: Warm) -> bool:
    try:
        return check(steps, warm) is not None
    except AssertionError:
        return True
