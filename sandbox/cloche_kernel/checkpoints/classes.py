"""Classes of the session, by value: one that was redefined stays beside its successor, with its own instances."""

from __future__ import annotations

import enum
import sys
import types
import weakref
from typing import Any

from cloche_kernel.checkpoints import rebuild
from cloche_kernel.checkpoints.contract import Reduced, Scope
from cloche_kernel.checkpoints.functions import found_by_name

_MADE_ANEW = frozenset({"__dict__", "__weakref__", "_abc_impl", "__abstractmethods__", "__slots__"})
_ENUM_OWN = frozenset(
    {"_member_names_", "_member_map_", "_value2member_map_", "_hashable_values_", "_unhashable_values_",
     "_unhashable_values_map_", "_member_type_", "_value_repr_", "_generate_next_value_", "_new_member_",
     "_use_args_", "_flag_mask_", "_singles_mask_", "_all_bits_", "_inverted_", "_boundary_", "__new__",
     "__new_member__", "_sort_order_"}
)  # fmt: skip

#: Py_TPFLAGS_HEAPTYPE: made by a class statement, or by a C module at run time
_HEAP_TYPE = 1 << 9

_known: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def is_by_value(cls: type) -> bool:
    """Whether a class is the session's: made in a cell, or not what its module has under its name."""
    try:
        return _known[cls]
    except (KeyError, TypeError):
        pass
    module = type.__getattribute__(cls, "__module__")
    answer = not _is_builtin_type(cls) and not found_by_name(cls, module, type.__getattribute__(cls, "__qualname__"))
    try:
        if module != "__main__":
            _known[cls] = answer
    except TypeError:
        pass
    return answer


def _is_builtin_type(cls: type) -> bool:
    # A class that a C module made without giving it a name there: pickle knows what to do with it, or refuses.
    return not cls.__flags__ & _HEAP_TYPE or cls.__module__.startswith("_cython_")


def reduce_class(cls: type, scope: Scope) -> Reduced:
    if not is_by_value(cls):
        return NotImplemented
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
    meta = type(cls)
    if issubclass(meta, enum.EnumType):
        return _reduce_enum(cls, meta, layout, state)
    if "__abstractmethods__" in members:
        state["__abstractmethods__"] = members["__abstractmethods__"]
    if "_abc_impl" in members:
        import _abc  # type: ignore[import-not-found,unused-ignore]

        state["__abc_registered__"] = [found for found in (known() for known in _abc._get_dump(cls)[0]) if found]
    bases = members.get("__orig_bases__") and cls.__bases__ or cls.__bases__
    return rebuild.new_class, (meta, cls.__name__, bases, layout), state, None, None, rebuild.fill_class


def _reduce_enum(cls: Any, meta: type, layout: dict[str, Any], state: dict[str, Any]) -> Reduced:
    members = {name: member._value_ for name, member in cls.__members__.items()}
    scope = {
        name: value
        for name, value in state.items()
        if name not in _ENUM_OWN and name not in members and not isinstance(value, (enum.property, enum.member))
    }
    scope.update(layout)
    made_new = state.get("__new_member__")
    if made_new is not None and made_new is not object.__new__ and isinstance(made_new, staticmethod | types.FunctionType):
        scope["__new__"] = made_new
    return rebuild.new_enum, (meta, cls.__name__, cls.__bases__, members, scope)


def solid_base(cls: type) -> type:
    """The builtin or C class whose layout instances of `cls` have."""
    for owner in cls.__mro__:
        if not owner.__flags__ & _HEAP_TYPE:
            return owner
    return object


def module_of(cls: type) -> Any:
    return sys.modules.get(cls.__module__)
