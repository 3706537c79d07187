"""Functions, their code and the cells they close over. Two that share a cell share it again."""

from __future__ import annotations

import gc
import marshal
import sys
import types
from typing import Any, cast

from cloche_kernel.checkpoints import reach, rebuild
from cloche_kernel.checkpoints.contract import Reduced, Scope

_ATTRIBUTES = ("__defaults__", "__kwdefaults__", "__doc__", "__module__", "__qualname__")


def reduce_function(function: types.FunctionType, scope: Scope) -> Reduced:
    if is_by_reference(function):
        scope.risky |= reach.opens(function)
        return NotImplemented
    state: dict[str, Any] = {name: getattr(function, name) for name in _ATTRIBUTES}
    state["__dict__"] = dict(function.__dict__)
    if sys.version_info >= (3, 14):
        state["__annotate__"] = function.__annotate__
    else:
        state["__annotations__"] = function.__annotations__
    if sys.version_info >= (3, 12):
        state["__type_params__"] = function.__type_params__
    names, dynamic = reach.spoken(function.__code__)
    scope.mentions |= names
    scope.risky |= dynamic
    arguments = (function.__code__, _globals(function, scope), function.__name__, function.__closure__ or ())
    return rebuild.function, arguments, state, None, None, rebuild.fill_function


def _globals(function: types.FunctionType, scope: Scope) -> Any:
    """Its globals. Those of a module that can be imported are that module's again, not a copy."""
    found = function.__globals__
    name = found.get("__name__")
    if id(found) not in scope.names_of_ours and isinstance(name, str) and name != "__main__":
        module = sys.modules.get(name)
        if module is not None and vars(module) is found:
            scope.names_of_ours[id(found)] = f"globals of {name}"
    ours = scope.names_of_ours.get(id(found))
    if ours is None:
        module = _module_of(found, scope)
        if module is not None:
            return GlobalsOf(module)
    # As a mark and not as a dictionary: pickle asks nobody before it writes one down.
    return found if ours is None else scope.mark(ours)


def _module_of(found: dict[str, Any], scope: Scope) -> types.ModuleType | None:
    """The module whose globals these are, where they are one's."""
    if "__name__" not in found:
        return None
    if id(found) not in scope.modules:
        owners = (owner for owner in gc.get_referrers(found) if type(owner) is types.ModuleType)
        scope.modules[id(found)] = next((owner for owner in owners if vars(owner) is found), None)
    return cast("types.ModuleType | None", scope.modules[id(found)])


class GlobalsOf:
    """Stands for the globals of a module that is kept by what it holds."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module

    def __reduce__(self) -> Any:
        return rebuild.globals_of, (self._module,)


def is_by_reference(function: types.FunctionType) -> bool:
    """Whether importing its module gives this very function."""
    return found_by_name(function, function.__module__, function.__qualname__)


def found_by_name(value: Any, module: str | None, path: str) -> bool:
    if not isinstance(module, str) or module in ("__main__", "builtins.__main__"):
        return False
    found: Any = sys.modules.get(module)
    if found is None or not getattr(found, "__spec__", True):
        return False
    try:
        for part in path.split("."):
            found = getattr(found, part)
    except AttributeError:
        return False
    return found is value


def reduce_code(code: types.CodeType, scope: Scope) -> Reduced:
    return rebuild.code, (marshal.dumps(code),)


def reduce_cell(cell: types.CellType, scope: Scope) -> Reduced:
    try:
        state: tuple[Any, ...] = (cell.cell_contents,)
    except ValueError:
        state = ()
    return rebuild.cell, (), state or (), None, None, rebuild.fill_cell


def reduce_method(method: types.MethodType, scope: Scope) -> Reduced:
    return types.MethodType, (method.__func__, method.__self__)
