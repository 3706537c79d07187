"""Stands in for `tqdm.notebook`, whose widgets no one could see here: the same names draw bars as text."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NAME = "tqdm.notebook"


def __getattr__(name: str) -> Any:
    from tqdm import std

    return getattr(std, {"tqdm_notebook": "tqdm", "tnrange": "trange"}.get(name, name))


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, _: Sequence[str] | None, __: ModuleType | None = None) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(_NAME, __file__) if name == _NAME else None


def install() -> None:
    """From now on `tqdm.notebook` is this module."""
    sys.meta_path.insert(0, _Finder())
