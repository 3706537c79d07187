"""What stands in for a value that could not be kept: it says so, with the reason, whenever it is used."""

from __future__ import annotations

from typing import Any, NoReturn


class ValueNotKept(RuntimeError):
    """A variable's value could not be brought back. The text says which, why, and which cell made it."""


class Placeholder:
    """Raises ValueNotKept at every use but its own `repr`."""

    __slots__ = ("_cloche_text",)

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_cloche_text", text)

    def __repr__(self) -> str:
        return f"<not kept: {text_of(self)}>"

    def __reduce__(self) -> Any:
        return Placeholder, (text_of(self),)


def text_of(placeholder: Placeholder) -> str:
    return str(object.__getattribute__(placeholder, "_cloche_text"))


def _raise(self: Placeholder, *_: Any, **__: Any) -> NoReturn:
    raise ValueNotKept(text_of(self))


def _raise_attribute(self: Placeholder, name: str) -> NoReturn:
    if name.startswith("_repr_") or name in ("_ipython_display_", "_ipython_canary_method_should_not_exist_"):
        raise AttributeError(name)
    raise ValueNotKept(text_of(self))


for _name in (
    "call", "iter", "len", "getitem", "setitem", "delitem", "contains", "next", "bool", "hash", "eq", "ne", "lt", "le",
    "gt", "ge", "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv", "rfloordiv", "mod",
    "rmod", "pow", "rpow", "matmul", "rmatmul", "and", "rand", "or", "ror", "xor", "rxor", "neg", "pos", "abs",
    "invert", "int", "float", "complex", "index", "enter", "exit", "await", "aiter", "anext", "str", "format", "bytes",
    "array", "iadd", "isub", "imul", "setattr",
):  # fmt: skip
    setattr(Placeholder, f"__{_name}__", _raise)
Placeholder.__getattr__ = _raise_attribute  # type: ignore[attr-defined]
