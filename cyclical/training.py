"""The only training loop there is: sweeps and arms are this loop with other schedules.

An epoch is a few calls of the model's graph (see `updates`), and Python is entered about once a
second, to report progress and to end a training that diverged. Between two epochs the state is kept
in a file, from which a later process goes on.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from cyclical import checkpoints, chunks, updates
from cyclical.checkpoints import Checkpoint
from cyclical.examples import Part
from cyclical.files import Blob
from cyclical.learning import hopeless, least_learned
from cyclical.plans import Epoch, Training, lay_out
from cyclical.updates import Updates


@dataclass(frozen=True)
class Progress:
    """Where a training stands: means of the running epoch so far."""

    epoch: int
    epochs: int
    examples: int
    examples_of_all: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Outcome:
    """What a training leaves.

    `history`: one row an epoch: epoch (from 1), updates and examples (so far), train_loss,
    train_accuracy (means over the epoch's examples in training mode), val_loss, val_accuracy, and
    val_NAME of every metric; where the gradient noise is measured, also small_gradient and
    big_gradient (see `Updates.gradient_norms`). The training loss holds what layers add to it,
    such as a weight's penalty; that of validation and test is the loss of the outputs alone.
    `iterations`: one row an update: iteration (from 0), learning_rate, batch_size, loss, accuracy
    (of that update's examples alone).
    `test`: one row, test_loss and the others after the last epoch (NaN after divergence); None
    where no test examples were given.
    `seconds`: from the beginning to the end of every epoch, without the time of an interruption.
    """

    history: pd.DataFrame
    iterations: pd.DataFrame
    seconds: list[float]
    test: pd.DataFrame | None = None


def train(
    training: Training,
    train: Part,
    validation: Part,
    classes: int,
    on_progress: Callable[[Progress], None] = lambda _: None,
    *,
    test: Part | None = None,
    checkpoint: Blob | None = None,
    architecture: str = "",
) -> Outcome:
    """Train a fresh model and score it after every epoch.

    A training whose loss stops being finite ends at that update: its last history row has loss
    NaN, the accuracy so far, and no validation. One that is to give up ends after an epoch that
    leaves no hope (see `hopeless`).

    Args:
        training: The settings; with the data they fix the result to the bit on one machine.
        train: The examples that are trained on, all of them in every epoch.
        validation: The examples that are scored after every epoch, all of them.
        classes: The number of classes.
        on_progress: Called about once a second; an exception from it ends the training.
        test: Examples that are scored once, at the end.
        checkpoint: A file for the state after every epoch. Where there is one, of this training on
            these examples, it goes on from there, to the same bytes. It is the caller's to remove.
        architecture: Of a saved model, the JSON text of its config.
    """
    began = time.monotonic()
    loop = updates_of(training, train, classes, architecture)
    loop.reset(training.seed)
    tensors, scored = _tensors(train), _tensors(validation)
    keeper = checkpoints.Keeper(checkpoint) if checkpoint else None
    so_far = _SoFar.taken_up(loop, keeper, began)
    examples = len(train.labels)
    in_all = training.examples(examples)
    goal = least_learned(classes, float(np.bincount(train.labels).max() / examples))
    epochs = lay_out(training, examples)
    for number, epoch in list(enumerate(epochs))[len(so_far.rows) :]:

        def report(trace: pd.DataFrame, number: int = number) -> None:
            on_progress(_progress(trace, number, training, examples, in_all))

        order = epoch_order(training.seed, number, examples)
        trace = _epoch(loop, tensors, order, epoch, report)
        diverged = not np.isfinite(trace["loss"].iloc[-1])
        scores = loop.unscored if diverged else loop.score(scored)
        if training.noise:
            scores |= _gradient_norms(loop, tensors, training, number, diverged=diverged)
        so_far.add(trace, number * examples, scores)
        given_up = training.give_up and hopeless(so_far.accuracies, training.epochs, goal)
        if diverged or given_up:
            break
        if keeper and number + 1 < len(epochs):
            keeper.keep(lambda: so_far.state(loop))
    iterations = so_far.iterations
    iterations.insert(0, "iteration", np.arange(len(iterations), dtype=np.int64))
    final = None if test is None else _final(loop, test, diverged)
    return Outcome(pd.DataFrame(so_far.rows), iterations, so_far.seconds, final)


@dataclass
class _SoFar:
    """What a training has made up to now: a row an epoch, and every update."""

    rows: list[dict[Any, Any]]
    traces: list[pd.DataFrame]
    seconds: list[float]
    began: float

    @classmethod
    def taken_up(cls, loop: Updates, keeper: checkpoints.Keeper | None, began: float) -> Self:
        """Begin, or take up what was kept, the time that it took included."""
        kept = keeper.read() if keeper else None
        if kept is None:
            return cls([], [], [], began)
        loop.restore(kept.variables)
        rows, seconds = kept.history.to_dict("records"), kept.seconds.tolist()
        return cls(rows, [kept.iterations], seconds, began - seconds[-1])

    @property
    def iterations(self) -> pd.DataFrame:
        return pd.concat(self.traces, ignore_index=True)

    @property
    def accuracies(self) -> list[float]:
        return [row["train_accuracy"] for row in self.rows]

    def add(self, trace: pd.DataFrame, before: int, scores: Mapping[str, float]) -> None:
        """Add an epoch that began when `before` examples had been seen."""
        self.traces.append(trace)
        counts = {
            "epoch": len(self.rows) + 1,
            "updates": sum(len(each) for each in self.traces),
            "examples": before + int(trace["batch_size"].sum()),
        }
        self.rows.append(counts | _means(trace) | dict(scores))
        self.seconds.append(time.monotonic() - self.began)

    def state(self, loop: Updates) -> Checkpoint:
        """Return what a later process needs to go on."""
        return Checkpoint(
            loop.state(), pd.DataFrame(self.rows), self.iterations, np.array(self.seconds)
        )


def updates_of(training: Training, train: Part, classes: int, architecture: str = "") -> Updates:
    """Return the graph that a training runs in, which this process keeps."""
    _, height, width, channels = train.images.shape
    return updates.kept(
        updates.Recipe(
            model=training.model,
            architecture=architecture,
            input_shape=(height, width, channels),
            pixels=str(train.images.dtype),
            classes=classes,
            loss=training.loss,
            metrics=training.metrics,
            optimizer=training.optimizer,
            precision=training.precision,
            accumulating=training.accumulating,
        )
    )


def epoch_order(seed: int, epoch: int, examples: int) -> NDArray[np.int32]:
    """Draw the order of the examples of one epoch (from 0): a permutation of (seed, epoch)."""
    return np.random.default_rng([seed, epoch]).permutation(examples).astype(np.int32)


def _final(loop: Updates, test: Part, diverged: bool) -> pd.DataFrame:
    scores = loop.unscored if diverged else loop.score(_tensors(test))
    return pd.DataFrame([scores]).rename(columns=lambda name: name.replace("val_", "test_", 1))


def noise_batches(training: Training, epoch: int, examples: int) -> NDArray[np.int32]:
    """Draw the batches on which the gradient noise is measured after an epoch (from 0).

    int32 of the shape `noise_shape`, no example twice.
    """
    shape = training.noise_shape(examples)
    order = np.random.default_rng([training.seed, epoch, 1]).permutation(examples)
    return order[: math.prod(shape)].reshape(shape).astype(np.int32)


def _gradient_norms(
    loop: Updates, tensors: tuple[Any, Any], training: Training, epoch: int, *, diverged: bool
) -> dict[str, float]:
    batches = noise_batches(training, epoch, len(tensors[1]))
    norms = (np.nan, np.nan) if diverged else loop.gradient_norms(tensors, batches)
    return dict(zip(("small_gradient", "big_gradient"), norms, strict=True))


def _epoch(
    loop: Updates,
    tensors: tuple[Any, Any],
    order: NDArray[np.int32],
    epoch: Epoch,
    report: Callable[[pd.DataFrame], None],
) -> pd.DataFrame:
    """Run one epoch in chunks; return its trace, ended at the first loss that is not finite."""
    cuts, rates = epoch.boundaries, epoch.learning_rates
    losses: list[NDArray[np.float32]] = []
    accuracies: list[NDArray[np.float32]] = []
    most = chunks.EXAMPLES["GPU" if updates.on_gpu() else "CPU"]
    for start, end in chunks.calls(cuts, most):
        loss, accuracy = loop.run(
            *tensors,
            order,
            cuts[start : end + 1],
            rates[start:end].astype(np.float32),
            epoch.micro_batch,
        )
        losses.append(loss)
        accuracies.append(accuracy)
        done = start + len(losses[-1])
        trace = pd.DataFrame(
            {
                "learning_rate": rates[:done],
                "batch_size": np.diff(cuts[: done + 1]).astype(np.int64),
                "loss": np.concatenate(losses),
                "accuracy": np.concatenate(accuracies),
            }
        )
        report(trace)
        if not np.isfinite(losses[-1][-1]):
            break
    return trace


def _means(trace: pd.DataFrame) -> dict[str, float]:
    weights = trace["batch_size"]
    loss = float(np.average(trace["loss"].astype(np.float64), weights=weights))
    return {
        "train_loss": loss if np.isfinite(loss) else np.nan,
        "train_accuracy": float(np.average(trace["accuracy"].astype(np.float64), weights=weights)),
    }


def _progress(
    trace: pd.DataFrame, epoch: int, training: Training, examples: int, in_all: int
) -> Progress:
    means = _means(trace)
    return Progress(
        epoch=epoch + 1,
        epochs=training.epochs,
        examples=epoch * examples + int(trace["batch_size"].sum()),
        examples_of_all=in_all,
        loss=means["train_loss"],
        accuracy=means["train_accuracy"],
    )


def _tensors(part: Part) -> tuple[Any, Any]:
    return tf.constant(part.images), tf.constant(part.labels.astype(np.int32))
