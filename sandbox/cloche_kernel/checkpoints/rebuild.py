"""What a stored state calls while it is read back. It runs no code of the user's: objects are made, then filled."""

from __future__ import annotations

import _random
import abc
import builtins
import functools
import io
import marshal
import queue
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    registries = state.pop("__abc_bases__", ())
    abstract = state.pop("__abstractmethods__", None)
    for name, value in state.items():
        type.__setattr__(made, name, value)
    if abstract is not None:
        cast(Any, made).__abstractmethods__ = abstract
    for other in registered:
        abc.ABCMeta.register(cast(Any, made), other)
    for registry in registries:
        abc.ABCMeta.register(registry, made)
    _introduce(made, state)


def _introduce(made: type, state: dict[str, Any]) -> None:
    """Lets a library's metaclass know of a class of the session as it was when that was made: it may keep a list."""
    meta = type(made)
    introduce: Any = meta.__dict__.get("__init__") or getattr(meta, "__init__", None)
    if type(introduce) is not types.FunctionType or introduce.__module__ in ("__main__", "abc", "enum", "typing"):
        return
    with suppress(Exception):
        introduce(made, made.__name__, made.__bases__, dict(made.__dict__))
    for name, value in state.items():
        type.__setattr__(made, name, value)


def new_ctypes_class(meta: Any, name: str, bases: tuple[type, ...], layout: dict[str, Any]) -> type:
    return cast(type, meta.__new__(meta, name, bases, dict(layout)))


def fill_ctypes_class(made: Any, state: dict[str, Any]) -> None:
    # Through the metaclass: it lays the fields out. `_anonymous_` speaks of fields, and comes before them.
    for name in sorted(state, key=lambda name: (name != "_anonymous_", name != "_fields_")):
        cast(Any, type(made)).__setattr__(made, name, state[name])


def attribute_call(name: str, path: str, *arguments: Any) -> Any:
    return attribute(name, path)(*arguments)


def new_object(cls: type, base: type, *content: Any) -> Any:
    """An instance whose C part is that of `base`; no `__new__` or `__init__` of the user's runs."""
    return base.__new__(cls, *content)


def new_hashed(cls: type, attributes: dict[str, Any], slots: list[tuple[Any, ...]]) -> Any:
    """An instance that has those of its attributes that refer to nothing, so that it can be hashed."""
    made: Any = object.__new__(cls)
    fill_object(made, (None, attributes or None, slots))
    return made


def call(function: Any, arguments: tuple[Any, ...]) -> Any:
    return function(*arguments)


def fill_both(made: Any, state: tuple[Any, Any]) -> None:
    """What the library's class says of its state, as pickle does it, and then attributes and slots."""
    theirs, ours = state
    _set_theirs(made, theirs)
    fill_object(made, ours)


def fill_library_exception(made: BaseException, state: tuple[Any, Any]) -> None:
    theirs, ours = state
    _set_theirs(made, theirs)
    fill_exception(made, ours)


def _set_theirs(made: Any, theirs: Any) -> None:
    if hasattr(type(made), "__setstate__") and theirs is not None:
        made.__setstate__(theirs)
    elif theirs is not None:
        plain, slots = theirs if isinstance(theirs, tuple) and len(theirs) == 2 else (theirs, None)
        for name, value in {**(plain or {}), **(slots or {})}.items():
            setattr(made, name, value)


def fill_object(made: Any, state: tuple[Any, ...]) -> None:
    """`state`: content of the builtin it derives from, its `__dict__`, values of slots as (class, name, value)."""
    content, attributes, slots = state
    if content is not None:
        fill_builtin(made, content)
    if attributes is not None:
        _set_attributes(made, attributes)
    for owner, name, value in slots:
        owner.__dict__[name].__set__(made, value)


def _set_attributes(made: Any, attributes: dict[str, Any]) -> None:
    descriptor = dict_descriptor(type(made))
    try:
        descriptor.__set__(made, attributes)
    except AttributeError:
        # Classes of C modules may show their attributes and not let them be exchanged.
        descriptor.__get__(made, type(made)).update(attributes)


def fill_builtin(made: Any, content: Any) -> None:
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
        items, length = content
        deque.__init__(made, items, length)
    elif isinstance(made, bytearray):
        bytearray.extend(made, content)
    elif isinstance(made, _random.Random):
        _random.Random.setstate(made, content)
    elif isinstance(made, property):
        property.__init__(made, *content)
    elif isinstance(made, (staticmethod, classmethod)):
        kind: Any = staticmethod if isinstance(made, staticmethod) else classmethod
        kind.__init__(made, content)
    elif isinstance(made, io.BytesIO):
        cast(Any, io.BytesIO).__setstate__(made, content)
    elif isinstance(made, io.StringIO):
        cast(Any, io.StringIO).__setstate__(made, content)


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

    if isinstance(root, numpy.ndarray):
        root = numpy.ndarray.view(root, numpy.ndarray)
    if not isinstance(root, numpy.ndarray):
        made = numpy.ndarray(shape, dtype, root, offset, strides)
    else:
        made = _over(root, offset, shape, strides, dtype)
    if not writeable:
        made.flags.writeable = False
    elif not made.flags.writeable and isinstance(root, numpy.ndarray):
        # The array was made read-only after this view of it, which may be written through still.
        owner = root.base if isinstance(root.base, numpy.ndarray) else root
        owner.flags.writeable = True
        made = view(owner, offset, shape, strides, dtype, True)
        owner.flags.writeable = False
    return made


def _over(root: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any) -> Any:
    import numpy

    if root.dtype.hasobject or dtype.hasobject:
        # Memory of objects cannot be had as bytes: the view is made of the root's own elements, or one field of them.
        index, within = divmod(offset, root.dtype.itemsize)
        flat = root.reshape(-1, order="A")
        if dtype != root.dtype:
            flat = flat[field_at(root.dtype, within, dtype)]
        return numpy.lib.stride_tricks.as_strided(flat[index:], shape, strides, subok=False)
    octets = root.reshape(-1, order="A").view("u1") if root.size else root
    return numpy.ndarray(shape, dtype, octets, offset, strides)


def field_at(whole: Any, offset: int, kind: Any) -> str | None:
    """The field of a structured type that lies at `offset` bytes and has this type."""
    for name in whole.names or ():
        found, start = whole.fields[name][:2]
        if start == offset and found == kind:
            return str(name)
    return None


def seen_as(inner: Any, kind: type) -> Any:
    """An array's memory as an instance of a subclass; its attributes come later."""
    import numpy

    return numpy.ndarray.view(numpy.asarray(inner), kind)


def lock() -> Any:
    return threading.Lock()


def rlock() -> Any:
    return threading.RLock()


def reference(target: Any, callback: Any) -> Any:
    return weakref.ref(target, callback) if callback is not None else weakref.ref(target)


def weak_dictionary(kind: type) -> Any:
    return kind()


def weak_set() -> Any:
    return weakref.WeakSet()


def fill_items(made: Any, items: list[tuple[Any, Any]]) -> None:
    for key, value in items:
        made[key] = value


def fill_weak(made: Any, items: list[Any]) -> None:
    made.update(items)


def lru(maxsize: int | None, typed: bool, wrapped: Any) -> Any:
    return functools.lru_cache(maxsize, typed)(wrapped)


def fill_attributes(made: Any, attributes: dict[str, Any]) -> None:
    made.__dict__.update(attributes)


def dead_reference(callback: Any) -> Any:
    return weakref.ref(Gone(), callback)


def dead_method() -> Any:
    return weakref.WeakMethod(Gone().method)


class Gone:
    """What a weak reference referred to that has no object any more."""

    def method(self) -> None:
        """Has nothing to do."""


def type_parameter(kind: Any, name: str, module: str, options: dict[str, Any]) -> Any:
    made = kind(name, **options)
    with suppress(AttributeError):
        made.__module__ = module
    return made


def simple_queue() -> Any:
    return queue.SimpleQueue()


def fill_queue(made: Any, items: list[Any]) -> None:
    for item in items:
        made.put(item)


def comparison_key(compare: Any, value: list[Any]) -> Any:
    made = functools.cmp_to_key(compare)
    return made(value[0]) if value else made


def new_module(name: str, listed: bool) -> types.ModuleType:
    made = types.ModuleType(name)
    if listed:
        sys.modules[name] = made
    return made


def fill_module(made: types.ModuleType, members: dict[str, Any]) -> None:
    vars(made).update(members)


def globals_of(module: types.ModuleType) -> dict[str, Any]:
    return vars(module)


def module(name: str) -> types.ModuleType:
    __import__(name)
    return sys.modules[name]


def attribute(name: str, path: str) -> Any:
    """Something by its module and qualified name."""
    found: Any = module(name)
    for part in path.split("."):
        found = getattr(found, part)
    return found
