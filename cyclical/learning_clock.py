"""Both sweeps on one clock: accuracy against S, the sum of the learning rates of all updates.

Where batches are small beside the gradient noise scale, how far a training has come depends on S
alone (see `cyclical.clock`). What a large batch loses at the same number of epochs is then what its
few updates leave undone, and not what averaging over many examples costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cyclical.rounding import log10
from cyclical.sweeps import LEARNED


@dataclass(frozen=True)
class Ran:
    """What a training of a sweep left: its history, and the learning rate of every update."""

    history: pd.DataFrame
    learning_rates: "pd.Series[float]"


def every_epoch(trainings: Mapping[tuple[float, int], Ran], value: str) -> pd.DataFrame:
    """Lay all epochs of a sweep's trainings one below the other.

    Args:
        trainings: (swept value, seed) -> what that training left.
        value: The name of the swept column.

    Returns:
        One row a training and epoch: value, seed, rate_sum (S at the end of the epoch), and the
        columns of the histories.
    """
    tables = []
    for (swept, seed), ran in sorted(trainings.items(), key=lambda each: each[0]):
        sums = np.cumsum(ran.learning_rates.to_numpy(dtype=float))
        ends = ran.history["updates"].to_numpy(dtype=int)
        named = {value: swept, "seed": seed, "rate_sum": sums[ends - 1]}
        tables.append(ran.history.assign(**named)[[*named, *ran.history.columns]])
    return pd.concat(tables, ignore_index=True)


def at_equal_sums(batches: pd.DataFrame, rates: pd.DataFrame, status: pd.DataFrame) -> pd.DataFrame:
    """Set the end of every batch size beside what the sweep of the rate had reached at the same S.

    The latter is read off `curve_of`, between the two nearest S on a log scale. What is compared is
    the training accuracy, an epoch's mean, at the S of the epoch's middle: by it bmin and bmax are
    detected, and it uses each batch's own statistics. Validation uses their moving averages, which
    after few updates are not yet those of the weights (Ioffe and Szegedy, arXiv 1502.03167; with
    Keras's momentum of 0.99 after some hundreds), so that large sizes would seem to lag in S.

    Args:
        batches: `every_epoch` of the batch sweep.
        rates: `every_epoch` of the learning-rate sweep.
        status: Its table, with learning_rate, train_accuracy and status.

    Returns:
        One row a batch size: batch_size, updates, rate_sum (S at the middle of the last epoch),
        train_accuracy (of that epoch; means over the seeds, and NaN where one of them diverged),
        same_sum (the training accuracy that the sweep of the rate had at that S; NaN outside of
        what was swept), difference (train_accuracy - same_sum).
    """
    last = at_middles(batches).groupby(["batch_size", "seed"]).tail(1)
    figures = last.groupby("batch_size")[["updates", "rate_sum", "train_accuracy"]]
    table = figures.mean(skipna=False).reset_index()
    curve = curve_of(rates, status)
    same = np.interp(log10(table["rate_sum"]), log10(curve.index), curve, left=np.nan, right=np.nan)
    return table.assign(same_sum=same, difference=table["train_accuracy"] - same)


def curve_of(rates: pd.DataFrame, status: pd.DataFrame) -> "pd.Series[float]":
    """Return S -> mean training accuracy, of the epochs of the rates that learned.

    Rates above that of the best training accuracy are left out: they are near instability, where S
    is no clock. So are first epochs, where there are later ones: the mean over an epoch that begins
    at S = 0 is that of no S.
    """
    learned = status[status["status"] == LEARNED]
    best = learned["learning_rate"].iloc[int(np.argmax(learned["train_accuracy"]))]
    clocked = learned.loc[learned["learning_rate"] <= best, "learning_rate"]
    epochs = at_middles(rates)
    chosen = epochs[epochs["learning_rate"].isin(clocked) & epochs["train_accuracy"].notna()]
    later = chosen[chosen["epoch"] > 1]
    means = (chosen if later.empty else later).groupby("rate_sum")["train_accuracy"].mean()
    curve: pd.Series[float] = means
    return curve


def at_middles(epochs: pd.DataFrame) -> pd.DataFrame:
    """Return `every_epoch`'s table with S at the middle of each epoch in place of its end."""
    trainings = epochs.groupby([epochs.columns[0], "seed"], sort=False)
    begins = trainings["rate_sum"].shift(fill_value=0.0)
    return epochs.assign(rate_sum=(begins + epochs["rate_sum"]) / 2)
