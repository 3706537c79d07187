"""What a library's own pickling loses comes back by what it holds; what that would bring back stale does not."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from apart import apart

from cloche_kernel.checkpoints import pickler
from cloche_kernel.checkpoints.attempt import Attempt
from cloche_kernel.checkpoints.contract import Scope
from cloche_kernel.checkpoints.proof import Proofs

_LIBRARY = """
import itertools, os, weakref

class Token(str):
    def __new__(cls, text, end=None):
        made = str.__new__(cls, text); made.end = end; return made
    def __reduce__(self): return Token, (str(self),)

class Tree:
    def __init__(self): self.children, self.parent = [], None
    def __getstate__(self): return {"children": list(self.children)}
    def __setstate__(self, state): self.__dict__.update(state); self.parent = None

class Once:
    _known = weakref.WeakValueDictionary()
    @classmethod
    def of(cls, name):
        found = cls._known.get(name)
        if found is None:
            found = cls._known[name] = cls(); found.name = name
        return found
    def __reduce__(self): return Once.of, (self.name,)

class Hidden:
    def __init__(self): self.note = None
    def __reduce__(self): return _hidden, ()

def _hidden(made=[]):
    if not made: made.append(Hidden())
    return made[0]

class Log:
    def __init__(self, path): self.path = path; self._open()
    def _open(self):
        self.number = os.dup(1); self.spare = os.dup(1)
    def __getstate__(self): return {"path": self.path}
    def __setstate__(self, state): self.path = state["path"]; self.number = self.spare = None

class Native:
    def __init__(self): self.data = [1]; self.place = id(self.data)
    def __getstate__(self): return {"data": self.data}
    def __setstate__(self, state): self.data = state["data"]; self.place = id(self.data)

class Keyed:
    def __init__(self): self.parts = [[1], [2]]; self.index = {id(part): n for n, part in enumerate(self.parts)}
    def __getstate__(self): return {"parts": self.parts}
    def __setstate__(self, state): self.parts = state["parts"]; self.index = {id(one): 0 for one in self.parts}

class Hashed:
    def __init__(self, text): self.text = text; self.sum = hash(text)
    def __getstate__(self): return {"text": self.text}
    def __setstate__(self, state): self.__init__(state["text"]); self.sum = None

ALL = []
class Registered:
    def __init__(self): self.extra = None; ALL.append(self)
    def __getstate__(self): return {}
    def __setstate__(self, state): self.__init__()

class Numbered:
    def __init__(self): self.handle = 7; self.held = [1]
    def __getstate__(self): return {"held": self.held}
    def __setstate__(self, state): self.held = state["held"]; self.handle = None
"""


def _keep(folder: Path, code: str, check: str) -> str:
    """`right`, the reason it is not kept, or how the restored values fail `check`."""

    def run() -> str:
        (folder / "speaking_library.py").write_text(_LIBRARY)
        sys.path.insert(0, str(folder))
        main = types.ModuleType("__main__")
        main.__dict__["__builtins__"] = __builtins__
        sys.modules["__main__"] = main
        namespace = main.__dict__
        proofs = Proofs(namespace, None, 20.0)
        proofs.begin()
        exec("import speaking_library as lib\n" + code, namespace)
        values = {name: value for name, value in namespace.items() if not name.startswith("__")}
        for _ in range(2):  # the second time it is known which way to go
            cut, reason = Attempt(lambda: Scope.of(namespace), proofs, lambda cut: False, 20.0)(values)
            if cut is None:
                return reason
        given: dict[str, Any] = pickler.give(cut.taken.header, cut.taken.buffers, namespace)
        exec(check, {"lib": sys.modules["speaking_library"], **given})
        return "right"

    return apart(run)


@pytest.mark.parametrize(
    ("code", "check"),
    [
        ("t = lib.Token('a', 3); u = [t]", "assert t == 'a' and t.end == 3 and u[0] is t and type(t) is lib.Token"),
        (
            "p = lib.Tree(); c = lib.Tree(); c.parent = p; p.children.append(c)",
            "assert c.parent is p and p.children[0] is c",
        ),
        ("t = lib.Token('a', 3); o = (t, lib.Once.of('x'))", "assert o[1] is lib.Once.of('x') and o[0].end == 3"),
        ("h = lib._hidden(); t = lib.Token('a', 3); b = [h, t]", "assert h is lib._hidden() and t.end == 3"),
    ],
)
def test_what_its_library_loses_comes_back_by_what_it_holds(tmp_path: Path, code: str, check: str) -> None:
    assert _keep(tmp_path, code, check) == "right"


@pytest.mark.parametrize(
    "code",
    [
        "l = lib.Log('x')",
        "n = lib.Native()",
        "k = lib.Keyed()",
        "h = lib.Hashed('abc')",
        "r = lib.Registered(); r.extra = [1]",
        "n = lib.Numbered()",
        "h = lib._hidden(); h.note = [1]",
    ],
)
def test_what_stands_for_something_outside_is_named(tmp_path: Path, code: str) -> None:
    assert "not come back as it was" in _keep(tmp_path, code, "")
