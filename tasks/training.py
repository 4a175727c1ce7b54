"""The trainings: every sweep point and every arm is one run of this task."""

from functools import lru_cache

from prefect import task

from cyclical import datasets
from cyclical.datasets import Part
from cyclical.plans import Training
from cyclical.store import Artifact, Slot, Store
from tasks.caching import refuse_edited_code, save
from tasks.progress import reporter


@task
def train(slot: Slot, data: Artifact, training: Training, classes: int) -> Artifact:
    """Train from scratch: history.parquet (a row an epoch), iterations.parquet (an update).

    Where training images are held out, test.parquet has the figures of the test set at the end.
    """
    from cyclical import training as loop

    refuse_edited_code(slot)
    train, validation, test = _parts(Store(root=slot.root), data.model_dump_json())
    outcome = loop.train(
        training, train, validation, classes, on_progress=reporter(slot), test=test
    )
    tables = {"history.parquet": outcome.history, "iterations.parquet": outcome.iterations}
    if outcome.test is not None:
        tables["test.parquet"] = outcome.test
    return save(slot, tables)


@lru_cache(maxsize=1)
def _parts(store: Store, reference: str) -> tuple[Part, Part, Part | None]:
    """Read the data once a worker, not once a point: to train on, to validate on, to test on."""
    data = Artifact.model_validate_json(reference)
    train, test = (
        datasets.from_table(store.read(data, name)) for name in ("train.parquet", "test.parquet")
    )
    if "validation.parquet" not in data.files:
        return train, test, None
    return train, datasets.from_table(store.read(data, "validation.parquet")), test
