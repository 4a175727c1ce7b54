"""The comparison of all arms."""

from collections.abc import Sequence

import pandas as pd
from prefect import task

from cyclical import comparison, line_by_line, reference
from cyclical.manifests import Artifact
from cyclical.plans import Training
from cyclical.reference import Rows
from cyclical.store import Slot, Store
from tasks.caching import save


@task
def compare(
    slot: Slot,
    arms: Sequence[tuple[Training, Artifact]],
    goal: float,
    baselines: dict[str, str],
    published: dict[str, Rows],
) -> Artifact:
    """Compare the arms: comparison.parquet (a row an arm and seed), summary.parquet (an arm).

    accuracy_by_epoch.parquet stacks their histories.
    """
    store = slot.store
    trained = [_trained(store, training, artifact) for training, artifact in arms]
    table = comparison.compare(trained, goal)
    return save(
        slot,
        {
            "comparison.parquet": table,
            "summary.parquet": comparison.summarise(table, baselines, published),
            "accuracy_by_epoch.parquet": comparison.accuracy_by_epoch(trained),
        },
    )


@task
def compare_with_published(
    slot: Slot,
    comparison: Artifact,
    sweeps: dict[str, Artifact],
    bounds: dict[str, float],
    published_sweeps: dict[str, Rows],
    published_arms: dict[str, Rows],
) -> Artifact:
    """Set every figure beside the published run's: published.parquet (a row a figure).

    `sweeps` and `published_sweeps` go by the swept column.
    """
    store = slot.store
    tables = [
        line_by_line.of_sweep(store.frame(sweep, "points.parquet"), value, published_sweeps[value])
        for value, sweep in sweeps.items()
    ]
    tables.append(line_by_line.of_bounds(bounds, reference.BOUNDS))
    arms = store.frame(comparison, "comparison.parquet")
    tables.append(line_by_line.of_arms(arms, published_arms))
    return save(slot, {"published.parquet": pd.concat(tables, ignore_index=True)})


def _trained(store: Store, training: Training, artifact: Artifact) -> comparison.Trained:
    held_out = "test.parquet" in artifact.files
    return comparison.Trained(
        training,
        store.frame(artifact, "history.parquet"),
        store.frame(artifact, "test.parquet") if held_out else None,
    )
