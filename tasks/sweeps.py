"""The tables of the sweeps, and of what replaces the sweep of the learning rate."""

from collections.abc import Sequence

import pandas as pd
from prefect import task

from cyclical import clock, learning_clock, range_test, sweeps
from cyclical.manifests import Artifact
from cyclical.mean_curves import mean_curve
from cyclical.store import Slot
from tasks.caching import save

Points = Sequence[tuple[float, int, Artifact]]
Runs = Sequence[tuple[int, Artifact]]


@task
def tabulate_sweep(
    slot: Slot, value: str, points: Points, least: float, judged: int | None
) -> Artifact:
    """Gather a sweep's trainings: sweep.parquet (means over the seeds), points.parquet (each).

    Each is judged by its last epoch, or by so many updates at its end. epochs.parquet holds every
    epoch of every training, the last as it is judged.
    """
    store = slot.store
    ran, judged_by = {}, {}
    for swept, seed, artifact in points:
        history, iterations = (
            store.frame(artifact, f"{name}.parquet") for name in ("history", "iterations")
        )
        if judged is not None:
            history = sweeps.judged_at_its_end(history, iterations, judged)
        ran[swept, seed] = learning_clock.Ran(history, iterations["learning_rate"], judged)
        judged_by[swept, seed] = history
    finals = sweeps.final_metrics(judged_by, value, least)
    return save(
        slot,
        {
            "sweep.parquet": mean_curve(finals, value, least),
            "points.parquet": finals,
            "epochs.parquet": learning_clock.every_epoch(ran, value),
        },
    )


@task
def tabulate_range_test(slot: Slot, runs: Runs) -> Artifact:
    """Smooth a range test: range_test.parquet (means over the seeds), points.parquet (each)."""
    traces = _traces(slot, runs)
    curve = range_test.curve(list(traces.values()))
    return save(slot, {"range_test.parquet": curve, "points.parquet": range_test.summary(traces)})


@task
def predict_sweep(
    slot: Slot,
    runs: Runs,
    test: Artifact,
    swept: Sequence[float],
    updates: int,
    epochs: int,
    least: float,
) -> Artifact:
    """Predict a sweep by the clock: the tables of a sweep, and clock.parquet (the run itself)."""
    tested = slot.store.frame(test, "range_test.parquet")
    traces = _traces(slot, runs)
    finals = clock.finals(traces, swept, updates, epochs, range_test.diverging_rate(tested), least)
    return save(
        slot,
        {
            "sweep.parquet": mean_curve(finals, "learning_rate", least),
            "points.parquet": finals,
            "clock.parquet": clock.curve(list(traces.values()), updates),
        },
    )


def _traces(slot: Slot, runs: Runs) -> dict[int, pd.DataFrame]:
    store = slot.store
    return {seed: store.frame(artifact, "iterations.parquet") for seed, artifact in runs}
