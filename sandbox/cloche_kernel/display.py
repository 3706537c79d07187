"""
How a value is shown. The rule, in order:

1. PNG and JPEG (figures, Pillow images) become images; five a cell, at most 2,000 px, more are counted.
2. Markdown and LaTeX are shown as their source, JSON as indented JSON.
3. Anything with a readable plain text (tables included) is shown as that text.
4. HTML without one is shown as its text content; SVG as a line that says how large it is.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Bound here, so that a cell that replaces `os.write` does not replace ours.
from os import write as _write
from typing import TYPE_CHECKING, Any

from cloche_kernel import images
from cloche_kernel.frames import encode

if TYPE_CHECKING:
    from cloche_kernel.line import Line
    from cloche_kernel.shell import Shell

MAX_IMAGES = 5
#: characters of one shown value; the rest is reached by code, not by looking
MAX_TEXT = 400_000
_MAX_JSON = 20_000
#: bytes of a result that go out with the cell's end
_MOST_HELD = 65_536

_PLAIN_TYPES = frozenset({int, float, str, bool, complex, bytes, list, tuple, dict, set, frozenset, type})
_PLAIN_MODULES = ("pandas", "numpy", "polars", "pyarrow", "duckdb", "builtins", "datetime", "decimal", "collections")
_BARE_REPR = re.compile(r"^<[\w.]+( object)?( at 0x[0-9a-f]+)?>$")


class Display:
    """Shows values of the running cell: text goes to the cell's output, images go out as display frames."""

    def __init__(self, shell: Shell, line: Line) -> None:
        self._shell = shell
        self._line = line
        self._cell = ""
        self._sent = 0
        self._left_out = 0
        #: the cell's result: its end mostly follows at once, and takes it along
        self._held = b""
        self._ids = itertools.count(1)
        # An image and the end of its cell are each one piece: a thread may show while the cell ends.
        self._sending = threading.Lock()

    def begin(self, cell: str) -> None:
        self._cell = cell
        self._held = b""
        self._sent = self._left_out = 0

    @contextmanager
    def ending(self) -> Iterator[tuple[int, bytes]]:
        """
        Within it, the cell's end is sent. Yields how many images were left out, and the frame of a result that goes out
        with it; none is sent afterwards.
        """
        with self._sending:
            flush_streams()
            held, self._held = self._held, b""
            result = encode({"type": "result", "id": self._cell}, held) if held else b""
            self._cell = ""
            yield self._left_out, result

    def show(self, value: object, *, last: bool = False) -> None:
        """Shows one value by the rule above; the `last` one, a cell's result, may wait for the cell's end."""
        if _is_plain(value):
            text = self._plain(value)
            if not _BARE_REPR.match(text):
                self.text(text, last)
                return
        if _is_figure(value):
            from cloche_kernel import figures

            figures.show(value)
            return
        self.publish(self._format(images.shrink(value), None), last=last)

    def publish(self, bundle: dict[str, Any], *, last: bool = False) -> None:
        """Shows a MIME bundle by the rule above."""
        for mime in ("image/png", "image/jpeg"):
            if mime in bundle:
                self._show_image(bundle[mime])
                return
        text = _choose_text(bundle)
        if text is not None:
            self.text(text, last)

    def text(self, text: str, last: bool = False) -> None:
        """Writes a shown value into the cell's output, in its place."""
        if len(text) > MAX_TEXT:
            text = f"{text[: MAX_TEXT // 2]}\n… {len(text) - MAX_TEXT} characters left out …\n{text[-MAX_TEXT // 2 :]}"
        data = (text + "\n").encode("utf-8", "backslashreplace")
        self._release()
        if last and len(data) <= _MOST_HELD:
            self._held = data
        else:
            flush_streams()
            _write_all(data)

    def _release(self) -> None:
        """What was held back as the last shown value was not the last."""
        held, self._held = self._held, b""
        if held:
            flush_streams()
            _write_all(held)

    def image(self, data: bytes, mime: str) -> None:
        """Sends an image that fits, and waits until it has its place in the output."""
        if self._sent >= MAX_IMAGES or not self._line.open:
            self._left_out += 1
            return
        self._release()
        flush_streams()
        key = f"d{next(self._ids)}"
        with self._line.expecting("ack", key):
            with self._line.uninterrupted(), self._sending:
                if not self._cell:
                    self.text("[an image shown between two cells is left out]")
                    return
                self._sent += 1
                self._line.send({"type": "display", "id": self._cell, "display": key, "mime": mime, "body": True})
                self._line.send_body(key, data)
            self._line.wait("ack", key)

    def _show_image(self, data: Any) -> None:
        if self._sent >= MAX_IMAGES:
            self._left_out += 1
            return
        try:
            content, mime = images.fit(data)
        except images.NotAnImage as error:
            self.text(f"[an image was announced, but what came are {error}]")
            return
        self.image(content, mime)

    def _plain(self, value: object) -> str:
        if type(value) in _PLAIN_TYPES and not self._is_shown_otherwise():
            # It has no method of its own that shows it, which IPython would look for format by format.
            text = self._shell.display_formatter.formatters["text/plain"](value)  # type: ignore[union-attr]
            return "" if text is None else str(text)
        return str(self._format(value, {"text/plain"}).get("text/plain", ""))

    def _is_shown_otherwise(self) -> bool:
        """Whether a cell taught IPython to show values of some type as something else than text."""
        formatter = self._shell.display_formatter
        assert formatter is not None
        return bool(formatter.mimebundle_formatter.type_printers or formatter.ipython_display_formatter.type_printers)

    def _format(self, value: object, include: set[str] | None) -> dict[str, Any]:
        formatter = self._shell.display_formatter
        assert formatter is not None
        bundle: dict[str, Any] = formatter.format(value, include=include)[0]  # type: ignore[no-untyped-call]
        return bundle


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[_write(1, view) :]


def flush_streams() -> None:
    """Puts everything written so far into the pipe: Python's streams, and libc's for C code."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()  # type: ignore[union-attr]
        except BaseException:
            pass
    _fflush()


def _fflush() -> None:
    global _libc
    if _libc is None:
        import ctypes

        _libc = ctypes.CDLL(None)
    _libc.fflush(None)


_libc: Any = None


def _is_plain(value: object) -> bool:
    kind = type(value)
    if kind in _PLAIN_TYPES:
        return True
    return kind.__module__.partition(".")[0] in _PLAIN_MODULES and not hasattr(kind, "_repr_mimebundle_")


def _is_figure(value: object) -> bool:
    figure = sys.modules.get("matplotlib.figure")
    return figure is not None and isinstance(value, figure.Figure)


def _choose_text(bundle: dict[str, Any]) -> str | None:
    for mime in ("text/markdown", "text/latex"):
        if mime in bundle:
            return str(bundle[mime])
    if "application/json" in bundle:
        text = json.dumps(bundle["application/json"], indent=2, ensure_ascii=False, default=str)
        left_out = len(text) - _MAX_JSON
        return text if left_out <= 0 else f"{text[:_MAX_JSON]}\n… {left_out} characters left out …"
    plain = bundle.get("text/plain")
    if plain is not None and not _BARE_REPR.match(str(plain)):
        return str(plain)
    if "text/html" in bundle:
        return _html_text(str(bundle["text/html"]))
    if "image/svg+xml" in bundle:
        size = len(str(bundle["image/svg+xml"]))
        return f"[SVG image of {size:,} characters, not shown; write it to a file and publish it, or draw a PNG]"
    return str(plain) if plain is not None else None


def _html_text(source: str) -> str:
    from lxml import html

    try:
        root = html.fromstring(source)
    except Exception:
        return source
    for block in root.iter("script", "style"):
        block.text = ""
    for block in root.iter("br", "p", "div", "tr", "li", "h1", "h2", "h3", "h4", "table"):
        block.text = "\n" + (block.text or "")
        block.tail = "\n" + (block.tail or "")
    for cell in root.iter("td", "th"):
        cell.tail = "\t" + (cell.tail or "")
    lines = (line.strip() for line in root.text_content().splitlines())
    return "\n".join(line for line in lines if line)
