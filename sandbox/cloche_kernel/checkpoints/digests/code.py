"""Functions and classes: named where an import gives the very same one, described in full where a cell made them."""

from __future__ import annotations

import ctypes
import enum
import marshal
import sys
import types
from typing import Any

from cloche_kernel.checkpoints.digests.walk import Walk

_HEAP_TYPE = 1 << 9
_IMMUTABLE_TYPE = 1 << 8
_SKIPPED = frozenset(
    {"__dict__", "__weakref__", "_abc_impl", "__abstractmethods__", "__annotations_cache__", "__module__"}
)
_MADE_WITH_CLASS = (types.MemberDescriptorType, types.GetSetDescriptorType)
#: metaclasses that put members in an order of their own
_ORDERED_THEIR_WAY = (enum.EnumType, type(ctypes.Structure), type(ctypes.Union))
_MISSING = object()


def name_of(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def found_by_name(thing: Any, module: Any, path: Any) -> bool:
    """Whether a module has this very object under its name."""
    if not isinstance(module, str) or not isinstance(path, str) or module == "__main__":
        return False
    found: Any = sys.modules.get(module, _MISSING)
    for part in path.split("."):
        try:
            found = vars(found).get(part, _MISSING)
        except TypeError:
            return False
        if found is _MISSING:
            return False
        if type(found) is staticmethod:
            found = found.__func__
    return found is thing


def is_by_value(cls: type) -> bool:
    """Whether a class is the session's own: no import gives it."""
    flags = type.__getattribute__(cls, "__flags__")
    if not flags & _HEAP_TYPE or flags & _IMMUTABLE_TYPE:
        return False
    module = type.__getattribute__(cls, "__module__")
    if isinstance(module, str) and module.startswith("_cython"):
        return False
    return not found_by_name(cls, module, type.__getattribute__(cls, "__qualname__"))


def describe_function(walk: Walk, function: types.FunctionType) -> list[Any]:
    if found_by_name(function, function.__module__, function.__qualname__):
        return ["named function", name_of(function)]
    code = function.__code__
    if sys.version_info >= (3, 14):
        notes = function.__annotate__
    else:
        notes = function.__annotations__
    return [
        "function", function.__name__, function.__qualname__, walk.ref(function.__module__), walk.ref(function.__doc__),
        describe_code(walk, code), _globals(walk, function.__globals__),
        walk.ref(function.__defaults__), walk.ref(function.__kwdefaults__), walk.ref(notes),
        walk.refs(function.__closure__ or ()), walk.ref(function.__dict__),
        walk.refs(getattr(function, "__type_params__", ())),
    ]  # fmt: skip


def _globals(walk: Walk, scope: dict[str, Any]) -> Any:
    name = scope.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is not None and module.__dict__ is scope and id(scope) not in walk.known:
        return ["module", name]
    return walk.ref(scope)


def describe_code(walk: Walk, code: types.CodeType) -> list[Any]:
    return ["code", marshal.dumps(code, 2)]


def describe_cell(walk: Walk, cell: types.CellType) -> list[Any]:
    try:
        return ["cell", walk.ref(cell.cell_contents)]
    except ValueError:
        return ["empty cell"]


def describe_class(walk: Walk, cls: type) -> list[Any]:
    if not is_by_value(cls):
        return ["named class", name_of(cls)]
    read = type.__getattribute__
    members = type.__dict__["__dict__"].__get__(cls)
    parts: list[Any] = [
        "class", walk.kind(type(cls)), read(cls, "__name__"), read(cls, "__qualname__"),
        walk.ref(members.get("__module__")),
        walk.refs(type.__dict__["__bases__"].__get__(cls)), read(cls, "__basicsize__"),
        read(cls, "__dictoffset__") != 0,
        read(cls, "__weakrefoffset__") != 0, read(cls, "__itemsize__"),
    ]  # fmt: skip
    if issubclass(cls, ctypes.Array) and cls.__name__.endswith(f"_Array_{cls._length_}"):
        return ["array type", walk.ref(cls._type_), cls._length_]
    if not issubclass(type(cls), _ORDERED_THEIR_WAY):
        parts.append(
            [name for name, value in members.items() if not name.startswith("__") and _is_written(name, value)]
        )
    for name in sorted(map(str, members)):
        value = members.get(name)
        if name in _SKIPPED:
            continue
        if type(value) in _MADE_WITH_CLASS:
            parts.append([name, type(value).__name__])
        else:
            parts.append([name, walk.ref(value)])
    parts.append(sorted(members.get("__abstractmethods__", ())))
    if "_abc_impl" in members:
        import _abc  # type: ignore[import-not-found,unused-ignore]

        registered = {found for found in (known() for known in _abc._get_dump(cls)[0]) if found is not None}
        walk.keep.append(registered)
        parts.append(len(registered))
        walk.unordered(registered)
    parts.append([name for name, family in _families() if cls in family])
    return parts


def _is_written(name: str, value: Any) -> bool:
    return name not in _SKIPPED and type(value) not in _MADE_WITH_CLASS


def _families() -> list[tuple[str, set[type]]]:
    """Abstract classes of the standard library with what was registered in them."""
    import _abc
    import collections.abc
    import numbers

    found = []
    for module in (collections.abc, numbers):
        for name, family in vars(module).items():
            if isinstance(family, type) and "_abc_impl" in vars(family):
                found.append((name, {known for known in (weak() for weak in _abc._get_dump(family)[0]) if known}))
    return found
