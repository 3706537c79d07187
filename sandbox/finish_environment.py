"""Finish a Python environment for the sandbox, run by that environment's own interpreter.

Removes what no session needs (the packages' own tests) and bakes matplotlib's font list, which would otherwise cost
every first figure a scan of all fonts. Both sandboxes' environments go through here.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import sysconfig
import tempfile

#: Where the font list lies, relative to the environment: a session copies it to its own cache directory.
FONT_LIST_DIRECTORY = pathlib.Path("share/cloche/matplotlib")

#: Packages whose tests weigh 5 to 50 MB each and that nothing outside those tests imports.
WITH_TESTS = ("ibis", "matplotlib", "networkx", "numpy", "pandas", "pyarrow", "scipy", "sklearn")


def remove_tests(packages: pathlib.Path) -> None:
    """Remove the tests that the large packages ship; other packages, the user's own included, stay whole."""
    for name in WITH_TESTS:
        for directory in sorted((packages / name).rglob("tests")):
            shutil.rmtree(directory, ignore_errors=True)


def bake_font_list(environment: pathlib.Path) -> None:
    """Write matplotlib's font list into the environment."""
    target = environment / FONT_LIST_DIRECTORY
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MPLCONFIGDIR"] = cache
        import matplotlib.font_manager  # noqa: F401  (importing it writes the list)

        for found in pathlib.Path(cache).glob("fontlist-*.json"):
            shutil.copyfile(found, target / found.name)
            (target / found.name).chmod(0o644)


def main() -> None:
    """Finish the environment that runs this file."""
    if sys.prefix == sys.base_prefix:
        sys.exit("finish_environment.py must be run by the interpreter of a virtual environment")
    remove_tests(pathlib.Path(sysconfig.get_path("purelib")))
    bake_font_list(pathlib.Path(sys.prefix))


if __name__ == "__main__":
    main()
