"""The pictures of the range test and of the clock: PNG bytes, in the style of `cyclical.style`."""

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cyclical.plots import LOSS_RANGE, Rows, draw_published, draw_range, loss_axis, worded
from cyclical.style import (
    BLUE,
    FAINT,
    INCHES,
    VERMILLION,
    Float64,
    Look,
    png,
    quantile,
    ticks,
)

ENDING = "learning rate whose training ends at this clock (log scale)"


def range_test(curve: pd.DataFrame, bounds: tuple[float, float]) -> bytes:
    """Draw a range test and the bounds that were read off it: the PNG of `range_test_figure`."""
    return png(range_test_figure, curve, bounds)


def range_test_figure(curve: pd.DataFrame, bounds: tuple[float, float]) -> Figure:
    """Draw accuracy (above) and loss (below) against the rate, each update faintly, and smoothed.

    A cross marks where the test diverged.

    Args:
        curve: What `cyclical.range_test.curve` returns.
        bounds: lr_min and lr_max; the range between them is shaded.
    """
    rates = curve["learning_rate"].to_numpy(dtype=float)
    figure, above, below = _panels(curve, bounds, "learning rate (log scale)", rates)
    ended = curve["diverged"].to_numpy(dtype=bool)
    for axis, name in ((above, "accuracy"), (below, "loss")):
        smoothed = curve[f"smoothed_{name}"].to_numpy(dtype=float)
        shown = np.where(np.isfinite(smoothed), smoothed, axis.get_ylim()[1])
        cross: Look = {
            "color": VERMILLION,
            "markersize": 8,
            "markeredgewidth": 2,
            "label": "diverged",
        }
        if ended.any():
            axis.plot(rates[ended], np.clip(shown[ended], *axis.get_ylim()), "x", **cross)
    _legend(figure, above)
    return figure


def clock(
    curve: pd.DataFrame, predicted: pd.DataFrame, bounds: tuple[float, float], published: Rows = ()
) -> bytes:
    """Draw the clock's run and what it predicts: the PNG of `clock_figure`."""
    return png(clock_figure, curve, predicted, bounds, published)


def clock_figure(
    curve: pd.DataFrame, predicted: pd.DataFrame, bounds: tuple[float, float], published: Rows = ()
) -> Figure:
    """Draw accuracy (above) and loss (below) against the rate whose training ends at the clock.

    Predictions beyond the end of the run are hollow.

    Args:
        curve: What `cyclical.clock.curve` returns.
        predicted: The sweep that was predicted: learning_rate, train_accuracy, train_loss.
        bounds: lr_min and lr_max; the range between them is shaded.
        published: The published run's sweep.
    """
    swept = predicted["learning_rate"].to_numpy(dtype=float)
    figure, above, below = _panels(curve, bounds, ENDING, swept)
    beside = [row for row in published if row["learning_rate"] in swept]
    for axis, name in ((above, "train_accuracy"), (below, "train_loss")):
        points = predicted[name].to_numpy(dtype=float)
        reached = swept <= curve["learning_rate"].max()
        axis.plot(swept[reached], points[reached], "o", color=BLUE, label="predicted")
        (held,) = axis.plot(swept[~reached], points[~reached], "o", color=BLUE)
        held.set(markerfacecolor="white", label="beyond the run: its last value")
        draw_published(axis, beside, "learning_rate", name)
    _legend(figure, above)
    return figure


def _panels(
    curve: pd.DataFrame, bounds: tuple[float, float], label: str, wide: Float64
) -> tuple[Figure, Axes, Axes]:
    """Draw what both pictures share; `wide` are the rates that the axis reaches."""
    figure = Figure(figsize=(INCHES, 6.4))
    above, below = figure.subplots(2, 1, sharex=True)
    draw_range(above, below, "learning_rate", bounds)
    rates = curve["learning_rate"].to_numpy(dtype=float)
    for axis, name in ((above, "accuracy"), (below, "loss")):
        raw, smoothed = (curve[column].to_numpy() for column in (name, f"smoothed_{name}"))
        axis.plot(rates, raw, color=FAINT, linewidth=0.6, label="each update")
        axis.plot(rates, smoothed, color=BLUE, label="smoothed")
    seeds = curve["seeds"].max() if "seeds" in curve else 1
    above.set(ylim=(0, 1.02), ylabel="accuracy\n(" + _mean_of(int(seeds)) + ")")
    loss = curve["smoothed_loss"].to_numpy(dtype=float)
    low, most = quantile(loss, 0.0, 0.1), LOSS_RANGE * quantile(loss, 0.5, 1.0)
    loss_axis(below, low / 1.4, min(quantile(loss, 1.0, 1.0), most) * 1.8, "loss")
    below.set_xscale("log")
    low, high = np.log10([wide.min(), wide.max()]).round(9)
    powers = 10.0 ** np.arange(np.floor(low), np.ceil(high) + 1)
    below.set(xlabel=label, xlim=(powers[0] * 0.7, powers[-1] * 1.4))
    ticks(below.xaxis, ticker.FixedLocator(powers.tolist()), lambda at: worded(at, "learning_rate"))
    return figure, above, below


def _mean_of(seeds: int) -> str:
    return f"mean of {seeds} seeds" if seeds > 1 else "share of the batch"


def _legend(figure: Figure, above: Axes) -> None:
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=5)
