"""From a sweep's table to the bounds between which training should cycle."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclical.errors import InputError
from cyclical.learning import least_learned
from cyclical.schedules import exponential_batches
from cyclical.sweeps import DIVERGED, LEARNED, with_status

Float64 = NDArray[np.float64]
STRETCHES = ("first", "outer")
LR_RULES = ("plateau", "smith", "argmin_tenth")


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
    size; NaN for the last, and where one of the two did not learn) and holds.
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
    least: float | None = None,
) -> LearningRateBounds:
    """Read lr_min and lr_max off a learning-rate sweep.

    Only rates that were swept and learned are returned (see `sweeps.with_status`). Below, A is the
    best final training accuracy of the points that learned.

    - `plateau`: lr_min is the smallest rate whose accuracy reaches 0.85 A, lr_max the smallest that
      reaches 0.93 A; where both are one rate, lr_max is the next larger one.
    - `smith`: lr_min is the smallest rate at which accuracy has begun to rise: a tenth of the rise
      from f to A is done, with f the least accuracy at rates up to the best (what an untrained
      network guesses), at most that above which a point learned. lr_max is the smallest rate above
      it at which the rise slows, nine tenths of it being done, or turns after half of it: at the
      next swept rate accuracy is lower or did not learn, or there is none; without such a rate it
      is the next larger one.
      After Smith, arXiv 1506.01186, section 3.3: "when the accuracy starts to increase and when
      the accuracy slows, becomes ragged, or starts to fall".
    - `argmin_tenth`: lr_max is a tenth of the rate with the least loss, and lr_min a tenth of
      lr_max, each snapped to the nearest rate on a log scale (of two equally near, and of two with
      the same loss, the smaller); where both are one rate, lr_min is the next smaller one.

    Args:
        table: One row a rate, in any order: learning_rate, train_loss, train_accuracy (final).
        rule: The rule's name.
        classes: The number of classes, which sets the accuracy above which a point learned.
        lr_min_share: The share of A that lr_min must reach by the rule `plateau`.
        lr_max_share: The share of A that lr_max must reach by the rule `plateau`.
        least: That accuracy itself, where the classes are not equally frequent.

    Raises:
        InputError: The rule is unknown, nothing learned, or no second rate learned beside the
            first.
    """
    if rule not in LR_RULES:
        raise InputError(f"lr_bounds.rule {rule!r} is unknown: known are {', '.join(LR_RULES)}")
    least = least or least_learned(classes)
    judged = with_status(table, "learning_rate", least)
    learned = judged[judged["status"] == LEARNED]
    if learned.empty:
        raise InputError(
            f"no learning rate learned: the best training accuracy is "
            f"{judged['train_accuracy'].max():.4f} and {least:g} is needed; "
            "widen lr_sweep.learning_rates, or raise lr_sweep.epochs (of the clock, "
            "lr_sweep.range_updates)"
        )
    if rule == "plateau":
        lr_min, lr_max = _plateau(learned, lr_min_share, lr_max_share)
    elif rule == "smith":
        lr_min, lr_max = _smith(judged, least)
    else:
        lr_min, lr_max = _argmin_tenth(learned)
    return LearningRateBounds(float(lr_min), float(lr_max), rule)


def _plateau(learned: pd.DataFrame, min_share: float, max_share: float) -> tuple[float, float]:
    rates, accuracies = _floats(learned, "learning_rate", "train_accuracy")
    lr_min = rates[accuracies >= min_share * accuracies.max()].min()
    lr_max = rates[accuracies >= max_share * accuracies.max()].min()
    return lr_min, lr_max if lr_max > lr_min else _next_above(rates, lr_min)


def _smith(judged: pd.DataFrame, most_guessed: float) -> tuple[float, float]:
    rates, accuracies = _floats(judged, "learning_rate", "train_accuracy")
    learned, diverged = ((judged["status"] == of).to_numpy() for of in (LEARNED, DIVERGED))
    reached = np.where(learned, accuracies, 0.0)
    best = reached.max()
    guessed = accuracies[~diverged & (rates <= rates[reached.argmax()])].min()
    floor = min(guessed, most_guessed)
    lr_min = rates[reached >= floor + 0.1 * (best - floor)].min()
    slows = reached >= floor + 0.9 * (best - floor)
    turns = np.append(reached[1:] < reached[:-1], True) & (reached >= (floor + best) / 2)
    above = rates[learned & (rates > lr_min) & (slows | turns)]
    above = above if above.size else rates[learned]
    return lr_min, _next_above(above, lr_min)


def _argmin_tenth(learned: pd.DataFrame) -> tuple[float, float]:
    rates, losses = _floats(learned, "learning_rate", "train_loss")
    best = rates[np.argmin(losses)]
    lr_min, lr_max = _nearest(rates, best / 100), _nearest(rates, best / 10)
    if lr_min < lr_max:
        return lr_min, lr_max
    below = rates[rates < lr_max]
    if not below.size:
        raise InputError(
            f"no learning rate below lr_max = {lr_max:g} learned, so there is no lr_min: "
            "add rates just below it to lr_sweep.learning_rates or raise lr_sweep.epochs"
        )
    return float(below.max()), lr_max


def _nearest(rates: Float64, target: float) -> float:
    distances = np.abs(np.log10(rates / target)).round(9)  # so that equally near is equal
    return float(rates[np.argmin(distances)])


def _next_above(rates: Float64, lr_min: float) -> float:
    above = rates[rates > lr_min]
    if not above.size:
        raise InputError(
            f"no learning rate above lr_min = {lr_min:g} learned, so there is no lr_max: "
            "add rates just above it to lr_sweep.learning_rates"
        )
    return float(above.min())


def _floats(table: pd.DataFrame, *columns: str) -> list[Float64]:
    return [table[column].to_numpy(dtype=float) for column in columns]


def batch_bounds(
    table: pd.DataFrame,
    threshold: float = 3.5,
    stretch: str = "first",
    classes: int = 10,
    *,
    least: float | None = None,
) -> BatchBounds:
    """Detect bmin and bmax: the stretch of sizes over which accuracy holds.

    With a_j the final training accuracy at the j-th size in rising order, the step j -> j + 1
    holds where 100 (a_j - a_{j+1}) / a_{j+1} <= threshold and both sizes learned: accuracy holds at
    chance too. bmin is the first size of the first unbroken stretch of holding steps, bmax the last
    size that stretch reaches; or, as the published run's code had it (`stretch` = `outer`), the
    last size of the last holding step, whatever lies between.

    Args:
        table: One row a size, in any order: batch_size, train_loss, train_accuracy (final).
        threshold: The greatest loss of accuracy per step, in percent of the later accuracy.
        stretch: `first` or `outer`.
        classes: The number of classes, which sets the accuracy above which a size learned.
        least: That accuracy itself, where the classes are not equally frequent.

    Raises:
        InputError: The stretch is unknown, or no step holds; then the message shows every step
            and names the least threshold that gives a range.
    """
    if stretch not in STRETCHES:
        raise InputError(f"batch_bounds.stretch must be first or outer, but is {stretch!r}")
    ordered = with_status(table, "batch_size", least or least_learned(classes))
    learned = (ordered["status"] == LEARNED).to_numpy()
    sizes = ordered["batch_size"].to_numpy(dtype=int)
    accuracies = ordered["train_accuracy"].to_numpy(dtype=float)
    drops, bmin, bmax = stretch_that_holds(sizes, accuracies, learned, threshold, stretch)
    steps = pd.DataFrame(
        {
            "batch_size": sizes,
            "train_accuracy": accuracies,
            "relative_drop": drops,
            "holds": drops <= threshold,
        }
    )
    return BatchBounds(int(bmin), int(bmax), steps)


def stretch_that_holds(
    sizes: NDArray[np.int64],
    accuracies: Float64,
    learned: NDArray[np.bool_],
    threshold: float,
    stretch: str,
) -> tuple[Float64, int, int]:
    """Walk the steps from size to size and find those over which accuracy holds.

    This is the algorithm of `batch_bounds` and nothing else: reports draw it from this code.

    Args:
        sizes: The swept sizes, rising.
        accuracies: The final training accuracy at each.
        learned: Whether each learned.
        threshold: The greatest loss of accuracy per step, in percent of the later accuracy.
        stretch: `first` ends with the first step that does not hold, `outer` with the last that
            does.

    Returns:
        The loss from each size to the next in percent (NaN for the last size, and where one of
        the two did not learn), bmin and bmax.

    Raises:
        InputError: No step holds.
    """
    drops = np.full(len(sizes), np.nan)
    inside: list[int] = []
    broken = False
    for j in range(len(sizes) - 1):
        before, after = accuracies[j : j + 2]
        if learned[j] and learned[j + 1]:
            drops[j] = 100 * (before - after) / after
        if drops[j] <= threshold and (stretch == "outer" or not broken):
            inside.extend(sizes[j : j + 2])
        else:
            broken = bool(inside)
    if not inside:
        raise InputError(_no_step_holds(sizes, drops[:-1], threshold))
    return drops, inside[0], inside[-1]


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
        f"{low}->{high}: " + (f"{drop:.2f} %" if np.isfinite(drop) else "not learned")
        for (low, high), drop in zip(pairwise(sizes), drops, strict=True)
    )
    finite = drops[np.isfinite(drops)]
    if finite.size == 0:
        return (
            f"no two neighbouring batch sizes learned ({listed or 'one size'}): "
            "add smaller sizes to batch_sweep.batch_sizes or raise batch_sweep.epochs"
        )
    least = Decimal(float(finite.min())).quantize(Decimal("0.01"), ROUND_CEILING)
    return (
        f"no doubling of the batch size holds at batch_bounds.threshold = {threshold:g} "
        f"(accuracy lost per step: {listed}); a threshold of {least} would give a range"
    )
