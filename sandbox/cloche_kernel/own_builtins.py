"""Gives the modules of Cloche builtins of their own, so that a cell that deletes `len` does not take it from them."""

from __future__ import annotations

import builtins
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from types import ModuleType


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = _own
        super().exec_module(module)


_own = dict(builtins.__dict__)


def install(directory: str) -> None:
    """Applies to what is imported from below `directory` from now on."""

    def hook(path: str) -> FileFinder:
        if path != directory and not path.startswith(directory + "/"):
            raise ImportError(path)
        return FileFinder(path, (_Loader, SOURCE_SUFFIXES))

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()
