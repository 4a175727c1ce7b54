"""How optimizers, losses and metrics are named in results."""

from collections.abc import Mapping
from typing import Any, Protocol


class Named(Protocol):
    """What has a name and arguments, as `cyclical.values.Named`."""

    @property
    def name(self) -> str:
        """The name."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What is told beside the name."""


def described(named: Named) -> str:
    """Name it with its arguments.

    >>> from cyclical.values import Optimizer
    >>> described(Optimizer(name="sgd", momentum=0.9))
    'sgd momentum 0.9'
    """
    words = (
        f" {name} {value:g}" if isinstance(value, float) else f" {name} {value}"
        for name, value in named.arguments.items()
    )
    return f"{named.name}{''.join(words)}"


def column(measure: Named) -> str:
    """Say what a column of its values is called.

    >>> from cyclical.values import Measure
    >>> column(Measure(name="sparse_top_k_categorical_accuracy", k=3))
    'sparse_top_k_categorical_accuracy_k_3'
    """
    return described(measure).replace(" ", "_").replace(":", ".")
