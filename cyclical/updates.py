"""The traced graph of a model: its updates and its scores, for every batch size and schedule.

Images, as bytes, and labels lie in memory as tensors, and the graph draws its own batches: it looks
up the learning rate by the update's number, takes the update's examples from the epoch's order,
averages gradients over micro-batches where asked, and returns every update's true loss and
accuracy. On a GPU, whose kernels are done sooner than TensorFlow launches the next, XLA makes one
program of a loop of updates (where gradients are accumulated, of the parts of an update), anew for
every size of batch, where it can: not of maximum pooling, whose gradient it does not compute
deterministically, nor of Python within the graph.
"""

import logging
import math
from functools import lru_cache
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cyclical import chunks, measures, models, naming, optimizers
from cyclical.errors import InputError, one_line
from cyclical.normalisation import hasten
from cyclical.values import SAVED_MODEL, Measure, Optimizer, Precision

log = logging.getLogger(__name__)
SCORING_BATCH = 100  # the activations of few images stay in the cache
SCORING_BATCH_ON_GPU = 1000
SCORING_BYTES_ON_GPU = 1 << 30  # of all layers' outputs, beyond the usual batch


class Recipe(NamedTuple):
    """All that a graph is traced for: a few of a training's settings, and of the data's shapes."""

    model: str
    architecture: str
    input_shape: tuple[int, int, int]
    pixels: str
    classes: int
    loss: Measure
    metrics: tuple[Measure, ...]
    optimizer: Optimizer
    precision: Precision
    accumulating: bool

    def built(self, seed: int, precision: Precision = "float32") -> keras.Model:
        """Build the model with the initial weights of a seed."""
        return models.build(
            self.model, self.input_shape, self.classes, seed, precision, self.architecture
        )


class Updates:
    """A model, its optimizer and their traced graph, for every batch size and schedule."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._model = recipe.built(0, recipe.precision)
        if recipe.model == SAVED_MODEL:
            models.check_precision(self._model, recipe.precision)
        logits = models.gives_logits(self._model, recipe.model, recipe.input_shape, recipe.classes)
        self._loss, *self._metrics = (
            measures.function_of(each, recipe.classes, logits=logits, gathers=not on_gpu())
            for each in (recipe.loss, *recipe.metrics)
        )
        hasten(self._model)
        self._optimizer = optimizers.built(recipe.optimizer, self._model)
        self._fresh_optimizer = [variable.numpy() for variable in self._optimizer.variables]
        self._sums = [
            tf.Variable(tf.zeros_like(weight.value), trainable=False)
            for weight in self._model.trainable_variables
            if recipe.accumulating
        ]
        self._gradients, self._apply = self._differentiate, self._change_weights
        self._batch_totals = self._totals_of_batch
        self._loop: Any = None
        self._scoring_batch = SCORING_BATCH
        if on_gpu():
            fitting = SCORING_BYTES_ON_GPU // max(1, self.activation_bytes)
            self._scoring_batch = min(max(SCORING_BATCH, fitting), SCORING_BATCH_ON_GPU)
        images = tf.TensorSpec([None, *recipe.input_shape], recipe.pixels)
        numbers, rates = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)
        count = tf.TensorSpec([], tf.int32)
        self._run = tf.function(
            self._of_any_size, input_signature=[images, numbers, numbers, numbers, rates, count]
        )
        self._score = tf.function(self._totals, input_signature=[images, numbers])
        batches = tf.TensorSpec([None, None, None], tf.int32)
        self._norms = tf.function(self._squared_norms, input_signature=[images, numbers, batches])
        if on_gpu() and all(layer.supports_jit for layer in self._model._flatten_layers()):
            self._fuse([images, numbers, tf.TensorSpec([None, None], tf.int32), rates, count])

    def _fuse(self, signature: list[tf.TensorSpec]) -> None:
        """Let XLA compile updates and scores, where two examples show that it can.

        What the trial changes is made fresh before a training; it traces the loop of plain parts.
        """
        gradients, apply, totals = (
            tf.function(each, jit_compile=True)
            for each in (self._gradients, self._apply, self._batch_totals)
        )
        loop = tf.function(self._of_one_size, jit_compile=True, input_signature=signature)
        images = tf.zeros([2, *self._recipe.input_shape], self._recipe.pixels)
        two = tf.constant([0, 1])
        try:
            if self._recipe.accumulating:
                apply(gradients(images, two, two)[0], tf.constant(0.0))
            else:
                loop(images, two, two[tf.newaxis], tf.zeros([1]), tf.constant(1))
            totals(images, two)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            log.info("XLA can't compile %s (%s)", self._recipe.model, one_line(error))
            return
        self._gradients, self._apply, self._batch_totals = gradients, apply, totals
        self._loop = None if self._recipe.accumulating else loop

    def reset(self, seed: int) -> None:
        """Make model and optimizer fresh: initial weights of `seed`, empty optimizer slots."""
        fresh = self._recipe.built(seed)
        if {id(each) for each in fresh.variables} & {id(each) for each in self._model.variables}:
            raise InputError(
                f"model {self._recipe.model} has the same weights each time: build its layers "
                "inside the function"
            )
        for variable, initial in zip(self._model.variables, fresh.variables, strict=True):
            variable.assign(initial)
        for variable, initial in zip(self._optimizer.variables, self._fresh_optimizer, strict=True):
            variable.assign(initial)

    @property
    def activation_bytes(self) -> int:
        """The bytes that the outputs of all layers take for one example."""
        return models.activation_bytes(self._model)

    def state(self) -> NDArray[np.uint8]:
        """Return the bytes of all that an update changes, one variable after the other."""
        values = b"".join(variable.numpy().tobytes() for variable in self._variables)
        return np.frombuffer(values, np.uint8)

    def restore(self, state: NDArray[np.uint8]) -> None:
        """Make all that an update changes what it was when `state` was taken."""
        start = 0
        for variable in self._variables:
            values = np.frombuffer(
                state, variable.value.dtype.as_numpy_dtype, math.prod(variable.shape), start
            )
            variable.assign(values.reshape(variable.shape))
            start += values.nbytes

    @property
    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self._optimizer.variables]

    def run(
        self,
        images: Any,
        labels: Any,
        order: NDArray[np.int32],
        cuts: NDArray[np.int32],
        rates: NDArray[np.float32],
        micro_batch: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Make one update for every rate, until a loss is not finite.

        Args:
            images: All images, a tensor.
            labels: Their labels, a tensor of int32.
            order: The epoch's examples, by number.
            cuts: Where in `order` each update's examples begin, and where the last one's end.
            rates: The learning rate of every update.
            micro_batch: The examples over which an update that accumulates differentiates at once.

        Returns:
            The losses and the accuracies, one an update.
        """
        if self._loop is None:
            return _made(*self._run(images, labels, order, cuts, rates, np.int32(micro_batch)))
        losses, accuracies = [], []
        for stretch in chunks.stretches(order, cuts, rates, chunks.EXAMPLES["GPU"]):
            loss, accuracy = _made(*self._loop(images, labels, *stretch))
            losses.append(loss)
            accuracies.append(accuracy)
            if not np.isfinite(loss[-1]):
                break
        return np.concatenate(losses), np.concatenate(accuracies)

    def score(self, tensors: tuple[Any, Any]) -> dict[str, float]:
        """Return the means of loss, accuracy and metrics over all examples, in inference mode."""
        means = self._score(*tensors).numpy() / len(tensors[1])
        return dict(zip(self.unscored, means.tolist(), strict=True))

    def gradient_norms(
        self, tensors: tuple[Any, Any], batches: NDArray[np.int32]
    ) -> tuple[float, float]:
        """Measure the squared length of gradients at the present weights, which stay as they are.

        Args:
            tensors: All images and labels.
            batches: The examples of every batch, int32 of shape (groups, batches, examples).

        Returns:
            The mean squared length of a batch's gradient, and of a whole group's, in training mode.
        """
        before = self.state()  # the running statistics of normalisation move, and random states
        small, big = self._norms(*tensors, batches).numpy().tolist()
        self.restore(before)
        return small, big

    @property
    def unscored(self) -> dict[str, float]:
        """What `score` returns where there is nothing to score: NaN by the same names."""
        names = ("loss", "accuracy", *(naming.column(metric) for metric in self._recipe.metrics))
        return {f"val_{name}": np.nan for name in names}

    def _of_any_size(
        self, images: Any, labels: Any, order: Any, cuts: Any, rates: Any, micro_batch: Any
    ) -> tuple[Any, Any, Any]:
        def batch_of(update: Any) -> Any:
            return order[cuts[update] : cuts[update + 1]]

        return self._updates(images, labels, batch_of, rates, tf.shape(rates)[0], micro_batch)

    def _of_one_size(
        self, images: Any, labels: Any, batches: Any, rates: Any, count: Any
    ) -> tuple[Any, Any, Any]:
        """Make the first `count` of the updates that shapes, which XLA must know, have room for."""
        return self._updates(images, labels, batches.__getitem__, rates, count, None)

    def _updates(
        self, images: Any, labels: Any, batch_of: Any, rates: Any, count: Any, micro_batch: Any
    ) -> tuple[Any, Any, Any]:
        room = tf.shape(rates)[0]
        losses = tf.TensorArray(tf.float32, room, element_shape=[])
        accuracies = tf.TensorArray(tf.float32, room, element_shape=[])
        done, going_on = 0, count > 0
        while going_on:  # XLA would compile a tf.range anew for every count
            examples = batch_of(done)
            if self._sums:
                gradients, loss, accuracy = self._accumulated(images, labels, examples, micro_batch)
            else:
                gradients, loss, accuracy = self._gradients(images, labels, examples)
            self._apply(gradients, rates[done])
            losses = losses.write(done, loss)
            accuracies = accuracies.write(done, accuracy)
            done += 1
            going_on = tf.math.is_finite(loss) and done < count
        return losses.stack(), accuracies.stack(), done

    def _differentiate(self, images: Any, labels: Any, examples: Any) -> tuple[list[Any], Any, Any]:
        targets = tf.gather(labels, examples)
        with tf.GradientTape() as tape:
            outputs = self._outputs(tf.gather(images, examples), training=True)
            loss = tf.reduce_mean(self._loss(targets, outputs))
            loss = tf.add_n([loss, *(tf.cast(each, tf.float32) for each in self._model.losses)])
        weights = [weight.value for weight in self._model.trainable_variables]
        return tape.gradient(loss, weights), loss, tf.reduce_mean(_hits(targets, outputs))

    def _change_weights(self, gradients: list[Any], rate: Any) -> None:
        self._optimizer.learning_rate.assign(rate)
        self._optimizer.apply(gradients, self._model.trainable_variables)

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
                if gradient is not None:  # of weights that the outputs don't depend on
                    total.assign_add(share * gradient)
            loss += share * part_loss
            accuracy += share * part_accuracy
        return [total.value() for total in self._sums], loss, accuracy

    def _squared_norms(self, images: Any, labels: Any, batches: Any) -> Any:
        """Return the means over the groups: of a batch's squared gradient, of a group's."""
        small = big = tf.zeros([], tf.float64)
        groups, size = tf.shape(batches)[0], tf.shape(batches)[1]
        for group in tf.range(groups):
            sums = [tf.zeros_like(weight.value) for weight in self._model.trainable_variables]
            for batch in tf.range(size):
                gradients, _, _ = self._gradients(images, labels, batches[group, batch])
                small += _squared(gradients) / tf.cast(groups * size, tf.float64)
                sums = [
                    total if gradient is None else total + gradient
                    for total, gradient in zip(sums, gradients, strict=True)
                ]
            whole = [total / tf.cast(size, total.dtype) for total in sums]
            big += _squared(whole) / tf.cast(groups, tf.float64)
        return tf.stack([small, big])

    def _outputs(self, images: Any, *, training: bool) -> Any:
        return tf.cast(self._model(_scaled(images), training=training), tf.float32)

    def _totals(self, images: Any, labels: Any) -> Any:
        """Sum loss, hits and metrics over all examples."""
        totals = tf.zeros([2 + len(self._metrics)], tf.float64)
        for start in tf.range(0, tf.shape(labels)[0], self._scoring_batch):
            end = start + self._scoring_batch
            totals += self._batch_totals(images[start:end], labels[start:end])
        return totals

    def _totals_of_batch(self, images: Any, targets: Any) -> Any:
        outputs = self._outputs(images, training=False)
        measured = (self._loss, _hits, *self._metrics)
        return tf.stack(
            [tf.reduce_sum(tf.cast(measure(targets, outputs), tf.float64)) for measure in measured]
        )


kept = lru_cache(maxsize=4)(Updates)
"""Build `Updates`, or return those that this process keeps: building and tracing take seconds."""


def on_gpu() -> bool:
    """Tell whether this process computes on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def _made(
    losses: Any, accuracies: Any, done: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Take what the first updates of a call left, which were made."""
    return losses.numpy()[: int(done)], accuracies.numpy()[: int(done)]


def _scaled(pixels: Any) -> Any:
    """Scale bytes as `examples.normalised` but for the last bit: the graph takes 1 / 255 times."""
    return pixels if pixels.dtype == tf.float32 else tf.cast(pixels, tf.float32) / 255


def _squared(gradients: list[Any]) -> Any:
    """Return the squared length of a gradient over all weights, in float64."""
    parts = (
        tf.reduce_sum(tf.square(tf.cast(each, tf.float64)))
        for each in gradients
        if each is not None
    )
    return tf.add_n(list(parts))


def _hits(targets: Any, outputs: Any) -> Any:
    return tf.cast(tf.equal(tf.argmax(outputs, -1, tf.int32), targets), tf.float32)
