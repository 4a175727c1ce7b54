"""The pictures, each a task of its own: an edit of `plots` redraws and trains nothing."""

from prefect import task

from cyclical import bounds as ranges
from cyclical import comparison_plots, datasets, plots, reference
from cyclical.reference import Rows
from cyclical.store import Artifact, Slot, Store
from tasks.caching import save

SHOWN = [0, 1, 3]  # an ankle boot, a T-shirt/top, a dress


@task
def draw_samples(slot: Slot, data: Artifact) -> Artifact:
    """Draw three training images: samples.png."""
    store = Store(root=slot.root)
    part = datasets.from_table(store.read(data, "train.parquet").slice(0, max(SHOWN) + 1))
    names = store.frame(data, "class_counts.parquet")["name"]
    shown = [index for index in SHOWN if index < len(part.labels)]
    titles = [str(names[part.labels[index]]) for index in shown]
    return save(slot, {}, {"samples.png": plots.samples(part.images[shown], titles)})


@task
def draw_lr_sweep(slot: Slot, sweep: Artifact, bounds: Artifact, published: Rows) -> Artifact:
    """Draw the learning-rate sweep with its bounds: lr_sweep.png."""
    store = Store(root=slot.root)
    table = store.frame(sweep, "sweep.parquet")
    found = ranges.lr_range(store.frame(bounds, "bounds.parquet"))
    picture = plots.sweep(table, "learning_rate", found, published)
    return save(slot, {}, {"lr_sweep.png": picture})


@task
def draw_batch_sweep(slot: Slot, sweep: Artifact, bounds: Artifact, published: Rows) -> Artifact:
    """Draw the batch-size sweep with its range: batch_sweep.png."""
    store = Store(root=slot.root)
    table = store.frame(sweep, "sweep.parquet")
    found = ranges.batch_range(store.frame(bounds, "bounds.parquet"))
    picture = plots.sweep(table, "batch_size", found, published)
    return save(slot, {}, {"batch_sweep.png": picture})


@task
def draw_training(slot: Slot, arm: Artifact, title: str, published: Rows) -> Artifact:
    """Draw an arm's rate, batch size, loss and accuracy by iteration: iterations.png."""
    store = Store(root=slot.root)
    history, trace = (store.frame(arm, f"{name}.parquet") for name in ("history", "iterations"))
    marks = reference.beside(history, published)
    ends = history["updates"].tolist()
    return save(slot, {}, {"iterations.png": plots.training(trace, title, ends, marks)})


@task
def draw_comparison(slot: Slot, comparison: Artifact, published: dict[str, Rows]) -> Artifact:
    """Draw what compares the arms: validation_accuracy.png (by epoch), final_accuracy.png."""
    store = Store(root=slot.root)
    histories = store.frame(comparison, "accuracy_by_epoch.parquet")
    summary = store.frame(comparison, "summary.parquet")
    trainings = store.frame(comparison, "comparison.parquet")
    return save(
        slot,
        {},
        {
            "final_accuracy.png": comparison_plots.finals(summary, trainings),
            "validation_accuracy.png": comparison_plots.validation(histories, published),
        },
    )
