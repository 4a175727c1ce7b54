"""The networks that can be studied by name."""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import keras
import pandas as pd
from keras import layers
from keras.src.random import seed_generator


def lenet5(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build the LeNet-5 variant of the published notebook run, uncompiled.

    Batch normalisation before and after every convolution and pooling, tanh, average pooling,
    softmax at the end; Keras's defaults everywhere else. 546,542 parameters for 28 x 28 x 1 images
    and 10 classes, 498 of them not trained.
    """
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.BatchNormalization(),
            layers.Conv2D(6, 5, padding="same", activation="tanh"),
            layers.BatchNormalization(),
            layers.AveragePooling2D(2, strides=1),
            layers.BatchNormalization(),
            layers.Conv2D(16, 5, activation="tanh"),
            layers.BatchNormalization(),
            layers.AveragePooling2D(2, strides=2),
            layers.BatchNormalization(),
            layers.Conv2D(120, 5, activation="tanh"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(84, activation="tanh"),
            layers.BatchNormalization(),
            layers.Dense(classes, activation="softmax"),
        ]
    )


MODELS: Mapping[str, Callable[[tuple[int, int, int], int], keras.Model]] = {"lenet5": lenet5}


def build(name: str, input_shape: tuple[int, int, int], classes: int, seed: int) -> keras.Model:
    """Build a fresh model whose initial weights depend on `seed` alone.

    Keras's automatic names and its global seed depend on what the process did before, so both are
    reset first.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    with _unshared_default_seeds(seed):
        return MODELS[name](input_shape, classes)


@contextmanager
def _unshared_default_seeds(seed: int) -> Iterator[None]:
    """Let Keras draw the seeds of initializers and dropout from a generator of their own.

    It draws them from Python's global one, from which any other thread of the process may draw in
    between (a worker's heartbeat does): a few trainings in a hundred then began elsewhere. Keras
    has no public way to name another; a test fails should its name change.
    """
    shared = seed_generator.python_random
    seed_generator.python_random = random.Random(seed)  # noqa: S311 (no secret is drawn)
    try:
        yield
    finally:
        seed_generator.python_random = shared


def summary(name: str, input_shape: tuple[int, int, int], classes: int) -> pd.DataFrame:
    """List a model's layers: layer, type, output_shape (without the batch), parameters, trained."""
    model = build(name, input_shape, classes, seed=0)
    return pd.DataFrame(
        [
            {
                "layer": layer.name,
                "type": type(layer).__name__,
                "output_shape": "x".join(str(size) for size in layer.output.shape[1:]),
                "parameters": layer.count_params(),
                "trained": sum(math.prod(weight.shape) for weight in layer.trainable_weights),
            }
            for layer in model.layers
        ]
    )
