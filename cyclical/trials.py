"""A network tried in seconds, so that hours of sweeps do not end with what it can't do."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cyclical import naming
from cyclical.errors import InputError, one_line
from cyclical.examples import Part
from cyclical.plans import Training
from cyclical.training import train

IMAGES = 8


def tried(
    trainings: Sequence[Training], images: Part, classes: int, architecture: str = ""
) -> None:
    """Train each on a few images, the first of them twice.

    Args:
        trainings: Of one network: one for every way in which it will be trained.
        images: A few.
        classes: Their number.
        architecture: Of a saved model, the JSON text of its config.

    Raises:
        InputError: One of them doesn't work, or the same training gives other numbers.
    """
    losses = [_losses(training, images, classes, architecture) for training in trainings]
    for training, first in list(zip(trainings, losses, strict=True))[:1]:
        again = _losses(training, images, classes, architecture)
        if not np.array_equal(first, again, equal_nan=True):
            raise InputError(
                f"model {training.model} gives other numbers the second time: it keeps something, "
                "or draws random numbers, that Keras does not know of (keep weights with "
                "add_weight, and draw with a keras.random.SeedGenerator of the layer's own)"
            )


def _losses(
    training: Training, images: Part, classes: int, architecture: str
) -> "pd.Series[float]":
    try:
        outcome = train(training, images, images, classes, architecture=architecture)
    except InputError:
        raise
    except Exception as error:  # whatever TensorFlow makes of the user's code and arguments
        how = f"can't be trained with {naming.described(training.optimizer)} ({one_line(error)})"
        raise InputError(f"model {training.model} {how}") from error
    return outcome.iterations["loss"]
