"""One training, complete, and how it is laid out: epoch by epoch and update by update."""

from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cyclical import schedules, user_code
from cyclical.config import REFERENCE, Count, Frozen, Policy, Rate, Seed


class Optimizer(Frozen):
    """A Keras optimizer at its defaults but for what is named here."""

    name: Literal["sgd", "rmsprop"]
    momentum: float = Field(default=0.0, ge=0, lt=1)
    epsilon: Rate | None = None

    @property
    def described(self) -> str:
        """Say in a few words which optimizer it is."""
        momentum = f" momentum {self.momentum:g}" if self.momentum else ""
        return f"{self.name}{momentum}"


class LearningRate(Frozen):
    """A learning-rate schedule by name, or by the reference to a user's scale function.

    `constant` keeps base_lr; `linear` and `sqrt` raise it with the epoch's batch size, from the
    least one; the others cycle between base_lr and max_lr.
    """

    policy: Literal["constant", "linear", "sqrt"] | Policy
    base_lr: Rate
    max_lr: Rate | None = None
    step_size: Count | None = None
    gamma: float | None = None
    scale_of: Literal["cycle", "iteration"] | None = None


class Training(Frozen):
    """One training, complete: all that its result depends on besides data, code and versions.

    `batch_sizes` is cycled from epoch to epoch and names the micro-batch; an update averages
    `accumulate` micro-batches, cycled from update to update.
    """

    label: str
    model: str
    optimizer: Optimizer
    learning_rate: LearningRate
    batch_sizes: tuple[Count, ...]
    accumulate: tuple[Count, ...] = (1,)
    epochs: Count
    seed: Seed

    @property
    def user_code(self) -> tuple[str, ...]:
        """Name the user's own functions that the training calls."""
        policy = self.learning_rate.policy
        return (policy,) if REFERENCE.fullmatch(policy) else ()


@dataclass(frozen=True)
class Epoch:
    """One epoch: update u takes the examples boundaries[u] to boundaries[u + 1] of its order.

    `boundaries`: int32 of shape (updates + 1,); `learning_rates`: float64 of shape (updates,).
    """

    micro_batch: int
    boundaries: NDArray[np.int32]
    learning_rates: NDArray[np.float64]


def lay_out(training: Training, examples: int) -> list[Epoch]:
    """Lay a training on `examples` examples out: every update's examples and learning rate.

    Raises:
        InputError: The user's scale function can't be loaded, or gives no usable factor.
    """
    cuts = schedules.epoch_plan(
        examples, training.epochs, training.batch_sizes, training.accumulate
    )
    ends = np.cumsum([len(boundaries) - 1 for _, boundaries in cuts])
    if training.learning_rate.policy in schedules.SCALING:
        rates = _rates_by_epoch(training, ends)
    else:
        rates = _schedule(training.learning_rate)(np.arange(ends[-1]))
    return [
        Epoch(micro_batch, boundaries, of_epoch)
        for (micro_batch, boundaries), of_epoch in zip(
            cuts, np.split(rates, ends[:-1]), strict=True
        )
    ]


def _rates_by_epoch(training: Training, ends: NDArray[np.int64]) -> NDArray[np.float64]:
    settings = training.learning_rate
    follow = schedules.batch_scaled(settings.base_lr, min(training.batch_sizes), settings.policy)
    by_epoch = [follow(size) for size, _ in zip(cycle(training.batch_sizes), ends, strict=False)]
    return np.repeat(by_epoch, np.diff(ends, prepend=0))


def _schedule(settings: LearningRate) -> schedules.Schedule:
    """Build the schedule that the settings name."""
    if settings.policy == "constant":
        return schedules.constant(settings.base_lr)
    arguments: dict[str, Any] = settings.model_dump(exclude={"policy"}, exclude_none=True)
    if REFERENCE.fullmatch(settings.policy):
        scale = user_code.load(settings.policy)
        return schedules.scaled(scale=scale, name=settings.policy, **arguments)
    named: schedules.Schedule = getattr(schedules, settings.policy)(**arguments)
    return named
