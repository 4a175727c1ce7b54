"""From the trainings of a sweep to its table: one row a swept value, averaged over the seeds."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

LEARNED, NOT_LEARNED, DIVERGED = "learned", "not_learned", "diverged"
METRICS = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]


def final_metrics(
    histories: Mapping[tuple[float, int], pd.DataFrame], value: str, classes: int
) -> pd.DataFrame:
    """Take the last epoch of every training of a sweep and judge it among those of its seed.

    Args:
        histories: (swept value, seed) -> history with one row an epoch.
        value: The name of the swept column, `learning_rate` or `batch_size`.
        classes: The number of classes.

    Returns:
        One row a training, sorted by value and seed: value, seed, epochs, updates, METRICS, status.
    """
    rows = [
        {
            value: swept,
            "seed": seed,
            "epochs": len(history),
            **history.iloc[-1][["updates", *METRICS]],
        }
        for (swept, seed), history in sorted(histories.items())
    ]
    table = pd.DataFrame(rows).astype({"updates": "int64"})
    judged = [with_status(of_seed, value, classes) for _, of_seed in table.groupby("seed")]
    return pd.concat(judged).sort_values([value, "seed"], ignore_index=True)


def mean_curve(finals: pd.DataFrame, value: str, classes: int) -> pd.DataFrame:
    """Average a sweep over its seeds and judge every swept value.

    A mean is NaN where any seed's figure is. Returns one row a value, in rising order: value,
    seeds, METRICS, status.
    """
    groups = finals.groupby(value, sort=True)
    means = groups[METRICS].mean(skipna=False)
    means.insert(0, "seeds", groups.size())
    return with_status(means.reset_index(), value, classes)


def with_status(table: pd.DataFrame, value: str, classes: int) -> pd.DataFrame:
    """Add the column `status` to a sweep's table, sorted by the swept value.

    `learned`: the loss is finite and the training accuracy at least 2 / classes. `diverged`: the
    loss is not finite, or a learning rate that did not learn lies above one that did. Else
    `not_learned`.
    """
    ordered = table.sort_values(value, ignore_index=True)
    finite = np.isfinite(ordered["train_loss"].to_numpy(dtype=float))
    learned = finite & (ordered["train_accuracy"].to_numpy(dtype=float) >= 2 / classes)
    above = np.logical_or.accumulate(learned) & (value == "learning_rate")
    status = np.where(learned, LEARNED, np.where(~finite | above, DIVERGED, NOT_LEARNED))
    return ordered.assign(status=status)
