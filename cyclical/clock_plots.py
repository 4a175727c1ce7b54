"""The picture of both sweeps on one clock, in the style of `cyclical.style`."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cyclical.learning_clock import curve_of
from cyclical.style import ARM_COLOURS, ARM_MARKS, BLUE, INCHES, VERMILLION, png
from cyclical.sweeps import DIVERGED

Part: TypeAlias = "tuple[pd.Series[float], pd.Series[float]]"
PALE = 0.35
"""The opacity of first epochs."""


def learning_clock(batches: pd.DataFrame, rates: pd.DataFrame, status: pd.DataFrame) -> bytes:
    """Draw both sweeps on one clock: the PNG of `learning_clock_figure`."""
    return png(learning_clock_figure, batches, rates, status)


def learning_clock_figure(
    batches: pd.DataFrame, rates: pd.DataFrame, status: pd.DataFrame
) -> Figure:
    """Draw the training accuracy of every epoch of both sweeps against S, on a log axis.

    S is that amid the epoch. The sweep of the learning rate is dots, crosses where the rate
    diverged, and a line through those that are its clock (see `learning_clock.curve_of`); every
    batch size has a mark of its own. Where they lie on one line, a batch size makes no difference
    but for the number of its updates. First epochs are pale, where there are later ones: their mean
    is that of no S.

    Args:
        batches: `learning_clock.every_epoch` of the batch sweep.
        rates: That of the learning-rate sweep.
        status: The table of the latter, with learning_rate, train_accuracy and status.
    """
    figure = Figure(figsize=(INCHES, 5.6))
    axis = figure.subplots()
    curve = curve_of(rates, status)
    axis.plot(curve.index, curve, color=BLUE, linewidth=1, label="sweep of the learning rate")
    diverged = rates["learning_rate"].isin(
        status.loc[status["status"] == DIVERGED, "learning_rate"]
    )
    for chosen, mark, colour in ((~diverged, ".", BLUE), (diverged, "x", VERMILLION)):
        points = rates[chosen & rates["train_accuracy"].notna()]
        name = "diverged" if mark == "x" and len(points) else None
        for part, alpha, label in _by_age(points, name):
            axis.plot(*part, mark, color=colour, alpha=alpha, label=label)
    _draw_sizes(axis, batches)
    axis.set_xscale("log")
    axis.set(
        ylim=(0, 1.02),
        xlabel="S, the sum of the learning rates up to the epoch's middle (log scale)",
        ylabel="training accuracy of the epoch\n(share of the images)",
    )
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center")
    return figure


def _draw_sizes(axis: Axes, batches: pd.DataFrame) -> None:
    means = (
        batches.groupby(["batch_size", "epoch"])[["rate_sum", "from_start", "train_accuracy"]]
        .mean(skipna=False)
        .astype({"from_start": bool})
    )
    sizes = batches["batch_size"].unique()
    for number, size in enumerate(np.sort(sizes)):
        for part, alpha, label in _by_age(means.loc[size], f"batch size {size:.0f}"):
            (marks,) = axis.plot(*part, color=ARM_COLOURS[number % len(ARM_COLOURS)], zorder=3)
            marks.set(
                linestyle="none",
                marker=ARM_MARKS[number % len(ARM_MARKS)],
                markerfacecolor="none",
                alpha=alpha,
                label=label,
            )


def _by_age(points: pd.DataFrame, name: str | None) -> Iterator[tuple[Part, float, str | None]]:
    """Part points into first epochs, which are pale and without a name, and later ones, if any."""
    first = points["from_start"]
    for chosen, pale in ((first, not first.all()), (~first, False)):
        part = points[chosen]
        if len(part):
            values = part["rate_sum"], part["train_accuracy"]
            yield values, PALE if pale else 1.0, None if pale else name
