"""What a stored state calls while it is read back. It runs no code of the user's: objects are made, then filled."""

from __future__ import annotations

import abc
import builtins
import enum
import functools
import io
import marshal
import operator
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

_MISSING = object()


_find: Callable[[str], Any] | None = None


@contextmanager
def into(find: Callable[[str], Any]) -> Iterator[None]:
    """Within it, what was written as a mark is found by its name."""
    global _find
    before, _find = _find, find
    try:
        yield
    finally:
        _find = before


def ours(name: str) -> Any:
    """Something of the kernel's own: the namespace, the shell, a standard stream, a module's globals."""
    if _find is None:
        raise RuntimeError("a state is read outside of a session")
    return _find(name)


def code(data: bytes) -> types.CodeType:
    return cast(types.CodeType, marshal.loads(data))


def cell() -> types.CellType:
    return types.CellType()


def fill_cell(made: types.CellType, state: tuple[Any, ...]) -> None:
    if state:
        made.cell_contents = state[0]


def function(body: types.CodeType, scope: dict[str, Any], name: str, cells: tuple[Any, ...]) -> types.FunctionType:
    scope.setdefault("__builtins__", builtins)
    return types.FunctionType(body, scope, name, None, cells)


def fill_function(made: types.FunctionType, state: dict[str, Any]) -> None:
    made.__dict__.update(state.pop("__dict__"))
    for name, value in state.items():
        setattr(made, name, value)


def new_class(meta: type, name: str, bases: tuple[type, ...], layout: dict[str, Any]) -> type:
    """A class without members. Neither its metaclass's `__new__` nor a base's `__init_subclass__` runs again."""
    maker = abc.ABCMeta if issubclass(meta, abc.ABCMeta) else type
    with _without_subclass_hooks(bases):
        return cast(type, maker.__new__(cast(Any, meta), name, bases, layout))


@contextmanager
def _without_subclass_hooks(bases: tuple[type, ...]) -> Iterator[None]:
    held: list[tuple[type, Any]] = []
    for owner in {known for base in bases for known in base.__mro__ if known is not object}:
        hook = owner.__dict__.get("__init_subclass__")
        if hook is None:
            continue
        try:
            type.__setattr__(owner, "__init_subclass__", classmethod(lambda cls, **_: None))
        except TypeError:
            continue
        held.append((owner, hook))
    try:
        yield
    finally:
        for owner, hook in held:
            type.__setattr__(owner, "__init_subclass__", hook)


def fill_class(made: type, state: dict[str, Any]) -> None:
    registered = state.pop("__abc_registered__", ())
    abstract = state.pop("__abstractmethods__", None)
    for name, value in state.items():
        type.__setattr__(made, name, value)
    if abstract is not None:
        cast(Any, made).__abstractmethods__ = abstract
    for other in registered:
        abc.ABCMeta.register(cast(Any, made), other)


def new_enum(
    meta: Any, name: str, bases: tuple[type, ...], members: dict[str, Any], layout: dict[str, Any]
) -> type:
    scope = meta.__prepare__(name, bases)
    for key, value in {**layout, **members}.items():
        scope[key] = value
    return cast(type, enum.EnumType.__new__(meta, name, bases, scope))


def new_object(cls: type, base: type, *content: Any) -> Any:
    """An instance whose C part is that of `base`; no `__new__` or `__init__` of the user's runs."""
    return base.__new__(cls, *content)


def fill_object(made: Any, state: tuple[Any, ...]) -> None:
    """`state`: content of the builtin it derives from, its `__dict__`, values of slots as (class, name, value)."""
    content, attributes, slots = state
    if content is not None:
        _fill_builtin(made, content)
    if attributes is not None:
        dict_descriptor(type(made)).__set__(made, attributes)
    for owner, name, value in slots:
        owner.__dict__[name].__set__(made, value)


def _fill_builtin(made: Any, content: Any) -> None:
    from collections import OrderedDict, defaultdict, deque

    if isinstance(made, defaultdict):
        made.default_factory, content = content
    if isinstance(made, OrderedDict):
        for key, value in content:
            OrderedDict.__setitem__(made, key, value)
    elif isinstance(made, dict):
        for key, value in content:
            dict.__setitem__(made, key, value)
    elif isinstance(made, list):
        list.extend(made, content)
    elif isinstance(made, set):
        set.update(made, content)
    elif isinstance(made, deque):
        deque.extend(made, content)


def fill_exception(made: BaseException, state: tuple[Any, ...]) -> None:
    attributes, slots, extra = state
    fill_object(made, (None, attributes, slots))
    made.args = extra.pop("args")
    made.__cause__ = extra.pop("cause")
    made.__context__ = extra.pop("context")
    made.__suppress_context__ = extra.pop("suppressed")
    for name, value in extra.items():
        setattr(made, name, value)


def dict_descriptor(cls: type) -> Any:
    """The slot through which instances of a class have a `__dict__`, whatever the class says of that name; or None."""
    for owner in cls.__mro__:
        found = owner.__dict__.get("__dict__", _MISSING)
        if type(found) is types.GetSetDescriptorType:
            return found
    return None


def view(root: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any, writeable: bool) -> Any:
    """A view of an array's memory. `offset`: in bytes from the root's first element."""
    import numpy

    if not isinstance(root, numpy.ndarray):
        made = numpy.ndarray(shape, dtype, root, offset, strides)
    else:
        made = _over(root, offset, shape, strides, dtype)
    if not writeable:
        made.flags.writeable = False
    return made


def _over(root: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any) -> Any:
    import numpy

    if root.dtype.hasobject or dtype.hasobject:
        # Memory of objects cannot be had as bytes: the view is made of the root's own elements.
        flat = numpy.lib.stride_tricks.as_strided(root, (0,), (0,))
        size = root.dtype.itemsize
        start = root.reshape(-1)[offset // size :] if root.flags.c_contiguous else root.ravel("K")[offset // size :]
        del flat
        return numpy.lib.stride_tricks.as_strided(start, shape, strides, subok=False)
    octets = root.reshape(-1, order="A").view("u1") if root.size else root
    return numpy.ndarray(shape, dtype, octets, offset, strides)


def fortran(flat: Any, shape: tuple[int, ...]) -> Any:
    return flat.reshape(shape, order="F")


def frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array


def block_refs() -> Any:
    """The tally by which pandas knows that frames share memory; filled by the blocks that name it."""
    from pandas._libs.internals import BlockValuesRefs

    return BlockValuesRefs()


def block_manager(kind: type, axes: list[Any], blocks: list[tuple[Any, Any, int, Any]]) -> Any:
    from pandas._libs.internals import BlockPlacement
    from pandas.core.internals.blocks import new_block

    made = tuple(
        new_block(values, BlockPlacement(place), ndim=ndim, refs=refs) for values, place, ndim, refs in blocks
    )
    if kind.__name__ == "SingleBlockManager":
        return kind(made[0], axes[0], verify_integrity=False)
    return kind(made, axes, verify_integrity=False)


def lock() -> Any:
    return threading.Lock()


def rlock() -> Any:
    return threading.RLock()


def reference(target: Any, callback: Any) -> Any:
    return weakref.ref(target, callback) if callback is not None else weakref.ref(target)


def weak_dictionary(kind: type, items: list[tuple[Any, Any]]) -> Any:
    return kind(items)


def weak_set(items: list[Any]) -> Any:
    return weakref.WeakSet(items)


def lru(maxsize: int | None, typed: bool, wrapped: Any) -> Any:
    return functools.lru_cache(maxsize, typed)(wrapped)


def fill_attributes(made: Any, attributes: dict[str, Any]) -> None:
    made.__dict__.update(attributes)


def proxy(mapping: dict[Any, Any]) -> Any:
    return types.MappingProxyType(mapping)


def open_file(path: str, mode: str, position: int, options: dict[str, Any]) -> Any:
    """An open file where it stood. What was opened to be written anew is not emptied again."""
    made = io.open(path, mode.replace("w", "r+").replace("x", "r+").replace("++", "+"), **options)
    made.seek(position)
    return made


def module(name: str) -> types.ModuleType:
    __import__(name)
    return sys.modules[name]


def attribute(name: str, path: str) -> Any:
    """Something by its module and qualified name."""
    found: Any = module(name)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def random_state(kind: type, state: Any) -> Any:
    made = kind()
    made.setstate(state)
    return made


def once(values: Iterable[Any]) -> Iterator[Any]:
    return iter(list(values))


def getter(kind: type, args: tuple[Any, ...]) -> Any:
    return kind(*args)


_ = operator
