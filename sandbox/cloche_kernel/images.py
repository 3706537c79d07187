"""Images on their way out: real ones only, small enough for a client, whatever they were when they came."""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

from cloche_kernel.messages import MAX_DISPLAY_BYTES

MAX_PIXELS = 2_000
_MIMES = {"PNG": "image/png", "JPEG": "image/jpeg"}


class NotAnImage(Exception):
    """Bytes that a client could not show; the text says what is wrong with them."""


def fit(data: Any) -> tuple[bytes, str]:
    """
    (bytes, MIME type) of a PNG or JPEG of at most MAX_PIXELS either way.

    `data` is bytes, or text in base64 as notebooks have it. Raises NotAnImage where it cannot be decoded: a client
    that is handed such bytes may refuse the whole answer.
    """
    from PIL import Image

    content = _bytes(data)
    allowed, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(io.BytesIO(content)) as image:
            mime = _MIMES.get(image.format or "")
            if max(image.size) > MAX_PIXELS:
                image.thumbnail((MAX_PIXELS, MAX_PIXELS))
                return _encode(image)
            image.load()
            return (content, mime) if mime and len(content) <= MAX_DISPLAY_BYTES else _encode(image)
    except Exception as error:
        raise NotAnImage(f"{len(content):,} bytes that are no image ({error})") from error
    finally:
        Image.MAX_IMAGE_PIXELS = allowed


def shrink(value: Any) -> Any:
    """A Pillow image within MAX_PIXELS, made smaller before anybody encodes it; anything else as it is."""
    pillow = sys.modules.get("PIL.Image")
    if pillow is None or not issubclass(type(value), pillow.Image) or max(value.size) <= MAX_PIXELS:
        return value
    scale = MAX_PIXELS / max(value.size)
    return value.resize([max(1, round(side * scale)) for side in value.size], reducing_gap=2.0)


def _bytes(data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=False) if isinstance(data, str) else bytes(memoryview(data))
    except (ValueError, TypeError) as error:
        raise NotAnImage(f"a {type(data).__name__} that holds no image ({error})") from error


def _encode(image: Any) -> tuple[bytes, str]:
    for kind in _MIMES:
        out = io.BytesIO()
        (image if kind == "PNG" else image.convert("RGB")).save(out, kind)
        if out.tell() <= MAX_DISPLAY_BYTES:
            return out.getvalue(), _MIMES[kind]
    raise NotAnImage("an image that stays too large")
