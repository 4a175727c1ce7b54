"""Batch normalisation in as few passes over the memory as its formula needs.

Keras's layer leaves its gradient to automatic differentiation, which takes about fourteen passes
over the activations, and its broadcasts walk along the channels, of which early layers have few.
Here the gradient is written out, and a row of an image is one long vector: the same numbers but for
rounding, in about half the time.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import layers


def hasten(model: keras.Model) -> None:
    """Let the batch-normalisation layers of a model, however deep, compute as this module does.

    Only what is said to compute in Keras's own words is changed: subclasses, batch renormalisation
    and other axes than the last stay as they are. Weights and names stay in any case. The
    model is for training: Keras can't read a saved one again.
    """
    for layer in model._flatten_layers(include_self=False):
        if type(layer) is layers.BatchNormalization and _known(layer):
            layer.__class__ = HastyBatchNormalization


def _known(layer: layers.BatchNormalization) -> bool:
    last = layer.built and layer.axis in {-1, len(layer._reduction_axes)}
    return last and not layer.renorm and not layer.synchronized


class HastyBatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """Keras's layer over the last axis, with another way through the same arithmetic."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise as Keras does; with a mask, let Keras do it."""
        if mask is not None:
            return super().call(inputs, training=training, mask=mask)
        wide = tf.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        mean = tf.cast(self.moving_mean.value, wide.dtype)
        variance = tf.cast(self.moving_variance.value, wide.dtype)
        scale = tf.cast(self.gamma.value, wide.dtype) if self.scale else tf.ones_like(mean)
        offset = tf.cast(self.beta.value, wide.dtype) if self.center else tf.zeros_like(mean)
        if training and self.trainable:
            outputs, of_batch, spread = normalised(wide, scale, offset, self.epsilon)
            for moving, now in ((self.moving_mean, of_batch), (self.moving_variance, spread)):
                moving.assign(moving * self.momentum + now * (1 - self.momentum))
        else:
            factor = scale * tf.math.rsqrt(variance + self.epsilon)
            rows, width = _rows(wide)
            outputs = _line(rows, factor, offset - mean * factor, width)
            outputs = tf.reshape(outputs, tf.shape(wide))
        return tf.cast(outputs, self.compute_dtype)


def normalised(inputs: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalise a batch by its own mean and variance over all axes but the last.

    With n values x of a channel, m their mean and v their variance (divided by n):
    y = (x - m) a + offset, where r = 1 / sqrt(v + epsilon) and a = scale r. Of a loss L with
    g = dL/dy: dL/dx = a (g - mean(g) - (x - m) r^2 mean(g (x - m))), dL/dscale = r sum(g (x - m)),
    dL/doffset = sum(g). Ioffe and Szegedy, arXiv 1502.03167, section 3.

    Args:
        inputs: x, a floating tensor of shape (examples, ..., channels).
        scale: Of shape (channels,).
        offset: Of shape (channels,).
        epsilon: What keeps the root from 0.

    Returns:
        y of x's shape, and m and v of shape (channels,), through which no gradient flows.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def normalise(inputs: Any, scale: Any, offset: Any) -> Any:
        rows, width = _rows(inputs)
        count = tf.cast(tf.shape(rows)[0] * width, rows.dtype)
        mean = _sum(rows, width) / count
        centre = _repeated(mean, width)
        variance = _sum(tf.math.squared_difference(rows, centre), width) / count
        root = tf.math.rsqrt(variance + epsilon)
        factor = scale * root

        def gradient(upstream: Any, *_: Any) -> tuple[Any, Any, Any]:
            above = _rows(upstream)[0]
            total = _sum(above, width)
            along = _sum(above * (rows - centre), width)
            slope = -factor * root * root * along / count
            shift = -factor * total / count - slope * mean
            back = above * _repeated(factor, width) + _line(rows, slope, shift, width)
            return tf.reshape(back, tf.shape(inputs)), root * along, total

        outputs = _line(rows, factor, offset - mean * factor, width)
        return (tf.reshape(outputs, tf.shape(inputs)), mean, variance), gradient

    outputs, mean, variance = normalise(inputs, scale, offset)
    return outputs, mean, variance


def _rows(inputs: Any) -> tuple[Any, int]:
    """View the inputs as rows of `width` pixels: (rows, width x channels)."""
    width = (inputs.shape[-2] or 1) if inputs.shape.rank > 2 else 1
    return tf.reshape(inputs, [-1, width * inputs.shape[-1]]), width


def _sum(rows: Any, width: int) -> Any:
    """Sum over all pixels: of shape (channels,)."""
    return tf.reduce_sum(tf.reshape(tf.reduce_sum(rows, 0), [width, -1]), 0)


def _repeated(of_channels: Any, width: int) -> Any:
    return tf.tile(of_channels, [width])


def _line(rows: Any, slope: Any, shift: Any, width: int) -> Any:
    return rows * _repeated(slope, width) + _repeated(shift, width)
