"""The pictures that compare all arms, in the style of `cyclical.style`.

Each picture is two functions: one returns the figure, the other turns it into a PNG.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cyclical.reference import ALL_IMAGES
from cyclical.style import (
    ARM_MARKS,
    GREY,
    INCHES,
    PUBLISHED,
    Look,
    look,
    png,
    quantile,
    ticks,
)

Published = Mapping[str, Sequence[Mapping[str, Any]]]
Named = tuple[str, tuple[float, float], Look]  # an arm, the end of its line, its look
NONE: Published = {}
AGAINST = {
    "epoch": "epoch",
    "updates": "updates of the weights",
    "seconds": "seconds of training, beside others",
}
ABOVE: Look = {"textcoords": "offset points", "color": GREY, "fontsize": "small"}


def validation(
    histories: pd.DataFrame, published: Published = NONE, against: str = "epoch"
) -> bytes:
    """Draw all arms' validation accuracy by epoch: the PNG of `validation_figure`."""
    return png(validation_figure, histories, published, against)


def validation_figure(
    histories: pd.DataFrame, published: Published = NONE, against: str = "epoch"
) -> Figure:
    """Draw validation accuracy by epoch, one panel an optimizer, one line an arm: its seeds' mean.

    With several seeds, each has a faint line of its own. The arms are named at the right with
    their final mean. The lowest tenth of a panel's figures may lie below its axis, final ones
    never. The published run is dotted, up to the last epoch that was trained here.

    Args:
        histories: One row an arm, seed and epoch: arm, seed, optimizer, epoch, val_accuracy, and
            the column that they are drawn against.
        published: Arm -> the published run's epochs, with epoch and val_accuracy.
        against: A column of AGAINST: what the end of every epoch had cost, the seeds' mean.
    """
    epochs = int(histories["epoch"].max())
    beside = {
        arm: [row for row in published[arm] if row["epoch"] <= epochs]
        for arm in histories["arm"].unique()
        if arm in published
    }
    panels = list(histories.groupby("optimizer", sort=False))
    lines = [rows["arm"].nunique() + len(beside.keys() & {*rows["arm"]}) for _, rows in panels]
    heights = [0.9 + 0.3 * max(count, 4) for count in lines]
    figure = Figure(figsize=(INCHES, 1.0 + sum(heights) if len(panels) > 1 else 5.6))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)
    looks = {arm: look(number) for number, arm in enumerate(histories["arm"].unique())}
    for axis, (optimizer, rows) in zip(axes[:, 0], panels, strict=True):
        _draw_panel(axis, rows, looks, beside, against)
        axis.set_title(str(optimizer), loc="left")
    seeds = histories["seed"].nunique()
    mean = f"mean of {seeds} seeds" if seeds > 1 else "share of the images"
    for axis in axes[:, 0]:
        axis.set_ylabel(f"validation accuracy\n({mean})")
    axes[-1, 0].set_xlabel(AGAINST[against])
    ticks(axes[-1, 0].xaxis, ticker.MaxNLocator(integer=True), "{:,g}".format)
    return figure


def finals(summary: pd.DataFrame, trainings: pd.DataFrame) -> bytes:
    """Draw the arms' final accuracies with their intervals: the PNG of `finals_figure`."""
    return png(finals_figure, summary, trainings)


def finals_figure(summary: pd.DataFrame, trainings: pd.DataFrame) -> Figure:
    """Draw one row an arm: the mean of its final accuracy, its 95 % interval, its seeds.

    Beside it the best epoch's accuracy (which is optimistic, or that of the images held out), and
    the published run's final one, with the number of images where it is not all of them.

    Args:
        summary: One row an arm, as `comparison.summarise` returns them.
        trainings: One row an arm and seed, as `comparison.compare` returns them.
    """
    figure = Figure(figsize=(INCHES, 1.5 + 0.42 * len(summary)))
    axis = figure.subplots()
    places = dict(zip(summary["arm"], np.arange(len(summary))[::-1].tolist(), strict=True))
    rows = summary["arm"].map(places).to_numpy()
    seen = trainings["arm"].map(places).to_numpy()
    mean, low, high = (summary[f"test_accuracy{end}"].to_numpy() for end in ("", "_low", "_high"))
    hollow = PUBLISHED | {"marker": ">", "markersize": 7, "label": _best(summary)}
    scaled = {"scalex": True, "scaley": True}
    several = trainings["seed"].nunique() > 1
    axis.plot([], [], "o", color="black", label="last epoch" + (", mean" if several else ""))
    if several:
        axis.plot(trainings["test_accuracy"], seen, "|", color=GREY, alpha=0.6, label="each seed")
        axis.hlines(rows, low, high, colors="black", linewidth=2, label="95 % interval")
    axis.plot(summary["best_val_accuracy"], rows, **hollow | scaled)
    if summary["published_final"].notna().any():
        axis.plot(summary["published_final"], rows, **PUBLISHED | scaled)
    for number, (arm, x) in enumerate(zip(summary["arm"], mean, strict=True)):
        axis.plot(x, places[arm], "o", color=look(number)["color"], markersize=8)
    told = [_told(*ends) for ends in zip(mean, high, strict=True)]
    axis.set_yticks(rows, summary["arm"], minor=False)
    axis.set(ylim=(-0.6, len(summary) - 0.4), xlabel="accuracy (share of the test images)")
    low_end, high_end = axis.get_xlim()
    axis.set_xlim(max(0.0, low_end), min(1.0, high_end))
    few = (summary["published_images"] < ALL_IMAGES) & summary["published_final"].notna()
    for place, arm in zip(rows[few], summary[few].to_dict("records"), strict=True):
        final, text = arm["published_final"], f"{arm['published_images']:.0f} images"
        side = "left" if final < sum(axis.get_xlim()) / 2 else "right"  # it begins, or ends, there
        axis.annotate(text, (final, place), (-4 if side == "left" else 4, 7), ha=side, **ABOVE)
    for row, text in zip(rows, told, strict=True):
        axis.text(1.01, row, text, va="center", transform=axis.get_yaxis_transform())
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def _best(summary: pd.DataFrame) -> str:
    held_out = summary["held_out"].any()
    return "best epoch, on the held-out images" if held_out else "best epoch (optimistic)"


def _told(mean: float, high: float) -> str:
    if not np.isfinite(mean):
        return "diverged"
    return f"{mean:.4f}" + (f" ± {high - mean:.4f}" if np.isfinite(high) else "")


def _draw_panel(
    axis: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], beside: Published, against: str
) -> None:
    named = [
        _draw_arm(axis, str(arm), history, looks[str(arm)], against)
        for arm, history in rows.groupby("arm", sort=False)
    ]
    drawn = [str(arm) for arm in rows["arm"].unique() if arm in beside]
    for arm in drawn:
        name = f"published {arm}" if len(drawn) > 1 else "published run"
        named.append(_draw_published(axis, name, beside[arm], looks[arm]))
    of_published = [row["val_accuracy"] for arm in drawn for row in beside[arm]]
    ends = [beside[arm][-1]["val_accuracy"] for arm in drawn]
    axis.set_ylim(_accuracy_limits(rows, of_published, ends))
    _name_arms(axis, named)


def _draw_published(
    axis: Axes, name: str, rows: Sequence[Mapping[str, Any]], of_arm: Look
) -> Named:
    hollow = {"linestyle": (0, (1, 2)), "markerfacecolor": "none", "markersize": 4}
    dotted = of_arm | hollow | {"linewidth": 1.2}
    epochs = [row["epoch"] for row in rows]
    accuracies = [row["val_accuracy"] for row in rows]
    axis.plot(epochs, accuracies, markevery=4 if len(epochs) > 8 else 1, **dotted)
    images = rows[-1]["val_images"]
    few = "" if images == ALL_IMAGES else f" ({images} images)"
    return name + few, (epochs[-1], accuracies[-1]), dotted


def _draw_arm(axis: Axes, arm: str, history: pd.DataFrame, look: Look, against: str) -> Named:
    """Draw the mean over the seeds, and each seed if there are more; return the mean's end."""
    by_seed = history.pivot(index="epoch", columns="seed", values="val_accuracy")
    spent = history.groupby("epoch")[against].mean().to_numpy(dtype=float)
    accuracy = by_seed.to_numpy(dtype=float)
    if accuracy.shape[1] > 1:
        axis.plot(spent, accuracy, color=look["color"], alpha=0.35, linewidth=0.6)
    every = (ARM_MARKS.index(look["marker"]) % 4, 4) if len(spent) > 8 else 1
    axis.plot(spent, accuracy.mean(axis=1), markevery=every, **look)
    return arm, (spent[-1], accuracy[-1].mean()), look


def _accuracy_limits(
    histories: pd.DataFrame, more: Sequence[float] = (), ends: Sequence[float] = ()
) -> tuple[float, float]:
    accuracy = np.append(histories["val_accuracy"].to_numpy(dtype=float), more)
    last = histories.groupby(["arm", "seed"])["val_accuracy"].last().to_numpy(dtype=float)
    finals = np.append(last, ends)
    low = min(quantile(accuracy, 0.1, default=0.0), quantile(finals, 0, default=0.0))
    high = quantile(accuracy, 1, default=1.0)
    pad = max(0.06 * (high - low), 0.002)
    return max(0.0, low - pad), min(1.0, high + pad)


def _name_arms(axis: Axes, named: Sequence[Named]) -> None:
    """Name each arm at the right, as near to its end as the others allow, with a sample line."""
    low, high = axis.get_ylim()
    heights = (np.nan_to_num([end[1] for _, end, _ in named], nan=low) - low) / (high - low)
    order = np.argsort(heights, kind="stable")
    inches = axis.figure.get_figheight() * axis.get_position().height  # type: ignore[union-attr]
    steps = min(0.26 / inches, 1 / len(named)) * np.arange(len(named))
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
