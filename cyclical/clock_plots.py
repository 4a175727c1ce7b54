"""The picture of both sweeps on one clock, in the style of `cyclical.style`."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cyclical.learning_clock import curve_of
from cyclical.style import ARM_COLOURS, ARM_MARKS, BLUE, INCHES, VERMILLION, png
from cyclical.sweeps import DIVERGED


def learning_clock(batches: pd.DataFrame, rates: pd.DataFrame, status: pd.DataFrame) -> bytes:
    """Draw both sweeps on one clock: the PNG of `learning_clock_figure`."""
    return png(learning_clock_figure, batches, rates, status)


def learning_clock_figure(
    batches: pd.DataFrame, rates: pd.DataFrame, status: pd.DataFrame
) -> Figure:
    """Draw validation accuracy after every epoch of both sweeps against S, on a log axis.

    The sweep of the learning rate is dots, crosses where the rate diverged, and a line through
    those that are its clock (see `learning_clock.curve_of`); every batch size has a mark of its
    own. Where they lie on one line, a batch size makes no difference but for the number of its
    updates.

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
        points = rates[chosen & rates["val_accuracy"].notna()]
        name = "diverged" if mark == "x" and len(points) else None
        axis.plot(points["rate_sum"], points["val_accuracy"], mark, color=colour, label=name)
    _draw_sizes(axis, batches)
    axis.set_xscale("log")
    axis.set(
        ylim=(0, 1.02),
        xlabel="S, the sum of the learning rates of all updates (log scale)",
        ylabel="validation accuracy\n(share of the images)",
    )
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center")
    return figure


def _draw_sizes(axis: Axes, batches: pd.DataFrame) -> None:
    means = batches.groupby(["batch_size", "epoch"])[["rate_sum", "val_accuracy"]].mean(
        skipna=False
    )
    sizes = batches["batch_size"].unique()
    for number, size in enumerate(np.sort(sizes)):
        points = means.loc[size]
        colour = ARM_COLOURS[number % len(ARM_COLOURS)]
        (marks,) = axis.plot(points["rate_sum"], points["val_accuracy"], color=colour, zorder=3)
        marks.set(
            linestyle="none",
            marker=ARM_MARKS[number % len(ARM_MARKS)],
            markerfacecolor="none",
            label=f"batch size {size:.0f}",
        )
