"""From a sweep or a training to its picture: PNG bytes, in the style of `cyclical.style`.

Each picture is two functions: one returns the figure, the other turns it into a PNG.
"""

import gc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from numpy.typing import NDArray

from cyclical.style import (
    BLACK,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INCHES,
    PUBLISHED,
    SHADE,
    VERMILLION,
    Float64,
    png,
    quantile,
    ticks,
)
from cyclical.sweeps import DIVERGED, NOT_LEARNED

Rows = Sequence[Mapping[str, Any]]

SWEPT = {  # the base of the axis, its label, the names of the bounds
    "learning_rate": (10, "learning rate (log scale)", ("lr_min", "lr_max")),
    "batch_size": (2, "batch size (examples per update, log scale)", ("bmin", "bmax")),
}
LOSS_RANGE = 100  # times the median loss: what lies above must not flatten the rest
MANY = 10_000  # updates
WINDOW = 0.02  # of all examples, in the moving averages
LABEL_SHARE = 0.06  # of the width of a log axis, which a label takes


def samples(images: NDArray[Any], titles: Sequence[str]) -> bytes:
    """Draw images side by side: the PNG of `samples_figure`."""
    return png(samples_figure, images, titles, true_colours=True)


def samples_figure(images: NDArray[Any], titles: Sequence[str]) -> Figure:
    """Draw images (n, height, width, channels) side by side, each below its title.

    Those of one channel are grey; floats are stretched from the least to the greatest.
    """
    seen = images if images.dtype == np.uint8 else _stretched(images)
    figure = Figure(figsize=(INCHES, 0.3 + INCHES / max(3, len(images))))
    axes = figure.subplots(1, len(images), squeeze=False)[0]
    for axis, image, title in zip(axes, seen, titles, strict=True):
        shown = image if image.shape[-1] == 3 else image[..., 0]
        axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set(title=title, xticks=[], yticks=[], frame_on=False, anchor="S")
    return figure


def _stretched(images: NDArray[Any]) -> NDArray[np.uint8]:
    least, most = float(images.min()), float(images.max())
    shares = (images - least) / max(most - least, 1e-9)
    stretched: NDArray[np.uint8] = np.round(255 * shares).astype(np.uint8)
    return stretched


def sweep(
    table: pd.DataFrame,
    value: str,
    bounds: tuple[float, float],
    published: Rows = (),
    noise_scale: float | None = None,
) -> bytes:
    """Draw a sweep and the bounds that were read off it: the PNG of `sweep_figure`."""
    return png(sweep_figure, table, value, bounds, published, noise_scale)


def sweep_figure(
    table: pd.DataFrame,
    value: str,
    bounds: tuple[float, float],
    published: Rows = (),
    noise_scale: float | None = None,
) -> Figure:
    """Draw accuracy (above) and training loss (below) against the swept value on a log axis.

    Points that did not learn are hollow, diverged ones crosses. A loss that is not finite, or over
    100 times the median, stands at the upper edge with its value. Of several seeds, bands show the
    95 % intervals of their means.

    Args:
        table: One row a swept value: `value`, seeds (how many), train_loss, train_accuracy,
            val_accuracy, each with the ends _low and _high of its interval, status.
        value: The swept column, `learning_rate` or `batch_size`.
        bounds: The lower and the upper bound; the range between them is shaded.
        published: The published run's rows of `value`, train_loss and train_accuracy.
        noise_scale: The gradient noise scale in examples, where it was measured.
    """
    points = table.sort_values(value)
    status = points["status"].to_numpy()
    columns = [value, "train_accuracy", "val_accuracy", "train_loss"]
    swept, trained, validated, loss = points[columns].to_numpy(dtype=float).T
    figure = Figure(figsize=(INCHES, 6.4))
    above, below = figure.subplots(2, 1, sharex=True)
    beside = [row for row in published if row[value] in swept]
    draw_range(above, below, value, bounds)
    _draw_accuracies(above, swept, trained, validated, status)
    seeds = points["seeds"].max()
    if seeds > 1:
        _draw_bands(above, below, points, value)
    mean = f"mean of {seeds} seeds" if seeds > 1 else "share of the images"
    above.set_ylabel(f"accuracy, last epoch\n({mean})")
    _draw_losses(below, swept, loss, status, [row["train_loss"] for row in beside])
    draw_published(above, beside, value, "train_accuracy")
    draw_published(below, beside, value, "train_loss")
    if noise_scale is not None and swept.min() <= noise_scale <= swept.max():
        name = f"noise scale {noise_scale:.0f}"
        above.axvline(noise_scale, color=VERMILLION, linestyle=":", label=name)
        below.axvline(noise_scale, color=VERMILLION, linestyle=":")
    base, label, _ = SWEPT[value]
    below.set_xscale("log", base=base)
    below.set_xlabel(label)
    ticks(below.xaxis, ticker.FixedLocator(_apart(swept)), lambda tick: worded(tick, value))
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def training(
    iterations: pd.DataFrame,
    title: str,
    epoch_ends: Sequence[int] = (),
    published: pd.DataFrame | None = None,
) -> bytes:
    """Draw one training update by update: the PNG of `training_figure`."""
    picture = png(training_figure, iterations, title, epoch_ends, published)
    if len(iterations) > MANY:
        gc.collect()  # a figure is a knot of references: of 90,000 updates it holds 150 MB
    return picture


def training_figure(
    iterations: pd.DataFrame,
    title: str,
    epoch_ends: Sequence[int] = (),
    published: pd.DataFrame | None = None,
) -> Figure:
    """Draw learning rate, batch size, loss and accuracy against the update, one below the other.

    Loss and accuracy are faint, under their `moving_average` over 2 % of the training's examples.

    Args:
        iterations: One row an update: iteration, learning_rate, batch_size, loss, accuracy.
        title: Stands above the picture.
        epoch_ends: How many updates were done after each epoch; its last batch may be short.
        published: The published run's means, one row an epoch: iteration, loss, accuracy.
    """
    columns = ["iteration", "learning_rate", "batch_size", "loss", "accuracy"]
    update, rates, examples, losses, accuracies = iterations[columns].to_numpy(dtype=float).T
    figure = Figure(figsize=(INCHES, 8.2))
    rate, size, loss, accuracy = figure.subplots(4, 1, sharex=True, height_ratios=[2, 2, 3, 3])
    rate.set_title(title, loc="left")
    rate.step(update, rates, where="post", color=BLACK)
    rate.set(ylim=(0, 1.1 * rates.max()), ylabel="learning rate")
    ticks(rate.yaxis, ticker.MaxNLocator(4, steps=[1, 2, 5, 10]), "{:g}".format)
    _draw_batch_size(size, update, examples, np.asarray(epoch_ends, dtype=int) - 1)
    average = _draw_noisy(loss, update, losses, examples)
    low, middle, high = (quantile(average[average > 0], q, default=1.0) for q in (0, 0.5, 1))
    if published is not None:
        low = min(low, 2 * quantile(published["loss"].to_numpy(dtype=float), 0, default=low))
    loss_axis(loss, low / 3, 2 * min(high, LOSS_RANGE * middle), "loss")
    average = _draw_noisy(accuracy, update, accuracies, examples)
    low = quantile(np.append(accuracies, average), 0.005, default=0.0)
    accuracy.set(ylim=(max(0.0, low - 0.03), 1.01), ylabel="accuracy\n(share of the batch)")
    accuracy.set_xlabel("iteration (updates)")
    for axis, figure_of in ((loss, "loss"), (accuracy, "accuracy")):
        if published is not None and published[figure_of].notna().any():
            axis.plot(published["iteration"], published[figure_of], **PUBLISHED)
    handles, names = accuracy.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    figure.align_ylabels()
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


def worded(number: float, name: str) -> str:
    """Write a batch size as it is, anything else as a power of ten."""
    if name == "batch_size":
        return f"{number:.0f}"
    mantissa, exponent = f"{number:.1e}".split("e")
    factor = "" if float(mantissa) == 1 else rf"{float(mantissa):g}\times"
    return f"${factor}10^{{{int(exponent)}}}$"


def _apart(swept: Float64) -> list[float]:
    """Choose from rising values those that may be labelled on a log axis without touching."""
    places = np.log(swept)
    room = LABEL_SHARE * (places[-1] - places[0])
    chosen = [0]
    for number, place in enumerate(places[1:], start=1):
        if place - places[chosen[-1]] >= room:
            chosen.append(number)
    return [float(swept[number]) for number in chosen]


def _write(axis: Axes, text: str, x: float, points: int) -> Annotation:
    edge = axis.get_xaxis_transform()
    return axis.annotate(text, (x, 1), (0, points), edge, "offset points", ha="center")


def draw_range(above: Axes, below: Axes, value: str, bounds: tuple[float, float]) -> None:
    """Shade what lies between the bounds, in both panels, and name them above the upper one."""
    for bound, name, side in zip(bounds, SWEPT[value][2], ["right", "left"], strict=True):
        _write(above, f"{name} = {worded(bound, value)}", bound, 4).set(ha=side)
    for axis in (above, below):
        axis.vlines(bounds, 0, 1, colors=GREY, linewidth=1, transform=axis.get_xaxis_transform())
        axis.axvspan(*bounds, color=SHADE, zorder=0)
        axis.margins(x=0.05)


def _draw_accuracies(
    axis: Axes, swept: Float64, trained: Float64, validated: Float64, status: NDArray[np.object_]
) -> None:
    axis.plot(swept, trained, "-o", color=BLUE, markevery=status != DIVERGED, label="training")
    (line,) = axis.plot(swept, validated, "--s", color=GREEN, label="validation")
    line.set(linewidth=0.9, markersize=7, markerfacecolor="none")
    _mark(axis, swept, trained, status)
    axis.set_ylim(0, 1.02)


def _draw_bands(above: Axes, below: Axes, points: pd.DataFrame, value: str) -> None:
    """Shade the intervals of the means; where one is not known the band has a gap."""
    figures = (
        (above, "train_accuracy", BLUE, "95 % interval"),
        (above, "val_accuracy", GREEN, None),
        (below, "train_loss", BLUE, None),
    )
    for axis, name, colour, label in figures:
        low, high = (points[f"{name}_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
        at = points[value].to_numpy(dtype=float)
        axis.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0, label=label)


def _draw_losses(
    axis: Axes,
    swept: Float64,
    loss: Float64,
    status: NDArray[np.object_],
    published: Sequence[float | None],
) -> None:
    most = LOSS_RANGE * quantile(loss, 0.5, default=1.0)
    every = np.append(loss, np.array(published, dtype=float))
    shown = every[(every > 0) & (every <= most)]
    low, high = (shown.min() / 1.4, shown.max() * 1.8) if len(shown) else (0.1, 10.0)
    outside, diverged = ~(loss <= high), status == DIVERGED
    drawn = np.where(outside, high, np.maximum(loss, low))
    axis.plot(swept, loss, "-o", color=BLUE, markevery=~diverged & ~outside)
    axis.plot(swept, drawn, "^", color=BLUE, markevery=outside & ~diverged, clip_on=False)
    _mark(axis, swept, drawn, np.where(outside & ~diverged, "", status))
    for x, number in zip(swept[outside], loss[outside], strict=True):
        _write(axis, worded(number, "loss") if np.isfinite(number) else str(number), x, -18)
    loss_axis(axis, low, high, "training loss, last epoch")


def loss_axis(axis: Axes, low: float, high: float, name: str) -> None:
    """Let an axis show losses from `low` to `high` on a log scale."""
    axis.set(ylim=(low, high), ylabel=f"{name}\n(log scale)")
    axis.set_yscale("log")  # after the limits, which keep it from looking for positive losses
    ticks(axis.yaxis, ticker.LogLocator(subs=(1, 2, 5)), "{:g}".format)


def _mark(axis: Axes, x: Float64, y: Float64, status: NDArray[np.object_]) -> None:
    """Mark the points that diverged, and hollow out those that did not learn."""
    looks: dict[str, tuple[str, dict[str, Any]]] = {
        NOT_LEARNED: ("o", {"color": BLUE, "markerfacecolor": "white", "label": "not learned"}),
        DIVERGED: ("x", {"color": VERMILLION, "markersize": 8, "markeredgewidth": 2}),
    }
    for judged, (mark, look) in looks.items():
        (chosen,) = np.nonzero(status == judged)
        if len(chosen):
            (marks,) = axis.plot(x[chosen], y[chosen], mark, zorder=3, clip_on=False)
            marks.set(**{"label": judged, **look})


def draw_published(axis: Axes, rows: Rows, x: str, y: str) -> None:
    """Mark the published run's figures, where it has them: column y over column x."""
    known = [(row[x], row[y]) for row in rows if row[y] is not None]
    if known:
        axis.plot(*zip(*known, strict=True), **PUBLISHED)


def _draw_batch_size(
    axis: Axes, update: Float64, examples: Float64, lasts: NDArray[np.int_]
) -> None:
    """Draw the sizes, but faintly the short batch or group with which an epoch may end."""
    planned = examples.copy()
    planned[lasts] = np.maximum(examples[lasts], examples[np.maximum(lasts - 1, 0)])
    axis.step(update, examples, where="post", color=FAINT, linewidth=1)
    axis.step(update, planned, where="post", color=BLACK)
    low, high = np.floor(np.log2(examples.min())), np.ceil(np.log2(examples.max()))
    axis.set_yscale("log", base=2)
    axis.set(ylim=(2 ** (low - 0.3), 2 ** (high + 0.3)), ylabel="batch size\n(examples, log scale)")
    powers = 2 ** np.arange(low, high + 1, (high - low) // 5 + 1)
    ticks(axis.yaxis, ticker.FixedLocator(powers.tolist()), "{:.0f}".format)


def _draw_noisy(axis: Axes, update: Float64, values: Float64, examples: Float64) -> Float64:
    """Draw `values` faintly and their moving average, which is returned."""
    window = WINDOW * examples.sum()
    average = moving_average(values, examples, window)
    (noise,) = axis.plot(update, values, color=FAINT, label="each update")
    noise.set(linewidth=0.4, antialiased=False)  # a quarter fewer bytes
    axis.plot(update, average, color=BLUE, label=f"moving average over {window:,.0f} examples")
    return average
