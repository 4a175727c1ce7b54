"""The runs in docs/results as `prices` takes them: their trainings, and how long each took."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cyclical import results
from cyclical.manifests import Manifest
from cyclical.plans import Training, lay_out
from cyclical.store import Store

RESULTS = Path(__file__).parents[1] / "docs" / "results"
QUICK, NOTEBOOK = (Store(root=RESULTS / name) for name in ("quick", "notebook-sweeps"))
Graph = tuple[str, bool]
Sizes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ran:
    """A training of a finished run; its times are told to the second."""

    training: Training
    manifest: Manifest
    images: int

    @property
    def ended(self) -> float:
        """When it was stored, in seconds."""
        return moment(self.manifest.written)

    @property
    def began(self) -> float:
        """When it began, in seconds."""
        return self.ended - self.manifest.duration_seconds

    @property
    def first(self) -> Sizes:
        """What its first epoch took at once, as far as it came."""
        sizes = epochs_of(self.training, self.images)[0]
        return sizes if self.training.accumulating else sizes[: self.updates]

    @property
    def updates(self) -> int:
        """How many updates it made."""
        return self.manifest.files["iterations.parquet"].rows or 0

    @property
    def seconds(self) -> list[float]:
        """What each epoch took, scoring included."""
        return [end - start for start, end in pairwise((0.0, *self.manifest.epoch_seconds))]


def moment(written: str) -> float:
    """Read a time."""
    return datetime.fromisoformat(written).timestamp()


def manifests(store: Store) -> dict[tuple[str, str], Manifest]:
    """Return the manifests of the latest run in a store, by step and label."""
    return {
        (each.step, each.label): store.manifest(each.artifact.path)
        for each in results.latest(store).points
    }


def trained(store: Store) -> list[Ran]:
    """Return the trainings of the latest run in a store, in the order in which they began."""
    images = results.latest(store).configuration.data.images_trained_on
    found = [
        Ran(_training(each), each, images)
        for each in manifests(store).values()
        if each.epoch_seconds
    ]
    return sorted(found, key=lambda ran: ran.began)


def _training(manifest: Manifest) -> Training:
    return Training.model_validate_json(json.dumps(manifest.recipe["inputs"]["training"]))


def started_after(store: Store) -> float:
    """Return how long a run took until its cluster had tried the model, and the sweep began."""
    run = results.latest(store)
    tried = manifests(store)["load_data", "model"]
    return moment(tried.written) - moment(run.finished) + run.duration_seconds


def seconds_between(ran: Sequence[Ran], workers: int) -> float:
    """Return how long a worker takes from the end of a training to the next one, which waits.

    All of the first sweep wait from its beginning, and all others from that of the second one. So
    every worker is busy with one after the other, from the first ones' beginnings to the last ones'
    ends: what their own seconds leave of that.
    """
    between = 0.0
    for is_first in (True, False):
        those = [each for each in ran if (each.manifest.step == "lr_sweep") is is_first]
        between += sum(sorted(each.ended for each in those)[-workers:])
        between -= sum(sorted(each.began for each in those)[:workers])
        between -= sum(each.manifest.duration_seconds for each in those)
    return between / (len(ran) - 2 * workers)


def epochs_of(training: Training, images: int) -> list[Sizes]:
    """Return how many examples the network sees at once, one after the other, in every epoch."""
    return _epochs_of(training.model_copy(update={"seed": 0}), images)


@cache
def _epochs_of(training: Training, images: int) -> list[Sizes]:
    return [
        np.array(
            [
                min(epoch.micro_batch, end - at)
                for start, end in pairwise(epoch.boundaries.tolist())
                for at in range(start, end, epoch.micro_batch)
            ]
        )
        for epoch in lay_out(training, images)
    ]


def updates_of(training: Training, images: int) -> list[int]:
    """Return how many updates every epoch makes."""
    return _updates_of(training.model_copy(update={"seed": 0}), images)


@cache
def _updates_of(training: Training, images: int) -> list[int]:
    return [len(epoch.learning_rates) for epoch in lay_out(training, images)]


def graph_of(training: Training) -> Graph:
    """Name the graph that a training runs in, which a worker builds once."""
    return training.optimizer.name, training.accumulating
