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

from cyclical import models, schedules
from cyclical.config import LearningRate, Optimizer, Training
from cyclical.datasets import Part, normalised

CHUNK_EXAMPLES = 2048  # about a second of one core
SCORING_BATCH = 500


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
    train_accuracy (means over the epoch's examples in training mode), val_loss, val_accuracy (test
    set).
    `iterations`: one row an update: iteration (from 0), learning_rate, batch_size, loss, accuracy
    (of that update's examples alone).
    """

    history: pd.DataFrame
    iterations: pd.DataFrame


def train(
    training: Training,
    train: Part,
    test: Part,
    classes: int,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Train a fresh model and score it after every epoch.

    A training whose loss stops being finite ends at that update: its last history row has loss
    NaN, the accuracy so far, and no validation.

    Args:
        training: The settings; with the data they fix the result to the bit on one machine.
        train: The examples that are trained on, all of them in every epoch.
        test: The examples that are scored after every epoch, all of them.
        classes: The number of classes.
        on_progress: Called about once a second; an exception from it ends the training.
    """
    loop = _loop(
        training.model,
        train.images.shape[1:],
        classes,
        training.optimizer,
        accumulating=training.accumulate != (1,),
    )
    loop.reset(training.seed)
    tensors, scored = _tensors(train), _tensors(test)
    plan = schedules.epoch_plan(
        len(train.labels), training.epochs, training.batch_sizes, training.accumulate
    )
    rates = learning_rates(training.learning_rate, sum(len(cuts) - 1 for _, cuts in plan))
    rows: list[dict[str, float]] = []
    traces: list[pd.DataFrame] = []
    for epoch, (micro_batch, cuts) in enumerate(plan):
        first = sum(len(trace) for trace in traces)
        order = epoch_order(training.seed, epoch, len(train.labels))

        def report(trace: pd.DataFrame, epoch: int = epoch) -> None:
            on_progress(_progress(trace, epoch, training.epochs, len(train.labels)))

        trace = _epoch(loop, tensors, order, cuts, rates[first:], micro_batch, report)
        trace.insert(0, "iteration", np.arange(first, first + len(trace), dtype=np.int64))
        traces.append(trace)
        row = {
            "epoch": epoch + 1,
            "updates": first + len(trace),
            "examples": epoch * len(order) + int(trace["batch_size"].sum()),
        } | _means(trace)
        if not np.isfinite(row["train_loss"]):
            rows.append(row | {"val_loss": np.nan, "val_accuracy": np.nan})
            break
        rows.append(row | loop.score(scored))
    return Outcome(pd.DataFrame(rows), pd.concat(traces, ignore_index=True))


def learning_rates(settings: LearningRate, updates: int) -> NDArray[np.float64]:
    """Evaluate a learning-rate schedule for a whole training, float64 of shape (updates,)."""
    if settings.policy == "constant":
        schedule = schedules.constant(settings.base_lr)
    else:
        arguments: dict[str, Any] = settings.model_dump(exclude={"policy"}, exclude_none=True)
        schedule = getattr(schedules, settings.policy)(**arguments)
    return schedule(np.arange(updates))


def epoch_order(seed: int, epoch: int, examples: int) -> NDArray[np.int32]:
    """Draw the order of the examples of one epoch (from 0): a permutation of (seed, epoch)."""
    return np.random.default_rng([seed, epoch]).permutation(examples).astype(np.int32)


def _epoch(
    loop: "_Loop",
    tensors: tuple[Any, Any],
    order: NDArray[np.int32],
    cuts: NDArray[np.int32],
    rates: NDArray[np.float64],
    micro_batch: int,
    report: Callable[[pd.DataFrame], None],
) -> pd.DataFrame:
    """Run one epoch in chunks; return its trace, ended at the first loss that is not finite."""
    chunk = max(1, CHUNK_EXAMPLES // int(cuts[1]))
    losses: list[NDArray[np.float32]] = []
    accuracies: list[NDArray[np.float32]] = []
    for start in range(0, len(cuts) - 1, chunk):
        ends = cuts[start : start + chunk + 1]
        loss, accuracy = loop.run(
            *tensors,
            order,
            ends,
            rates[start : start + len(ends) - 1].astype(np.float32),
            np.int32(micro_batch),
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
    return keras.optimizers.RMSprop(momentum=settings.momentum)
