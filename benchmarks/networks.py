"""What an example costs the LeNet-5 variant, and the same network in PyTorch."""

import math
from typing import Any

EPSILON, MOMENTUM = 1e-3, 0.01  # Keras's defaults; its momentum, 0.99, is the share that is kept


def training_flop(model: Any) -> int:
    """Count the floating-point operations that training a Keras model on one example takes.

    6 for each multiply-add of a forward pass through convolutions and dense layers: 2 forward, 2
    for the gradient by the layer's input and 2 for that by its weights. Normalisation, pooling and
    activations are left out, so the true count is larger.
    """
    from keras import layers

    multiply_adds: int = sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in model.layers
        if isinstance(layer, layers.Conv2D | layers.Dense)
    )
    return 6 * multiply_adds


def lenet5() -> Any:
    """Build `cyclical.models.lenet5` for 28 x 28 x 1 images and 10 classes in PyTorch.

    It takes float32 of shape (n, 1, 28, 28) and gives logits of shape (n, 10): its loss holds the
    softmax. PyTorch's running variance is that of n - 1, Keras's that of n; training reads neither.
    """
    from torch import nn

    def normalisation(channels: int) -> Any:
        return nn.BatchNorm2d(channels, EPSILON, MOMENTUM)

    return nn.Sequential(
        normalisation(1),
        nn.Conv2d(1, 6, 5, padding=2),
        nn.Tanh(),
        normalisation(6),
        nn.AvgPool2d(2, 1),
        normalisation(6),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        normalisation(16),
        nn.AvgPool2d(2, 2),
        normalisation(16),
        nn.Conv2d(16, 120, 5),
        nn.Tanh(),
        normalisation(120),
        nn.Flatten(),
        nn.Linear(7 * 7 * 120, 84),
        nn.Tanh(),
        nn.BatchNorm1d(84, EPSILON, MOMENTUM),
        nn.Linear(84, 10),
    )
