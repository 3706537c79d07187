"""Reads hex streams, one a line, with the sandbox's own reader, and says what it makes of each: JSON, one a line."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "sandbox"))

from cloche_kernel.frames import FrameError, FrameReader
from cloche_kernel.messages import MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES


def read(chunks: list[bytes]) -> tuple[list[str], bool, int]:
    """(frames in hex, was the rest refused?, bytes of an unfinished frame)"""
    reader = FrameReader()
    frames: list[str] = []
    try:
        for chunk in chunks:
            for _, _, frame in reader.push(chunk):
                frames.append(frame.hex())
            assert reader.pending <= 8 + MAX_HEADER_BYTES + MAX_PAYLOAD_BYTES
    except FrameError:
        return frames, True, 0
    return frames, False, reader.pending


def split(stream: bytes, choose: random.Random) -> list[bytes]:
    """The same bytes in chunks of any sizes."""
    most, chunks, at = choose.choice([1, 3, 20, 500, 65_536]), [], 0
    while at < len(stream):
        end = at + choose.randint(1, most)
        chunks.append(stream[at:end])
        at = end
    return chunks


def main() -> None:
    for number, line in enumerate(sys.stdin):
        stream = bytes.fromhex(line)
        whole = read([stream])
        assert read(split(stream, random.Random(number))) == whole, f"line {number} depends on its chunks"
        print(json.dumps({"frames": whole[0], "refused": whole[1], "pending": whole[2]}))


if __name__ == "__main__":
    main()
