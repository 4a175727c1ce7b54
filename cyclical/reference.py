"""The figures of the published notebook run, where they can be compared with."""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from cyclical.config import NOTEBOOK, Experiment

PUBLISHED = Path(__file__).parent / "published"
ARMS = {
    ("clr", "derived bounds"): "clr-derived",
    ("clr", "paper bounds"): "clr-paper",
    ("cyclic_batch", "exponential 16..64"): "cyclic-batch-reference",
}
ALL_IMAGES = 10_000
"""The number of test images on which the published run was validated, but for one arm."""
BOUNDS = {"lr_min": 1e-4, "lr_max": 1e-3, "bmin": 16, "bmax": 256}
"""What the published run's author read off its sweeps."""
BESIDE: Any = {
    **dict.fromkeys(
        ("artifacts", "workers", "gpus", "cluster", "seeds", "metrics", "comparison"), True
    ),
    "data": {"name", "path"},
    "lr_sweep": {"learning_rates"},
    "batch_sweep": {"batch_sizes", "noise"},
    "training": {"seeds"},
}
"""The fields that an experiment of the published run's may have other values of."""
Rows = list[dict[str, Any]]


def applies(config: Experiment, *, is_fashion: bool) -> bool:
    """Tell whether an experiment studies what the published run studied, at whatever size.

    Args:
        config: The experiment.
        is_fashion: Whether its data turned out to be Fashion-MNIST.
    """
    theirs = NOTEBOOK
    return (
        is_fashion
        and (config.model, config.loss) == (theirs.model, theirs.loss)
        and (config.precision, config.micro_batch) == (theirs.precision, theirs.micro_batch)
    )


def whole(config: Experiment, *, is_fashion: bool) -> bool:
    """Tell whether an experiment is the published run's: all that makes a figure is the same.

    Seeds, where it computes, what is measured besides, and which values are swept may differ.
    """
    ours, theirs = (each.model_dump(exclude=BESIDE) for each in (config, NOTEBOOK))
    return applies(config, is_fashion=is_fashion) and ours == theirs


def comparable_sweep(config: Experiment, value: str, *, is_fashion: bool) -> Rows:
    """Return a published sweep where an experiment sweeps as the published run did."""
    step = {"learning_rate": "lr_sweep", "batch_size": "batch_sweep"}[value]
    ours, theirs = (getattr(each, step).optimizer for each in (config, NOTEBOOK))
    return sweep(value) if applies(config, is_fashion=is_fashion) and ours == theirs else []


@cache
def sweep(value: str) -> Rows:
    """Return a published sweep: `value`, train_loss, train_accuracy, val_accuracy (last epoch).

    Args:
        value: The swept column, `learning_rate` or `batch_size`.
    """
    finals = pd.read_csv(PUBLISHED / "notebook_sweeps.csv")
    finals = finals[finals["sweep"] == value].set_index("value")
    epochs = _epochs()
    stage = {"learning_rate": "lr_sweep", "batch_size": "batch_sweep"}[value]
    last = epochs[(epochs["stage"] == stage) & (epochs["epoch"] == 5)]
    swept = last["arm"].str.partition("=")[2].astype(float)
    validated = last["val_accuracy"].set_axis(swept)
    table = pd.DataFrame(
        {
            value: finals.index.astype(float),
            "train_loss": finals["final_train_loss"].to_numpy(),
            "train_accuracy": finals["final_train_accuracy"].to_numpy(),
            "val_accuracy": validated.loc[finals.index].to_numpy(),
        }
    )
    return _rows(table)


@cache
def arms() -> dict[str, Rows]:
    """Return the published epochs of every arm that the published run trained.

    Returns:
        Arm -> rows of epoch, train_loss (None where unknown), train_accuracy, val_accuracy and
        val_images, the number of test images that this is the accuracy of.
    """
    columns = ["epoch", "train_loss", "train_accuracy", "val_accuracy", "val_images"]
    epochs = _epochs().assign(val_images=ALL_IMAGES)
    found = {
        label: _rows(epochs.loc[(epochs["stage"] == stage) & (epochs["arm"] == arm), columns])
        for (stage, arm), label in ARMS.items()
    }
    accumulated = pd.read_csv(PUBLISHED / "notebook_effective_batch.csv")
    accumulated = accumulated.rename(columns={"val_accuracy_first_160": "val_accuracy"})
    found["effective-batch-constant"] = _rows(
        accumulated.assign(train_loss=None, val_images=160)[columns]
    )
    return found


def comparable(config: Experiment, *, is_fashion: bool) -> dict[str, Rows]:
    """Return those of `arms` that an experiment trains as the published run did, at any size."""
    if not applies(config, is_fashion=is_fashion):
        return {}
    ours, theirs = _shapes(config), _shapes(NOTEBOOK)
    return {arm: rows for arm, rows in arms().items() if ours[arm] == theirs[arm]}


def _shapes(config: Experiment) -> dict[str, Any]:
    """Return the settings that make a published arm what it is, whatever the size of the run."""
    clr, cyclic, effective = config.clr, config.cyclic_batch, config.effective_batch
    return {
        "clr-derived": (clr.policy, clr.gamma, clr.batch_size, clr.optimizer),
        "clr-paper": (clr.policy, clr.gamma, clr.batch_size, clr.optimizer, clr.paper),
        "cyclic-batch-reference": (cyclic.reference, cyclic.learning_rate, cyclic.optimizer),
        "effective-batch-constant": (effective.group, effective.optimizer),
    }


def at_other_rates(bounds: Mapping[str, float]) -> frozenset[str]:
    """Name the swept columns and arms that these bounds had trained at other rates than published.

    Args:
        bounds: lr_min and lr_max, where they are known.

    Returns:
        Of batch_size and effective-batch-constant, which train at lr_min, and clr-derived, which
        cycles between both, those whose bounds are not the published run's.
    """
    other = {
        name
        for name in ("lr_min", "lr_max")
        if not math.isclose(bounds.get(name, math.nan), BOUNDS[name])
    }
    at_lr_min = {"batch_size", "effective-batch-constant"} if "lr_min" in other else set()
    return frozenset(at_lr_min | ({"clr-derived"} if other else set()))


def beside(history: pd.DataFrame, published: Rows) -> pd.DataFrame:
    """Place published epochs beside a training's own, each in the middle of its epoch's updates.

    Args:
        history: The training's history, with epoch and updates.
        published: Rows of `arms`.

    Returns:
        One row an epoch that both have: iteration, loss, accuracy (means over the epoch).
    """
    starts = history["updates"].shift(fill_value=0)
    middles = dict(zip(history["epoch"], (starts + history["updates"]) / 2, strict=True))
    rows = [
        (middles[row["epoch"]], row["train_loss"], row["train_accuracy"])
        for row in published
        if row["epoch"] in middles
    ]
    return pd.DataFrame(rows, columns=["iteration", "loss", "accuracy"])


def _epochs() -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / "notebook_epochs.csv")


def _rows(table: pd.DataFrame) -> Rows:
    """Return plain rows, which a cache key can hold: NaN becomes None."""
    known = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in known.to_dict("records")]
