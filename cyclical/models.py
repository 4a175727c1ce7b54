"""The network that is studied: built fresh by a seed, checked, and described."""

import json
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras.src.random import seed_generator

from cyclical import networks, user_code
from cyclical.errors import InputError, one_line
from cyclical.networks import Shape
from cyclical.values import SAVED_MODEL, Precision

PROBES = 4
ROUNDING = 0.02  # bfloat16 has eight bits


def build(
    name: str,
    input_shape: Shape,
    classes: int,
    seed: int,
    precision: Precision = "float32",
    architecture: str = "",
) -> keras.Model:
    """Build a fresh model whose initial weights depend on `seed` alone.

    Keras's automatic names and its global seed depend on what the process did before, so both are
    reset first. Weights are float32 at any precision, and so is what the last layer of a sequential
    or functional model computes, from which the loss follows.

    Args:
        name: A name of `networks.NETWORKS`, package.module:function of the user's own, which takes
            the two next arguments and returns a model, or SAVED_MODEL.
        input_shape: Height, width and channels of an image.
        classes: Their number.
        seed: Of the initial weights.
        precision: What layers compute in.
        architecture: The JSON text of a saved model's config, in case of SAVED_MODEL.

    Raises:
        InputError: The model can't be built, or not for such images.
    """
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    try:
        with _unshared_default_seeds(seed), _computing_in(precision):
            model = _made(name, input_shape, classes, architecture)
            if not isinstance(model, keras.Model):
                raise InputError(f"{name} gives no Keras model, but {type(model).__name__}")
            if not (model.built and model.variables):
                model(tf.zeros([1, *input_shape]))
    except InputError as error:  # of the user's code: it begins with the name
        raise InputError(f"model {error}") from error
    except Exception as error:  # whatever the user's code, or Keras, makes of these images
        told = f"can't be built for images of {_shape(input_shape)} ({one_line(error)})"
        raise InputError(f"model {name} {told}") from error
    last = _last(model)
    if precision != "float32" and last is not None:
        last.dtype_policy = "float32"
    return model


def gives_logits(model: keras.Model, name: str, input_shape: Shape, classes: int) -> bool:
    """Check what a model makes of images; tell whether it gives logits, or probabilities.

    Outputs that for random images lie between 0 and 1 and sum to 1 are probabilities.

    Raises:
        InputError: It doesn't take the images, doesn't give a number for each class, or has
            nothing to train.
    """
    if not model.trainable_variables:
        raise InputError(f"model {name} has no weights that can be trained")
    if getattr(_last(model), "activation", None) is keras.activations.sigmoid:
        raise InputError(
            f"model {name} ends with a sigmoid, which gives no share to each class: end it with "
            "softmax, or with no activation"
        )
    images = np.random.default_rng(0).random((PROBES, *input_shape), dtype=np.float32)
    try:
        outputs = model(images, training=False)
    except Exception as error:
        told = f"doesn't take images of {_shape(input_shape)} ({one_line(error)})"
        raise InputError(f"model {name} {told}") from error
    shape = tuple(getattr(outputs, "shape", ()))
    if shape != (PROBES, classes):
        raise InputError(
            f"model {name} gives outputs of shape {shape or type(outputs).__name__} for {PROBES} "
            f"images, not {(PROBES, classes)}: one number for each of the {classes} classes"
        )
    given = tf.cast(outputs, tf.float32).numpy()
    sums = given.sum(axis=1)
    return not (given.min() >= 0 and bool(np.allclose(sums, 1, rtol=0, atol=ROUNDING)))


def _made(name: str, input_shape: Shape, classes: int, architecture: str) -> object:
    if name in networks.NETWORKS:
        return networks.NETWORKS[name](input_shape, classes)
    if name != SAVED_MODEL:
        return user_code.load(name)(input_shape, classes)
    config = json.loads(architecture)
    config.pop("compile_config", None)  # it is trained as the experiment says
    return keras.saving.deserialize_keras_object(config, safe_mode=True)


def check_precision(model: keras.Model, precision: Precision) -> None:
    """Raise InputError where a layer of a saved model computes in something else.

    The last one, which always computes in float32, is left out.
    """
    for layer in model._flatten_layers(include_self=False):
        policy = layer.dtype_policy.name
        other = not (isinstance(layer, keras.layers.InputLayer) or layer is _last(model))
        if other and policy != precision:
            raise InputError(
                f"model {SAVED_MODEL}: its layer {layer.name} computes in {policy}, not in "
                f"{precision}: set the precision to that, or save it with another "
                "(keras.config.set_dtype_policy)"
            )


def _last(model: keras.Model) -> keras.Layer | None:
    """Return the layer that gives the outputs of a sequential or functional model."""
    last: keras.Layer | None = model
    while isinstance(last, keras.Model):
        chained = isinstance(last, keras.Sequential | keras.src.models.Functional)
        last = last.layers[-1] if chained and last.layers else None
    return last


def _shape(input_shape: Shape) -> str:
    return "x".join(map(str, input_shape))


def activation_bytes(model: keras.Model) -> int:
    """Return how much the outputs of all layers take for one example, in bytes, as float32.

    Layers whose output's shape is not known before they are called are not counted.
    """
    shapes = (
        tensor.shape[1:]
        for layer in model._flatten_layers(include_self=False)
        for tensor in keras.tree.flatten(_output(layer))
    )
    return sum(4 * math.prod(size or 1 for size in shape) for shape in shapes)


def _output(layer: keras.Layer) -> list[keras.KerasTensor]:
    try:
        outputs: list[keras.KerasTensor] = keras.tree.flatten(layer.output)
    except (AttributeError, ValueError):  # never called with symbolic inputs
        return []
    return outputs


@contextmanager
def _computing_in(precision: Precision) -> Iterator[None]:
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(usual)


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


def summary(name: str, input_shape: Shape, classes: int, architecture: str = "") -> pd.DataFrame:
    """List a model's layers: layer, type, output_shape (without the batch), parameters, trained.

    The output's shape is empty where a subclassed model doesn't tell it.
    """
    model = build(name, input_shape, classes, seed=0, architecture=architecture)
    return pd.DataFrame(
        [
            {
                "layer": layer.name,
                "type": type(layer).__name__,
                "output_shape": ", ".join(_shape(each.shape[1:]) for each in _output(layer)),
                "parameters": sum(math.prod(weight.shape) for weight in layer.weights),
                "trained": sum(math.prod(weight.shape) for weight in layer.trainable_weights),
            }
            for layer in model.layers
        ]
    )
