"""
Variables as text, with who shares what: two states are the same if their texts are. It knows nothing of how checkpoints
take values down, so that it finds what they get wrong.
"""

from __future__ import annotations

import collections
import functools
import gc
import hashlib
import io
import json
import random
import sys
import types
import weakref
from pathlib import Path
from typing import Any

_ATOMS = (int, str, bytes, bool, complex, type(None), type(...), range, type(NotImplemented))
_MADE_ANEW = (
    "__dict__",
    "__weakref__",
    "__doc__",
    "_abc_impl",
    "__module__",
    "__static_attributes__",
    "__firstlineno__",
)


def canon(variables: dict[str, Any], namespace: dict[str, Any]) -> str:
    gc.collect()
    walk = _Walk(namespace)
    lines = [f"{name} = {walk.of(variables[name])}" for name in sorted(variables)]
    return "\n".join([*lines, *walk.process()])


def differences(state: Any, request: dict[str, Any], shell: Any) -> list[str]:
    """What restoring `request` beside the live session would give otherwise than the session has it."""
    from cloche_kernel.checkpoints.capture import FILES, PROCESS
    from cloche_kernel.checkpoints.pickler import give
    from cloche_kernel.checkpoints.restore import Pieces

    visible = {**state.visible(), **state.modules.values()}
    stored: dict[str, Any] = {}
    found: list[str] = []
    for member in request["members"]:
        at = member["at"]
        if FILES in member["names"] or PROCESS in member["names"]:
            continue
        with Pieces(request["files"]) as pieces:
            buffers = [bytearray(pieces.joined(one)) for one in at["buffers"]]
            header = pieces.joined(at["header"])
        try:
            stored.update(give(header, buffers, shell.user_ns, shell))
        except BaseException as error:
            found.append(f"{member['names']}: reading raised {type(error).__name__}: {error}")
    kept = {name: value for name, value in visible.items() if name not in request["lost"]}
    if kept.keys() != stored.keys():
        found.append(f"names: live {sorted(kept.keys() - stored.keys())}, stored {sorted(stored.keys() - kept.keys())}")
    live, held = _Walk(shell.user_ns), _Walk(shell.user_ns)
    for name in sorted(kept.keys() & stored.keys()):
        ours, theirs = live.of(kept[name]), held.of(stored[name])
        if ours != theirs:
            found.append(f"{name}: live {near(ours, theirs)}, stored {near(theirs, ours)}")
    return found


def near(text: str, other: str) -> str:
    """The part of a text around where it begins to differ from another."""
    at = next(
        (place for place, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other))
    )
    return text[max(0, at - 120) : at + 120]


class _Walk:
    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._numbers: dict[int, int] = {}
        self._memory: dict[int, int] = {}
        self._kept: list[Any] = []

    def of(self, value: Any) -> str:
        kind = type(value)
        if kind in _ATOMS:
            return repr(value)
        if kind is float:
            return value.hex()
        if kind is tuple:
            return "(" + ", ".join(map(self.of, value)) + ")"
        if kind is frozenset:
            return "frozenset" + self._set(value)
        if value is self._namespace:
            return "NAMESPACE"
        if _is_number(value, kind):
            return repr(value)
        if kind is types.MappingProxyType:
            return f"proxy {self._dict(dict(value))}"
        number = self._numbers.get(id(value))
        if number is not None:
            return f"#{number}"
        if kind is types.FunctionType and _is_found(value, value.__module__, value.__qualname__):
            return f"{value.__module__}.{value.__qualname__}"
        if isinstance(value, type) and _is_found(value, value.__module__, value.__qualname__):
            return f"{value.__module__}.{value.__qualname__}"
        if kind in (types.BuiltinFunctionType, types.ModuleType):
            if kind is types.ModuleType or value.__self__ is None or isinstance(value.__self__, types.ModuleType):
                return repr(value.__name__)
            return f"{self.of(value.__self__)}.{value.__name__}"
        self._numbers[id(value)] = number = len(self._numbers)
        self._kept.append(value)
        return f"#{number}={self._new(value, kind)}"

    def _new(self, value: Any, kind: type) -> str:
        if kind is list:
            return "[" + ", ".join(map(self.of, value)) + "]"
        if kind is dict:
            return self._dict(value)
        if kind is set:
            return "set" + self._set(value)
        if kind is types.FunctionType:
            return self._function(value)
        if kind is types.CellType:
            try:
                return f"cell {self.of(value.cell_contents)}"
            except ValueError:
                return "cell empty"
        if kind is types.MethodType:
            return f"method {self.of(value.__func__)} of {self.of(value.__self__)}"
        if isinstance(value, type):
            return self._class(value)
        if kind.__module__.startswith("cloche_kernel") and kind.__name__ == "Placeholder":
            return "LOST"
        if kind.__module__.split(".")[0] == "numpy":
            return self._numpy(value, kind)
        if kind.__module__.split(".")[0] == "pandas":
            return self._pandas(value, kind)
        if isinstance(value, (random.Random,)):
            return f"random {hash(value.getstate())}"
        if isinstance(value, (property, classmethod, staticmethod)):
            names = ("fget", "fset", "fdel") if kind is property else ("__func__",)
            return f"{kind.__name__} {[self.of(getattr(value, name, None)) for name in names]}"
        if isinstance(value, functools._lru_cache_wrapper):
            return f"lru_cache {self.of(value.__wrapped__)}"
        if kind is functools.partial:
            return f"partial {self.of(value.func)} {self.of(value.args)} {self._dict(value.keywords)}"
        if isinstance(value, weakref.ReferenceType):
            return f"weakref {self.of(value())}"
        if isinstance(value, io.IOBase):
            if not value.closed:
                value.flush()
            return f"file {getattr(value, 'name', '')!r} {value.closed or value.tell()}"
        if isinstance(value, BaseException):
            extra = (value.args, value.__cause__, value.__dict__)
            return f"{self.of(kind)} {self.of(extra)}"
        if getattr(kind, "__module__", "") == "builtins" or kind.__module__ == "itertools":
            try:
                made = value.__reduce__()
                # At its end it forgets what it went through: the same as one over nothing.
                made = made[:2] if kind.__name__ == "list_iterator" and made[1] == ([],) else made
                return f"{kind.__name__} {self.of(made)}"
            except (TypeError, RuntimeError) as error:
                # What it goes through may have changed meanwhile.
                return f"{kind.__name__} {type(error).__name__}"
        return self._instance(value, kind)

    def _set(self, value: Any) -> str:
        return "{" + ", ".join(sorted(_Walk(self._namespace).of(item) for item in value)) + "}"

    def _dict(self, value: dict[Any, Any]) -> str:
        return "{" + ", ".join(f"{self.of(key)}: {self.of(item)}" for key, item in dict.items(value)) + "}"

    def _function(self, value: Any) -> str:
        scope = value.__globals__
        where = "here" if scope is self._namespace else f"in {scope.get('__name__')}"
        cells = [self.of(cell) for cell in value.__closure__ or ()]
        rest = [self.of(part) for part in (value.__defaults__, value.__kwdefaults__, value.__dict__)]
        return f"def {value.__qualname__} {where} {_code(value.__code__)} {cells} {rest}"

    def _class(self, value: Any) -> str:
        members = {
            name: member
            for name, member in sorted(value.__dict__.items())
            if name not in _MADE_ANEW
            and not isinstance(member, (types.GetSetDescriptorType, types.MemberDescriptorType))
        }
        bases = [self.of(base) for base in value.__bases__]
        return f"class {value.__qualname__} {bases} {self.of(type(value))} {self._dict(members)}"

    def _instance(self, value: Any, kind: type) -> str:
        parts = [self.of(kind)]
        for base in (dict, list, set, tuple, collections.deque, int, float, str, bytearray):
            if isinstance(value, base):
                held: Any = base.__dict__["__repr__"](value) if base in (int, float, str, bytearray) else None
                if base is dict:
                    held = self._dict(value)
                elif held is None:
                    held = [self.of(item) for item in base.__iter__(value)]
                parts.append(str(held))
                break
        if isinstance(value, collections.defaultdict):
            parts.append(self.of(value.default_factory))
        if isinstance(value, collections.deque):
            parts.append(repr(value.maxlen))
        own = getattr(value, "__dict__", None)
        if isinstance(own, dict):
            parts.append(self._dict(own))
        for owner in kind.__mro__:
            for name, member in sorted(owner.__dict__.items()):
                if isinstance(member, types.MemberDescriptorType):
                    try:
                        parts.append(f"{name}={self.of(member.__get__(value))}")
                    except AttributeError:
                        pass
        if len(parts) == 1:
            try:
                parts.append(self.of(value.__reduce_ex__(4)))
            except Exception as error:
                parts.append(type(error).__name__)
        return "<" + " ".join(parts) + ">"

    def _numpy(self, value: Any, kind: type) -> str:
        import numpy

        if isinstance(value, numpy.ndarray):
            root = _root(value)
            start = _start(root)
            memory = self._memory.setdefault(start, len(self._memory))
            self._kept.append(root)
            offset = _address(value) - start
            content = self.of(value.tolist()) if value.dtype.hasobject else hashlib.md5(value.tobytes()).hexdigest()
            sample = "" if value.dtype.hasobject else repr(value.ravel()[:8].tolist())
            flags = "w" if value.flags.writeable else "r"
            where = f"memory {memory}+{offset} {value.strides}"
            return f"array {value.dtype} {value.shape} {where} {flags} {sample} {content}"
        if isinstance(value, numpy.random.Generator):
            return f"generator {value.bit_generator.state}"
        if isinstance(value, numpy.flatiter):
            return f"flatiter {value.index} {self.of(value.base)}"
        return kind.__name__ if " at 0x" in repr(value) else f"{kind.__name__} {value!r}"

    def _pandas(self, value: Any, kind: type) -> str:
        import pandas

        if isinstance(value, (pandas.DataFrame, pandas.Series)):
            manager = value._mgr
            blocks = []
            for block in manager.blocks:
                data = block.values
                inner = getattr(data, "_ndarray", data)
                where = ""
                if type(inner).__module__ == "numpy" and inner.size:
                    where = f"memory {self._memory.setdefault(_block(inner), len(self._memory))}"
                    self._kept.append(inner)
                # A lone block's tally may count views that are gone; whose memory is shared is what matters.
                blocks.append(f"{where} {block.mgr_locs.as_array.tolist()}")
            columns = [repr(list(axis)) + repr(axis.name) for axis in value.axes]
            name = repr(getattr(value, "name", None)) if isinstance(value, pandas.Series) else ""
            dtypes = repr(value.dtypes.tolist() if isinstance(value, pandas.DataFrame) else value.dtype)
            values = repr(value.to_numpy(dtype=object, na_value=None).tolist())
            return f"{kind.__name__} {name} {columns} {dtypes} {blocks} {values} {self.of(value.attrs)}"
        if isinstance(value, pandas.Index):
            return f"{kind.__name__} {list(value)!r} {value.dtype} {value.name!r}"
        return kind.__name__ if " at 0x" in repr(value) else f"{kind.__name__} {value!r}"

    def process(self) -> list[str]:
        """State that no variable holds."""
        import decimal
        import os

        import numpy
        import pandas

        lines = [f"random {hash(random.getstate())}", f"cwd {os.getcwd()}", f"precision {decimal.getcontext().prec}"]
        state = numpy.random.get_state()
        lines.append(f"numpy.random {hashlib.md5(state[1].tobytes()).hexdigest()} {state[2:]}")
        lines.append(f"rows {pandas.get_option('display.max_rows')} {os.environ.get('MARK')} {sys.getrecursionlimit()}")
        from cloche_kernel.checkpoints import workspace

        for thing in gc.get_objects():
            # Also of what no variable leads to any more, or only one that was lost.
            if isinstance(thing, io.IOBase) and isinstance(getattr(thing, "name", None), str) and not thing.closed:
                thing.flush()
        root = workspace.ROOT
        for folder, folders, files in os.walk(root):
            folders.sort()
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in [*sorted(folders), *sorted(files)]:
                path = os.path.join(folder, name)
                text = "directory" if os.path.isdir(path) else repr(Path(path).read_bytes()[:2000])
                lines.append(f"file {os.path.relpath(path, root)} {text}")
        for name in sorted(_user_modules(root)):
            module = sys.modules[name]
            held = {key: item for key, item in sorted(vars(module).items()) if not key.startswith("__")}
            lines.append(f"module {name} {self._dict(held)}")
        return lines


def _is_number(value: Any, kind: type) -> bool:
    """A number of numpy's: nobody can change it, so that it does not matter who shares it."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and issubclass(kind, numpy.generic) and not issubclass(kind, numpy.void)


def _user_modules(root: str) -> list[str]:
    found = []
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.startswith(root + "/"):
            found.append(name)
    return found


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _root(array: Any) -> Any:
    import numpy

    while array.base is not None:
        base = array.base if isinstance(array.base, numpy.ndarray) else getattr(array.base, "base", None)
        if not isinstance(base, numpy.ndarray):
            break
        array = base
    return array


def _block(array: Any) -> int:
    return _start(_root(array))


def _start(root: Any) -> int:
    """Where the memory begins that an array lies in."""
    import numpy

    if isinstance(root.base, (bytes, bytearray, memoryview)) and len(root.base):
        return _address(numpy.frombuffer(root.base, "u1"))
    return _address(root)


def _code(code: types.CodeType) -> str:
    constants = [_code(part) if isinstance(part, types.CodeType) else repr(part) for part in code.co_consts]
    parts = (code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, code.co_firstlineno, constants)
    return hashlib.md5(json.dumps(parts).encode()).hexdigest()[:8]


def _is_found(value: Any, module: Any, path: str) -> bool:
    if not isinstance(module, str) or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    try:
        for part in path.split("."):
            found = getattr(found, part)
    except AttributeError:
        return False
    return found is value
