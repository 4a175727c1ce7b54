"""Every figure of the published run beside ours, with what a seed more or less would explain."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cyclical.intervals import quantile
from cyclical.reference import ALL_IMAGES

Rows = Sequence[Mapping[str, Any]]
SWEPT = ("train_loss", "train_accuracy", "val_accuracy")
SLIPS = (
    "It meant to cycle the batch size through 16 to 256; a slip in an index trained 16, 32, 64.",
    "It scored its accumulation run on the first 160 test images alone: one of them is 0.6 points.",
    "It named no optimizer for its cyclical learning rate, and so trained with Keras's, RMSprop.",
    "Its accumulation applied each epoch's first micro-batch alone, and dropped the last ten.",
)
"""What the published run did otherwise than it meant to."""


def of_sweep(points: pd.DataFrame, value: str, published: Rows) -> pd.DataFrame:
    """Set the last epoch of every swept value beside the published one.

    Args:
        points: Every training of the sweep: `value`, seed, and SWEPT.
        value: The swept column.
        published: Rows of `value` and SWEPT.

    Returns:
        One row a figure, see `_line`. Where both trainings diverged, their losses not finite, they
        agree; where one did, they don't.
    """
    lines = []
    for row in published:
        of_value = points[np.isclose(points[value], row[value], rtol=1e-9, atol=0)]
        diverged = {_finite(row["train_loss"]), bool(np.isfinite(of_value["train_loss"]).all())}
        for figure in SWEPT if len(of_value) else ():
            line = _line(f"{value}={row[value]:g}", figure, of_value[figure], row[figure])
            if False in diverged:
                line |= {"low": np.nan, "high": np.nan}
                line["within"] = "no" if True in diverged else "yes"
            lines.append(line)
    return pd.DataFrame(lines)


def of_arms(
    trainings: pd.DataFrame, published: Mapping[str, Rows], images: int = ALL_IMAGES
) -> pd.DataFrame:
    """Set every arm's last and best validation accuracy beside the published one.

    Args:
        trainings: One row an arm and seed, as `comparison.compare` returns them.
        published: Arm -> the published run's epochs, with val_accuracy and val_images.
        images: The number of test images here.

    Returns:
        One row a figure, see `_line`. An accuracy p of n test images alone, where there are more,
        varies by p (1 - p) / n beside what seeds do.
    """
    lines = []
    for arm, of_arm in trainings.groupby("arm", sort=False):
        rows = published.get(str(arm), ())
        if not rows:
            continue
        best = max(rows, key=lambda row: float(row["val_accuracy"]))
        for name, row in (("final", rows[-1]), ("best", best)):
            share, counted = float(row["val_accuracy"]), int(row["val_images"])
            sampled = share * (1 - share) / counted if counted < images else 0.0
            ours = of_arm[f"{name}_val_accuracy"]
            lines.append(_line(str(arm), f"{name} val_accuracy", ours, share, sampled))
    return pd.DataFrame(lines)


def of_bounds(ours: Mapping[str, float], published: Mapping[str, float]) -> pd.DataFrame:
    """Set the bounds beside those that the published run's author read off."""
    lines = [
        _line("bounds", name, pd.Series([bound]), published[name]) | {"within": ""}
        for name, bound in ours.items()
    ]
    return pd.DataFrame(lines)


def _finite(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def _line(
    setting: str,
    figure: str,
    ours: "pd.Series[float]",
    published: float | None,
    sampled: float = 0.0,
) -> dict[str, Any]:
    """Compare one figure: the mean over n seeds, and where another run may lie by chance.

    Of several seeds the 95 % interval is that of one more run, mean +- t sqrt(s^2 (1 + 1 / n) + v)
    (see `intervals`) with v what the published figure varies by itself, and `within` tells whether
    it holds that: yes or no, and of twenty yes about one is no by chance. Of one seed it is not
    known.
    """
    count, mean = len(ours), float(ours.mean(skipna=False))
    theirs = np.nan if published is None else float(published)
    low = high = np.nan
    within = "one seed"
    if count > 1:
        variance = float(ours.std(skipna=False)) ** 2 * (1 + 1 / count) + sampled
        half = quantile(count) * variance**0.5
        low, high = mean - half, mean + half
        within = "yes" if low <= theirs <= high else "no"
    return {
        "setting": setting,
        "figure": figure,
        "ours": mean,
        "published": theirs,
        "difference": mean - theirs,
        "low": low,
        "high": high,
        "within": within,
    }
