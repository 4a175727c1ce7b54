"""The trainings: every sweep point and every arm is one run of this task."""

from functools import lru_cache
from typing import TYPE_CHECKING

from prefect import task

from cyclical import examples, saved_models
from cyclical.examples import Part
from cyclical.manifests import Artifact
from cyclical.plans import Training
from cyclical.store import Slot, Store
from tasks.admission import admitted
from tasks.caching import refuse_edited_code, refuse_other_arithmetic, run_name, save
from tasks.cluster import one_training_a_gpu
from tasks.progress import reporter
from tasks.publishing import ProgressBar
from tasks.watching import watched

if TYPE_CHECKING:
    from cyclical.training import Progress


@task
def train(
    slot: Slot,
    data: Artifact,
    training: Training,
    classes: int,
    architecture: Artifact | None = None,
    *,
    tested: bool = False,
) -> Artifact:
    """Train, or go on from a checkpoint.

    history.parquet has a row an epoch, iterations.parquet an update. Where training images are held
    out and it is to be `tested`, test.parquet has the figures of the test set at the end.
    """
    from cyclical import training as loop

    refuse_edited_code(slot)
    refuse_other_arithmetic(slot)
    train, validation, test = _parts(slot.store, data.model_dump_json())
    saved = saved_models.kept_in(slot.store, architecture)
    seen = len(train.labels) + len(validation.labels)
    with (
        one_training_a_gpu(),
        admitted(slot, training, train, classes, saved),
        ProgressBar(run_name(slot.step, slot.label)) as shown,
        watched(slot, seen) as alive,
    ):
        tell = reporter(slot, shown)

        def report(progress: "Progress") -> None:
            alive(progress)
            tell(progress)

        outcome = loop.train(
            training,
            train,
            validation,
            classes,
            on_progress=report,
            test=test if tested else None,
            checkpoint=slot.checkpoint,
            architecture=saved,
        )
    tables = {"history.parquet": outcome.history, "iterations.parquet": outcome.iterations}
    if outcome.test is not None:
        tables["test.parquet"] = outcome.test
    artifact = save(slot, tables, epoch_seconds=outcome.seconds)
    slot.checkpoint.remove()
    return artifact


@lru_cache(maxsize=1)
def _parts(store: Store, reference: str) -> tuple[Part, Part, Part | None]:
    """Read the data once a worker, not once a point: to train on, to validate on, to test on."""
    data = Artifact.model_validate_json(reference)
    train, test = (
        examples.from_table(store.read(data, name)) for name in ("train.parquet", "test.parquet")
    )
    if "validation.parquet" not in data.files:
        return train, test, None
    return train, examples.from_table(store.read(data, "validation.parquet")), test
