"""The pictures, each a task of its own: an edit of `plots` redraws and trains nothing."""

from collections.abc import Sequence

import numpy as np
from prefect import task

from cyclical import bounds as ranges
from cyclical import clock_plots, comparison_plots, examples, plots, range_plots, reference
from cyclical.manifests import Artifact
from cyclical.noise import last_scale
from cyclical.reference import Rows
from cyclical.store import Slot
from tasks.caching import save

SHOWN = 3


@task
def draw_samples(slot: Slot, data: Artifact) -> Artifact:
    """Draw the first training image of each of the first three classes there: samples.png."""
    store = slot.store
    part = examples.from_table(store.read(data, "train.parquet"))
    names = store.frame(data, "class_counts.parquet")["name"]
    _, firsts = np.unique(part.labels, return_index=True)
    shown = sorted(firsts)[:SHOWN]
    titles = [str(names[part.labels[index]]) for index in shown]
    return save(slot, {}, {"samples.png": plots.samples(part.images[shown], titles)})


@task
def draw_lr_sweep(slot: Slot, sweep: Artifact, bounds: Artifact, published: Rows) -> Artifact:
    """Draw the learning-rate sweep with its bounds: lr_sweep.png."""
    store = slot.store
    table = store.frame(sweep, "sweep.parquet")
    found = ranges.lr_range(store.frame(bounds, "bounds.parquet"))
    picture = plots.sweep(table, "learning_rate", found, published)
    return save(slot, {}, {"lr_sweep.png": picture})


@task
def draw_range_test(slot: Slot, sweep: Artifact, bounds: Artifact) -> Artifact:
    """Draw the range test with its bounds: range_test.png."""
    store = slot.store
    found = ranges.lr_range(store.frame(bounds, "bounds.parquet"))
    picture = range_plots.range_test(store.frame(sweep, "range_test.parquet"), found)
    return save(slot, {}, {"range_test.png": picture})


@task
def draw_clock(slot: Slot, sweep: Artifact, bounds: Artifact, published: Rows) -> Artifact:
    """Draw what the clock predicts of the sweep, and the run that it reads: clock.png."""
    store = slot.store
    found = ranges.lr_range(store.frame(bounds, "bounds.parquet"))
    run, predicted = (store.frame(sweep, f"{name}.parquet") for name in ("clock", "sweep"))
    return save(slot, {}, {"clock.png": range_plots.clock(run, predicted, found, published)})


@task
def draw_batch_sweep(
    slot: Slot, sweep: Artifact, bounds: Artifact, published: Rows, noise: Artifact | None
) -> Artifact:
    """Draw the batch-size sweep with its range: batch_sweep.png."""
    store = slot.store
    table = store.frame(sweep, "sweep.parquet")
    found = ranges.batch_range(store.frame(bounds, "bounds.parquet"))
    last = None if noise is None else last_scale(store.frame(noise, "noise.parquet"))
    scale = last[0] if last else None
    picture = plots.sweep(table, "batch_size", found, published, scale)
    return save(slot, {}, {"batch_sweep.png": picture})


@task
def draw_learning_clock(slot: Slot, sweep: Artifact, of_rates: Artifact) -> Artifact:
    """Draw every epoch of both sweeps against the sum of rates: learning_clock.png."""
    store = slot.store
    batches, rates = (store.frame(each, "epochs.parquet") for each in (sweep, of_rates))
    status = store.frame(of_rates, "sweep.parquet")
    picture = clock_plots.learning_clock(batches, rates, status)
    return save(slot, {}, {"learning_clock.png": picture})


@task
def draw_training(slot: Slot, arm: Artifact, title: str, published: Rows) -> Artifact:
    """Draw an arm's rate, batch size, loss and accuracy by iteration: iterations.png."""
    store = slot.store
    history, trace = (store.frame(arm, f"{name}.parquet") for name in ("history", "iterations"))
    marks = reference.beside(history, published)
    ends = history["updates"].tolist()
    return save(slot, {}, {"iterations.png": plots.training(trace, title, ends, marks)})


@task
def draw_comparison(slot: Slot, comparison: Artifact, published: dict[str, Rows]) -> Artifact:
    """Draw what compares the arms: final_accuracy.png, validation_accuracy.png (by epoch).

    accuracy_by_updates.png shows the latter against the number of updates.
    """
    store = slot.store
    histories = store.frame(comparison, "accuracy_by_epoch.parquet")
    summary = store.frame(comparison, "summary.parquet")
    trainings = store.frame(comparison, "comparison.parquet")
    return save(
        slot,
        {},
        {
            "final_accuracy.png": comparison_plots.finals(summary, trainings),
            "validation_accuracy.png": comparison_plots.validation(histories, published),
            "accuracy_by_updates.png": comparison_plots.validation(histories, against="updates"),
        },
    )


@task
def draw_seconds(slot: Slot, comparison: Artifact, seconds: Sequence[float]) -> Artifact:
    """Draw all arms' validation accuracy against time: accuracy_by_seconds.png.

    `seconds` are what each training had taken at the end of every epoch, one after the other as in
    accuracy_by_epoch.parquet.
    """
    histories = slot.store.frame(comparison, "accuracy_by_epoch.parquet")
    timed = histories.assign(seconds=seconds)
    picture = comparison_plots.validation(timed, against="seconds")
    return save(slot, {}, {"accuracy_by_seconds.png": picture})
