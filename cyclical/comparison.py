"""From the histories of all arms to the table that compares them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cyclical.arms import describe
from cyclical.plans import Training


def compare(arms: Sequence[tuple[Training, pd.DataFrame]], goal: float = 0.90) -> pd.DataFrame:
    """Compare arms by their validation figures.

    Args:
        arms: Every training with its history, one row an epoch.
        goal: The validation accuracy to which epochs are counted.

    Returns:
        One row an arm and seed, in the given order: arm, seed, optimizer, schedule, epochs,
        updates, examples, final_val_accuracy, final_val_loss, best_val_accuracy (the best epoch's:
        optimistic, as it is picked on the test set), best_val_loss, epochs_to_goal (the first epoch
        with a validation accuracy of `goal`; NaN if there was none).
    """
    return pd.DataFrame([_row(training, history, goal) for training, history in arms])


def accuracy_by_epoch(arms: Sequence[tuple[Training, pd.DataFrame]]) -> pd.DataFrame:
    """Stack the arms' histories: arm, seed, epoch, val_accuracy."""
    return pd.concat(
        [
            history[["epoch", "val_accuracy"]].assign(arm=training.label, seed=training.seed)
            for training, history in arms
        ],
        ignore_index=True,
    )[["arm", "seed", "epoch", "val_accuracy"]]


def _row(training: Training, history: pd.DataFrame, goal: float) -> dict[str, Any]:
    final = history.iloc[-1]
    reached = history.loc[history["val_accuracy"] >= goal, "epoch"]
    return {
        "arm": training.label,
        "seed": training.seed,
        "optimizer": training.optimizer.name,
        "schedule": describe(training),
        "epochs": len(history),
        "updates": int(final["updates"]),
        "examples": int(final["examples"]),
        "final_val_accuracy": float(final["val_accuracy"]),
        "final_val_loss": float(final["val_loss"]),
        "best_val_accuracy": float(history["val_accuracy"].max()),
        "best_val_loss": float(history["val_loss"].min()),
        "epochs_to_goal": float(reached.iloc[0]) if len(reached) else np.nan,
    }
