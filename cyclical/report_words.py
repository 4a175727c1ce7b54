"""What a report's pictures show, in words with the run's own figures, for those who can't see them.

Each function takes the run and the label of what is drawn; where a table that it needs is missing,
it says what the picture is.
"""

from typing import Any

import numpy as np
import pandas as pd

from cyclical import bounds, overview
from cyclical.markdown import cell
from cyclical.report_blocks import Reader

SAMPLES = 3


def samples(reader: Reader, _: str) -> str:
    """Say how many images are drawn, and of how many."""
    counts = reader.frame("load_data", "data", "class_counts")
    if counts is None:
        return "Training images"
    shown, images = min(SAMPLES, int((counts["train"] > 0).sum())), int(counts["train"].sum())
    return (
        f"{shown} of the {images:,} training images, each the first of its class; "
        f"there are {len(counts)} classes"
    )


def lr_sweep(reader: Reader, _: str) -> str:
    """Say what the sweep of the learning rate ended with, and where its bounds lie."""
    return _sweep(reader, "lr_sweep", "learning_rate", _lr_bounds(reader))


def clock(reader: Reader, _: str) -> str:
    """Say what the clock predicts of the sweep, and where its bounds lie."""
    return (
        f"Predicted by the clock: {_sweep(reader, 'lr_sweep', 'learning_rate', _lr_bounds(reader))}"
    )


def range_test(reader: Reader, _: str) -> str:
    """Say how far the range test came, and where its bounds lie."""
    curve = reader.frame("lr_sweep", "range-test", "range_test")
    if curve is None:
        return f"Loss while the learning rate rises; {_lr_bounds(reader)}"
    rates, losses = curve["learning_rate"], curve["smoothed_loss"]
    least = int(losses.fillna(np.inf).to_numpy().argmin())
    return (
        f"Training loss while the learning rate rises from {cell(rates.iloc[0])} to "
        f"{cell(rates.iloc[-1])} within {len(curve):,} updates: smoothed, it is least, "
        f"{cell(losses.iloc[least])}, at {cell(rates.iloc[least])}; {_lr_bounds(reader)}"
    )


def batch_sweep(reader: Reader, _: str) -> str:
    """Say what the sweep of the batch size ended with, and where its bounds lie."""
    table = reader.frame("batch_bounds", "bounds", "bounds")
    within = "no bounds are drawn"
    if table is not None:
        within = "between {} and {} accuracy holds".format(*bounds.batch_range(table))
    return _sweep(reader, "batch_sweep", "batch_size", within)


def training(reader: Reader, label: str) -> str:
    """Say between which values a training ran, and from where to where it came."""
    step = next(point.step for point in reader.run.points if point.label == label)
    trace = reader.frame(step, label, "iterations")
    history = reader.frame(step, label, "history")
    name = label.replace("-seed=", ", seed ")
    needed = {"learning_rate", "batch_size", "loss", "accuracy"}
    if trace is None or history is None or not needed <= {*trace.columns}:
        return f"{name}: learning rate, batch size, loss and accuracy, update by update"
    first, last = history.iloc[0], history.iloc[-1]
    return (
        f"{name}, {len(trace):,} updates: learning rate {_span(trace['learning_rate'])}, "
        f"batch size {_span(trace['batch_size'])}; over the first epoch training loss "
        f"{_of(first, 'train_loss')} and accuracy {_of(first, 'train_accuracy')}, "
        f"over the last {_of(last, 'train_loss')} and {_of(last, 'train_accuracy')}"
    )


def final_accuracy(reader: Reader, _: str) -> str:
    """Name every arm's final accuracy, the best first."""
    rows = overview.overview(reader.summary.arms, reader.summary.goal)
    ordered = sorted(
        zip(reader.summary.arms, rows, strict=True),
        key=lambda pair: -(pair[0].test_accuracy or 0.0),
    )
    told = ", ".join(f"{arm.arm} {row['final']}" for arm, row in ordered)
    return f"Test accuracy after the last epoch of {len(rows)} arms, the best first: {told}"


def validation_accuracy(reader: Reader, _: str) -> str:
    """Name the optimizers and every arm's accuracy after the last epoch."""
    by_optimizer: dict[str, list[str]] = {}
    for arm in reader.summary.arms:
        final = "diverged" if arm.final_val_accuracy is None else f"{arm.final_val_accuracy:.4f}"
        by_optimizer.setdefault(arm.optimizer, []).append(f"{arm.arm} {final}")
    told = "; ".join(f"{name}: {', '.join(arms)}" for name, arms in by_optimizer.items())
    return f"Validation accuracy, a panel an optimizer. After the last epoch, {told}"


def learning_clock(reader: Reader, _: str) -> str:
    """Say how far each batch size lies from the sweep of the rate at the same sum of rates."""
    told = ", ".join(
        f"{row.batch_size} {100 * row.difference:+.1f}"
        for row in reader.summary.sums
        if row.difference is not None
    )
    return (
        "Training accuracy of every epoch of both sweeps against S, the sum of the rates so far, "
        f"amid the epoch; in the last, batch sizes differ by so many points: {told or 'unknown'}"
    )


def _sweep(reader: Reader, step: str, value: str, within: str) -> str:
    what = f"each {value.replace('_', ' ')}"
    table = reader.frame(step, "sweep", "sweep")
    if table is None:
        return f"Final accuracy and loss for {what}; {within}"
    told = f"Final accuracy and loss for {what} of {len(table)}, {_span(table[value])}; "
    finite = table[table["train_accuracy"].notna()]
    if finite.empty:
        return told + within
    best = finite.iloc[int(finite["train_accuracy"].to_numpy().argmax())]
    return (
        f"{told}the best training accuracy is {_of(best, 'train_accuracy')}, "
        f"at {_value(best[value])}; {within}"
    )


def _lr_bounds(reader: Reader) -> str:
    summary = reader.summary
    if summary.lr_min is None:
        return "no bounds are drawn"
    return f"lr_min {cell(summary.lr_min)} and lr_max {cell(summary.lr_max)} are marked"


def _span(values: "pd.Series[Any]") -> str:
    """Say between which values a column lies: `from 0.001 to 0.01`, or its one value."""
    low, high = _value(values.min()), _value(values.max())
    return low if low == high else f"from {low} to {high}"


def _of(row: "pd.Series[Any]", column: str) -> str:
    return cell(float(row[column]), column)


def _value(number: Any) -> str:
    return cell(int(number)) if float(number).is_integer() else cell(float(number))
