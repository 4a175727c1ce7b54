"""The comparison of all arms."""

from collections.abc import Sequence

from prefect import task

from cyclical import comparison
from cyclical.plans import Training
from cyclical.store import Artifact, Slot, Store
from tasks.caching import save


@task
def compare(slot: Slot, arms: Sequence[tuple[Training, Artifact]], goal: float) -> Artifact:
    """Compare the arms: comparison.parquet (an arm and seed), accuracy_by_epoch.parquet."""
    store = Store(root=slot.root)
    histories = [(arm, store.frame(artifact, "history.parquet")) for arm, artifact in arms]
    return save(
        slot,
        {
            "comparison.parquet": comparison.compare(histories, goal),
            "accuracy_by_epoch.parquet": comparison.accuracy_by_epoch(histories),
        },
    )
