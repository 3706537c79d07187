"""Puts back what cells took from Python and IPython, where the kernel cannot go on without it."""

from __future__ import annotations

import builtins
import sys
from typing import Any

from cloche_kernel.shell import Shell

_ABSENT = object()
#: without these the kernel cannot read its next request
_ESSENTIAL = (
    *("__build_class__", "__import__", "all", "any", "bool", "bytearray", "bytes", "callable", "dict", "enumerate"),
    *("frozenset", "getattr", "hasattr", "id", "int", "isinstance", "issubclass", "iter", "len", "list", "map", "max"),
    *("memoryview", "min", "next", "object", "property", "range", "repr", "set", "setattr", "sorted", "str", "super"),
    *("tuple", "type", "zip", "BaseException", "Exception", "KeyError", "OSError", "RuntimeError", "ValueError"),
)


class Repairs:
    """Knows builtins, modules and shell as they were before the first cell."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._builtins = dict(builtins.__dict__)
        self._essential = [(name, self._builtins[name]) for name in _ESSENTIAL]
        self._modules = dict(sys.modules)
        self._instance = dict(shell.__dict__)
        self._classes = [(kind, dict(kind.__dict__)) for kind in type(shell).__mro__[:2]]

    def put_back_essentials(self) -> list[str]:
        """After every cell; names of what was put back. A cell may have its own `print`, but not its own `len`."""
        found = builtins.__dict__
        mended = [name for name, value in self._essential if found.get(name) is not value]
        for name in mended:
            found[name] = self._builtins[name]
        # A cell may forget a module to import it anew. Whoever forgets this one has forgotten all.
        if sys.modules.get("sys") is not sys:
            mended += self._put_back_modules()
        return mended

    def put_back(self, everything: bool) -> list[str]:
        """Names of what was put back: all that was replaced, or only what is gone or cannot be called any more."""
        mended = [
            name for name, value in self._builtins.items() if _differs(builtins.__dict__, name, value, everything)
        ]
        for name in mended:
            builtins.__dict__[name] = self._builtins[name]
        mended += self._put_back_modules()
        return [name for name in mended if not name.startswith("__") or name == "__import__"] + self._mend_shell(
            everything
        )

    def _put_back_modules(self) -> list[str]:
        missing = [name for name in self._modules if name not in sys.modules]
        for name in missing:
            sys.modules[name] = self._modules[name]
        return ["sys.modules"] if missing else []

    def _mend_shell(self, everything: bool) -> list[str]:
        mended: list[str] = []
        for kind, attributes in self._classes:
            for name, value in attributes.items():
                if callable(value) and _differs(kind.__dict__, name, value, everything):
                    setattr(kind, name, value)
                    mended.append(f"{kind.__name__}.{name}")
            for name in [name for name in kind.__dict__ if name not in attributes and everything]:
                delattr(kind, name)
                mended.append(f"{kind.__name__}.{name}")
        own = self._shell.__dict__
        for name in [name for name in own if callable(getattr(type(self._shell), name, None))]:
            if name not in self._instance and (everything or not callable(own[name])):
                del own[name]
                mended.append(f"get_ipython().{name}")
        for name, value in self._instance.items():
            if callable(value) and _differs(own, name, value, everything=False):
                own[name] = value
                mended.append(f"get_ipython().{name}")
        if everything and self._shell.ast_transformers:
            self._shell.ast_transformers.clear()
            mended.append("get_ipython().ast_transformers")
        return mended


def _differs(found: Any, name: str, value: object, everything: bool) -> bool:
    now = found.get(name, _ABSENT)
    if now is value:
        return False
    return everything or now is _ABSENT or (callable(value) and not callable(now))
