"""What leaves as an image is one that a client can show."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cloche_kernel import images
from cloche_kernel.messages import MAX_DISPLAY_BYTES


def png(width: int, height: int, *, noise: bool = False) -> bytes:
    out = io.BytesIO()
    size = (height, width, 4)
    data = np.random.default_rng(1).integers(0, 255, size, dtype=np.uint8) if noise else np.zeros(size, dtype=np.uint8)
    Image.fromarray(data).save(out, "PNG", compress_level=0)
    return out.getvalue()


@pytest.mark.parametrize(
    "data", [b"", b"not a png", b"\x89PNG\r\n\x1a\n" + b"x" * 100, png(90, 90)[:500], "not64!!", 7, None]
)
def test_bytes_that_are_no_image_are_refused_by_name(data: Any) -> None:
    with pytest.raises(images.NotAnImage):
        images.fit(data)


def test_an_image_that_fits_passes_as_it_is() -> None:
    data = png(30, 20)
    assert images.fit(data) == (data, "image/png")
    assert images.fit(base64.b64encode(data).decode())[0] == data


def test_large_images_are_made_to_fit_in_pixels_and_in_bytes() -> None:
    with Image.open(io.BytesIO(images.fit(png(4_000, 10))[0])) as smaller:
        assert smaller.size == (2_000, 5)
    padded = png(2_000, 1_000, noise=True) + b"x" * MAX_DISPLAY_BYTES
    assert len(images.fit(padded)[0]) <= MAX_DISPLAY_BYTES


def test_a_pillow_image_is_made_smaller_before_it_is_encoded() -> None:
    assert images.shrink(Image.new("RGB", (9_000, 3))).size == (2_000, 1)
    small = Image.new("P", (10, 10))
    assert images.shrink(small) is small
    assert images.shrink("text") == "text"
