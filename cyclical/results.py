"""The latest run's answers, read back from the store."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from cyclical import bounds
from cyclical.config import Experiment, Frozen
from cyclical.errors import InputError
from cyclical.store import Artifact, DamagedError, Store

LATEST = "latest.json"


class Point(Frozen):
    """One artifact of a run."""

    step: str
    label: str
    artifact: Artifact


class RunRecord(Frozen):
    """What a finished run was and which artifacts it is made of."""

    finished: str
    duration_seconds: float
    configuration: Experiment
    points: tuple[Point, ...]


def record(store: Store, run: RunRecord) -> None:
    """Make a run the latest one."""
    store.put(LATEST, run.model_dump_json(indent=1).encode())


def latest(store: Store) -> RunRecord:
    """Return the latest run; raise InputError if there is none that can be read."""
    content = store.get(LATEST)
    if content is None:
        raise InputError(f"{store.root} holds no finished run: start one with `cyclical run`")
    try:
        return RunRecord.model_validate_json(content)
    except ValidationError:
        raise InputError(
            f"{store.root / LATEST} is damaged or of another version: `cyclical run` writes it anew"
        ) from None


def summary(store: Store, run: RunRecord) -> dict[str, Any]:
    """Gather a run's answers as plain values.

    Returns:
        duration_seconds; lr_min, lr_max, bmin, bmax (each None where its step did not run);
        comparison (rows of comparison.parquet, with the seconds of each training); pictures
        (paths).

    Raises:
        InputError: An artifact of the run is gone or damaged.
    """
    try:
        return _summary(store, run)
    except (OSError, DamagedError):
        raise InputError(
            f"results of the latest run in {store.root} are gone or damaged: "
            "`cyclical run` computes them again"
        ) from None


def _summary(store: Store, run: RunRecord) -> dict[str, Any]:
    found: dict[str, Any] = {"lr_min": None, "lr_max": None, "bmin": None, "bmax": None}
    for point in run.points:
        if (point.step, point.label) == ("lr_bounds", "bounds"):
            found["lr_min"], found["lr_max"] = bounds.lr_range(_table(store, point))
        if (point.step, point.label) == ("batch_bounds", "bounds"):
            found["bmin"], found["bmax"] = bounds.batch_range(_table(store, point))
    return {
        "finished": run.finished,
        "duration_seconds": run.duration_seconds,
        **found,
        "comparison": _comparison(store, run),
        "pictures": [str(picture) for picture in pictures(store, run)],
    }


def pictures(store: Store, run: RunRecord) -> list[Path]:
    """List the pictures of a run."""
    return [picture for point in run.points for picture in store.pictures(point.artifact)]


def _table(store: Store, point: Point) -> pd.DataFrame:
    return store.frame(point.artifact, "bounds.parquet")


def _comparison(store: Store, run: RunRecord) -> list[dict[str, Any]]:
    seconds = {
        point.label: store.manifest(point.artifact.path).duration_seconds
        for point in run.points
        if point.step.endswith("_training")
    }
    rows: list[dict[str, Any]] = []
    for point in run.points:
        if (point.step, point.label) == ("comparison", "comparison"):
            table = store.frame(point.artifact, "comparison.parquet")
            labels = table["arm"] + "-seed=" + table["seed"].astype(str)
            finite = table.replace([math.inf, -math.inf], math.nan)  # JSON has neither
            known = finite.assign(seconds=labels.map(seconds)).astype(object)
            records = known.where(known.notna(), None).to_dict("records")
            rows = [{str(name): value for name, value in row.items()} for row in records]
    return rows
