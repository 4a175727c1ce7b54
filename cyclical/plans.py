"""One training, complete, and how it is laid out: epoch by epoch and update by update."""

from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cyclical import schedules, user_code
from cyclical.values import (
    REFERENCE,
    Count,
    Frozen,
    GradientNoise,
    Measure,
    Optimizer,
    Policy,
    Precision,
    Rate,
    Seed,
)


class LearningRate(Frozen):
    """A learning-rate schedule by name, or by the reference to a user's scale function.

    `constant` keeps base_lr; `linear` and `sqrt` raise it with the epoch's batch size, from the
    least one; `exponential` raises it from base_lr to max_lr within step_size updates; the others
    cycle between base_lr and max_lr.
    """

    policy: Literal["constant", "linear", "sqrt", "exponential"] | Policy
    base_lr: Rate
    max_lr: Rate | None = None
    step_size: Count | None = None
    gamma: float | None = None
    scale_of: Literal["cycle", "iteration"] | None = None


class Training(Frozen):
    """One training, complete: all that its result depends on besides data, code and versions.

    `batch_sizes` is cycled from epoch to epoch and names the micro-batch; an update averages
    `accumulate` micro-batches, cycled from update to update. Where `micro_batch` is set, an
    update's examples are taken in parts of at most that many instead. It ends after `epochs`, or
    within them after `updates`. One that may give up ends after an epoch that leaves no hope to
    learn. Where `noise` is set, the gradient noise is measured after every epoch. The architecture
    of a saved `model` is told beside it.
    """

    label: str
    model: str
    loss: Measure = Measure(name="sparse_categorical_crossentropy")
    metrics: tuple[Measure, ...] = ()
    optimizer: Optimizer
    learning_rate: LearningRate
    batch_sizes: tuple[Count, ...]
    accumulate: tuple[Count, ...] = (1,)
    epochs: Count
    updates: Count | None = None
    seed: Seed
    precision: Precision = "float32"
    micro_batch: Count | None = None
    give_up: bool = False
    noise: GradientNoise | None = None

    @property
    def at_once(self) -> int:
        """The most examples that the network sees at once."""
        return min(max(self.batch_sizes), self.micro_batch or max(self.batch_sizes))

    @property
    def accumulating(self) -> bool:
        """Whether any update averages the gradients of several parts."""
        return self.accumulate != (1,) or self.at_once < max(self.batch_sizes)

    @property
    def user_code(self) -> tuple[str, ...]:
        """Name the user's own functions that the training calls."""
        measures = (measure.name for measure in (self.loss, *self.metrics))
        called = (self.learning_rate.policy, self.model, *measures)
        return tuple(sorted({name for name in called if REFERENCE.fullmatch(name)}))

    def noise_shape(self, images: int) -> tuple[int, int, int]:
        """Return how the gradient noise is measured on so many images.

        Returns:
            Groups, batches in a group, examples in a batch: what `noise` asks for, as far as the
            images suffice without one being taken twice. No groups where it is not measured.
        """
        if self.noise is None:
            return 0, 0, 0
        size = min(self.noise.batch_size, max(1, images // 2))
        group = min(self.noise.group, images // size)
        return min(self.noise.repeats, images // (group * size)), group, size

    def examples(self, images: int) -> int:
        """Count the examples that it trains on, of a data set of so many images."""
        return sum(int(boundaries[-1]) for _, boundaries in _cuts(self, images))


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
    cuts = _cuts(training, examples)
    ends = np.cumsum([len(boundaries) - 1 for _, boundaries in cuts])
    if training.learning_rate.policy in schedules.SCALING:
        rates = _rates_by_epoch(training, ends)
    else:
        rates = _schedule(training.learning_rate)(np.arange(ends[-1]))
    return [
        Epoch(min(micro_batch, training.at_once), boundaries, of_epoch)
        for (micro_batch, boundaries), of_epoch in zip(
            cuts, np.split(rates, ends[:-1]), strict=True
        )
    ]


def _cuts(training: Training, examples: int) -> list[tuple[int, NDArray[np.int32]]]:
    """Lay the epochs out, of which the last is cut short where the updates are limited."""
    cuts = schedules.epoch_plan(
        examples, training.epochs, training.batch_sizes, training.accumulate
    )
    if training.updates is None:
        return cuts
    updates, kept = training.updates, []
    for micro_batch, boundaries in cuts:
        if updates > 0:
            kept.append((micro_batch, boundaries[: updates + 1]))
        updates -= len(boundaries) - 1
    return kept


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
