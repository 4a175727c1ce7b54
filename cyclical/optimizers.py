"""Keras's optimizers by name, ready for a graph that sets their learning rate at every update."""

from typing import Any

import keras

from cyclical import naming
from cyclical.errors import InputError, one_line
from cyclical.values import Optimizer

CLASSES = {
    name.lower(): kind
    for name, kind in vars(keras.optimizers).items()
    if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer)
}


def built(settings: Optimizer, model: keras.Model) -> Any:
    """Return a fresh optimizer with its slots for a model's weights.

    Raises:
        InputError: Keras refuses the arguments.
    """
    try:
        optimizer = CLASSES[settings.name](**settings.arguments)
        optimizer.build(model.trainable_variables)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the optimizer {naming.described(settings)}: {one_line(error)}"
        ) from error
    return optimizer
