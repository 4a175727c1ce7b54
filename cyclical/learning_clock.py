"""Both sweeps on one clock: accuracy against S, the sum of the learning rates of all updates.

Where batches are small beside the gradient noise scale, how far a training has come depends on S
alone (see `cyclical.clock`). What a large batch loses at the same number of epochs is then what its
few updates leave undone, and not what averaging over many examples costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

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

    The latter is read off `curve_of`, between the two nearest S on a log scale.

    Args:
        batches: `every_epoch` of the batch sweep.
        rates: `every_epoch` of the learning-rate sweep.
        status: Its table, with learning_rate, train_accuracy and status.

    Returns:
        One row a batch size: batch_size, updates, rate_sum, val_accuracy (means over the seeds; the
        accuracy is NaN where one of them diverged), same_sum (the validation accuracy that the
        sweep of the rate had at that S; NaN outside of what was swept), difference (val_accuracy -
        same_sum).
    """
    last = batches.groupby(["batch_size", "seed"]).tail(1)
    figures = last.groupby("batch_size")[["updates", "rate_sum", "val_accuracy"]]
    table = figures.mean(skipna=False).reset_index()
    curve = curve_of(rates, status)
    same = np.interp(
        np.log(table["rate_sum"]), np.log(curve.index), curve, left=np.nan, right=np.nan
    )
    return table.assign(same_sum=same, difference=table["val_accuracy"] - same)


def curve_of(rates: pd.DataFrame, status: pd.DataFrame) -> "pd.Series[float]":
    """Return S -> mean validation accuracy, of all epochs of the rates that learned.

    Rates above that of the best training accuracy are left out: they are near instability, where S
    is no clock.
    """
    learned = status[status["status"] == LEARNED]
    best = learned["learning_rate"].iloc[int(np.argmax(learned["train_accuracy"]))]
    clocked = learned.loc[learned["learning_rate"] <= best, "learning_rate"]
    chosen = rates[rates["learning_rate"].isin(clocked) & rates["val_accuracy"].notna()]
    curve: pd.Series[float] = chosen.groupby("rate_sum")["val_accuracy"].mean()
    return curve
