"""
Which variables a cell could have reached, told from the names and texts in its code. Sound rather than tight: a name
that is only an attribute counts too, and where code can reach what it does not spell out, everything counts.
"""

from __future__ import annotations

import _thread
import ast
import dis
import re
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol, cast

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
#: characters of IPython's own syntax: what holds one is transformed before it is compiled
_MAGIC = frozenset("%!?")
#: names, also those of attributes, through which code reaches variables that it does not spell out
_ANYWHERE = frozenset(
    {
        "__main__", "__globals__", "__builtins__", "builtins", "get_ipython", "run_line_magic", "run_cell_magic",
        "run_cell", "runcell", "user_ns", "user_global_ns", "getoutput", "modules", "_getframe", "_current_frames",
        "currentframe", "ctypes", "f_globals", "f_locals", "f_back", "tb_frame", "gi_frame", "cr_frame", "settrace",
        "setprofile", "run_path", "run_module", "runpy", "__subclasses__", "get_referrers", "get_objects",
        "get_referents", "inspect", "codeop", "monitoring", "eval", "pickle", "cloudpickle", "dill", "read_pickle",
        "Unpickler",
    }
)  # fmt: skip
#: builtins and modules: an attribute of that name (`re.compile`, `numpy.stack`) is something else
_AS_NAME = frozenset({"exec", "globals", "locals", "vars", "compile", "__import__", "import_module", "gc"})
#: modules that lead to variables by names in data, also under another name
_OPENERS = frozenset({"pickle", "_pickle", "cloudpickle", "dill", "pydoc", "pkgutil", "runpy"})
#: what may be done with some of these as their attributes, which harms nothing
_HARMLESS = {"gc": frozenset({"collect", "enable", "disable", "freeze", "get_count", "get_threshold", "isenabled"})}
#: asynchronous code runs tasks that earlier cells began
_COROUTINE = 0x80 | 0x100 | 0x200
#: an attribute that may be stored to
_STORES = re.compile(r"\.\s*[^\W\d]\w*\s*(?:[-+*/%&|^@<>]*=(?!=)|\[|,|:)|setattr")
_WORD = re.compile(r"[^\W\d]\w*")


class Linked(Protocol):
    """Variables taken down together. `kin` are those and what they share something with that could not be kept."""

    @property
    def kin(self) -> Collection[str]: ...
    @property
    def mentions(self) -> frozenset[str] | None: ...


def names_in(code: str, transform: Callable[[str], str]) -> frozenset[str] | None:
    """Names that the code of a cell speaks of; None where it may reach anything."""
    body = None if not _MAGIC.isdisjoint(code) else _compiled(code)
    body = body or _compiled(transform(code))
    if body is None or body.co_flags & _COROUTINE:
        return None
    names, dynamic = spoken(body)
    return None if dynamic else names


def spoken(body: types.CodeType) -> tuple[frozenset[str], bool]:
    """Names that code speaks of, in its texts too, and whether it may reach what it does not speak of."""
    names: set[str] = set()
    dynamic = False
    for part in codes(body):
        names.update(part.co_names)
        for constant in part.co_consts:
            _words(constant, names)
        if not dynamic and not _AS_NAME.isdisjoint(part.co_names):
            dynamic = _takes_by_name(part)
    return frozenset(names), dynamic or not _ANYWHERE.isdisjoint(
        name for part in codes(body) for name in part.co_names
    ) or any(name.startswith("__") and name in _ANYWHERE for name in names)


def opens(thing: types.ModuleType | types.FunctionType | types.BuiltinFunctionType) -> bool:
    """Whether a module or function leads to variables that whoever calls it does not spell out."""
    if isinstance(thing, types.ModuleType):
        return thing.__name__.partition(".")[0] in _OPENERS or thing.__name__ == "builtins"
    module = thing.__module__
    if type(module) is not str:
        return False
    return module.partition(".")[0] in _OPENERS or (
        module in ("builtins", "sys", "inspect", "gc", "importlib") and thing.__name__ in _ANYWHERE | _AS_NAME
    )


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def _words(constant: object, names: set[str]) -> None:
    # A text may be a name for getattr, an expression for a query, or the key of something; bytes may be a pickle's.
    if type(constant) is str:
        names.update(_WORD.findall(constant))
    elif type(constant) is bytes:
        names.update(_WORD.findall(constant.decode("latin-1")))
    elif type(constant) in (tuple, frozenset):
        for part in constant:  # type: ignore[attr-defined]
            _words(part, names)


def _takes_by_name(part: types.CodeType) -> bool:
    """Whether one of the names that mean everything is taken as a variable or a module, not as an attribute."""
    before: str | None = None
    for step in dis.get_instructions(part):
        kind, name = step.opname, step.argval
        if before is not None and kind not in ("PRECALL", "CACHE", "RESUME"):
            allowed = _HARMLESS[before]
            stored = kind.startswith(("STORE_NAME", "STORE_GLOBAL"))
            attribute = kind in ("LOAD_ATTR", "LOAD_METHOD")
            if not stored and not (attribute and name in allowed):
                return True
            before = None
        if name in _AS_NAME and kind.startswith(("LOAD_NAME", "LOAD_GLOBAL", "IMPORT_", "LOAD_FROM_DICT")):
            if name not in _HARMLESS:
                return True
            before = name
    return False


def _compiled(code: str) -> types.CodeType | None:
    try:
        return cast(types.CodeType, compile(code, "<cell>", "exec", _FLAGS, dont_inherit=True))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def closure(named: Iterable[str], groups: Mapping[str, Linked]) -> set[str] | None:
    """The variables reached from the names `named`; None for all. `groups`: variable → its group."""
    reached: set[str] = set()
    todo = [name for name in named if name in groups]
    while todo:
        name = todo.pop()
        if name in reached:
            continue
        group = groups[name]
        reached.add(name)
        if group.mentions is None:
            return None
        todo.extend(other for other in group.kin if other not in reached and other in groups)
        todo.extend(other for other in group.mentions if other in groups and other not in reached)
    return reached


def given_to_modules(code: str, is_module: Callable[[str], bool]) -> set[str]:
    """Variables that a cell stored in a module: later cells reach them through that, and need not name them."""
    if _STORES.search(code) is None:
        return set()
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    given: set[str] = set()
    for node in ast.walk(tree):
        targets, value = _stored(node)
        if any(is_module(name) for name in map(_root, targets) if name):
            given.update(part.id for part in ast.walk(node if value is None else value) if isinstance(part, ast.Name))
    return given


def _stored(node: ast.AST) -> tuple[list[ast.expr], ast.expr | None]:
    """What is stored to, below a name, and what is stored."""
    if isinstance(node, ast.Assign):
        flat = [part for target in node.targets for part in ast.walk(target) if isinstance(part, ast.expr)]
        return flat, node.value
    if isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        return [node.target], node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr" and node.args:
        return [ast.Attribute(node.args[0], "", ast.Store())], None
    return [], None


def _root(target: ast.expr) -> str:
    """The name an attribute or item is stored below; empty where a name itself is bound."""
    below = False
    while isinstance(target, (ast.Attribute, ast.Subscript)):
        target, below = target.value, True
    return target.id if below and isinstance(target, ast.Name) else ""


def runs_beside() -> bool:
    """Whether threads of the session go on between its cells, and change what no cell names."""
    return _thread._count() > 0
