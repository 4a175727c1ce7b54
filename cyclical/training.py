"""The only training loop there is: sweeps and arms are this loop with other schedules.

Images and labels lie in memory as tensors, and the graph draws its own batches: it looks up the
learning rate by the update's number, takes the update's examples from the epoch's order, averages
gradients over micro-batches where asked, and records every update's true loss and accuracy.
Python is entered about once a second, to report progress and to end a training that diverged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from cyclical import models
from cyclical.datasets import Part, normalised
from cyclical.plans import Epoch, Optimizer, Training, lay_out

CHUNK_EXAMPLES = 2048  # about a second of one core
SCORING_BATCH = 500
UNSCORED = {"val_loss": np.nan, "val_accuracy": np.nan}


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
    train_accuracy (means over the epoch's examples in training mode), val_loss, val_accuracy.
    `iterations`: one row an update: iteration (from 0), learning_rate, batch_size, loss, accuracy
    (of that update's examples alone).
    `test`: one row, test_loss and test_accuracy after the last epoch (NaN after divergence); None
    where no test examples were given.
    """

    history: pd.DataFrame
    iterations: pd.DataFrame
    test: pd.DataFrame | None = None


def train(
    training: Training,
    train: Part,
    validation: Part,
    classes: int,
    on_progress: Callable[[Progress], None] = lambda _: None,
    *,
    test: Part | None = None,
) -> Outcome:
    """Train a fresh model and score it after every epoch.

    A training whose loss stops being finite ends at that update: its last history row has loss
    NaN, the accuracy so far, and no validation.

    Args:
        training: The settings; with the data they fix the result to the bit on one machine.
        train: The examples that are trained on, all of them in every epoch.
        validation: The examples that are scored after every epoch, all of them.
        classes: The number of classes.
        on_progress: Called about once a second; an exception from it ends the training.
        test: Examples that are scored once, at the end.
    """
    loop = _loop(
        training.model,
        train.images.shape[1:],
        classes,
        training.optimizer,
        accumulating=training.accumulate != (1,),
    )
    loop.reset(training.seed)
    tensors, scored = _tensors(train), _tensors(validation)
    rows: list[dict[str, float]] = []
    traces: list[pd.DataFrame] = []
    for number, epoch in enumerate(lay_out(training, len(train.labels))):

        def report(trace: pd.DataFrame, number: int = number) -> None:
            on_progress(_progress(trace, number, training.epochs, len(train.labels)))

        order = epoch_order(training.seed, number, len(train.labels))
        trace = _epoch(loop, tensors, order, epoch, report)
        traces.append(trace)
        row = {
            "epoch": number + 1,
            "updates": sum(len(trace) for trace in traces),
            "examples": number * len(order) + int(trace["batch_size"].sum()),
        } | _means(trace)
        diverged = not np.isfinite(row["train_loss"])
        rows.append(row | (UNSCORED if diverged else loop.score(scored)))
        if diverged:
            break
    iterations = pd.concat(traces, ignore_index=True)
    iterations.insert(0, "iteration", np.arange(len(iterations), dtype=np.int64))
    final = None if test is None else _final(loop, test, diverged)
    return Outcome(pd.DataFrame(rows), iterations, final)


def epoch_order(seed: int, epoch: int, examples: int) -> NDArray[np.int32]:
    """Draw the order of the examples of one epoch (from 0): a permutation of (seed, epoch)."""
    return np.random.default_rng([seed, epoch]).permutation(examples).astype(np.int32)


def _final(loop: "_Loop", test: Part, diverged: bool) -> pd.DataFrame:
    scores = UNSCORED if diverged else loop.score(_tensors(test))
    return pd.DataFrame([scores]).rename(
        columns={"val_loss": "test_loss", "val_accuracy": "test_accuracy"}
    )


def _epoch(
    loop: "_Loop",
    tensors: tuple[Any, Any],
    order: NDArray[np.int32],
    epoch: Epoch,
    report: Callable[[pd.DataFrame], None],
) -> pd.DataFrame:
    """Run one epoch in chunks; return its trace, ended at the first loss that is not finite."""
    cuts, rates = epoch.boundaries, epoch.learning_rates
    losses: list[NDArray[np.float32]] = []
    accuracies: list[NDArray[np.float32]] = []
    start = 0
    while start < len(rates):
        most = int(np.searchsorted(cuts, cuts[start] + CHUNK_EXAMPLES, side="right")) - 1
        end = max(start + 1, most)
        loss, accuracy = loop.run(
            *tensors,
            order,
            cuts[start : end + 1],
            rates[start:end].astype(np.float32),
            np.int32(epoch.micro_batch),
        )
        losses.append(loss.numpy())
        accuracies.append(accuracy.numpy())
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
        start = end
    return trace


def _means(trace: pd.DataFrame) -> dict[str, float]:
    weights = trace["batch_size"]
    loss = float(np.average(trace["loss"].astype(np.float64), weights=weights))
    return {
        "train_loss": loss if np.isfinite(loss) else np.nan,
        "train_accuracy": float(np.average(trace["accuracy"].astype(np.float64), weights=weights)),
    }


def _progress(trace: pd.DataFrame, epoch: int, epochs: int, examples: int) -> Progress:
    means = _means(trace)
    return Progress(
        epoch=epoch + 1,
        epochs=epochs,
        examples=epoch * examples + int(trace["batch_size"].sum()),
        examples_of_all=epochs * examples,
        loss=means["train_loss"],
        accuracy=means["train_accuracy"],
    )


def _tensors(part: Part) -> tuple[Any, Any]:
    return tf.constant(normalised(part.images)), tf.constant(part.labels.astype(np.int32))


@lru_cache(maxsize=4)
def _loop(
    model: str,
    input_shape: tuple[int, int, int],
    classes: int,
    optimizer: Optimizer,
    accumulating: bool,
) -> "_Loop":
    """Keep a process's traced graphs: tracing and building cost seconds a point."""
    return _Loop(model, input_shape, classes, optimizer, accumulating)


class _Loop:
    """A model, its optimizer and their traced graph, for every batch size and schedule."""

    def __init__(
        self,
        model: str,
        input_shape: tuple[int, int, int],
        classes: int,
        optimizer: Optimizer,
        accumulating: bool,
    ) -> None:
        self._recipe = (model, input_shape, classes)
        self._model = models.build(*self._recipe, seed=0)
        self._optimizer = _keras_optimizer(optimizer)
        self._optimizer.build(self._model.trainable_variables)
        self._fresh_optimizer = [variable.numpy() for variable in self._optimizer.variables]
        self._sums = [
            tf.Variable(tf.zeros_like(weight.value), trainable=False)
            for weight in self._model.trainable_variables
            if accumulating
        ]
        images = tf.TensorSpec([None, *input_shape], tf.float32)
        numbers, rates = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)
        count = tf.TensorSpec([], tf.int32)
        self._run = tf.function(
            self._updates, input_signature=[images, numbers, numbers, numbers, rates, count]
        )
        self._score = tf.function(self._totals, input_signature=[images, numbers])

    def reset(self, seed: int) -> None:
        """Make model and optimizer fresh: initial weights of `seed`, empty optimizer slots."""
        fresh = models.build(*self._recipe, seed=seed)
        for variable, initial in zip(self._model.variables, fresh.variables, strict=True):
            variable.assign(initial)
        for variable, initial in zip(self._optimizer.variables, self._fresh_optimizer, strict=True):
            variable.assign(initial)

    def run(self, *arguments: Any) -> tuple[Any, Any]:
        """Make one update for every rate; return losses and accuracies, float32 of (updates,)."""
        losses, accuracies, done = self._run(*arguments)
        return losses[:done], accuracies[:done]

    def score(self, tensors: tuple[Any, Any]) -> dict[str, float]:
        """Return the mean loss and the accuracy over all examples, in inference mode."""
        loss, correct = self._score(*tensors)
        examples = len(tensors[1])
        return {"val_loss": float(loss) / examples, "val_accuracy": float(correct) / examples}

    def _updates(
        self, images: Any, labels: Any, order: Any, cuts: Any, rates: Any, micro_batch: Any
    ) -> tuple[Any, Any, Any]:
        updates = tf.shape(rates)[0]
        losses = tf.TensorArray(tf.float32, updates, element_shape=[])
        accuracies = tf.TensorArray(tf.float32, updates, element_shape=[])
        done = 0
        for update in tf.range(updates):
            examples = order[cuts[update] : cuts[update + 1]]
            if self._sums:
                gradients, loss, accuracy = self._accumulated(images, labels, examples, micro_batch)
            else:
                gradients, loss, accuracy = self._gradients(images, labels, examples)
            self._optimizer.learning_rate.assign(rates[update])
            self._optimizer.apply(gradients, self._model.trainable_variables)
            losses = losses.write(update, loss)
            accuracies = accuracies.write(update, accuracy)
            done = update + 1
            if not tf.math.is_finite(loss):
                break
        return losses.stack(), accuracies.stack(), done

    def _gradients(self, images: Any, labels: Any, examples: Any) -> tuple[list[Any], Any, Any]:
        targets = tf.gather(labels, examples)
        with tf.GradientTape() as tape:
            predictions = self._model(tf.gather(images, examples), training=True)
            loss = tf.reduce_mean(_losses(targets, predictions))
            loss = tf.add_n([loss, *self._model.losses])
        weights = [weight.value for weight in self._model.trainable_variables]
        return tape.gradient(loss, weights), loss, tf.reduce_mean(_hits(targets, predictions))

    def _accumulated(
        self, images: Any, labels: Any, examples: Any, micro_batch: Any
    ) -> tuple[list[Any], Any, Any]:
        """Average over micro-batches, each weighted by its share of the group's examples."""
        group = tf.shape(examples)[0]
        loss, accuracy = 0.0, 0.0
        for total in self._sums:
            total.assign(tf.zeros_like(total))
        for start in tf.range(0, group, micro_batch):
            part = examples[start : start + micro_batch]
            share = tf.cast(tf.shape(part)[0] / group, tf.float32)
            gradients, part_loss, part_accuracy = self._gradients(images, labels, part)
            for total, gradient in zip(self._sums, gradients, strict=True):
                total.assign_add(share * gradient)
            loss += share * part_loss
            accuracy += share * part_accuracy
        return [total.value() for total in self._sums], loss, accuracy

    def _totals(self, images: Any, labels: Any) -> tuple[Any, Any]:
        loss, correct = tf.constant(0.0, tf.float64), tf.constant(0.0, tf.float64)
        for start in tf.range(0, tf.shape(labels)[0], SCORING_BATCH):
            targets = labels[start : start + SCORING_BATCH]
            predictions = self._model(images[start : start + SCORING_BATCH], training=False)
            loss += tf.reduce_sum(tf.cast(_losses(targets, predictions), tf.float64))
            correct += tf.reduce_sum(tf.cast(_hits(targets, predictions), tf.float64))
        return loss, correct


def _losses(targets: Any, predictions: Any) -> Any:
    """Cross-entropy of every example; Keras takes it from the logits below the softmax."""
    return keras.ops.sparse_categorical_crossentropy(targets, predictions)


def _hits(targets: Any, predictions: Any) -> Any:
    return tf.cast(tf.equal(tf.argmax(predictions, -1, tf.int32), targets), tf.float32)


def _keras_optimizer(settings: Optimizer) -> Any:
    if settings.name == "sgd":
        return keras.optimizers.SGD(momentum=settings.momentum)
    named = {} if settings.epsilon is None else {"epsilon": settings.epsilon}
    return keras.optimizers.RMSprop(momentum=settings.momentum, **named)
