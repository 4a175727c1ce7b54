"""The learning-rate range test: from one training whose rate rises to the bounds of cycling.

Smith, "Cyclical Learning Rates for Training Neural Networks" (arXiv 1506.01186), section 3.3, and
"A disciplined approach to neural network hyper-parameters" (arXiv 1803.09820), section 4.1;
divergence, `minimum_tenth` and the formula of `valley` as in fastai's `lr_find`, from which
smoothing, `steepest` and where the curve is cut differ as said below.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclical.bounds import LearningRateBounds
from cyclical.config import LR_RULES
from cyclical.errors import InputError

Float64 = NDArray[np.float64]
RULES = LR_RULES["range_test"]
SMOOTHED_SHARE = 0.04
"""The updates that the smoothing spans, as a share of all."""
DIVERGENCE = 4.0
"""A smoothed loss above this multiple of the least one so far has diverged, as in fastai.

Of losses that may be negative: one that lies so many times less one above the least as the first
does, or as that is large.
"""
RANGE = 10.0
"""lr_max / lr_min where a rule gives one rate: a decade, which is one step of the default sweep.

Smith, arXiv 1803.09820, takes a factor of 3 or 4, or for a single cycle of 10 or 20.
"""


def smooth(values: Float64, beta: float) -> Float64:
    """Average exponentially over the values so far, with the bias of the start corrected.

    m_i = beta m_{i-1} + (1 - beta) v_i with m_{-1} = 0; s_i = m_i / (1 - beta^{i+1}), so that
    s_0 = v_0 and a constant stays what it is. As Adam's moments (Kingma and Ba, arXiv 1412.6980,
    section 3) and fastai's loss.

    >>> smooth(np.array([2.0, 4.0]), beta=0.5).round(3)
    array([2.   , 3.333])

    Raises:
        InputError: beta is not in [0, 1).
    """
    if not 0 <= beta < 1:
        raise InputError(f"beta must lie in [0, 1), but is {beta}")
    weight, total = 0.0, 0.0
    smoothed = np.empty_like(values, dtype=np.float64)
    for update, value in enumerate(values):
        total = beta * total + value
        weight = beta * weight + 1
        smoothed[update] = total / weight
    return smoothed


def curve(runs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average the runs of a range test, update by update, smooth, and cut at divergence.

    The runs of all seeds see the same rates. Their means are smoothed with
    beta = 1 - 1 / max(1, 0.04 n), n the updates of the longest run. The test ends at the first
    update whose smoothed loss is not finite or above 4 times the least one so far.

    Args:
        runs: One a seed: one row an update, with learning_rate, loss, accuracy.

    Returns:
        One row an update: iteration (from 0), learning_rate, seeds, loss, accuracy (means),
        smoothed_loss, smoothed_accuracy, diverged (true in the last row alone, if at all).
    """
    length, longest = min(map(len, runs)), max(map(len, runs))
    loss, accuracy = (
        np.mean([run[name].to_numpy(dtype=float)[:length] for run in runs], axis=0)
        for name in ("loss", "accuracy")
    )
    beta = 1 - 1 / max(1.0, SMOOTHED_SHARE * longest)
    smoothed = smooth(loss, beta)
    table = pd.DataFrame(
        {
            "iteration": np.arange(length),
            "learning_rate": runs[0]["learning_rate"].to_numpy(dtype=float)[:length],
            "seeds": len(runs),
            "loss": loss,
            "accuracy": accuracy,
            "smoothed_loss": smoothed,
            "smoothed_accuracy": smooth(accuracy, beta),
            "diverged": ~(smoothed <= _limits(smoothed)),
        }
    )
    ended = np.flatnonzero(table["diverged"])
    return table.iloc[: ended[0] + 1] if ended.size else table


def _limits(smoothed: Float64) -> Float64:
    """Return the loss above which each update's has diverged."""
    least = np.fmin.accumulate(smoothed)
    rise = np.maximum(np.abs(least), smoothed[0] - least)
    return np.where(least > 0, DIVERGENCE * least, least + (DIVERGENCE - 1) * rise)


def suggestions(of: pd.DataFrame) -> pd.DataFrame:
    """Read the curve by every rule.

    With l the smoothed loss and a the smoothed accuracy before divergence, up to the least l:

    - `smith`: lr_min is the rate from which on a tenth of the rise of a, from its least to its
      greatest value, stays done ("when the accuracy starts to increase"), lr_max the first at which
      nine tenths are ("slows, becomes ragged, or starts to fall"). arXiv 1506.01186, section 3.3.
    - `steepest`: lr_max is the rate in the middle of the 4 % of updates over which l falls most.
    - `minimum_tenth`: lr_max is a tenth of the rate with the least l.
    - `valley`: lr_max is the rate in the middle of the longest valley: of the longest strictly
      falling subsequence of l, of k values and ending at update e, update e - k + k // 3 + k // 6.

    By the last three, which are fastai's suggestions of one rate, lr_min is lr_max / 10.

    Args:
        of: What `curve` returns.

    Returns:
        One row a rule: rule, lr_min, lr_max, not yet snapped to swept rates.

    Raises:
        InputError: Fewer than two updates came before divergence, or the loss never fell.
    """
    kept = of[~of["diverged"]]
    loss = kept["smoothed_loss"].to_numpy(dtype=float)
    least = int(np.argmin(loss)) if loss.size else 0
    span = max(1, round(SMOOTHED_SHARE * len(of)))
    if least < 1:
        raise InputError(
            f"the loss of the range test never fell within {len(of)} updates: "
            "widen lr_sweep.learning_rates to smaller ones or raise lr_sweep.range_updates"
        )
    kept, loss = kept.iloc[: least + 1], loss[: least + 1]
    rates = kept["learning_rate"].to_numpy(dtype=float)
    single = {
        "steepest": rates[_steepest(loss, min(span, least))],
        "minimum_tenth": rates[-1] / 10,
        "valley": rates[_middle_of_valley(loss)],
    }
    rows = [("smith", *_smith(rates, kept["smoothed_accuracy"].to_numpy(dtype=float)))]
    rows += [(rule, rate / RANGE, rate) for rule, rate in single.items()]
    return pd.DataFrame(rows, columns=["rule", "lr_min", "lr_max"])


def bounds(of: pd.DataFrame, rule: str, swept: Sequence[float]) -> LearningRateBounds:
    """Return lr_min and lr_max by one rule of `suggestions`, each the nearest swept rate.

    Nearest on a log scale, of two equally near the smaller. Where both are one rate, lr_min is the
    next smaller one, or where there is none, lr_max the next larger one.

    Args:
        of: What `curve` returns.
        rule: The rule's name.
        swept: The learning rates that a sweep would try, in any order.

    Raises:
        InputError: The rule is unknown, fewer than two rates are swept, or `suggestions` fails.
    """
    if rule not in RULES:
        raise InputError(
            f"lr_bounds.rule {rule!r} is none of a range test's: these are {', '.join(RULES)}"
        )
    grid = np.unique(np.asarray(swept, dtype=float))
    if len(grid) < 2:
        raise InputError("lr_sweep.learning_rates must hold two rates, so that there are bounds")
    found = suggestions(of).set_index("rule").astype(float).loc[rule].to_dict()
    low, high = (_nearest(grid, found[name]) for name in ("lr_min", "lr_max"))
    if low == high:
        low, high = (low - 1, high) if low else (0, 1)
    return LearningRateBounds(float(grid[low]), float(grid[high]), rule)


def summary(runs: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Say how far the run of every seed came.

    Returns:
        One row a seed: seed, updates, least_loss (smoothed), lr_at_least_loss, lr_at_end (the last
        update's), status (`diverged` or `finished`).
    """
    curves = {seed: curve([run]) for seed, run in runs.items()}
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "updates": len(of),
                "least_loss": float(of["smoothed_loss"].min()),
                "lr_at_least_loss": lr_at_least_loss(of),
                "lr_at_end": float(of["learning_rate"].iloc[-1]),
                "status": "diverged" if of["diverged"].iloc[-1] else "finished",
            }
            for seed, of in curves.items()
        ]
    )


def lr_at_least_loss(of: pd.DataFrame) -> float:
    """Return the rate at which the smoothed loss of a `curve` is least."""
    loss = of["smoothed_loss"].fillna(np.inf).to_numpy(dtype=float)
    return float(of["learning_rate"].iloc[int(np.argmin(loss))])


def diverging_rate(of: pd.DataFrame) -> float:
    """Return the rate at which a `curve` diverged; infinity where it did not."""
    return float(of["learning_rate"].iloc[-1]) if of["diverged"].iloc[-1] else np.inf


def _smith(rates: Float64, accuracy: Float64) -> tuple[float, float]:
    floor, best = accuracy.min(), accuracy.max()
    below = np.flatnonzero(accuracy < floor + 0.1 * (best - floor))
    begins = min(int(below.max(initial=-1)) + 1, len(accuracy) - 1)
    slows = int(np.argmax(accuracy >= floor + 0.9 * (best - floor)))
    return float(rates[begins]), float(rates[max(slows, begins)])


def _steepest(loss: Float64, span: int) -> int:
    return int(np.argmin(loss[span:] - loss[:-span])) + span // 2


def _middle_of_valley(loss: Float64) -> int:
    """Return the middle of the longest strictly falling subsequence, as fastai's `valley` does.

    `longest[i]` is the length of the longest one that ends at i: the place of -loss[i] among the
    least ends of rising ones of each length.
    """
    least_ends: list[float] = []
    longest = []
    for value in -loss:
        place = bisect_left(least_ends, value)
        least_ends[place : place + 1] = [value]
        longest.append(place + 1)
    end = int(np.argmax(longest))
    length = longest[end]
    return max(0, end - length + length // 3 + length // 6)


def _nearest(grid: Float64, rate: float) -> int:
    return int(np.argmin(np.abs(np.log10(grid / rate)).round(9)))
