"""
One side of a round trip: `take` runs the cells and stores what they made, `give` restores that in a process that never
ran them. Each case runs in a child of its own, so that one that dies or hangs hides no other.

    rounds.py take|give|take,give DIRECTORY MODULE[:FUNCTION]|- FAMILY...
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pickle
import shutil
import signal
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3] / "sandbox"))

import cases

#: seconds a case may take on one side
_PATIENCE = 60
_CHILDREN = 2
#: families whose cases need no library but numpy
_LIGHT = frozenset({"code", "containers", "runtime"})


def main() -> None:
    side, directory, bug, *families = sys.argv[1:]
    folder = Path(directory)
    wanted = [case for family in families for case in cases.read(family)]
    only = os.environ.get("CASES")
    if only:
        wanted = [case for case in wanted if any(part and part in case.name for part in only.split("|"))]
    importlib.import_module("numpy")
    importlib.import_module("cloche_kernel.checkpoints.pickler")
    numbered = list(enumerate(wanted))
    # A process that has imported less is forked sooner.
    for light in (True, False):
        chosen = [(number, case) for number, case in numbered if (case.family in _LIGHT) == light]
        if not chosen:
            continue
        if not light:
            _import_libraries(any(case.family == "libraries" for _, case in chosen))
        # What the imports made is no concern of a collection in a child, which would copy its pages.
        gc.collect()
        gc.freeze()
        for one in side.split(","):
            _run_side(one, chosen, folder, bug)


def _import_libraries(all_of_them: bool) -> None:
    for name in ("pandas", "matplotlib", "polars", "pyarrow", "duckdb", "sklearn", "scipy.sparse"):
        importlib.import_module(name)
    if all_of_them:
        for name in ("ibis", "sqlalchemy.orm", "openpyxl", "networkx", "bs4", "scipy.stats", "sklearn.linear_model"):
            importlib.import_module(name)


def _run_side(side: str, wanted: list[tuple[int, cases.Case]], folder: Path, bug: str) -> None:
    running: dict[int, tuple[Path, float]] = {}
    for number, case in wanted:
        stem = folder / f"{case.family}-{number}"
        report = stem.with_suffix(f".{side}")
        if side == "give" and not stem.with_suffix(".state").exists():
            continue
        if len(running) >= _CHILDREN:
            _wait(running)
        pid = os.fork()
        if pid == 0:
            _child(side, case, stem, report, bug)
        running[pid] = (report, time.monotonic() + _PATIENCE)
    while running:
        _wait(running)


def _wait(running: dict[int, tuple[Path, float]]) -> None:
    while True:
        for pid, (report, end) in list(running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                if not report.exists():
                    report.write_text(json.dumps({"died": f"status {status}"}))
                del running[pid]
                return
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                report.write_text(json.dumps({"died": "hung"}))
                del running[pid]
                return
        time.sleep(0.002)


def _child(side: str, case: cases.Case, stem: Path, report: Path, bug: str) -> None:
    found: dict[str, Any] = {}
    try:
        os.makedirs(home := f"{stem}.home", exist_ok=True)
        os.chdir(home)
        from cloche_kernel.checkpoints import files

        setattr(files, "KEPT", (*files.KEPT, home + "/"))  # noqa: B010
        if bug != "-":
            module, _, function = bug.partition(":")
            getattr(importlib.import_module(module), function)()
        namespace = _fresh_main()
        (_take if side == "take" else _give)(case, stem, namespace, found)
    except BaseException as error:
        found["crashed"] = f"{type(error).__name__}: {error}\n{traceback.format_exc()[-1500:]}"
    written = report.with_suffix(".part" + side)
    written.write_text(json.dumps(found, default=repr))
    written.rename(report)
    os._exit(0)


def _fresh_main() -> dict[str, Any]:
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    return main.__dict__


def _run(code: str, namespace: dict[str, Any], name: str) -> None:
    exec(compile(code, name, "exec", dont_inherit=True), namespace)


def _values(namespace: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in namespace.items() if not name.startswith("__")}


def _take(case: cases.Case, stem: Path, namespace: dict[str, Any], found: dict[str, Any]) -> None:
    from cloche_kernel.checkpoints import pickler
    from cloche_kernel.checkpoints.attempt import Attempt
    from cloche_kernel.checkpoints.contract import NotKept, Scope
    from cloche_kernel.checkpoints.proof import Proofs

    proofs = Proofs(namespace, None, _PATIENCE / 3)
    if case.family == "packages":
        # Nothing was done for these types one by one: what the session itself would not believe is named by it.
        proofs.begin()
    _run(case.setup, namespace, "<cell 1>")
    values = _values(namespace)
    found["classes"] = sorted({_class_name(part) for value in values.values() for part in _parts(value)})
    start = time.perf_counter()
    scope = Scope.of(namespace)
    try:
        if case.family == "packages":
            cut, reason = Attempt(lambda: Scope.of(namespace), proofs, lambda cut: False, _PATIENCE / 3)(values)
            if cut is None:
                found["refused"] = reason
                return
            taken = cut.taken
        else:
            taken = pickler.take(values, scope)
    except NotKept as reason:
        found["refused"] = str(reason)
        return
    except BaseException as error:
        found["refused"] = f"{type(error).__name__}: {error}"
        found["unworded"] = True
        return
    found["ms"] = (time.perf_counter() - start) * 1000
    state = {
        "header": taken.header,
        "buffers": [bytes(buffer) for buffer in taken.buffers],
        "kinds": sorted(taken.kinds),
    }
    found["kinds"] = state["kinds"]
    found["remarks"] = scope.remarks
    stem.with_suffix(".state").write_bytes(pickle.dumps(state))
    values.clear()
    shutil.copytree(".", f"{stem}.files", symlinks=True)
    # Undo: the same process, where the objects of before still exist.
    found["undo"] = _restore_and_check(case, state, namespace, found)


def _give(case: cases.Case, stem: Path, namespace: dict[str, Any], found: dict[str, Any]) -> None:
    home = os.getcwd()
    os.chdir("/")
    shutil.rmtree(home)
    shutil.copytree(f"{stem}.files", home, symlinks=True)
    os.chdir(home)
    found["fresh"] = _restore_and_check(case, pickle.loads(stem.with_suffix(".state").read_bytes()), namespace, found)


def _restore_and_check(
    case: cases.Case, state: dict[str, Any], namespace: dict[str, Any], found: dict[str, Any]
) -> str:
    from cloche_kernel.checkpoints import pickler

    for name in _values(namespace):
        del namespace[name]
    try:
        given = pickler.give(state["header"], [memoryview(bytearray(part)) for part in state["buffers"]], namespace)
    except BaseException as error:
        return f"refused: restoring raised {type(error).__name__}: {error} {traceback.format_exc()[-600:]}"
    namespace.update(given)
    # The session alone holds what came back: a case may watch an object die.
    given.clear()
    try:
        _run(case.check, namespace, "<check>")
    except BaseException as error:
        frames = reversed(traceback.extract_tb(error.__traceback__))
        line = next((frame.lineno for frame in frames if frame.filename == "<check>"), 0)
        text = case.check.splitlines()[line - 1] if line else ""
        return f"WRONG: {type(error).__name__}: {error} at `{text}`"
    return "right"


def _parts(value: Any) -> list[Any]:
    return [value, *value] if type(value) in (list, tuple) and len(value) < 50 else [value]


def _class_name(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


if __name__ == "__main__":
    main()
