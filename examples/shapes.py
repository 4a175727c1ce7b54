"""Coloured shapes on a noisy ground, drawn from a seed, and a small convolutional network."""

from typing import Any

import keras
import numpy as np
from keras import layers

SIDE = 16
NAMES = ["disc", "square", "cross", "ring"]
TRAINED_ON, TESTED_ON = 4000, 1000


def data() -> tuple[tuple[Any, Any], tuple[Any, Any], list[str]]:
    """Draw 4,000 training and 1,000 test images of 16 x 16 pixels in three channels."""
    random = np.random.default_rng(0)
    images, labels = _drawn(random, TRAINED_ON + TESTED_ON)
    train, test = slice(None, TRAINED_ON), slice(TRAINED_ON, None)
    return (images[train], labels[train]), (images[test], labels[test]), NAMES


def _drawn(random: np.random.Generator, count: int) -> tuple[Any, Any]:
    labels = random.integers(0, len(NAMES), count)
    centres = random.uniform(5, SIDE - 5, (count, 2, 1, 1))
    radius = random.uniform(3, 5, (count, 1, 1))
    y, x = (np.arange(SIDE)[:, np.newaxis] - centres[:, 0], np.arange(SIDE) - centres[:, 1])
    far, wide = np.hypot(x, y), np.maximum(abs(x), abs(y))
    shapes = [
        far < radius,
        wide < 0.9 * radius,
        (wide < radius) & (np.minimum(abs(x), abs(y)) < 1),
        (far < radius) & (far > 0.6 * radius),
    ]
    mask = np.choose(labels[:, np.newaxis, np.newaxis], shapes)[..., np.newaxis]
    ground, ink = (random.uniform(0, 1, (count, 1, 1, 3)) for _ in range(2))
    noise = random.normal(0, 0.15, (count, SIDE, SIDE, 3))
    pixels = np.where(mask, ink, ground) + noise
    return np.round(255 * pixels.clip(0, 1)).astype(np.uint8), labels


def network(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build two convolutions and a softmax."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(12, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(24, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(classes, activation="softmax"),
        ]
    )
