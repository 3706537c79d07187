"""
What a Cloche session can ask of its host. Each function is also a builtin, so it needs no import.

    publish(path, name=None)     copy a file out of the sandbox, into ./cloche-out/ of the user's project

The sandbox has no network and sees no file of the host but what the `load` tool brought to /data (read-only).
Write files to /workspace (kept with the session) or /scratch (large temporary files). Every function has an async
twin whose name ends in `_async`.
"""

from cloche._publish import Published, publish, publish_async

__all__ = ["Published", "publish", "publish_async"]


def install() -> None:
    """Makes the functions builtins: they survive a reset, and a user's own variable of that name wins."""
    import builtins

    for name in __all__:
        if name[0].islower():
            setattr(builtins, name, globals()[name])
