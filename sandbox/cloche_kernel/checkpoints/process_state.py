"""State of the process that cells rely on and no variable holds: directory, environment, random numbers, options."""

from __future__ import annotations

import decimal
import logging
import os
import random
import sys
from typing import Any

_Parts = dict[str, Any]


def look() -> _Parts:
    """Every part, cheaply; equal to an earlier look where nothing changed."""
    parts: _Parts = {
        "cwd": _directory(),
        "environment": _environment(),
        "path": list(sys.path),
        "recursion": sys.getrecursionlimit(),
        "random": random.getstate(),
        "decimal": _decimal(decimal.getcontext()),
        "logging": _levels(),
    }
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        name, keys, *rest = numpy.random.get_state()
        parts["numpy.random"] = (name, keys.tobytes(), *rest)
        parts["numpy.print"] = _known(numpy.get_printoptions())
        parts["numpy.errors"] = numpy.geterr()
    pandas = sys.modules.get("pandas._config.config")
    if pandas is not None:
        parts["pandas"] = _flat(pandas._global_config)
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib is not None:
        parts["matplotlib"] = _options(matplotlib.rcParams)
    return parts


def put_back(parts: _Parts) -> list[str]:
    """Makes the process as it was in that look; sentences on what could not be."""
    failed = []
    now = look()
    for name, value in parts.items():
        try:
            # A directory that is gone is told as another.
            if name != "cwd" and name in now and _is_same(now[name], value):
                continue
            _SETTERS[name](value)
        except Exception as error:
            failed.append(f"{name} could not be put back: {error}")
    return failed


def _is_same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:
        # An option may hold an array, which has no one answer.
        return False


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/workspace"


#: the environment as the system has it, and as texts
_decoded: tuple[Any, dict[str, str]] = ({}, {})


def _environment() -> dict[str, str]:
    # Reading each variable takes longer than all else here, and none of them changes from cell to cell.
    global _decoded
    raw = dict(getattr(os.environ, "_data", os.environ))
    if _decoded[0] != raw:
        _decoded = raw, dict(os.environ)
    return _decoded[1]


def _set_environment(value: dict[str, str]) -> None:
    for name in [name for name in os.environ if name not in value]:
        del os.environ[name]
    for name, text in value.items():
        if os.environ.get(name) != text:
            os.environ[name] = text


def _set_path(value: list[str]) -> None:
    sys.path[:] = value


_CONTEXT = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _decimal(context: decimal.Context) -> tuple[Any, ...]:
    traps = tuple(sorted(signal.__name__ for signal, on in context.traps.items() if on))
    flags = tuple(sorted(signal.__name__ for signal, on in context.flags.items() if on))
    return tuple(getattr(context, name) for name in _CONTEXT), traps, flags


def _set_decimal(value: tuple[Any, ...]) -> None:
    plain, traps, flags = value
    signals = {name: getattr(decimal, name) for name in (*traps, *flags)}
    parts: dict[str, Any] = dict(zip(_CONTEXT, plain, strict=True))
    made = decimal.Context(**parts, flags=[signals[n] for n in flags], traps=[signals[n] for n in traps])
    decimal.setcontext(made)


def _levels() -> dict[str, int]:
    found = {"": logging.root.level}
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and logger.level:
            found[name] = logger.level
    return found


def _set_levels(value: dict[str, int]) -> None:
    for name, level in value.items():
        logging.getLogger(name or None).setLevel(level)


def _set_numpy_random(value: tuple[Any, ...]) -> None:
    import numpy

    name, keys, *rest = value
    numpy.random.set_state((name, numpy.frombuffer(keys, dtype=numpy.uint32), *rest))


def _set_numpy_print(value: dict[str, Any]) -> None:
    import numpy

    numpy.set_printoptions(**value)


def _set_numpy_errors(value: dict[str, Any]) -> None:
    import numpy

    numpy.seterr(**value)


def _known(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in ("override_repr", "formatter")}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{prefix}{key}."))
        elif type(value) in _PLAIN:
            found[prefix + key] = value
    return found


_PLAIN = frozenset({int, float, str, bool, type(None)})


def _options(found: dict[str, Any]) -> dict[str, Any]:
    """A copy, that of its lists included; taken past the methods of its class."""
    copied = dict.copy(found)
    for key in [key for key, value in copied.items() if type(value) is list]:
        copied[key] = list(copied[key])
    return copied


def _set_pandas(value: dict[str, Any]) -> None:
    import pandas

    now = _flat(sys.modules["pandas._config.config"]._global_config)
    for key, option in value.items():
        if now.get(key) != option or key not in now:
            pandas.set_option(key, option)


def _set_matplotlib(value: dict[str, Any]) -> None:
    import matplotlib

    # As a plain mapping: the mapping's own methods check values, and resolve what has no backend yet.
    plain: Any = dict
    for key, setting in value.items():
        if plain.get(matplotlib.rcParams, key) != setting:
            plain.__setitem__(matplotlib.rcParams, key, setting)


_SETTERS: dict[str, Any] = {
    "cwd": os.chdir,
    "environment": _set_environment,
    "path": _set_path,
    "recursion": sys.setrecursionlimit,
    "random": random.setstate,
    "decimal": _set_decimal,
    "logging": _set_levels,
    "numpy.random": _set_numpy_random,
    "numpy.print": _set_numpy_print,
    "numpy.errors": _set_numpy_errors,
    "pandas": _set_pandas,
    "matplotlib": _set_matplotlib,
}
