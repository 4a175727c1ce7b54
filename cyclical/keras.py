"""Cyclical learning rates for anyone's own `model.fit`: a callback, and schedules that are saved.

Neither needs Prefect. The rates are those of the training loop here, update for update.

>>> import keras, numpy as np
>>> from cyclical.keras import CyclicLR
>>> images, labels = np.random.default_rng(0).random((160, 8)), np.arange(160) % 3
>>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
>>> model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
>>> cycle = CyclicLR(base_lr=0.001, max_lr=0.005, step_size=4, mode="triangular2")
>>> _ = model.fit(images, labels, batch_size=32, epochs=2, verbose=0, callbacks=[cycle])
>>> [round(rate, 4) for rate in cycle.history["learning_rate"]]
[0.001, 0.002, 0.003, 0.004, 0.005, 0.004, 0.003, 0.002, 0.001, 0.0015]

A schedule is saved with the model:

>>> from cyclical.keras import Triangular
>>> rate = Triangular(base_lr=0.001, max_lr=0.005, step_size=4)
>>> model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
>>> [round(float(rate(step)), 4) for step in (0, 2, 4, 6, 8)]
[0.001, 0.003, 0.005, 0.003, 0.001]

And the bounds can be read off anyone's own sweep:

>>> import pandas as pd
>>> from cyclical.bounds import lr_bounds
>>> rates, accuracies = [1e-4, 1e-3, 1e-2, 1e-1], [0.31, 0.72, 0.80, 0.12]
>>> sweep = pd.DataFrame({"learning_rate": rates, "train_accuracy": accuracies, "train_loss": 1.0})
>>> found = lr_bounds(sweep, rule="plateau", classes=3)
>>> found.lr_min, found.lr_max
(0.001, 0.01)
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from cyclical import schedules
from cyclical.errors import InputError

MODES = ("triangular", "triangular2", "exp_range")
SCALE_MODES = {"cycle": "cycle", "iterations": "iteration"}


class CyclicLR(keras.callbacks.Callback):  # type: ignore[misc]
    """Set the learning rate before every batch, cycling between two bounds; keep what it brought.

    The rate after i updates is `schedules.cyclical`'s (Smith, arXiv 1506.01186). The updates are
    counted by the model's optimizer, so a model that was saved and loaded goes on where it was
    (after `keras.models.load_model`; schedules need `import cyclical.keras` before that).

    `history` has a list for each of `iteration` (from 0), `learning_rate`, `loss` and the metrics
    that are means, such as `accuracy`: the true values of each batch, where Keras reports the means
    of the epoch so far. They are exact but for the rounding of Keras's float32 sums.
    """

    def __init__(
        self,
        base_lr: float = 0.001,
        max_lr: float = 0.006,
        step_size: int = 2000,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        first_iteration: int = 0,
    ) -> None:
        """Choose the cycle.

        Args:
            base_lr: The least rate, > 0.
            max_lr: The greatest rate, > base_lr.
            step_size: The half-cycle in updates.
            mode: `triangular`, `triangular2` (the amplitude halves with each cycle), `exp_range`
                (it shrinks by `gamma` with each update).
            gamma: In (0, 1].
            scale_fn: Your own factor of the amplitude, in place of the mode's.
            scale_mode: What `scale_fn` is called with: the number of the `cycle` (from 1) or of the
                `iterations` (from 0).
            first_iteration: The number of the optimizer's update at which the cycle begins; of a
                model that was saved after a `reset`, the `first_iteration` of that callback.

        Raises:
            InputError: A value is out of range, or a mode is unknown.
        """
        super().__init__()
        if mode not in MODES and scale_fn is None:
            raise InputError(f"mode must be one of {', '.join(MODES)}, but is {mode!r}")
        if scale_mode not in SCALE_MODES:
            raise InputError(f"scale_mode must be cycle or iterations, but is {scale_mode!r}")
        self.base_lr, self.max_lr, self.step_size = base_lr, max_lr, step_size
        self.mode, self.gamma = mode, gamma
        self.scale_fn, self.scale_mode = scale_fn, scale_mode
        self.first_iteration = first_iteration
        self.history: dict[str, list[float]] = {}
        self._schedule = self._chosen(base_lr, max_lr, step_size)
        self._sums: dict[str, tuple[float, float]] = {}

    def rate(self, iteration: int) -> float:
        """Return the learning rate after so many updates of the cycle."""
        return self._schedule(iteration)

    def reset(
        self,
        base_lr: float | None = None,
        max_lr: float | None = None,
        step_size: int | None = None,
    ) -> None:
        """Begin the cycle anew, with other bounds or another half-cycle where they are given.

        Raises:
            InputError: A value is out of range.
        """
        base_lr = self.base_lr if base_lr is None else base_lr
        max_lr = self.max_lr if max_lr is None else max_lr
        step_size = self.step_size if step_size is None else step_size
        self._schedule = self._chosen(base_lr, max_lr, step_size)
        self.base_lr, self.max_lr, self.step_size = base_lr, max_lr, step_size
        if self.model is not None:
            self.first_iteration = self._updates()

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin the cycle with a model that has made fewer updates; refuse what can't be done.

        Raises:
            InputError: The optimizer has a schedule, or several updates are made at a call.
        """
        schedule = keras.optimizers.schedules.LearningRateSchedule
        if isinstance(getattr(self.model.optimizer, "_learning_rate", None), schedule):
            raise InputError("CyclicLR sets the learning rate: give the optimizer a number for it")
        if self.model.steps_per_execution != 1:
            raise InputError(
                "CyclicLR sets the rate of every update, and with steps_per_execution above 1 "
                "Keras asks it less often: give the optimizer a schedule, cyclical.keras.Triangular"
            )
        self.first_iteration = min(self.first_iteration, self._updates())

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Keras begins its sums anew."""
        self._sums = {}

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate of the update to come."""
        iteration = self._updates() - self.first_iteration
        rate = self.rate(iteration)
        self.model.optimizer.learning_rate = rate
        self._note(iteration=iteration, learning_rate=rate)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Keep the batch's own loss and metrics."""
        for name, total, count in _sums(self.model):
            before, counted = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = (total, count)
            if count > counted:
                self._note(**{name: (total - before) / (count - counted)})

    def _updates(self) -> int:
        return int(self.model.optimizer.iterations)

    def _note(self, **values: float) -> None:
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)

    def _chosen(self, base_lr: float, max_lr: float, step_size: int) -> schedules.Schedule:
        bounds = (base_lr, max_lr, step_size)
        if self.scale_fn is not None:
            return schedules.scaled(
                *bounds, self.scale_fn, SCALE_MODES[self.scale_mode], name="scale_fn"
            )
        if self.mode == "exp_range":
            return schedules.exp_range(*bounds, self.gamma)
        named: schedules.Schedule = getattr(schedules, self.mode)(*bounds)
        return named


class _Cyclical(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """`schedules.cyclical` in Keras's operations: float64 within, float32 out."""

    def __init__(self, base_lr: float, max_lr: float, step_size: int) -> None:
        schedules.triangular(base_lr, max_lr, step_size)  # which refuses what is out of range
        self.base_lr, self.max_lr, self.step_size = base_lr, max_lr, step_size

    def __call__(self, step: Any) -> Any:
        """Return the learning rate after `step` updates."""
        step = ops.cast(step, "float64")
        cycle = ops.floor(1 + step / (2 * self.step_size))
        x = ops.abs(step / self.step_size - 2 * cycle + 1)
        amplitude = (self.max_lr - self.base_lr) * ops.maximum(ops.zeros_like(x), 1 - x)
        return ops.cast(self.base_lr + amplitude * self._scale(cycle, step), "float32")

    def get_config(self) -> dict[str, Any]:
        """Return what makes it again."""
        return {"base_lr": self.base_lr, "max_lr": self.max_lr, "step_size": self.step_size}

    def _scale(self, cycle: Any, step: Any) -> Any:
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="cyclical")
class Triangular(_Cyclical):
    """Cycle between the bounds with a constant amplitude; see `schedules.triangular`."""

    def _scale(self, cycle: Any, step: Any) -> Any:
        return ops.ones_like(cycle)


@keras.saving.register_keras_serializable(package="cyclical")
class Triangular2(_Cyclical):
    """Halve the amplitude with each cycle; see `schedules.triangular2`."""

    def _scale(self, cycle: Any, step: Any) -> Any:
        return ops.power(ops.convert_to_tensor(0.5, dtype="float64"), cycle - 1)


@keras.saving.register_keras_serializable(package="cyclical")
class ExpRange(_Cyclical):
    """Shrink the amplitude with every update; see `schedules.exp_range`."""

    def __init__(self, base_lr: float, max_lr: float, step_size: int, gamma: float) -> None:
        super().__init__(base_lr, max_lr, step_size)
        schedules.exp_range(base_lr, max_lr, step_size, gamma)
        self.gamma = gamma

    def get_config(self) -> dict[str, Any]:
        """Return what makes it again."""
        return super().get_config() | {"gamma": self.gamma}

    def _scale(self, cycle: Any, step: Any) -> Any:
        return ops.power(ops.convert_to_tensor(self.gamma, dtype="float64"), step)


def _sums(model: keras.Model) -> Iterator[tuple[str, float, float]]:
    """Yield of every metric that is a mean its name, its sum so far and of how many that is.

    Of several with one name, as of a model with several outputs, the later ones are numbered.
    """
    seen: Counter[str] = Counter()
    for metric in model.metrics:
        for each in getattr(metric, "metrics", [metric]):
            if type(each).result is keras.metrics.Mean.result:
                seen[each.name] += 1
                number = f"_{seen[each.name]}" if seen[each.name] > 1 else ""
                yield f"{each.name}{number}", float(each.total), float(each.count)
