"""Stores made by hand: artifacts, and the record of a run that is made of them."""

from typing import Any

import pandas as pd

from cyclical import bounds
from cyclical.config import QUICK
from cyclical.manifests import Artifact, DamagedError
from cyclical.results import Point, RunRecord
from cyclical.store import Slot, Store


def point(store: Store, step: str, label: str, seconds: float = 1, **content: Any) -> Point:
    """Write an artifact: tables by name, and pictures where the content is bytes."""
    slot = Slot(store=store, step=step, label=label, recipe={})
    tables = {f"{name}.parquet": v for name, v in content.items() if not isinstance(v, bytes)}
    pictures = {f"{name}.png": v for name, v in content.items() if isinstance(v, bytes)}
    artifact = store.write(slot, tables, pictures, duration_seconds=seconds)
    return Point(step=step, label=label, artifact=artifact)


def lr_bounds(store: Store) -> Point:
    found = bounds.LearningRateBounds(1e-4, 1e-3, "plateau")
    return point(store, "lr_bounds", "bounds", bounds=pd.DataFrame([vars(found)]))


def batch_bounds(store: Store) -> Point:
    swept = {
        "batch_size": [16, 32, 64, 128],
        "train_accuracy": [0.8, 0.8, 0.79, 0.5],
        "train_loss": 1,
    }
    return point(
        store, "batch_bounds", "bounds", bounds=bounds.batch_bounds(pd.DataFrame(swept)).table
    )


def run_of(*points: Point, seconds: float = 287.5) -> RunRecord:
    return RunRecord(
        finished="2026-01-31T12:00:00+00:00",
        duration_seconds=seconds,
        profile="quick",
        until_step=None,
        flow_run_id="7b1c7ed6-53b5-4c0c-9ea5-6ac7c6a5d1a0",
        configuration=QUICK,
        points=points,
    )


def holds(store: Store, artifact: Artifact) -> bool:
    """Tell whether an artifact is whole."""
    try:
        store.check(artifact)
    except DamagedError:
        return False
    return True
