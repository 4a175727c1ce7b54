"""What the benchmarks rest on beside the clock: equal networks, operations, processes, ratios."""

import os
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import networks, throughput
from benchmarks.processes import peak_mib, team
from cyclical import models

EXAMPLES, RATE = 32, 0.1


@pytest.fixture(scope="module")
def keras_model() -> Any:
    """Return the network with normalisations that do something to what they normalise."""
    model = models.build("lenet5", (28, 28, 1), 10, seed=0)
    draw = np.random.default_rng(0)
    for weight in model.trainable_variables:
        if weight.name in {"gamma", "beta"}:
            weight.assign(draw.uniform(0.5, 1.5, weight.shape))
    return model


def test_training_on_one_example_takes_25_4_million_operations(keras_model: Any) -> None:
    convolutions = 28**2 * 6 * 25 + 23**2 * 16 * 25 * 6 + 7**2 * 120 * 25 * 16
    dense = 7**2 * 120 * 84 + 84 * 10
    assert networks.training_flop(keras_model) == 6 * (convolutions + dense) == 25_403_760


def as_in_torch(values: Any, shape: tuple[int, ...]) -> Any:
    """Lay the values of a Keras weight, or its gradient, out as PyTorch does."""
    array = np.asarray(values)
    if len(array) == 7 * 7 * 120:  # Keras flattens height, width, channels
        array = array.reshape(7, 7, 120, 84).transpose(3, 2, 0, 1)
    elif array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    return array.T.reshape(shape) if array.ndim == 2 else array.reshape(shape)


def test_the_network_in_torch_gives_the_same_outputs_gradients_and_step(keras_model: Any) -> None:
    torch = pytest.importorskip("torch")
    import keras
    import tensorflow as tf

    draw = np.random.default_rng(1)
    images = draw.random((EXAMPLES, 28, 28, 1), np.float32)
    labels = draw.integers(10, size=EXAMPLES)
    weights = keras_model.trainable_variables
    network = networks.lenet5()
    parameters = list(network.parameters())
    with torch.no_grad():
        for ours, theirs in zip(weights, parameters, strict=True):
            theirs.copy_(torch.from_numpy(as_in_torch(ours, theirs.shape).copy()))

    with tf.GradientTape() as tape:
        outputs = keras_model(images, training=True)
        loss = tf.reduce_mean(keras.ops.sparse_categorical_crossentropy(labels, outputs))
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    keras.optimizers.SGD(RATE).apply(gradients, weights)
    logits = network.train()(torch.from_numpy(images.reshape(-1, 1, 28, 28)))
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    torch.optim.SGD(parameters, RATE, fused=True).step()

    def assert_close(theirs: Any, ours: Any) -> None:
        np.testing.assert_allclose(theirs.detach().numpy(), ours, rtol=0, atol=1e-4)

    assert_close(logits.softmax(1), outputs)
    for ours, gradient, theirs in zip(weights, gradients, parameters, strict=True):
        assert_close(theirs.grad, as_in_torch(gradient, theirs.shape))
        assert_close(theirs, as_in_torch(ours, theirs.shape))
    means = [each.moving_mean for each in keras_model.layers if hasattr(each, "moving_mean")]
    running = [each.running_mean for each in network if hasattr(each, "running_mean")]
    for ours, theirs in zip(means, running, strict=True):
        assert_close(theirs, ours)


def test_a_team_works_together_in_an_environment_of_its_own() -> None:
    with team(2, {"OMP_NUM_THREADS": "3"}) as pair:
        assert len(set(pair.together(os.getpid))) == 2
        assert pair.together(os.getenv, "OMP_NUM_THREADS") == ["3", "3"]
        assert all(mib > 1 for mib in pair.together(peak_mib))
    assert os.environ["OMP_NUM_THREADS"] == "1"  # as tests/conftest.py has it


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    rates = {"fit": [1.0, 2.0, 4.0], "workers": [3.0, 2.0, 8.0]}  # ratios 3, 1, 2
    measured = pd.DataFrame(
        {"batch_size": 16, "rival": rival, "way": "", "round": number, "examples_per_second": rate}
        for rival, of_rounds in rates.items()
        for number, rate in enumerate(of_rounds, start=1)
    )
    shown = throughput.summary(measured, limit=4)
    assert list(shown["rival"]) == ["fit", "workers"]
    assert list(shown["workers / rival"]) == ["2.00", "1.00"]
    assert list(shown["of the limit"]) == ["50.0%", "75.0%"]
    alone = throughput.summary(measured[measured["rival"] == "fit"], limit=4)
    assert alone["workers / rival"].isna().all()
