"""From frames to pictures: PNG bytes. The only module that knows Matplotlib.

A picture is drawn 1800 pixels wide, to be shown at half of that. The same frame gives the same
bytes. Each picture is two functions: one returns the figure, the other turns it into a PNG.
"""

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from numpy.typing import NDArray
from PIL import Image

from cyclical.sweeps import DIVERGED

Float64 = NDArray[np.float64]
Look = dict[str, Any]
Named = tuple[str, tuple[float, float], Look]  # an arm, the end of its line, its look

# Okabe and Ito's palette without its yellow, which is lost on white. With cycles of 7, 4 and 10,
# arms that share a colour differ in line and mark, and can be told apart in grey.
BLACK, ORANGE, SKY_BLUE, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
ARM_COLOURS = [BLUE, VERMILLION, GREEN, BLACK, ORANGE, PURPLE, SKY_BLUE]
ARM_LINES = ["-", "--", "-.", ":"]
ARM_MARKS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*"]

GREY, FAINT, SHADE = "#595959", "#A6D5F2", "#E9EDF2"
INCHES = 9.0
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

SWEPT = {  # the base of the axis, its label, the names of the bounds
    "learning_rate": (10, "learning rate (log scale)", ("lr_min", "lr_max")),
    "batch_size": (2, "batch size (examples per update, log scale)", ("bmin", "bmax")),
}
LOSS_RANGE = 100  # times the median loss: what lies above must not flatten the rest
WINDOW = 0.02  # of all examples, in the moving averages


@contextmanager
def style() -> Iterator[None]:
    """Apply the pictures' style, whatever the user's own settings are; one thread at a time."""
    with _settings, matplotlib.style.context(STYLE, after_reset=True):
        yield


def samples(images: NDArray[np.uint8], titles: Sequence[str]) -> bytes:
    """Draw images side by side: the PNG of `samples_figure`."""
    return _png(samples_figure, images, titles)


def samples_figure(images: NDArray[np.uint8], titles: Sequence[str]) -> Figure:
    """Draw images (n, height, width, channels) in grey, side by side, each below its title."""
    figure = Figure(figsize=(INCHES, 0.3 + INCHES / max(3, len(images))))
    axes = figure.subplots(1, len(images), squeeze=False)[0]
    for axis, image, title in zip(axes, images, titles, strict=True):
        axis.imshow(image.mean(axis=-1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set(title=title, xticks=[], yticks=[], frame_on=False, anchor="S")
    return figure


def sweep(table: pd.DataFrame, value: str, bounds: tuple[float, float]) -> bytes:
    """Draw a sweep and the bounds that were read off it: the PNG of `sweep_figure`."""
    return _png(sweep_figure, table, value, bounds)


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
    base, label, _ = SWEPT[value]
    below.set_xscale("log", base=base)
    below.set_xlabel(label)
    shown = swept[:: 1 + len(swept) // 15].tolist()  # more labels would touch
    _ticks(below.xaxis, ticker.FixedLocator(shown), lambda tick: _number(tick, value))
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def training(iterations: pd.DataFrame, title: str) -> bytes:
    """Draw one training update by update: the PNG of `training_figure`."""
    return _png(training_figure, iterations, title)


def training_figure(iterations: pd.DataFrame, title: str) -> Figure:
    """Draw learning rate, batch size, loss and accuracy against the update, one below the other.

    Loss and accuracy are faint, under their `moving_average` over 2 % of the training's examples.

    Args:
        iterations: One row an update: iteration, learning_rate, batch_size, loss, accuracy.
        title: Stands above the picture.
    """
    columns = ["iteration", "learning_rate", "batch_size", "loss", "accuracy"]
    update, rates, examples, losses, accuracies = iterations[columns].to_numpy(dtype=float).T
    figure = Figure(figsize=(INCHES, 8.2))
    rate, size, loss, accuracy = figure.subplots(4, 1, sharex=True, height_ratios=[2, 2, 3, 3])
    rate.set_title(title, loc="left")
    rate.step(update, rates, where="post", color=BLACK)
    rate.set(ylim=(0, 1.1 * rates.max()), ylabel="learning rate")
    _ticks(rate.yaxis, ticker.MaxNLocator(4, steps=[1, 2, 5, 10]), "{:g}".format)
    _draw_batch_size(size, update, examples)
    average = _draw_noisy(loss, update, losses, examples)
    low, middle, high = (_quantile(average[average > 0], q, default=1.0) for q in (0, 0.5, 1))
    _loss_axis(loss, low / 3, 2 * min(high, LOSS_RANGE * middle), "loss")
    loss.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=2)
    average = _draw_noisy(accuracy, update, accuracies, examples)
    low = _quantile(np.append(accuracies, average), 0.005, default=0.0)
    accuracy.set(ylim=(max(0.0, low - 0.03), 1.01), ylabel="accuracy\n(share of the batch)")
    accuracy.set_xlabel("iteration (updates)")
    figure.align_ylabels()
    return figure


def comparison(histories: pd.DataFrame) -> bytes:
    """Draw all arms' validation accuracy: the PNG of `comparison_figure`."""
    return _png(comparison_figure, histories)


def comparison_figure(histories: pd.DataFrame) -> Figure:
    """Draw validation accuracy by epoch, one line an arm: the mean over its seeds.

    With several seeds, each has a faint line of its own. The arms are named at the right with
    their final mean. The lowest tenth of the figures may lie below the axis, final ones never.

    Args:
        histories: One row an arm, seed and epoch: arm, seed, epoch, val_accuracy.
    """
    figure = Figure(figsize=(INCHES, 5.6))
    axis = figure.subplots()
    named = [
        _draw_arm(axis, str(arm), history, _look(number))
        for number, (arm, history) in enumerate(histories.groupby("arm", sort=False))
    ]
    seeds = histories["seed"].nunique()
    mean = f", mean of {seeds} seeds" if seeds > 1 else ""
    axis.set(xlabel="epoch", ylabel=f"validation accuracy (share of the images{mean})")
    axis.set_ylim(_accuracy_limits(histories))
    _ticks(axis.xaxis, ticker.MaxNLocator(integer=True), "{:g}".format)
    _name_arms(axis, named)
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
    ends = np.append(0.0, np.cumsum(examples))
    left = ends[1:] - examples / 2 - window / 2
    amounts = np.where(finite, [values * examples, examples], 0.0)
    weighted, counted = (
        np.interp(left + window, ends, sums) - np.interp(left, ends, sums)
        for sums in np.pad(np.cumsum(amounts, axis=1), ((0, 0), (1, 0)))
    )
    average: Float64 = np.divide(weighted, counted, out=np.full_like(left, np.nan), where=finite)
    return average


def _png(draw: Callable[..., Figure], *content: Any) -> bytes:
    drawn, stored = io.BytesIO(), io.BytesIO()
    with style():
        draw(*content).savefig(drawn, format="png", metadata={"Software": None})
    palette = Image.open(drawn).convert("RGB").quantize(128)  # true colours take thrice the bytes
    palette.save(stored, "png", optimize=True)
    return stored.getvalue()


def _number(number: float, name: str) -> str:
    """Write a batch size as it is, anything else as a power of ten."""
    if name == "batch_size":
        return f"{number:.0f}"
    mantissa, exponent = f"{number:.1e}".split("e")
    factor = "" if float(mantissa) == 1 else rf"{float(mantissa):g}\times"
    return f"${factor}10^{{{int(exponent)}}}$"


def _ticks(axis: Axis, major: ticker.Locator, write: Callable[[float], str]) -> None:
    axis.set_major_locator(major)
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(ticker.FuncFormatter(lambda tick, _: write(tick)))


def _write(axis: Axes, text: str, x: float, points: int) -> Annotation:
    edge = axis.get_xaxis_transform()
    return axis.annotate(text, (x, 1), (0, points), edge, "offset points", ha="center")


def _draw_range(above: Axes, below: Axes, value: str, bounds: tuple[float, float]) -> None:
    for bound, name, side in zip(bounds, SWEPT[value][2], ["right", "left"], strict=True):
        _write(above, f"{name} = {_number(bound, value)}", bound, 4).set(ha=side)
    for axis in (above, below):
        axis.vlines(bounds, 0, 1, colors=GREY, linewidth=1, transform=axis.get_xaxis_transform())
        axis.axvspan(*bounds, color=SHADE, zorder=0)
        axis.margins(x=0.05)


def _draw_accuracies(
    axis: Axes, swept: Float64, trained: Float64, validated: Float64, diverged: NDArray[np.bool_]
) -> None:
    axis.plot(swept, trained, "-o", color=BLUE, markevery=~diverged, label="training")
    (line,) = axis.plot(swept, validated, "--s", color=GREEN, label="validation")
    line.set(linewidth=0.9, markersize=7, markerfacecolor="none")
    _cross(axis, swept[diverged], trained[diverged])
    axis.set(ylim=(0, 1.02), ylabel="accuracy, last epoch\n(share of the images)")


def _draw_losses(axis: Axes, swept: Float64, loss: Float64, diverged: NDArray[np.bool_]) -> None:
    most = LOSS_RANGE * _quantile(loss, 0.5, default=1.0)
    shown = loss[(loss > 0) & (loss <= most)]
    low, high = (shown.min() / 1.4, shown.max() * 1.8) if len(shown) else (0.1, 10.0)
    outside = ~(loss <= high)
    drawn = np.where(outside, high, np.maximum(loss, low))
    axis.plot(swept, loss, "-o", color=BLUE, markevery=~diverged & ~outside)
    axis.plot(swept, drawn, "^", color=BLUE, markevery=outside & ~diverged, clip_on=False)
    _cross(axis, swept[diverged], drawn[diverged])
    for x, number in zip(swept[outside], loss[outside], strict=True):
        _write(axis, _number(number, "loss") if np.isfinite(number) else str(number), x, -18)
    _loss_axis(axis, low, high, "training loss, last epoch")


def _loss_axis(axis: Axes, low: float, high: float, name: str) -> None:
    axis.set(ylim=(low, high), ylabel=f"{name}\n(cross-entropy, log scale)")
    axis.set_yscale("log")  # after the limits, which keep it from looking for positive losses
    _ticks(axis.yaxis, ticker.LogLocator(subs=(1, 2, 5)), "{:g}".format)


def _cross(axis: Axes, x: Float64, y: Float64) -> None:
    if len(x):
        (crosses,) = axis.plot(x, y, "x", color=VERMILLION, label="diverged", clip_on=False)
        crosses.set(markersize=8, markeredgewidth=2, zorder=3)


def _draw_batch_size(axis: Axes, update: Float64, examples: Float64) -> None:
    """Draw the sizes, but faintly where they dip: epochs end with a short batch or group."""
    before, after = np.append(examples[:1], examples[:-1]), np.append(examples[1:], np.inf)
    short = (examples < before) & (before <= after)
    axis.step(update, examples, where="post", color=FAINT, linewidth=1)
    axis.step(update, np.where(short, before, examples), where="post", color=BLACK)
    low, high = np.floor(np.log2(examples.min())), np.ceil(np.log2(examples.max()))
    axis.set_yscale("log", base=2)
    axis.set(ylim=(2 ** (low - 0.3), 2 ** (high + 0.3)), ylabel="batch size\n(examples, log scale)")
    powers = 2 ** np.arange(low, high + 1, (high - low) // 5 + 1)
    _ticks(axis.yaxis, ticker.FixedLocator(powers.tolist()), "{:.0f}".format)


def _draw_noisy(axis: Axes, update: Float64, values: Float64, examples: Float64) -> Float64:
    """Draw `values` faintly and their moving average, which is returned."""
    window = WINDOW * examples.sum()
    average = moving_average(values, examples, window)
    (noise,) = axis.plot(update, values, color=FAINT, label="each update")
    noise.set(linewidth=0.4, antialiased=False)  # a quarter fewer bytes
    axis.plot(update, average, color=BLUE, label=f"moving average over {window:,.0f} examples")
    return average


def _quantile(values: Float64, share: float, default: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, share)) if len(finite) else default


def _look(arm: int) -> Look:
    styles = {"color": ARM_COLOURS, "linestyle": ARM_LINES, "marker": ARM_MARKS}
    return {name: values[arm % len(values)] for name, values in styles.items()}


def _draw_arm(axis: Axes, arm: str, history: pd.DataFrame, look: Look) -> Named:
    """Draw the mean over the seeds, and each seed if there are more; return the mean's end."""
    by_seed = history.pivot(index="epoch", columns="seed", values="val_accuracy")
    epochs, accuracy = by_seed.index.to_numpy(), by_seed.to_numpy(dtype=float)
    if accuracy.shape[1] > 1:
        axis.plot(epochs, accuracy, color=look["color"], alpha=0.35, linewidth=0.6)
    every = (ARM_MARKS.index(look["marker"]) % 4, 4) if len(epochs) > 8 else 1
    axis.plot(epochs, accuracy.mean(axis=1), markevery=every, **look)
    return arm, (epochs[-1], accuracy[-1].mean()), look


def _accuracy_limits(histories: pd.DataFrame) -> tuple[float, float]:
    accuracy = histories["val_accuracy"].to_numpy(dtype=float)
    finals = histories.groupby(["arm", "seed"])["val_accuracy"].last().to_numpy(dtype=float)
    low = min(_quantile(accuracy, 0.1, default=0.0), _quantile(finals, 0, default=0.0))
    high = _quantile(accuracy, 1, default=1.0)
    pad = max(0.06 * (high - low), 0.002)
    return max(0.0, low - pad), min(1.0, high + pad)


def _name_arms(axis: Axes, named: Sequence[Named]) -> None:
    """Name each arm at the right, as near to its end as the others allow, with a sample line."""
    low, high = axis.get_ylim()
    heights = (np.nan_to_num([end[1] for _, end, _ in named], nan=low) - low) / (high - low)
    order = np.argsort(heights, kind="stable")
    steps = min(0.055, 1 / len(named)) * np.arange(len(named))
    free = heights[order] - steps
    pushed = np.maximum.accumulate(free) + np.minimum.accumulate(free[::-1])[::-1]
    places = (pushed / 2).clip(0, 1 - steps[-1]) + steps
    leader = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    sample: Look = {"transform": axis.transAxes, "clip_on": False, "markevery": [1]}
    for row, y in zip(order, places, strict=True):
        arm, end, look = named[row]
        final = f"{end[1]:.4f}" if np.isfinite(end[1]) else "not finite"
        axis.annotate("", end, (1.03, y), "data", "axes fraction", leader)
        axis.plot([1.03, 1.06, 1.09], [y] * 3, **look, **sample)
        axis.text(1.1, y, f"{final}  {arm}", va="center", transform=axis.transAxes)
