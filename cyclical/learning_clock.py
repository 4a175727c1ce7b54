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

ONE_CURVE = 0.03
"""Of accuracy: what lies closer lies on one curve; about what an epoch of one seed varies by."""


@dataclass(frozen=True)
class Ran:
    """What a training of a sweep left: its history, and the learning rate of every update.

    `judged`: of how many updates the last row of the history is, None for those since the row
    before.
    """

    history: pd.DataFrame
    learning_rates: "pd.Series[float]"
    judged: int | None = None


def every_epoch(trainings: Mapping[tuple[float, int], Ran], value: str) -> pd.DataFrame:
    """Lay all epochs of a sweep's trainings one below the other.

    Args:
        trainings: (swept value, seed) -> what that training left.
        value: The name of the swept column.

    Returns:
        One row a training and epoch: value, seed, rate_sum (S in the middle of the updates that the
        row is the mean of), from_start (whether the first update is among them), and the columns of
        the histories, their train_accuracy NaN where the loss is not finite.
    """
    tables = []
    for (swept, seed), ran in sorted(trainings.items(), key=lambda each: each[0]):
        sums = np.cumsum([0.0, *ran.learning_rates])
        ends = ran.history["updates"].to_numpy(dtype=int)
        begins = np.concatenate([[0], ends[:-1]])
        if ran.judged is not None:
            begins[-1] = max(0, ends[-1] - ran.judged)
        middles = (sums[begins] + sums[ends]) / 2
        named = {value: swept, "seed": seed, "rate_sum": middles, "from_start": begins == 0}
        finite = np.isfinite(ran.history["train_loss"])
        masked = {"train_accuracy": ran.history["train_accuracy"].where(finite)}
        tables.append(ran.history.assign(**named, **masked)[[*named, *ran.history.columns]])
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
        One row a batch size: batch_size, updates, rate_sum, train_accuracy (of its last row; means
        over the seeds, and NaN where one of them diverged), same_sum (the training accuracy that
        the sweep of the rate had at that S; NaN outside of what was swept, and where a mean from
        the start, of a single epoch, would stand beside those of later ones, or the reverse),
        difference (train_accuracy - same_sum).
    """
    last = batches.groupby(["batch_size", "seed"]).tail(1)
    figures = last.groupby("batch_size")[["updates", "rate_sum", "train_accuracy"]]
    table = figures.mean(skipna=False).reset_index()
    clocked = _clocked(rates, status)
    curve = _means(clocked)
    same = np.interp(log10(table["rate_sum"]), log10(curve.index), curve, left=np.nan, right=np.nan)
    alike = last.groupby("batch_size")["from_start"].any() == bool(clocked["from_start"].all())
    same = np.where(alike, same, np.nan)
    return table.assign(same_sum=same, difference=table["train_accuracy"] - same)


def curve_of(rates: pd.DataFrame, status: pd.DataFrame) -> "pd.Series[float]":
    """Return S -> mean training accuracy, of the epochs of the rates that learned.

    From the first rate on that falls behind they are left out: one that in an epoch lies more than
    ONE_CURVE below what smaller rates had reached by then is near instability, where S is no clock.
    So are first epochs, where there are later ones: the mean from the start is that of no S.
    """
    return _means(_clocked(rates, status))


def _clocked(rates: pd.DataFrame, status: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that `curve_of` is the mean of."""
    learned = status.loc[status["status"] == LEARNED, "learning_rate"]
    finite = rates[rates["learning_rate"].isin(learned) & rates["train_accuracy"].notna()]
    later = finite[~finite["from_start"]]
    chosen = finite if later.empty else later
    reached = chosen.iloc[:0]
    for _, of_rate in chosen.groupby("learning_rate"):
        means = of_rate.groupby("epoch")[["rate_sum", "train_accuracy"]].mean()
        before = _means(reached)
        if any(
            accuracy < before[before.index <= rate_sum * (1 + 1e-9)].max() - ONE_CURVE
            for rate_sum, accuracy in means.itertuples(index=False)
        ):
            break
        reached = pd.concat([reached, of_rate])
    return reached


def _means(rows: pd.DataFrame) -> "pd.Series[float]":
    """Average the accuracies of rows that have one S, but for rounding."""
    grouped = rows.groupby(log10(rows["rate_sum"]).round(9))
    means = grouped[["rate_sum", "train_accuracy"]].mean()
    curve: pd.Series[float] = means.set_index("rate_sum")["train_accuracy"]
    return curve
