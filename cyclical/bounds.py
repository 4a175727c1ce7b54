"""From a sweep's table to the bounds between which training should cycle."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclical.errors import InputError
from cyclical.schedules import exponential_batches
from cyclical.sweeps import LEARNED, with_status


@dataclass(frozen=True)
class LearningRateBounds:
    """The learning rates between which training should cycle, lr_min < lr_max."""

    lr_min: float
    lr_max: float
    rule: str


@dataclass(frozen=True)
class BatchBounds:
    """The batch sizes between which training should cycle, bmin < bmax.

    `steps` has one row a size: batch_size, train_accuracy, relative_drop (percent, to the next
    size; NaN for the last) and holds.
    """

    bmin: int
    bmax: int
    steps: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """The steps, with the column `in_range`: whether a size lies within the bounds."""
        inside = self.steps["batch_size"].between(self.bmin, self.bmax)
        return self.steps.assign(in_range=inside)


def lr_bounds(
    table: pd.DataFrame,
    rule: str = "plateau",
    classes: int = 10,
    *,
    lr_min_share: float = 0.85,
    lr_max_share: float = 0.93,
) -> LearningRateBounds:
    """Read lr_min and lr_max off a learning-rate sweep.

    Rule `plateau`: with A the best final training accuracy over the points that learned, lr_min is
    the smallest rate whose accuracy reaches 0.85 A and lr_max the smallest that reaches 0.93 A;
    where both are one rate, lr_max is the next larger rate that learned. Only swept rates are
    returned.

    Args:
        table: One row a rate, in any order: learning_rate, train_loss, train_accuracy (final).
        rule: The rule's name.
        lr_min_share: The share of A that lr_min must reach.
        lr_max_share: The share of A that lr_max must reach.
        classes: The number of classes, which sets the accuracy above which a point learned.

    Raises:
        InputError: The rule is unknown, nothing learned, or no second rate lies above the first.
    """
    if rule != "plateau":
        raise InputError(f"lr_bounds.rule {rule!r} is unknown: the known rule is 'plateau'")
    judged = with_status(table, "learning_rate", classes)
    learned = judged[judged["status"] == LEARNED]
    if learned.empty:
        raise InputError(
            f"no learning rate learned: the best training accuracy is "
            f"{judged['train_accuracy'].max():.4f} and {2 / classes:g} is needed; "
            "widen lr_sweep.learning_rates or raise lr_sweep.epochs"
        )
    rates = learned["learning_rate"].to_numpy(dtype=float)
    accuracies = learned["train_accuracy"].to_numpy(dtype=float)
    lr_min = rates[accuracies >= lr_min_share * accuracies.max()].min()
    lr_max = rates[accuracies >= lr_max_share * accuracies.max()].min()
    if lr_max <= lr_min:
        lr_max = rates[rates > lr_min].min(initial=np.inf)
    if not np.isfinite(lr_max):
        raise InputError(
            f"no learning rate above lr_min = {lr_min:g} learned, so there is no lr_max: "
            "add rates just above it to lr_sweep.learning_rates"
        )
    return LearningRateBounds(float(lr_min), float(lr_max), rule)


def batch_bounds(table: pd.DataFrame, threshold: float = 3.5) -> BatchBounds:
    """Detect bmin and bmax: the first unbroken stretch of sizes whose accuracy holds.

    With a_j the final training accuracy at the j-th size in rising order, the step j -> j + 1
    holds where 100 (a_j - a_{j+1}) / a_{j+1} <= threshold. bmin is the first size of the first
    unbroken stretch of holding steps, bmax the last size that stretch reaches.

    Args:
        table: One row a size, in any order: batch_size, train_loss, train_accuracy (final).
        threshold: The greatest loss of accuracy per step, in percent of the later accuracy.

    Raises:
        InputError: No step holds; the message names the least threshold that gives a range.
    """
    ordered = table.sort_values("batch_size", ignore_index=True)
    sizes = ordered["batch_size"].to_numpy(dtype=int)
    accuracies = ordered["train_accuracy"].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        drops = 100 * (accuracies[:-1] - accuracies[1:]) / accuracies[1:]
    holds = drops <= threshold
    if not holds.any():
        raise InputError(_no_step_holds(sizes, drops, threshold))
    first = int(np.argmax(holds))
    length = int(np.argmin(np.append(holds[first:], False)))
    steps = pd.DataFrame(
        {
            "batch_size": sizes,
            "train_accuracy": accuracies,
            "relative_drop": np.append(drops, np.nan),
            "holds": np.append(holds, False),
        }
    )
    return BatchBounds(int(sizes[first]), int(sizes[first + length]), steps)


def fixed_batch_bounds(bmin: int, bmax: int) -> BatchBounds:
    """Take bmin and bmax as given; the steps between them were not measured."""
    sizes = exponential_batches(bmin, bmax)
    unknown = [np.nan] * len(sizes)
    columns = {"batch_size": sizes, "train_accuracy": unknown, "relative_drop": unknown}
    return BatchBounds(bmin, bmax, pd.DataFrame(columns).assign(holds=False))


def lr_range(table: pd.DataFrame) -> tuple[float, float]:
    """Return (lr_min, lr_max) of a stored bounds table: one row with these columns."""
    return float(table["lr_min"].iloc[0]), float(table["lr_max"].iloc[0])


def batch_range(steps: pd.DataFrame) -> tuple[int, int]:
    """Return (bmin, bmax) of a stored bounds table: the ends of the rows that are in_range."""
    sizes = steps.loc[steps["in_range"], "batch_size"]
    return int(sizes.min()), int(sizes.max())


def _no_step_holds(
    sizes: NDArray[np.int64],
    drops: NDArray[np.float64],
    threshold: float,
) -> str:
    listed = ", ".join(
        f"{low}->{high}: {drop:.2f} %"
        for (low, high), drop in zip(pairwise(sizes), drops, strict=True)
    )
    finite = drops[np.isfinite(drops)]
    if finite.size == 0:
        return (
            f"no step of the batch sweep has accuracies to compare ({listed or 'one size'}): "
            "add sizes to batch_sweep.batch_sizes or raise batch_sweep.epochs"
        )
    least = Decimal(float(finite.min())).quantize(Decimal("0.01"), ROUND_CEILING)
    return (
        f"no doubling of the batch size holds at batch_bounds.threshold = {threshold:g} "
        f"(accuracy lost per step: {listed}); a threshold of {least} would give a range"
    )
