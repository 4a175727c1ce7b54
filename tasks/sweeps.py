"""The tables of the sweeps."""

from collections.abc import Sequence

from prefect import task

from cyclical import sweeps
from cyclical.store import Artifact, Slot, Store
from tasks.caching import save

Points = Sequence[tuple[float, int, Artifact]]


@task
def tabulate_sweep(slot: Slot, value: str, points: Points, classes: int) -> Artifact:
    """Gather a sweep's trainings: sweep.parquet (means over the seeds), points.parquet (each)."""
    store = Store(root=slot.root)
    finals = sweeps.final_metrics(
        {
            (swept, seed): store.frame(artifact, "history.parquet")
            for swept, seed, artifact in points
        },
        value,
        classes,
    )
    return save(
        slot,
        {"sweep.parquet": sweeps.mean_curve(finals, value, classes), "points.parquet": finals},
    )
