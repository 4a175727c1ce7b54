"""Losses and metrics by name: functions of targets and outputs that give one number an example."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from cyclical import naming, user_code
from cyclical.errors import InputError, one_line
from cyclical.values import Measure

Function = Callable[[Any, Any], Any]
LABELS_LOSS = "sparse_categorical_crossentropy"


def function_of(measure: Measure, classes: int, *, logits: bool, gathers: bool = True) -> Function:
    """Return the function that a loss or a metric names.

    It takes labels, int32 of shape (n,), and the network's outputs, float32 of shape (n, classes),
    which are logits or probabilities; it returns n numbers. Functions of Keras's whose names begin
    with `sparse_`, and the user's own, are given the labels; others their one-hot form. Where the
    outputs are logits, those with a parameter `from_logits` are told so, unless the measure says
    otherwise, and others of Keras's are given the softmax.

    Where it is not to gather, the cross-entropy of labels is summed over their one-hot form, which
    adds zeros as long as the logits are finite. With deterministic operations TensorFlow gathers
    the logarithm at each label, and of that gradient XLA makes a loop over the examples.

    Raises:
        InputError: There is no such function, or it doesn't take these arguments.
    """
    name, arguments = measure.name, measure.arguments
    if name == LABELS_LOSS and not gathers and arguments.keys() <= {"from_logits"}:
        name = name.removeprefix("sparse_")
    if ":" in name:
        own = user_code.load(name)
        return _checked(measure, lambda labels, outputs: own(labels, outputs, **arguments), classes)
    known = (getattr(module, name, None) for module in (keras.losses, keras.metrics))
    function = next((each for each in known if inspect.isfunction(each)), None)
    parameters = inspect.signature(function).parameters if function else {}
    if function is None or not {"y_true", "y_pred"} <= parameters.keys():
        raise InputError(f"{name}: Keras has no such loss or metric: see keras.losses")
    if unknown := arguments.keys() - parameters.keys():
        raise InputError(f"{name} takes no {min(unknown)}: it takes {', '.join(parameters)}")
    told = {"from_logits": logits} if "from_logits" in parameters else {}
    sparse = name.startswith("sparse_")

    def measured(labels: Any, outputs: Any) -> Any:
        targets = labels if sparse else tf.one_hot(labels, classes)
        seen = tf.nn.softmax(outputs) if logits and not told else outputs
        return function(targets, seen, **(told | arguments))

    return _checked(measure, measured, classes)


def _checked(measure: Measure, function: Function, classes: int) -> Function:
    """Try a function on two examples: it must give two numbers."""
    labels, outputs = tf.constant([0, 1], tf.int32), tf.fill([2, classes], 1 / classes)
    try:
        given = tf.convert_to_tensor(function(labels, outputs))
    except Exception as error:
        raise InputError(f"{naming.described(measure)} fails ({one_line(error)})") from error
    if given.shape != (2,):
        raise InputError(
            f"{naming.described(measure)} must give one number an example, but gives {given.shape} "
            "for two"
        )
    return lambda labels, outputs: tf.cast(function(labels, outputs), tf.float32)
