"""Framing on the Python side: the golden frames, any split, and no trust in what a peer says."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from cloche_kernel.frames import FrameError, FrameReader, encode
from cloche_kernel.messages import MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "frames.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_a_golden_frame_is_written_and_read_back_byte_for_byte(case: dict[str, object]) -> None:
    header, payload = case["header"], bytes.fromhex(str(case["payload"]))
    frame = encode(header, payload)  # type: ignore[arg-type]
    assert frame.hex() == case["frame"]
    assert list(FrameReader().push(frame)) == [(header, payload, frame)]


def test_a_stream_split_anywhere_gives_the_same_frames() -> None:
    stream = b"".join(bytes.fromhex(case["frame"]) for case in GOLDEN)
    whole = list(FrameReader().push(stream))
    for seed in range(200):
        choose, reader, frames, at = random.Random(seed), FrameReader(), [], 0
        while at < len(stream):
            end = at + choose.randint(1, 40)
            frames += list(reader.push(stream[at:end]))
            at = end
        assert frames == whole, f"seed {seed}"
        assert reader.pending == 0


@pytest.mark.parametrize(
    "lengths",
    [(0, 0), (1, 0), (MAX_HEADER_BYTES + 1, 0), (2, MAX_PAYLOAD_BYTES + 1), (2**32 - 1, 2**32 - 1)],
)
def test_a_length_that_cannot_be_is_refused_on_the_prefix_alone(lengths: tuple[int, int]) -> None:
    prefix = b"".join(length.to_bytes(4, "big") for length in lengths)
    with pytest.raises(FrameError):
        list(FrameReader().push(prefix))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "{no}",
        "[" * 16_000,
        '{"type":1}',
        '{"type":"ping","id":[1]}',
        '{"type":"ping","id":NaN}',
        '{"type":[1],"type":"ping"}',
    ],
)
def test_a_header_that_is_no_message_is_refused(text: str) -> None:
    frame = len(text).to_bytes(4, "big") + bytes(4) + text.encode()
    with pytest.raises(FrameError):
        list(FrameReader().push(frame))


def test_what_is_sent_is_bounded_too() -> None:
    with pytest.raises(FrameError):
        encode({"type": "output"}, bytes(MAX_PAYLOAD_BYTES + 1))
