"""The inside half of the `load` tool: staged files become one value and a profile of it.

`load(request, memory)` returns a `Loaded` or raises a `LoadError`; nothing else escapes but an interrupt.
"""

from __future__ import annotations

from cloche_kernel.loading import engine, several, wording
from cloche_kernel.loading.contract import (
    Allowance,
    Loaded,
    LoadError,
    LoadRequest,
    Memory,
    Session,
    Source,
    Value,
)
from cloche_kernel.loading.scratch import Scratch

__all__ = ["LoadError", "LoadRequest", "Loaded", "Memory", "Source", "load"]


def load(request: LoadRequest, memory: Memory) -> Loaded:
    """The value of the request's sources and the profile that is the load's answer."""
    scratch = Scratch(memory)
    try:
        allowance = Allowance(bytes=max(scratch.room(), 1), members=several.MAX_FILES)
        session = Session(memory, scratch, allowance, format=request.get("format"))
        value = several.load(request, session)
        return Loaded(value.value, _profile(request, value))
    except (LoadError, KeyboardInterrupt):
        raise
    except Exception as error:
        if engine.was_interrupted(error):
            raise KeyboardInterrupt from None
        raise LoadError(
            f"The files could not be loaded: {wording.reason(error)}.", "Load them one by one to see which it is."
        ) from error
    finally:
        scratch.close()


def _profile(request: LoadRequest, value: Value) -> str:
    sources = request["sources"]
    size = wording.size(sum(source["size"] for source in sources))
    if request["directory"]:
        origin = f"a directory of {wording.plural(len(sources), 'file')}"
    elif len(sources) == 1:
        origin = f"{wording.clip(sources[0]['label'], 200)} ({sources[0]['path']})"
    else:
        origin = wording.plural(len(sources), "file")
    lines = [f"{request['name']}: {value.summary}", f"from {origin}, {', '.join([size, *value.facts])}"]
    lines += [f"note: {note}" for note in value.notes]
    return wording.cap([*lines, *value.details])
