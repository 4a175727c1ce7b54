"""What a simulated run asks of the store, of Prefect's server and of Dask's scheduler."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from benchmarks import measured
from benchmarks.measured import NOTEBOOK, QUICK, updates_of
from benchmarks.programs import Here, Operation, Show, table_of
from benchmarks.simulation import Placed, Schedule
from cyclical import chunks
from cyclical.plans import Training
from tasks.publishing import RENEWED_SECONDS

WINDOW_SECONDS = 10
DATA_BYTES = 26_684_869 + 4_471_607  # train.parquet and test.parquet of all of Fashion-MNIST
UPDATE_BYTES = 8 + 8 + 4 + 4  # of an update in a checkpoint: rate, size, loss, accuracy
FLOAT_BYTES = 4
BEGINS, ENDS = 2, 1  # of a task run, as events: Pending and Running, its last state
LOGGED = 1  # a worker sends the log record of a training's end; the flow sends many at once
SHOWN = 2  # a page, a table, or a progress bar, new or renewed: a request and an event
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """What is asked for in a second: in the mean over the run, and in the busiest ten."""

    mean: float
    busiest: float


def asked(run: Schedule, program: Sequence[Operation]) -> Load:
    """Count the messages to Prefect's server: of task runs, progress bars and pages."""
    at = [moment for each in run.placed.values() for moment in _asked_by(each)]
    for operation, moment in zip(program, run.at, strict=True):
        match operation:
            case Here():
                at += [moment] * (BEGINS + ENDS)
            case Show():
                at += [moment] * SHOWN
    return _load(np.array(at), np.ones(len(at)), run.makespan)


def _asked_by(placed: Placed) -> list[float]:
    """Say when a training tells the server something: its progress every few seconds."""
    renewed = np.arange(placed.began + RENEWED_SECONDS, placed.ended, RENEWED_SECONDS).tolist()
    return [placed.began] * BEGINS + renewed * SHOWN + [placed.ended] * (SHOWN + ENDS + LOGGED)


def stored(run: Schedule, images: int) -> Load:
    """Count the bytes that workers read from the store and write to it.

    A worker reads the data once. A training writes its state after every epoch but the last, and
    its result.
    """
    at, sizes = list[float](), list[float]()
    begun = dict[int, float]()
    written = dict[str, list[float]]()
    for each in run.placed.values():
        begun[each.worker] = min(begun.get(each.worker, math.inf), each.began)
        label = each.training.label
        if label not in written:
            written[label] = _written(each.training, images, len(each.epochs))
        at += each.epochs
        sizes += written[label]
    at += begun.values()
    sizes += [DATA_BYTES] * len(begun)
    return _load(np.array(at), np.array(sizes), run.makespan)


def _written(training: Training, images: int, epochs: int) -> list[float]:
    """Return the bytes that a training writes at the end of each of so many epochs."""
    updates = np.cumsum(updates_of(training, images)[:epochs])
    states = _state_bytes(training) + UPDATE_BYTES * updates[:-1]
    return [*states.tolist(), _result_bytes(int(updates[-1]))]


def told(run: Schedule, images: int, device: str) -> float:
    """Count the signs of progress a second, which go through Dask's scheduler to the flow."""
    epochs = sum(len(each.epochs) for each in run.placed.values())
    in_a_call = chunks.EXAMPLES["CPU" if device == "core" else device]  # each call is told
    return epochs * math.ceil(images / in_a_call) / run.makespan


def _state_bytes(training: Training) -> int:
    """Return the bytes of a model's variables, and of what its optimizer keeps of each weight."""
    weights, trained = _weights()
    keeps = training.optimizer.name != "sgd" or "momentum" in training.optimizer.arguments
    return FLOAT_BYTES * (weights + keeps * trained)


@cache
def _weights() -> tuple[int, int]:
    layers = table_of(NOTEBOOK, "load_data", "model_summary.parquet")
    return int(layers["parameters"].sum()), int(layers["trained"].sum())


def _result_bytes(updates: int) -> float:
    """Return how large a result is that has so many updates: a line through the quick run's."""
    slope, least = _result_line()
    return least + slope * updates


@cache
def _result_line() -> tuple[float, float]:
    ran = measured.trained(QUICK)
    sizes = [sum(file.bytes for file in each.manifest.files.values()) for each in ran]
    slope, least = np.polyfit([each.updates for each in ran], sizes, 1)
    return float(slope), float(least)


def _load(at: Floats, amounts: Floats, makespan: float) -> Load:
    windows = np.bincount((at / WINDOW_SECONDS).astype(int), amounts)
    return Load(float(amounts.sum()) / makespan, float(windows.max()) / WINDOW_SECONDS)


def at_once(run: Schedule) -> int:
    """Count the most trainings that go side by side."""
    ends = sorted(
        [(each.began, 1) for each in run.placed.values()]
        + [(each.ended, -1) for each in run.placed.values()]
    )
    return max(accumulate(change for _, change in ends))
