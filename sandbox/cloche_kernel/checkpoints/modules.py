"""Modules that the session wrote in /workspace: what they hold is state of the session's, as variables are."""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Iterable
from typing import Any

from cloche_kernel.checkpoints import workspace

PREFIX = "\0module "


class Modules:
    """The session's modules. Each cell may reach them, so they are taken down after each."""

    def __init__(self) -> None:
        self._looked_at: dict[str, Any] = {}
        self._found: list[str] = []

    def names(self) -> frozenset[str]:
        """The names under which they are kept."""
        return frozenset(PREFIX + name for name in self._look())

    def values(self) -> dict[str, dict[str, Any]]:
        """What each of them holds."""
        return {PREFIX + name: contents(sys.modules[name]) for name in self._look()}

    def _look(self) -> list[str]:
        known = self._looked_at
        if len(known) != len(sys.modules) or any(sys.modules.get(name) is not known.get(name) for name in self._found):
            self._looked_at = dict(sys.modules)
            self._found = [name for name, module in list(sys.modules.items()) if is_ours(module)]
        return self._found


def is_ours(module: Any) -> bool:
    path = getattr(module, "__file__", None) if type(module) is types.ModuleType else None
    return isinstance(path, str) and path.startswith(workspace.ROOT + "/")


def path_of(name: str) -> str | None:
    """The file of a module that is loaded, below /workspace."""
    module = sys.modules.get(name.removeprefix(PREFIX))
    path = getattr(module, "__file__", None)
    return path[len(workspace.ROOT) + 1 :] if isinstance(path, str) and is_ours(module) else None


def contents(module: types.ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if not (name.startswith("__") and name.endswith("__"))}


def drop(names: Iterable[str]) -> None:
    """Forgets these modules of the session's: who asks for one imports it anew."""
    for name in names:
        sys.modules.pop(name.removeprefix(PREFIX), None)


def load(name: str) -> None:
    """Imports one of the session's modules from wherever in /workspace it lies; the path may not lead there now."""
    own = name.removeprefix(PREFIX)
    place = own.replace(".", "/")
    if own in sys.modules:
        return
    for folder, _, _ in os.walk(workspace.ROOT):
        if any(os.path.exists(os.path.join(folder, place + end)) for end in (".py", "/__init__.py")):
            sys.path.insert(0, folder)
            try:
                importlib.import_module(own)
            except Exception:
                continue
            finally:
                sys.path.remove(folder)
            return


def put_back(name: str, held: dict[str, Any]) -> None:
    """Makes a module hold what it held. Raises what importing it raises."""
    module = importlib.import_module(name.removeprefix(PREFIX))
    for gone in contents(module).keys() - held.keys():
        delattr(module, gone)
    vars(module).update(held)
