"""Handwritten digits that scikit-learn ships, and a small perceptron."""

from typing import Any

import keras
import numpy as np
from keras import layers

TRAINED_ON = 1400


def data() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return 1,400 training and 397 test images of 8 x 8 grey pixels, with their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    train, test = slice(None, TRAINED_ON), slice(TRAINED_ON, None)
    return (images[train], digits.target[train]), (images[test], digits.target[test])


def network(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build a perceptron with one hidden layer."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(classes),
        ]
    )
