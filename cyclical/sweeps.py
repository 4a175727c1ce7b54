"""From the trainings of a sweep to its table: one row a swept value, averaged over the seeds."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

LEARNED, NOT_LEARNED, DIVERGED = "learned", "not_learned", "diverged"
METRICS = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]


def final_metrics(
    histories: Mapping[tuple[float, int], pd.DataFrame], value: str, least: float
) -> pd.DataFrame:
    """Take the last epoch of every training of a sweep and judge it among those of its seed.

    Args:
        histories: (swept value, seed) -> history with one row an epoch.
        value: The name of the swept column, `learning_rate` or `batch_size`.
        least: The training accuracy from which one learned, see `least_learned`.

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
    judged = [with_status(of_seed, value, least) for _, of_seed in table.groupby("seed")]
    return pd.concat(judged).sort_values([value, "seed"], ignore_index=True)


def judged_at_its_end(
    history: pd.DataFrame, iterations: pd.DataFrame, updates: int
) -> pd.DataFrame:
    """Take a training's last epoch as if it had been its last so many updates.

    Trainings of as many updates end in epochs that are cut short, each elsewhere: their means over
    the last epoch would be of unlike parts of a training.

    Args:
        history: One row an epoch.
        iterations: One row an update: batch_size, loss, accuracy.
        updates: How many updates are averaged over.

    Returns:
        The history, its last train_loss and train_accuracy the means over the examples of these.
    """
    end = iterations.tail(updates)
    means = {
        f"train_{name}": np.average(end[name].to_numpy(dtype=float), weights=end["batch_size"])
        for name in ("loss", "accuracy")
    }
    judged = history.copy()
    judged.loc[judged.index[-1], list(means)] = list(means.values())
    return judged


def with_status(table: pd.DataFrame, value: str, least: float) -> pd.DataFrame:
    """Add the column `status` to a sweep's table, sorted by the swept value.

    `learned`: the loss is finite and the training accuracy at least `least`.
    `diverged`: the loss is not finite, or a learning rate that did not learn lies above one that
    did. Else `not_learned`.
    """
    ordered = table.sort_values(value, ignore_index=True)
    finite = np.isfinite(ordered["train_loss"].to_numpy(dtype=float))
    learned = finite & (ordered["train_accuracy"].to_numpy(dtype=float) >= least)
    above = np.logical_or.accumulate(learned) & (value == "learning_rate")
    status = np.where(learned, LEARNED, np.where(~finite | above, DIVERGED, NOT_LEARNED))
    return ordered.assign(status=status)
