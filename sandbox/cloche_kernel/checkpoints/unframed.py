"""
Pickles without frames. The C pickler cuts its output every 64 KiB from the beginning on, so that one byte more moves
all cuts behind it, and no piece is as it was.
"""

from __future__ import annotations

_PROTO, _FRAME = 0x80, 0x95
#: what stands outside of frames, being large: opcode → bytes of its length
_LARGE = {0x42: 4, 0x58: 4, 0x8D: 8, 0x8E: 8, 0x96: 8}


def unframed(pickled: bytes) -> bytes:
    """The same pickles, one after the other, without frames; as they are where they are not as the C pickler writes."""
    view = memoryview(pickled)
    parts: list[memoryview] = []
    at = 0
    while at < len(view):
        code = view[at]
        if code == _FRAME:
            size = int.from_bytes(view[at + 1 : at + 9], "little")
            at += 9
        elif code == _PROTO:
            size = 2
        elif code in _LARGE:
            digits = _LARGE[code]
            size = 1 + digits + int.from_bytes(view[at + 1 : at + 1 + digits], "little")
        else:
            return pickled
        parts.append(view[at : at + size])
        at += size
    return b"".join(parts) if at == len(view) else pickled
