"""The latest run's answers, read back from the store."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import Field, ValidationError

from cyclical import agreement, bounds, comparison
from cyclical.config import Experiment
from cyclical.errors import InputError
from cyclical.manifests import Artifact, DamagedError
from cyclical.noise import last_scale
from cyclical.settings import changes
from cyclical.steps import NEEDS
from cyclical.store import RUNS, Store
from cyclical.values import Frozen

R = TypeVar("R", "TrainingResult", "ArmResult")
LATEST, LATEST_FILE = "latest.json", "latest.toml"
LATEST_REPORT = "report.html"
GONE = "results of the latest run in {root} are gone or damaged: `cyclical run` computes them again"
FOUND = (
    *("lr_min", "lr_max", "lr_rule", "lr_agreeing"),
    *("bmin", "bmax", "batch_agreeing", "noise_scale", "noise_epoch"),
)
ELSEWHERE = {
    "artifacts",
    "workers",
    "gpus",
    "cluster",
    "seeds",
}  # where a run computes, or told apart
Figure = float | None
"""A number; null where it is not finite or does not exist, such as the interval of one seed."""


class Point(Frozen):
    """One artifact of a run."""

    step: str
    label: str
    artifact: Artifact


class RunRecord(Frozen):
    """What a finished run was and which artifacts it is made of."""

    finished: str
    duration_seconds: float
    profile: str
    until_step: str | None
    flow_run_id: str
    configuration: Experiment
    points: tuple[Point, ...]


class TrainingResult(Frozen):
    """One arm trained with one seed. Accuracies are shares of the images.

    Losses are those of `loss`, without what layers add to it in training. Validation is on the
    held-out training images, or on the test images where none are held out.
    """

    arm: str
    seed: int
    optimizer: str
    schedule: str = Field(description="how the learning rate and the batch size run")
    epochs: int
    updates: int
    examples: int
    final_val_accuracy: Figure = Field(description="after the last epoch; null: it diverged")
    final_val_loss: Figure
    best_val_accuracy: Figure = Field(
        description="of the best epoch: optimistic, unless images are held out"
    )
    best_val_loss: Figure
    best_epoch: Figure
    epochs_to_goal: Figure = Field(description="first epoch at comparison.goal; null: none")
    test_accuracy: Figure = Field(description="on the test images, after the last epoch")
    test_loss: Figure
    held_out: bool = Field(description="whether validation was on held-out training images")
    metrics: dict[str, Figure] = Field(description="the other metrics, by `final_val_` and name")
    seconds: Figure = Field(description="wall time, beside other trainings")


class ArmResult(Frozen):
    """One arm: means over its seeds; _low and _high are the ends of their 95 % intervals.

    The intervals are Student's t, null for one seed. A mean is null where a seed's figure is.
    """

    arm: str
    optimizer: str
    schedule: str = Field(description="how the learning rate and the batch size run")
    seeds: int = Field(description="how many")
    epochs: float
    updates: float
    examples: float
    test_accuracy: Figure = Field(description="on the test images, after the last epoch")
    test_accuracy_low: Figure
    test_accuracy_high: Figure
    final_val_accuracy: Figure
    final_val_accuracy_low: Figure
    final_val_accuracy_high: Figure
    final_val_loss: Figure
    final_val_loss_low: Figure
    final_val_loss_high: Figure
    best_val_accuracy: Figure = Field(
        description="of each seed's best epoch: optimistic, unless images are held out"
    )
    best_val_accuracy_low: Figure
    best_val_accuracy_high: Figure
    best_epoch: Figure = Field(description="mean over the seeds, counted from 1")
    epochs_to_goal: Figure = Field(description="mean of the first epochs at goal; null: not all")
    held_out: bool = Field(description="whether validation was on held-out training images")
    baseline: str = Field(description="the fixed arm it is compared with; empty: none")
    difference: Figure = Field(description="test accuracy minus the baseline's, seed by seed")
    difference_low: Figure
    difference_high: Figure
    published_final: Figure = Field(description="validation accuracy of the published run")
    published_best: Figure
    published_images: Figure = Field(description="the number of test images these two are of")
    metrics: dict[str, Figure] = Field(description="the other metrics, with their intervals")
    seconds: Figure = Field(description="mean wall time of a training, beside others")


class EqualSum(Frozen):
    """A batch size beside the sweep of the learning rate, at the same sum S of all rates."""

    batch_size: int
    updates: float
    rate_sum: float = Field(description="S, the sum of the rates up to amid the last epoch")
    train_accuracy: Figure = Field(description="of that epoch")
    same_sum: Figure = Field(description="what the sweep of the rate had at S; null: not swept")
    difference: Figure


class Summary(Frozen):
    """The latest run: its bounds, what its arms reached, and where its artifacts lie."""

    finished: str = Field(description="ISO 8601, UTC")
    duration_seconds: float = Field(description="of this run, which may have found all cached")
    profile: str
    changes: dict[str, Any] = Field(description="settings that differ from the profile's")
    seeds: list[int]
    until_step: str | None = Field(description="the step it ended after; null: a whole run")
    lr_min: Figure = Field(description="null: the step did not run; likewise below")
    lr_max: Figure
    lr_rule: str | None = Field(description="how the two were found; `fixed`: by the user")
    lr_agreeing: int | None = Field(description="how many single seeds alone give the two as well")
    bmin: int | None
    bmax: int | None
    batch_agreeing: int | None = Field(description="how many seeds alone give the two as well")
    noise_scale: Figure = Field(description="gradient noise scale, in examples, at the sweep's end")
    noise_epoch: int | None = Field(description="the epoch after which it was that")
    sums: list[EqualSum] = Field(description="batch sizes beside the sweep of the rate, at equal S")
    goal: float = Field(description="the accuracy to which epochs are counted")
    findings: list[str] = Field(description="what cycling brought, a sentence each")
    arms: list[ArmResult]
    comparison: list[TrainingResult]
    pictures: list[str] = Field(description="paths of all pictures")
    report: str | None = Field(description="path of the page with all of it; null: not written")
    artifacts: dict[str, str] = Field(description="step/label -> path of the artifact's folder")


def refuse_report_of_others(store: Store) -> None:
    """Raise InputError where a report lies in the store's folder and no run of ours ever did."""
    ours = (store.root / RUNS).exists() or store.get(LATEST) is not None
    if ours or any(store.paths(step) for step in NEEDS):
        return
    if store.get(LATEST_REPORT) is not None:
        raise InputError(
            f"{store.blob(LATEST_REPORT)} is none of ours, and a run would write over it: move it "
            "away, or name another folder with --set artifacts=FOLDER"
        )


def record(store: Store, run: RunRecord) -> None:
    """Make a run the latest one; the report of the one before goes, and the file it was told by."""
    for each in (LATEST_REPORT, LATEST_FILE):
        store.remove(each)
    store.put(LATEST, run.model_dump_json(indent=1).encode())


def keep_file(store: Store, content: bytes) -> None:
    """Keep the file that the latest run was described by, beside its record."""
    store.put(LATEST_FILE, content)


def latest(store: Store) -> RunRecord:
    """Return the latest run; raise InputError if there is none that can be read."""
    content = store.get(LATEST)
    if content is None:
        raise InputError(f"{store.name} holds no finished run: start one with `cyclical run`")
    try:
        return RunRecord.model_validate_json(content)
    except ValidationError:
        raise InputError(
            f"{store.blob(LATEST)} is damaged or of another version: `cyclical run` writes it anew"
        ) from None


def summary(store: Store, run: RunRecord) -> Summary:
    """Gather a run's answers.

    Raises:
        InputError: An artifact of the run is gone or damaged.
    """
    with gone_told(store):
        return _summary(store, run)


@contextmanager
def gone_told(store: Store) -> Iterator[None]:
    """Tell in a line what of a run is gone or damaged; a store that fails elsewhere is neither."""
    try:
        yield
    except (OSError, DamagedError) as error:
        if store.address and not isinstance(error, FileNotFoundError | DamagedError):
            raise
        raise InputError(GONE.format(root=store.name)) from None


def pictures(store: Store, run: RunRecord) -> list[Path]:
    """List the pictures of a run."""
    return [picture for point in run.points for picture in store.pictures(point.artifact)]


def _summary(store: Store, run: RunRecord) -> Summary:
    found: dict[str, Any] = dict.fromkeys(FOUND) | {"sums": []}
    compared: dict[str, Any] = {"findings": [], "arms": [], "comparison": []}
    for point in run.points:
        match point.step, point.label:
            case "lr_bounds", "bounds":
                table = store.frame(point.artifact, "bounds.parquet")
                found["lr_min"], found["lr_max"] = bounds.lr_range(table)
                found["lr_rule"] = str(table["rule"].iloc[0])
                found["lr_agreeing"] = _agreeing(store, point, found, ("lr_min", "lr_max"))
            case "batch_bounds", "bounds":
                table = store.frame(point.artifact, "bounds.parquet")
                found["bmin"], found["bmax"] = bounds.batch_range(table)
                found["batch_agreeing"] = _agreeing(store, point, found, ("bmin", "bmax"))
            case "batch_bounds", "noise":
                last = last_scale(store.frame(point.artifact, "noise.parquet"))
                found["noise_scale"], found["noise_epoch"] = last or (None, None)
            case "batch_bounds", "sums":
                rows = _rows(store.frame(point.artifact, "sums.parquet"))
                found["sums"] = [EqualSum(**row) for row in rows]
            case "comparison", "comparison":
                compared = _compared(store, run, point)
    return Summary(
        finished=run.finished,
        duration_seconds=run.duration_seconds,
        profile=run.profile,
        changes={
            name: value
            for name, value in changes(run.profile, run.configuration).items()
            if name not in ELSEWHERE
        },
        seeds=list(run.configuration.seeds),
        until_step=run.until_step,
        **found,
        goal=run.configuration.comparison.goal,
        **compared,
        pictures=[str(picture) for picture in pictures(store, run)],
        report=str(page) if (page := store.copy_of(LATEST_REPORT)) else None,
        artifacts={
            f"{point.step}/{point.label}": str(store.root / point.artifact.path)
            for point in run.points
        },
    )


def _agreeing(
    store: Store, point: Point, found: dict[str, Any], names: tuple[str, str]
) -> int | None:
    if "seeds.parquet" not in point.artifact.files:
        return None
    alone = store.frame(point.artifact, "seeds.parquet")
    return agreement.agreeing(alone, {name: found[name] for name in names})


def _compared(store: Store, run: RunRecord, point: Point) -> dict[str, Any]:
    trainings = store.frame(point.artifact, "comparison.parquet")
    labels = trainings["arm"] + "-seed=" + trainings["seed"].astype(str)
    trainings = trainings.assign(seconds=labels.map(_seconds(store, run)))
    arms = store.frame(point.artifact, "summary.parquet")
    mean_seconds = trainings.groupby("arm")["seconds"].mean()
    return {
        "findings": comparison.findings(arms, _more_seeds(run.configuration)),
        "arms": [
            _filled(ArmResult, row)
            for row in _rows(arms.assign(seconds=arms["arm"].map(mean_seconds)))
        ],
        "comparison": [_filled(TrainingResult, row) for row in _rows(trainings)],
    }


def _more_seeds(config: Experiment) -> str:
    """Name the option that trains the arms with more seeds."""
    return "more training.seeds" if config.training.seeds else "--seeds 5"


def _filled(kind: type[R], row: dict[str, Any]) -> R:
    """Make a result of a row, whose columns beside the known ones are metrics."""
    metrics = {name: row[name] for name in row.keys() - kind.model_fields.keys()}
    known = {name: row[name] for name in row.keys() - metrics.keys()}
    return kind(**known, metrics=dict(sorted(metrics.items())))


def _seconds(store: Store, run: RunRecord) -> dict[str, float]:
    """Return how long each training took: its label -> seconds."""
    return {
        point.label: store.manifest_of(point.artifact).duration_seconds
        for point in run.points
        if point.step.endswith("_training")
    }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return plain rows; JSON has neither NaN nor infinity, which become None."""
    finite = table.replace([math.inf, -math.inf], math.nan).astype(object)
    records = finite.where(finite.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in records]
