"""Classes of the session, by value: one that was redefined stays beside its successor, with its own instances."""

from __future__ import annotations

import abc
import operator
import sys
import types
import weakref
from typing import Any

from cloche_kernel.checkpoints import rebuild
from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope
from cloche_kernel.checkpoints.functions import found_by_name

_MADE_ANEW = frozenset({"__dict__", "__weakref__", "_abc_impl", "__abstractmethods__", "__slots__"})

#: Py_TPFLAGS_HEAPTYPE: made by a class statement, or by a C module at run time
_HEAP_TYPE = 1 << 9
#: Py_TPFLAGS_IMMUTABLETYPE and Py_TPFLAGS_DISALLOW_INSTANTIATION: only C modules make such
_C_ONLY = 1 << 8 | 1 << 7

_POINTER = 8

_known: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def is_by_value(cls: type) -> bool:
    """Whether a class is the session's: made in a cell, or not what its module has under its name."""
    try:
        return _known[cls]
    except (KeyError, TypeError):
        pass
    module = type.__getattribute__(cls, "__module__")
    answer = not _is_named_by_pickle(cls) and not found_by_name(cls, module, type.__getattribute__(cls, "__qualname__"))
    try:
        if module != "__main__":
            _known[cls] = answer
    except TypeError:
        pass
    return answer


def _is_named_by_pickle(cls: type) -> bool:
    # A class that a C module made without giving it a name there: pickle knows what to do with it, or refuses.
    return made_in_c(cls) or str(cls.__module__).startswith("_cython_")


def _is_named(cls: type) -> bool:
    # `builtins` is looked at by pickle itself, which knows the types of None and its like too.
    if cls in _OF_SINGLETONS:
        return True
    return found_by_name(cls, cls.__module__, type.__getattribute__(cls, "__qualname__"))


def _reduce_nameless(cls: type) -> Reduced:
    """A class of a C module's that has no name there, but one elsewhere."""
    for name, value in vars(types).items():
        if value is cls:
            return rebuild.attribute, ("types", name)
    if cls.__module__ == "_ctypes" and issubclass(cls, type):
        base = next(kind for kind in _CTYPES_KINDS if type(_ctypes_base(kind)) is cls)
        return type, (_ctypes_base(base),)
    for module in ("collections.abc", "re", "_json", "functools"):
        for name, value in list(vars(sys.modules.get(module, types)).items()):
            if value is cls:
                return rebuild.attribute, (module, name)
    raise NotKept(f"the class {cls.__module__}.{cls.__qualname__}, which cannot be imported by its name")


_OF_SINGLETONS = frozenset({type(None), type(NotImplemented), type(...)})
_CTYPES_KINDS = ("Structure", "Union", "Array", "_Pointer", "_SimpleCData", "_CFuncPtr")


def _ctypes_base(name: str) -> Any:
    import _ctypes

    return getattr(_ctypes, name if name != "_CFuncPtr" else "CFuncPtr")


def made_in_c(cls: type) -> bool:
    """Whether a C module made the class: nothing about it can be written down but its name."""
    if not cls.__flags__ & _HEAP_TYPE or cls.__flags__ & _C_ONLY:
        return True
    new = cls.__dict__.get("__new__")
    if type(new) is types.BuiltinFunctionType and new.__self__ is cls:
        return True
    return "__slots__" not in cls.__dict__ and _adds_memory(cls)


def _adds_memory(cls: type) -> bool:
    """Whether instances have more than those of the base, beside room for attributes and weak references."""
    base: Any = cls.__base__
    attributes = cls.__dictoffset__ != 0 and base.__dictoffset__ == 0
    references = cls.__weakrefoffset__ != 0 and base.__weakrefoffset__ == 0
    return bool(cls.__basicsize__ - base.__basicsize__ > _POINTER * (attributes + references))


def reduce_class(cls: type, scope: Scope) -> Reduced:
    if not is_by_value(cls):
        return _reduce_nameless(cls) if made_in_c(cls) and not _is_named(cls) else NotImplemented
    if "sqlalchemy" in sys.modules:
        _refuse_mapped(cls)
    layout: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    members = dict(cls.__dict__)
    if "__slots__" in members:
        slots = members["__slots__"]
        layout["__slots__"] = slots if isinstance(slots, (str, tuple, list)) else list(slots)
    state = {
        name: value
        for name, value in members.items()
        if name not in _MADE_ANEW
        and name not in ("__module__", "__qualname__")
        and not isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType))
    }
    for name in [name for name in state if _is_said_by_metaclass(type(cls), name)]:
        layout[name] = state.pop(name)
    if type(cls).__module__ == "_ctypes":
        return _reduce_ctypes(cls, state)
    if "__abstractmethods__" in members:
        state["__abstractmethods__"] = members["__abstractmethods__"]
    if "_abc_impl" in members:
        state["__abc_registered__"] = _registered_in(cls)
    virtual = _registries().get(id(cls))
    if virtual:
        state["__abc_bases__"] = list(virtual)
    arguments = (type(cls), cls.__name__, cls.__bases__, layout)
    return rebuild.new_class, arguments, state, None, None, rebuild.fill_class


#: set like any other attribute, though `type` has a descriptor of the name
_SETTABLE = frozenset({"__doc__", "__annotations__", "__abstractmethods__", "__type_params__", "__annotate__"})


def _is_said_by_metaclass(meta: type, name: str) -> bool:
    """Whether setting the attribute later would be taken for setting something of the metaclass's."""
    if name in _SETTABLE:
        return False
    found = next((owner.__dict__[name] for owner in meta.__mro__ if name in owner.__dict__), None)
    return hasattr(type(found), "__set__")


def _refuse_mapped(cls: type) -> None:
    # SQLAlchemy keeps what it knows of a mapped class in tables of its own, beside the class.
    if "__mapper__" in cls.__dict__ or "_sa_registry" in cls.__dict__ or "_sa_class_manager" in cls.__dict__:
        raise NotKept(f"{cls.__qualname__}, a class that SQLAlchemy maps to a table")


def _registered_in(cls: type) -> list[type]:
    import _abc  # type: ignore[import-not-found,unused-ignore]

    return [found for found in (known() for known in _abc._get_dump(cls)[0]) if found is not None]


_virtual: tuple[Any, dict[int, list[type]]] = (None, {})


def _registries() -> dict[int, list[type]]:
    """Abstract classes of libraries by the id of each class of the session that was registered there."""
    global _virtual
    token = abc.get_cache_token()
    if _virtual[0] != token:
        found: dict[int, list[type]] = {}
        for cls in _abstract_classes():
            for known in _registered_in(cls):
                if is_by_value(known) and not is_by_value(cls):
                    found.setdefault(id(known), []).append(cls)
        _virtual = (token, found)
    return _virtual[1]


def _abstract_classes() -> list[type]:
    seen: set[int] = set()
    found: list[type] = []
    todo: list[type] = [object]
    while todo:
        found_below: list[type] = type.__subclasses__(todo.pop())
        for cls in found_below:
            if id(cls) in seen:
                continue
            seen.add(id(cls))
            if issubclass(type(cls), type) and cls is not type:
                todo.append(cls)
            if "_abc_impl" in cls.__dict__ and isinstance(cls, abc.ABCMeta):
                found.append(cls)
    return found


def _reduce_ctypes(cls: Any, state: dict[str, Any]) -> Reduced:
    """A structure by its fields, an array or a pointer by what it is of: ctypes makes those once for each."""
    kind = type(cls).__name__
    if kind == "PyCArrayType":
        return operator.mul, (cls._type_, cls._length_)
    if kind == "PyCPointerType":
        return rebuild.attribute_call, ("ctypes", "POINTER", cls._type_)
    own = {name: value for name, value in state.items() if type(value).__name__ != "CField"}
    layout: dict[str, Any] = {
        name: own.pop(name)
        for name in ("_pack_", "_align_", "_layout_", "_flags_", "_type_", "_length_")
        if name in own
    }
    layout["__module__"] = cls.__module__
    layout["__qualname__"] = cls.__qualname__
    arguments = (type(cls), cls.__name__, cls.__bases__, layout)
    return rebuild.new_ctypes_class, arguments, own, None, None, rebuild.fill_ctypes_class


def solid_base(cls: type) -> type:
    """The builtin or C class whose layout instances of `cls` have."""
    return next(owner for owner in cls.__mro__ if made_in_c(owner))
