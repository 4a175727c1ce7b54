"""From the histories of all arms to what tells whether cycling pays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cyclical import naming
from cyclical.arms import describe
from cyclical.intervals import mean
from cyclical.plans import Training

MUCH = 1.2
PICKED = "each picked by these very figures, so optimistic"
FINDINGS = {
    "clr-derived": "Cycling the learning rate",
    "cyclic-batch-derived": "Cycling the batch size",
    "effective-batch-cyclic": "Cycling the effective batch size",
    "combined": "Cycling both",
}
HISTORY = {
    *("epoch", "updates", "examples"),
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
}
MEASURED = ["test_accuracy", "final_val_accuracy", "final_val_loss", "best_val_accuracy"]


@dataclass(frozen=True)
class Trained:
    """An arm's training and what it left: its history, and its test figures if it has any."""

    training: Training
    history: pd.DataFrame
    test: pd.DataFrame | None = None


def compare(arms: Sequence[Trained], goal: float = 0.90) -> pd.DataFrame:
    """Compare trainings by their validation and test figures.

    Args:
        arms: Every training with its history, one row an epoch.
        goal: The validation accuracy to which epochs are counted.

    Returns:
        One row an arm and seed, in the given order: arm, seed, optimizer, schedule, epochs,
        updates, examples, final_val_accuracy, final_val_loss, best_val_accuracy (the best epoch's:
        optimistic, as it is picked on these very images), best_val_loss, best_epoch,
        epochs_to_goal (the first epoch with a validation accuracy of `goal`; NaN if there was
        none), test_accuracy and test_loss (after the last epoch; without held-out images the
        validation images are the test images), held_out (whether images are held out), and
        final_NAME of every other column NAME of the histories.
    """
    return pd.DataFrame([_row(arm, goal) for arm in arms])


def summarise(
    table: pd.DataFrame,
    baselines: Mapping[str, str],
    published: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> pd.DataFrame:
    """Average each arm over its seeds, and compare it with the fixed settings seed by seed.

    Means have 95 % intervals (see `intervals.mean`). Differences are taken between trainings of
    one seed, which share initial weights and the order of the examples, and then averaged likewise.

    Args:
        table: What `compare` returns.
        baselines: Arm -> the arm that it is compared with, if that was trained.
        published: Arm -> the published run's epochs, with val_accuracy and val_images.

    Returns:
        One row an arm: arm, optimizer, schedule, seeds, epochs, updates, examples (means); of each
        of MEASURED, and of the other metrics, the mean, and with the endings _low and _high its
        interval; best_epoch and
        epochs_to_goal (means; NaN where a seed did not reach the goal); baseline ("" for none);
        difference, difference_low, difference_high (test accuracy, the arm's minus the
        baseline's); published_final and published_best (validation accuracy), published_images
        (how many test images that is on); held_out.
    """
    by_arm = {str(arm): rows.set_index("seed") for arm, rows in table.groupby("arm", sort=False)}
    rows = []
    for arm, of_arm in by_arm.items():
        baseline = baselines.get(arm, "")
        baseline = baseline if baseline in by_arm else ""
        other = by_arm[baseline]["test_accuracy"] if baseline else np.nan
        rows.append(
            {"arm": arm, **_means_of(of_arm), "baseline": baseline}
            | mean(of_arm["test_accuracy"] - other, "difference")
            | _published((published or {}).get(arm, ()))
        )
    return pd.DataFrame(rows)


def findings(summary: pd.DataFrame, more: str = "--seeds 5") -> list[str]:
    """Say in a sentence each what cycling brought, from the rows of `summarise`.

    A difference is told as one only where its interval leaves out zero. The last sentence names
    the best arms of either kind, whatever their optimizer: a baseline may be a weak one.

    Args:
        summary: What `summarise` returns.
        more: What would train more seeds, for the reader of one.
    """
    rows = {row["arm"]: row for row in summary.to_dict("records")}
    told = [
        f"{what}: {_told(rows[arm], rows[rows[arm]['baseline']], more)}"
        for arm, what in FINDINGS.items()
        if arm in rows and rows[arm]["baseline"]
    ]
    finals = {arm: row["test_accuracy"] for arm, row in rows.items()}
    against = {row["baseline"] for row in rows.values()}
    that_cycle = {arm for arm in rows if rows[arm]["baseline"]}
    cycling, fixed = (
        max(
            (arm for arm in finals if arm in kind and np.isfinite(finals[arm])),
            key=finals.__getitem__,
            default="",
        )
        for kind in (that_cycle, against)
    )
    if told and cycling and fixed:
        best, other = (f"{arm} {finals[arm]:.4f}" for arm in (cycling, fixed))
        told.append(f"Best that cycles: {best}; best that does not: {other} ({PICKED})")
    return told


def accuracy_by_epoch(arms: Sequence[Trained]) -> pd.DataFrame:
    """Stack the arms' histories: arm, seed, optimizer, epoch, updates, examples, val_accuracy."""
    counts = ["epoch", "updates", "examples"]
    return pd.concat(
        [
            arm.history[[*counts, "val_accuracy"]].assign(
                arm=arm.training.label,
                seed=arm.training.seed,
                optimizer=naming.described(arm.training.optimizer),
            )
            for arm in arms
        ],
        ignore_index=True,
    )[["arm", "seed", "optimizer", *counts, "val_accuracy"]]


def _row(arm: Trained, goal: float) -> dict[str, Any]:
    training, history = arm.training, arm.history
    final = history.iloc[-1]
    validated = history["val_accuracy"]
    tested = final.rename({"val_accuracy": "test_accuracy", "val_loss": "test_loss"})
    if arm.test is not None:
        tested = arm.test.iloc[0]
    return {
        "arm": training.label,
        "seed": training.seed,
        "optimizer": naming.described(training.optimizer),
        "schedule": describe(training),
        "epochs": len(history),
        "updates": int(final["updates"]),
        "examples": int(final["examples"]),
        "final_val_accuracy": float(final["val_accuracy"]),
        "final_val_loss": float(final["val_loss"]),
        "best_val_accuracy": float(validated.max()),
        "best_val_loss": float(history["val_loss"].min()),
        "best_epoch": _first(history["epoch"][validated == validated.max()]),
        "epochs_to_goal": _first(history["epoch"][validated >= goal]),
        "test_accuracy": float(tested["test_accuracy"]),
        "test_loss": float(tested["test_loss"]),
        "held_out": arm.test is not None,
        **{f"final_{name}": float(final[name]) for name in history.columns if name not in HISTORY},
    }


def _first(epochs: "pd.Series[int]") -> float:
    return float(epochs.iloc[0]) if len(epochs) else np.nan


def _means_of(of_arm: pd.DataFrame) -> dict[str, Any]:
    named = {name: str(of_arm[name].iloc[0]) for name in ("optimizer", "schedule")}
    counts = {name: float(of_arm[name].mean()) for name in ("epochs", "updates", "examples")}
    measured: dict[str, float] = {}
    others = [name for name in of_arm.columns if name.startswith("final_val_")]
    for figure in [*MEASURED, *(name for name in others if name not in MEASURED)]:
        measured |= mean(of_arm[figure], figure)
    reached = {
        name: float(of_arm[name].mean(skipna=False)) for name in ("best_epoch", "epochs_to_goal")
    }
    held_out = bool(of_arm["held_out"].any())
    return {**named, "seeds": len(of_arm), "held_out": held_out, **counts, **measured, **reached}


def _published(epochs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    accuracies = [float(epoch["val_accuracy"]) for epoch in epochs]
    return {
        "published_final": accuracies[-1] if accuracies else np.nan,
        "published_best": max(accuracies, default=np.nan),
        "published_images": float(epochs[-1]["val_images"]) if epochs else np.nan,
    }


def _told(row: Mapping[Any, Any], other: Mapping[Any, Any], more: str) -> str:
    """Tell one arm's difference to its baseline, in points (hundredths of accuracy).

    More updates, or fewer, may explain it as well, and another optimizer: updates are named where
    they differ by a fifth.
    """
    difference, low, high = (
        100 * row[name] for name in ("difference", "difference_low", "difference_high")
    )
    seeds, baseline = int(row["seeds"]), row["baseline"]
    if not np.isfinite(difference):
        return f"not comparable with {baseline}, as a training diverged"
    ratio = row["updates"] / other["updates"]
    unlike = [] if 1 / MUCH < ratio < MUCH else [f"{ratio:.2g} times its updates"]
    if row["optimizer"] != other["optimizer"]:
        unlike.append(f"{row['optimizer']} in place of its {other['optimizer']}")
    beside = f", with {' and '.join(unlike)}" if unlike else ""
    word = "better" if difference > 0 else "worse"
    if seeds == 1:
        how = (
            f"{word} by {abs(difference):.1f} points than" if round(difference, 1) else "level with"
        )
        return f"{how} {baseline}{beside} (one seed: {more} would show how much is chance)"
    if low <= 0 <= high:
        interval = f"95 % interval {low:+.1f} to {high:+.1f}"
        whose = f"{beside}, that" if unlike else " that"
        return f"no difference from {baseline}{whose} {seeds} seeds can show ({interval})"
    low, high = sorted((abs(low), abs(high)))
    digits = 1 if round(low, 1) else 2
    interval = f"95 % interval {low:.{digits}f} to {high:.{digits}f}, {seeds} seeds"
    return f"{word} by {abs(difference):.{digits}f} points than {baseline}{beside} ({interval})"
