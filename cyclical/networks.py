"""The networks that can be studied by name, each for an image's shape and a number of classes."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers

Shape = tuple[int, int, int]


def lenet5(input_shape: Shape, classes: int) -> keras.Model:
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


def resnet(input_shape: Shape, classes: int) -> keras.Model:
    """Build a residual network of eight layers with weights, uncompiled.

    As the networks for CIFAR-10 of He, Zhang, Ren and Sun (arXiv 1512.03385, section 4.2), with
    n = 1: a convolution, three blocks of two with 16, 32 and 64 filters of 3 x 3, the last two
    begun with stride 2, their short cuts 1 x 1 convolutions; batch normalisation, ReLU, the mean of
    every filter, softmax.
    """
    images = keras.Input(input_shape)
    outputs = _normalised_relu(_convolution(images, 16, 3))
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        before = outputs
        outputs = _normalised_relu(_convolution(before, filters, 3, stride))
        outputs = layers.BatchNormalization()(_convolution(outputs, filters, 3))
        if stride > 1:
            before = _convolution(before, filters, 1, stride)
        outputs = layers.ReLU()(layers.Add()([outputs, before]))
    outputs = layers.GlobalAveragePooling2D()(outputs)
    return keras.Model(images, layers.Dense(classes, activation="softmax")(outputs))


def mlp(input_shape: Shape, classes: int) -> keras.Model:
    """Build a plain multilayer perceptron, uncompiled: 256 and 128 units with ReLU, softmax."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(128, activation="relu"),
            layers.Dense(classes, activation="softmax"),
        ]
    )


NETWORKS: Mapping[str, Callable[[Shape, int], keras.Model]] = {
    "lenet5": lenet5,
    "resnet": resnet,
    "mlp": mlp,
}


def _convolution(inputs: Any, filters: int, size: int, stride: int = 1) -> Any:
    convolution = layers.Conv2D(
        filters,
        size,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )
    return convolution(inputs)


def _normalised_relu(inputs: Any) -> Any:
    return layers.ReLU()(layers.BatchNormalization()(inputs))
