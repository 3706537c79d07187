"""Every case of the corpus comes back right by undo and in a fresh process, or is refused in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cases

FAMILIES = cases.families()
CASES = [case for family in FAMILIES for case in cases.read(family)]
#: seconds for all of them together
_PATIENCE = 300
_RIGHT = "right"
#: at least so many cases of this program's own kinds come back right
_ADVERSARIAL_RIGHT = 200
#: and this share of the classes of libraries, which are at least so many
_LIBRARIES_RIGHT = 0.95
_LIBRARY_CLASSES = 100


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, object]]:
    """What became of each case, by its number: what both sides reported."""
    folder = tmp_path_factory.mktemp("rounds")
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
    }
    program = Path(__file__).with_name("rounds.py")
    subprocess.run(
        [sys.executable, str(program), "take,give", str(folder), "-", *FAMILIES],
        env=environment, check=True, timeout=_PATIENCE, capture_output=True,
    )  # fmt: skip
    found: dict[int, dict[str, object]] = {}
    for number, case in enumerate(CASES):
        stem = folder / f"{case.family}-{number}"
        found[number] = {}
        for side in ("take", "give"):
            report = stem.with_suffix(f".{side}")
            if report.exists():
                found[number].update(json.loads(report.read_text()))
    return found


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{case.family}: {case.name}" for case in CASES])
def test_it_comes_back_right_or_is_refused_in_words(number: int, rounds: dict[int, dict[str, object]]) -> None:
    case, found = CASES[number], rounds[number]
    assert "crashed" not in found and "died" not in found, found
    refusal = found.get("refused")
    if refusal is not None:
        assert not found.get("unworded"), f"refused without a reason a person understands: {refusal}"
        assert case.named, f"refused, though it came back right before: {refusal}"
        return
    assert (found["undo"], found["fresh"]) == (_RIGHT, _RIGHT)


def _right(rounds: dict[int, dict[str, object]], wanted: list[int]) -> list[int]:
    return [n for n in wanted if rounds[n].get("undo") == rounds[n].get("fresh") == _RIGHT]


def test_most_values_made_to_be_difficult_come_back(rounds: dict[int, dict[str, object]]) -> None:
    wanted = [number for number, case in enumerate(CASES) if case.family != "libraries"]
    assert len(_right(rounds, wanted)) >= _ADVERSARIAL_RIGHT


def test_nearly_every_class_of_the_libraries_comes_back(rounds: dict[int, dict[str, object]]) -> None:
    wanted = [number for number, case in enumerate(CASES) if case.family == "libraries"]
    classes = {number: _library_classes(rounds[number]) for number in wanted}
    right = set().union(*(classes[number] for number in _right(rounds, wanted)))
    all_classes = set().union(*classes.values())
    assert len(all_classes) >= _LIBRARY_CLASSES
    assert len(right) >= _LIBRARIES_RIGHT * len(all_classes), sorted(all_classes - right)


def _library_classes(found: dict[str, object]) -> set[str]:
    names = found.get("classes", [])
    assert isinstance(names, list)
    return {name for name in names if name.split(".")[0] in LIBRARIES}


LIBRARIES = frozenset(
    {"numpy", "pandas", "polars", "pyarrow", "duckdb", "_duckdb", "ibis", "matplotlib", "mpl_toolkits", "scipy",
     "sklearn", "sqlalchemy", "openpyxl", "lxml", "bs4", "PIL", "pypdf", "tqdm", "networkx", "cycler", "builtins"}
) - {"builtins"}  # fmt: skip
