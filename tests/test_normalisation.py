"""The quick way through batch normalisation against Keras's own."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from cyclical.normalisation import HastyBatchNormalization, hasten


def pair(shape: Sequence[int], **settings: Any) -> tuple[keras.Model, keras.Model]:
    """Build two equal models of one layer whose weights are not those of the start."""
    random = np.random.default_rng(7)
    built = []
    for _ in range(2):
        model = keras.Sequential([keras.Input(shape[1:]), layers.BatchNormalization(**settings)])
        built.append(model)
    values = [random.uniform(0.5, 2, weight.shape) for weight in built[0].weights]
    for model in built:
        model.set_weights(values)
    hasten(built[1])
    assert type(built[1].layers[0]) is HastyBatchNormalization
    return built[0], built[1]


def gradients(model: keras.Model, inputs: Any, upstream: Any) -> tuple[Any, list[Any]]:
    """Return outputs in training mode, and the gradients for inputs and weights."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = model(inputs, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * upstream)
    wanted = [inputs, *(weight.value for weight in model.trainable_variables)]
    return outputs, tape.gradient(loss, wanted)


SHAPES = [(64, 5), (9, 7, 3), (16, 6, 5, 1), (8, 7, 7, 16), (4, 3, 5, 2, 6)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}])
def test_outputs_gradients_and_moving_averages_are_keras_own(
    shape: tuple[int, ...], settings: dict[str, Any]
) -> None:
    random = np.random.default_rng(1)
    inputs = tf.constant(random.normal(3, 2, shape).astype(np.float32))
    upstream = tf.constant(random.normal(size=shape).astype(np.float32))
    theirs, ours = pair(shape, **settings)
    (expected, wanted), (outputs, found) = (
        gradients(model, inputs, upstream) for model in (theirs, ours)
    )
    np.testing.assert_allclose(outputs, expected, atol=2e-5)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * np.abs(other).max() + 1e-5)
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    np.testing.assert_allclose(ours(inputs), theirs(inputs), atol=2e-5)  # by the moving averages


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    """In double precision, where differences show it."""
    random = np.random.default_rng(2)
    shape = (5, 4, 3)
    inputs, upstream = random.normal(size=shape), random.normal(size=shape)
    layer = layers.BatchNormalization(dtype="float64")
    model = keras.Sequential([keras.Input(shape[1:], dtype="float64"), layer])
    hasten(model)

    def loss(values: Any) -> float:
        return float(tf.reduce_sum(model(tf.constant(values), training=True) * upstream))

    tensor = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = tf.reduce_sum(model(tensor, training=True) * upstream)
    slopes = tape.gradient(value, tensor).numpy()
    for place in [(0, 0, 0), (4, 3, 2), (2, 1, 1)]:
        step = np.zeros(shape)
        step[place] = 1e-6
        measured = (loss(inputs + step) - loss(inputs - step)) / 2e-6
        assert slopes[place] == pytest.approx(measured, rel=1e-5, abs=1e-7)


def test_a_batch_of_another_size_and_an_image_of_unknown_width_fit_the_same_graph() -> None:
    theirs, ours = (
        keras.Sequential([keras.Input((None, None, 3)), layers.BatchNormalization()])
        for _ in range(2)
    )
    hasten(ours)
    graph = tf.function(lambda images: ours(images, training=True), reduce_retracing=True)
    for shape in [(8, 5, 6, 3), (3, 4, 2, 3)]:
        images = tf.random.stateless_normal(shape, [1, 2])
        np.testing.assert_allclose(graph(images), theirs(images, training=True), atol=2e-5)


def test_half_precision_is_normalised_in_single_and_given_back_in_half() -> None:
    shape = (32, 4, 4, 3)
    inputs = tf.random.stateless_normal(shape, [3, 4]) * 100 + 300
    theirs, ours = pair(shape, dtype="mixed_bfloat16")
    upstream = tf.random.stateless_normal(shape, [9, 10])
    (expected, wanted), (outputs, found) = (
        gradients(model, tf.cast(inputs, tf.bfloat16), upstream) for model in (theirs, ours)
    )
    assert outputs.dtype == expected.dtype == tf.bfloat16
    for one, other in zip([outputs, *found], [expected, *wanted], strict=True):
        scale = float(tf.reduce_max(tf.abs(tf.cast(other, tf.float32))))
        np.testing.assert_allclose(
            tf.cast(one, tf.float32), tf.cast(other, tf.float32), atol=0.01 * scale
        )


def test_a_layer_that_is_not_trained_normalises_by_its_moving_averages() -> None:
    shape = (16, 5)
    inputs = tf.random.stateless_normal(shape, [5, 6])
    theirs, ours = pair(shape)
    for model in (theirs, ours):
        model.trainable = False
        before = model.get_weights()
        np.testing.assert_array_equal(model(inputs, training=True), model(inputs))
        for one, other in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(ours(inputs), theirs(inputs), atol=2e-5)


def test_a_mask_is_heeded() -> None:
    inputs = tf.random.stateless_normal((4, 6, 3), [7, 8])
    mask = tf.constant([[True] * 4 + [False] * 2] * 4)
    theirs, ours = (model.layers[0] for model in pair((4, 6, 3)))
    np.testing.assert_array_equal(
        ours(inputs, training=True, mask=mask), theirs(inputs, training=True, mask=mask)
    )


class Own(layers.BatchNormalization):
    """Somebody's own layer."""


def test_layers_within_layers_are_found_and_others_left_alone() -> None:
    inner = keras.Sequential([keras.Input((4, 4, 3)), layers.BatchNormalization()])
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            inner,
            layers.BatchNormalization(axis=1),
            layers.BatchNormalization(renorm=True),
            Own(),
        ]
    )
    hasten(model)
    assert type(inner.layers[0]) is HastyBatchNormalization
    assert [type(layer) for layer in model.layers[1:]] == [
        layers.BatchNormalization,
        layers.BatchNormalization,
        Own,
    ]
