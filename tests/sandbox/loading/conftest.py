"""What every test of loading uses: a session's memory, files in a directory of its own, and the load itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "sandbox"))

from cloche_kernel import loading
from cloche_kernel.loading import scratch

Load = Callable[..., loading.Loaded]


@dataclass
class FreeMemory:
    """Memory with a fixed amount free, in bytes."""

    free: int = 4_000_000_000
    limit: int = 8_000_000_000

    def available(self) -> int:
        return self.free


@pytest.fixture(autouse=True)
def scratch_directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(scratch, "SCRATCH", str(path))
    yield path


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`load(path, …, name=, format=, free=)`: labels are the paths relative to the test's directory."""

    def run(
        *paths: Path, name: str = "data", format: str | None = None, free: int = 4_000_000_000, directory: bool = False
    ) -> loading.Loaded:
        sources: list[Any] = [
            {"path": str(path), "label": str(path.relative_to(tmp_path)), "size": os.path.getsize(path)}
            for path in paths
        ]
        request: loading.LoadRequest = {"name": name, "sources": sources, "directory": directory}
        if format is not None:
            request["format"] = format
        return loading.load(request, FreeMemory(free))

    return run


@pytest.fixture
def refused(load: Load) -> Callable[..., str]:
    """The sentence with which a load is refused; fails when it is not."""

    def run(*paths: Path, **options: Any) -> str:
        with pytest.raises(loading.LoadError) as caught:
            load(*paths, **options)
        text = str(caught.value)
        assert "Traceback" not in text and "\x1b" not in text and len(text) < 1_200
        return text

    return run
