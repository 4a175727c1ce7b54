"""How all pictures look: the one place that sets it.

A picture is drawn 1800 pixels wide, to be shown at half of that. The same figure gives the same
bytes.
"""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib import ticker
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

Float64 = NDArray[np.float64]
Look = dict[str, Any]

# Okabe and Ito's palette without its yellow, which is lost on white. With cycles of 7, 4 and 10,
# arms that share a colour differ in line and mark, and can be told apart in grey.
BLACK, ORANGE, SKY_BLUE, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
ARM_COLOURS = [BLUE, VERMILLION, GREEN, BLACK, ORANGE, PURPLE, SKY_BLUE]
ARM_LINES = ["-", "--", "-.", ":"]
ARM_MARKS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*"]

GREY, FAINT, SHADE = "#595959", "#A6D5F2", "#E9EDF2"
INCHES = 9.0
PUBLISHED: Look = {
    "linestyle": "none",
    "marker": "D",
    "color": GREY,
    "markerfacecolor": "none",
    "markersize": 5,
    "zorder": 4,
    "scalex": False,
    "scaley": False,
    "label": "published run",
}
"""The published run's figures; they never widen an axis."""
STYLE = {
    "figure.dpi": 200,
    "figure.constrained_layout.use": True,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.xmargin": 0.02,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
_settings = threading.RLock()  # Matplotlib's settings belong to the process, and tasks are threads


@contextmanager
def style() -> Iterator[None]:
    """Apply the pictures' style, whatever the user's own settings are; one thread at a time."""
    with _settings, matplotlib.style.context(STYLE, after_reset=True):
        yield


def png(draw: Callable[..., Figure], *content: Any, true_colours: bool = False) -> bytes:
    """Draw a figure in the style and return it as a PNG, of 128 colours unless they must be true.

    True colours take thrice the bytes.
    """
    with style():
        canvas: Any = FigureCanvasAgg(draw(*content))
        canvas.draw()  # once: `savefig` would lay it out first, and write a PNG to be read again
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    if not true_colours:
        picture = picture.quantize(128, Image.Quantize.MAXCOVERAGE)
    stored = io.BytesIO()
    picture.save(stored, "png")
    return stored.getvalue()


def ticks(axis: Axis, major: ticker.Locator, write: Callable[[float], str]) -> None:
    """Set an axis' ticks and how their numbers are written."""
    axis.set_major_locator(major)
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(ticker.FuncFormatter(lambda tick, _: write(tick)))


def quantile(values: Float64, share: float, default: float) -> float:
    """Return a quantile of the finite values, or `default` where there are none."""
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, share)) if len(finite) else default


def look(arm: int) -> Look:
    """Return the look of the n-th arm (from 0): colour, line and mark."""
    styles = {"color": ARM_COLOURS, "linestyle": ARM_LINES, "marker": ARM_MARKS}
    return {name: values[arm % len(values)] for name, values in styles.items()}
