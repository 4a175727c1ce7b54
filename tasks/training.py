"""The trainings: every sweep point and every arm is one run of this task."""

from functools import lru_cache

from prefect import task

from cyclical import datasets
from cyclical.config import Training
from cyclical.store import Artifact, Slot, Store
from tasks.caching import refuse_edited_code, save
from tasks.progress import reporter


@task
def train(slot: Slot, data: Artifact, training: Training, classes: int) -> Artifact:
    """Train from scratch: history.parquet (a row an epoch), iterations.parquet (an update)."""
    from cyclical import training as loop

    refuse_edited_code(slot)
    parts = _parts(Store(root=slot.root), data.model_dump_json())
    outcome = loop.train(training, *parts, classes, on_progress=reporter(slot))
    return save(
        slot,
        {"history.parquet": outcome.history, "iterations.parquet": outcome.iterations},
    )


@lru_cache(maxsize=1)
def _parts(store: Store, reference: str) -> tuple[datasets.Part, datasets.Part]:
    """Read the data once a worker, not once a point."""
    data = Artifact.model_validate_json(reference)
    return (
        datasets.from_table(store.read(data, "train.parquet")),
        datasets.from_table(store.read(data, "test.parquet")),
    )
