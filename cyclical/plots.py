"""From frames to pictures: PNG bytes. The only module that knows Matplotlib.

A picture is drawn 1800 pixels wide, to be shown at half of that. The same frame gives the same
bytes. Each picture is two functions: one returns the figure, the other turns it into a PNG.
"""

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from cyclical.sweeps import DIVERGED

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

# Okabe and Ito's palette without its yellow, which is lost on white. With cycles of 7, 4 and 10,
# arms that share a colour differ in line and mark, and can be told apart in grey.
BLACK, ORANGE, SKY_BLUE, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
ARM_COLOURS = [BLUE, VERMILLION, GREEN, BLACK, ORANGE, PURPLE, SKY_BLUE]
ARM_LINES = ["-", "--", "-.", ":"]
ARM_MARKS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*"]

INCHES = 9.0
GREY = "#595959"
STYLE = {
    "figure.dpi": 200,
    "figure.constrained_layout.use": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.markersize": 5,
}
_settings = threading.Lock()  # Matplotlib's settings belong to the process, and tasks are threads

# For each swept value: the base of its axis, the axis label, the names of the bounds.
SWEPT = {
    "learning_rate": (10, "learning rate (log scale)", ("lr_min", "lr_max")),
    "batch_size": (2, "batch size (examples per update, log scale)", ("bmin", "bmax")),
}
MOST_TICKS = 14
LOSS_RANGE = 100  # times the median loss: what lies above must not flatten the rest
WINDOW = 0.02  # of all examples, in the moving averages
STRETCHES = 900


@contextmanager
def style() -> Iterator[None]:
    """Apply the pictures' style, whatever the user's own settings are; one thread at a time."""
    with _settings, matplotlib.style.context(STYLE, after_reset=True):
        yield


def samples(images: NDArray[np.uint8], titles: Sequence[str]) -> bytes:
    """Draw images side by side: the PNG of `samples_figure`."""
    with style():
        return _png(samples_figure(images, titles))


def samples_figure(images: NDArray[np.uint8], titles: Sequence[str]) -> Figure:
    """Draw images (n, height, width, channels) in grey, side by side, each below its title."""
    figure = Figure(figsize=(INCHES, 0.4 + INCHES / max(3, len(images))))
    axes = figure.subplots(1, len(images), squeeze=False)[0]
    for axis, image, title in zip(axes, images, titles, strict=True):
        axis.imshow(image.mean(axis=-1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(title, loc="center")
        axis.set_axis_off()
    return figure


def sweep(table: pd.DataFrame, value: str, bounds: tuple[float, float]) -> bytes:
    """Draw a sweep and the bounds that were read off it: the PNG of `sweep_figure`."""
    with style():
        return _png(sweep_figure(table, value, bounds))


def sweep_figure(table: pd.DataFrame, value: str, bounds: tuple[float, float]) -> Figure:
    """Draw accuracy (above) and training loss (below) against the swept value on a log axis.

    Diverged points are crosses. A loss that is not finite, or over 100 times the median, stands at
    the upper edge with its value.

    Args:
        table: One row a swept value: `value`, train_loss, train_accuracy, val_accuracy, status.
        value: The swept column, `learning_rate` or `batch_size`.
        bounds: The lower and the upper bound; the range between them is shaded.
    """
    points = table.sort_values(value)
    diverged = (points["status"] == DIVERGED).to_numpy(dtype=bool)
    columns = [value, "train_accuracy", "val_accuracy", "train_loss"]
    swept, trained, validated, loss = points[columns].to_numpy(dtype=float).T
    figure = Figure(figsize=(INCHES, 6.2))
    above, below = figure.subplots(2, 1, sharex=True)
    _draw_range(above, below, value, bounds)
    _draw_accuracies(above, swept, trained, validated, diverged)
    _draw_losses(below, swept, loss, diverged)
    _swept_axis(below, swept, value)
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.align_ylabels()
    return figure


def training(iterations: pd.DataFrame, title: str) -> bytes:
    """Draw one training update by update: the PNG of `training_figure`."""
    with style():
        return _png(training_figure(iterations, title))


def training_figure(iterations: pd.DataFrame, title: str) -> Figure:
    """Draw learning rate, batch size, loss and accuracy against the update, one below the other.

    Loss and accuracy are faint, under their `moving_average` over 2 % of the training's examples.
    A long training is thinned to the extremes of 900 stretches.

    Args:
        iterations: One row an update: iteration, learning_rate, batch_size, loss, accuracy.
        title: Stands above the picture.
    """
    columns = ["iteration", "learning_rate", "batch_size", "loss", "accuracy"]
    update, rates, examples, losses, accuracies = iterations[columns].to_numpy(dtype=float).T
    figure = Figure(figsize=(INCHES, 8.2))
    rate, size, loss, accuracy = figure.subplots(4, 1, sharex=True, height_ratios=[2, 2, 3, 3])
    rate.set_title(title)
    _draw_rate(rate, update, rates)
    _draw_batch_size(size, update, examples)
    _loss_axis(loss, losses, _draw_noisy(loss, update, losses, examples))
    loss.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=2)
    average = _draw_noisy(accuracy, update, accuracies, examples)
    low = _quantile(np.append(accuracies, average), 0.005, default=0.0)
    accuracy.set(ylim=(max(0.0, low - 0.03), 1.01), ylabel="accuracy\n(share of the batch)")
    accuracy.set_xlabel("iteration (updates)")
    figure.align_ylabels()
    return figure


def comparison(histories: pd.DataFrame) -> bytes:
    """Draw all arms' validation accuracy: the PNG of `comparison_figure`."""
    with style():
        return _png(comparison_figure(histories))


def comparison_figure(histories: pd.DataFrame) -> Figure:
    """Draw validation accuracy by epoch, one line an arm: the mean over its seeds.

    With several seeds, each has a faint line of its own. The arms are named at the right with
    their final mean. The lowest tenth of the figures may lie below the axis, final ones never.

    Args:
        histories: One row an arm, seed and epoch: arm, seed, epoch, val_accuracy.
    """
    figure = Figure(figsize=(INCHES, 5.6))
    axis = figure.subplots()
    looks = zip(cycle(ARM_COLOURS), cycle(ARM_LINES), cycle(ARM_MARKS), strict=False)
    lines = [
        _draw_arm(axis, str(arm), history, look)
        for (arm, history), look in zip(histories.groupby("arm", sort=False), looks, strict=False)
    ]
    seeds = histories["seed"].nunique()
    mean = f", mean of {seeds} seeds" if seeds > 1 else ""
    axis.set(xlabel="epoch", ylabel=f"validation accuracy (share of the images{mean})")
    axis.set_ylim(_accuracy_limits(histories))
    axis.margins(x=0.02)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _name_arms(axis, lines)
    return figure


def moving_average(values: Float64, examples: Float64, window: float) -> Float64:
    """Average `values` over the `window` examples around the middle of each batch.

    A value stands for every example of its batch: a batch counts by its size, one that the window
    cuts by the part inside. Both ends of the training cut the window. Values that are not finite
    are left out, and become NaN.

    >>> moving_average(np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 2.0]), window=4).round(2)
    array([1.33, 2.75, 4.67])
    """
    finite = np.isfinite(values)
    ends = np.concatenate([[0.0], np.cumsum(examples)])
    middles = (ends[:-1] + ends[1:]) / 2

    def inside(amounts: Float64) -> Float64:
        sums = np.concatenate([[0.0], np.cumsum(np.where(finite, amounts, 0.0))])
        upper, lower = (np.interp(middles + side * window / 2, ends, sums) for side in (1, -1))
        return np.asarray(upper - lower, dtype=np.float64)

    weighted = inside(np.where(finite, values, 0.0) * examples)
    return np.divide(weighted, inside(examples), out=np.full(len(values), np.nan), where=finite)


def spread(heights: Float64, gap: float) -> Float64:
    """Move heights in [0, 1] as little as possible until they lie at least `gap` apart.

    The least squares of the moves come from pooling neighbours that stand in each other's way.

    >>> spread(np.array([0.5, 0.9, 0.5]), gap=0.1).round(2)
    array([0.45, 0.9 , 0.55])
    """
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    pools: list[list[float]] = []
    for height in heights[order] - steps:
        pools.append([height])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    settled = np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])
    moved = np.empty(len(heights))
    moved[order] = settled.clip(0, max(0.0, 1 - steps[-1])) + steps
    return moved


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _number(number: float, value: str) -> str:
    if value == "batch_size":
        return f"{number:.0f}"
    mantissa, exponent = f"{number:.1e}".split("e")
    factor = "" if float(mantissa) == 1 else rf"{float(mantissa):g}\times"
    return f"${factor}10^{{{int(exponent)}}}$"


def _ticks(axis: Axis, ticks: Float64 | None...
