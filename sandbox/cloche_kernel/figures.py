"""The matplotlib backend: figures become images where they are shown, and what is left at a cell's end then."""

from __future__ import annotations

import io
import struct
import sys
from typing import TYPE_CHECKING, Any

from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cloche_kernel import images

if TYPE_CHECKING:
    from cloche_kernel.display import Display

FigureCanvas = FigureCanvasAgg
FigureManager = FigureManagerBase

_MAX_PIXELS = 2_000
_display: Display | None = None


def connect(display: Display) -> None:
    """Figures of this process go to `display` from now on."""
    global _display
    _display = display


def show(*args: Any, **_: Any) -> None:
    """Shows the given figure, or every open one, and closes it: `plt.show()` and a cell's end come here."""
    import matplotlib.pyplot as plt

    if args and hasattr(args[0], "savefig"):
        figures = [args[0]]
    else:
        figures = [manager.canvas.figure for manager in Gcf.get_all_fig_managers()]
    failure: Exception | None = None
    for figure in figures:
        try:
            if _display is not None and _has_content(figure):
                _display.image(render(figure), "image/png")
        except Exception as error:
            failure = failure or error
        finally:
            # One that cannot be drawn is closed as well, or every later cell would fail with it.
            plt.close(figure)
    if failure is not None:
        raise failure


def render(figure: Any) -> bytes:
    """PNG of a figure with nothing cut off, at most 2,000 px either way."""
    width, height = figure.get_size_inches()
    dpi = min(figure.dpi, _MAX_PIXELS / max(width, height, 0.1))
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, bbox_inches="tight")
    data = out.getvalue()
    # What sticks out of the figure makes it larger than it said: width and height of a PNG stand in its first chunk.
    return data if max(struct.unpack_from(">II", data, 16)) <= _MAX_PIXELS else images.fit(data)[0]


def _has_content(figure: Any) -> bool:
    return bool(figure.axes or figure.texts or figure.images or figure.lines or figure.patches or figure.subfigs)


def flush() -> Exception | None:
    """Shows what the cell drew and did not show; what went wrong with it, or None."""
    if "matplotlib.pyplot" in sys.modules and Gcf.get_all_fig_managers():
        try:
            show()
        except Exception as error:
            return error
    return None
