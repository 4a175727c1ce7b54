"""The comparison of all arms."""

from collections.abc import Sequence

from prefect import task

from cyclical import comparison
from cyclical.plans import Training
from cyclical.reference import Rows
from cyclical.store import Artifact, Slot, Store
from tasks.caching import save


@task
def compare(
    slot: Slot,
    arms: Sequence[tuple[Training, Artifact]],
    goal: float,
    published: dict[str, Rows],
) -> Artifact:
    """Compare the arms: comparison.parquet (a row an arm and seed), summary.parquet (an arm).

    accuracy_by_epoch.parquet stacks their histories.
    """
    store = Store(root=slot.root)
    trained = [_trained(store, training, artifact) for training, artifact in arms]
    table = comparison.compare(trained, goal)
    return save(
        slot,
        {
            "comparison.parquet": table,
            "summary.parquet": comparison.summarise(table, published=published),
            "accuracy_by_epoch.parquet": comparison.accuracy_by_epoch(trained),
        },
    )


def _trained(store: Store, training: Training, artifact: Artifact) -> comparison.Trained:
    held_out = "test.parquet" in artifact.files
    return comparison.Trained(
        training,
        store.frame(artifact, "history.parquet"),
        store.frame(artifact, "test.parquet") if held_out else None,
    )
