"""Learning rates and batch sizes as functions of the update and the epoch.

A schedule is a closure: build it once from its settings, then call it with the number of updates
made so far. It is evaluated in float64 and knows nothing of TensorFlow.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cyclical.errors import InputError, one_line
from cyclical.rounding import exp, power

Float64 = NDArray[np.float64]
Scale = Callable[[Float64, Float64], Float64]


class Schedule:
    """A learning rate for every update: call it with an iteration or an array of iterations."""

    def __init__(self, rate: Callable[[Float64], Float64]) -> None:
        self._rate = rate

    @overload
    def __call__(self, iteration: float) -> float: ...
    @overload
    def __call__(self, iteration: NDArray[Any]) -> Float64: ...
    def __call__(self, iteration: ArrayLike) -> float | Float64:
        """Return the learning rate after `iteration` updates (0 at the start), same shape."""
        rates = self._rate(np.asarray(iteration, dtype=np.float64))
        return float(rates) if np.ndim(iteration) == 0 else rates


def constant(learning_rate: float) -> Schedule:
    """Keep one learning rate.

    >>> constant(0.01)(7)
    0.01
    """
    _positive("learning_rate", learning_rate)
    return Schedule(lambda iteration: np.full(iteration.shape, learning_rate))


def cyclical(base_lr: float, max_lr: float, step_size: int, scale: Scale) -> Schedule:
    """Cycle linearly between `base_lr` and `max_lr`, with an amplitude that `scale` shrinks.

    With i updates made and s = `step_size` (the half-cycle in updates)::

        cycle = floor(1 + i / (2 s));   x = |i / s - 2 cycle + 1|
        lr    = base_lr + (max_lr - base_lr) * max(0, 1 - x) * scale(cycle, i)

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (arXiv 1506.01186),
    section 3.1.

    Args:
        base_lr: The least learning rate, > 0.
        max_lr: The greatest learning rate, > base_lr.
        step_size: The half-cycle in updates, >= 1.
        scale: (cycle, iteration) -> factor of the amplitude, on float64 arrays of one shape.

    Raises:
        InputError: A rate is not a positive number, base_lr >= max_lr, or step_size < 1.
    """
    _rising(base_lr, max_lr, step_size)

    def rate(iteration: Float64) -> Float64:
        number = np.floor(1 + iteration / (2 * step_size))
        x = np.abs(iteration / step_size - 2 * number + 1)
        amplitude = (max_lr - base_lr) * np.maximum(0.0, 1 - x)
        return np.asarray(base_lr + amplitude * scale(number, iteration))

    return Schedule(rate)


def triangular(base_lr: float, max_lr: float, step_size: int) -> Schedule:
    """Cycle between the bounds with a constant amplitude; see `cyclical`.

    >>> triangular(0.001, 0.005, 100)(50)
    0.003
    """
    return cyclical(base_lr, max_lr, step_size, lambda number, _: np.ones_like(number))


def triangular2(base_lr: float, max_lr: float, step_size: int) -> Schedule:
    """Halve the amplitude with each cycle: scale = 1 / 2^(cycle - 1); see `cyclical`.

    >>> triangular2(0.001, 0.005, 100)(300)
    0.003
    """
    return cyclical(base_lr, max_lr, step_size, lambda number, _: power(0.5, number - 1))


def exp_range(base_lr: float, max_lr: float, step_size: int, gamma: float) -> Schedule:
    """Shrink the amplitude with every update: scale = gamma^i, 0 < gamma <= 1; see `cyclical`.

    >>> round(exp_range(0.001, 0.005, 100, gamma=0.99)(100), 6)
    0.002464
    """
    if not 0 < gamma <= 1:
        raise InputError(f"gamma must lie in (0, 1], but is {gamma}")
    return cyclical(base_lr, max_lr, step_size, lambda _, iteration: power(gamma, iteration))


def scaled(
    base_lr: float,
    max_lr: float,
    step_size: int,
    scale: Callable[[float], float],
    scale_of: str = "cycle",
    name: str = "the scale function",
) -> Schedule:
    """Scale the amplitude by a function of your own; see `cyclical`.

    >>> scaled(0.001, 0.005, 100, lambda cycle: 1 / cycle)(300)
    0.003

    Args:
        base_lr: The least learning rate, > 0.
        max_lr: The greatest learning rate where the scale is 1, > base_lr.
        step_size: The half-cycle in updates, >= 1.
        scale: Called with one number at a time; returns the factor of the amplitude, >= 0.
        scale_of: What `scale` is called with: the number of the `cycle` (1, 2, ...) or of the
            `iteration` (0, 1, ...).
        name: What an error calls `scale`.

    Raises:
        InputError: As `cyclical`; on calling the schedule, where `scale` fails or gives no finite
            number >= 0.
    """

    def factors(number: Float64, iteration: Float64) -> Float64:
        distinct, places = np.unique(
            number if scale_of == "cycle" else iteration, return_inverse=True
        )
        known = np.array([_factor(scale, name, scale_of, value) for value in distinct.tolist()])
        return known[places].reshape(number.shape) if known.size else number

    return cyclical(base_lr, max_lr, step_size, factors)


def exponential(base_lr: float, max_lr: float, step_size: int) -> Schedule:
    """Raise the learning rate by one factor from update to update, from `base_lr` to `max_lr`.

    With i updates made and s = `step_size`: lr = base_lr (max_lr / base_lr)^min(1, i / s), so that
    it stays at `max_lr` after s updates. The ramp of a range test: Smith, "A disciplined approach
    to neural network hyper-parameters" (arXiv 1803.09820), section 4.1, there linear; the factor is
    that of fastai's and Keras's learning-rate finders, under which a decade takes as long as any.

    >>> round(exponential(0.001, 0.1, 100)(50), 6)
    0.01

    Args:
        base_lr: The learning rate of the first update, > 0.
        max_lr: The learning rate after `step_size` updates, > base_lr.
        step_size: The length of the ramp in updates, >= 1.

    Raises:
        InputError: A rate is not a positive number, base_lr >= max_lr, or step_size < 1.
    """
    _rising(base_lr, max_lr, step_size)
    steps = math.log(max_lr / base_lr)

    def rate(iteration: Float64) -> Float64:
        done = np.minimum(1.0, iteration / step_size)
        return np.where(done < 1, base_lr * exp(steps * done), max_lr)

    return Schedule(rate)


SCALING = {"linear": 1.0, "sqrt": 0.5}
"""Rules by which the learning rate follows the batch size: the exponent of the sizes' ratio."""


def batch_scaled(lr_at_bmin: float, bmin: int, rule: str = "linear") -> Callable[[int], float]:
    """Let the learning rate follow the batch size b: lr = lr_at_bmin (b / bmin)^p.

    p is 1 by the rule `linear` (Goyal et al., arXiv 1706.02677, section 2.1) and 1/2 by the rule
    `sqrt` (Krizhevsky, arXiv 1404.5997, section 5). Returns batch size -> learning rate;
    raises InputError for another rule.

    >>> batch_scaled(0.0025, 16)(64)
    0.01
    >>> batch_scaled(0.0025, 16, "sqrt")(64)
    0.005
    """
    _positive("lr_at_bmin", lr_at_bmin)
    if rule not in SCALING:
        raise InputError(f"scaling must be {' or '.join(SCALING)}, but is {rule!r}")
    return lambda batch_size: lr_at_bmin * float((batch_size / bmin) ** SCALING[rule])


def batch_cycle(bmin: int, bmax: int, spacing: str, order: str) -> tuple[int, ...]:
    """Return the sizes of one batch-size cycle.

    `exponential` spacing doubles from bmin to bmax. `linear` spacing takes as many sizes in equal
    steps, rounded. In `descending` order the cycle runs from bmax to bmin.

    >>> batch_cycle(16, 256, "exponential", "ascending")
    (16, 32, 64, 128, 256)
    >>> batch_cycle(16, 256, "linear", "descending")
    (256, 196, 136, 76, 16)

    Raises:
        InputError: bmax is not bmin times a power of two, or the spacing or order is unknown.
    """
    sizes = exponential_batches(bmin, bmax)
    if spacing not in ("exponential", "linear") or order not in ("ascending", "descending"):
        raise InputError(
            "spacing must be exponential or linear and order ascending or descending, but they "
            f"are {spacing!r} and {order!r}"
        )
    if spacing == "linear":
        sizes = np.linspace(bmin, bmax, len(sizes)).round().astype(int).tolist()
    return tuple(sizes if order == "ascending" else reversed(sizes))


def exponential_batches(bmin: int, bmax: int) -> list[int]:
    """Return the sizes of one batch-size cycle: bmin, 2 bmin, 4 bmin, ... bmax.

    >>> exponential_batches(16, 256)
    [16, 32, 64, 128, 256]

    Raises:
        InputError: bmin < 1, or bmax is not bmin times a power of two.
    """
    ratio, rest = divmod(bmax, bmin) if bmin >= 1 else (0, 0)
    if rest or ratio < 1 or ratio & (ratio - 1):
        raise InputError(
            f"bmax must be bmin times a power of two, but bmin is {bmin} and bmax is {bmax}"
        )
    return [bmin << power for power in range(ratio.bit_length())]


def update_boundaries(examples: int, group_sizes: Iterator[int]) -> NDArray[np.int32]:
    """Cut one epoch's order of examples into updates: update u takes [b[u], b[u + 1]).

    Sizes are drawn from `group_sizes` until every example is taken; the last update takes what is
    left, so that no example is dropped. Returns int32 of shape (updates + 1,).

    >>> update_boundaries(10, iter([4, 4, 4])).tolist()
    [0, 4, 8, 10]
    """
    boundaries = [0]
    while boundaries[-1] < examples:
        boundaries.append(min(boundaries[-1] + next(group_sizes), examples))
    return np.asarray(boundaries, dtype=np.int32)


def epoch_plan(
    examples: int, epochs: int, batch_sizes: Sequence[int], accumulate: Sequence[int]
) -> list[tuple[int, NDArray[np.int32]]]:
    """Lay out a training: for every epoch its micro-batch size and its update boundaries.

    The micro-batch size is constant within an epoch and cycles through `batch_sizes` from epoch to
    epoch. An update averages `k` micro-batches; k cycles through `accumulate`, one step an update,
    on across epochs; an epoch's last group is cut short, applied, and counts as a step.
    """
    counts = cycle(accumulate)
    plan = []
    for _, size in zip(range(epochs), cycle(batch_sizes), strict=False):
        groups = (size * count for count in counts)
        plan.append((size, update_boundaries(examples, groups)))
    return plan


def _factor(scale: Callable[[float], float], name: str, scale_of: str, value: float) -> float:
    try:
        factor = float(scale(value))
    except Exception as error:
        raise InputError(f"{name} fails at {scale_of} {value:g} ({one_line(error)})") from error
    if not (math.isfinite(factor) and factor >= 0):
        raise InputError(
            f"{name} gives {factor} at {scale_of} {value:g}: it must give a finite "
            "number, at least 0"
        )
    return factor


def _rising(base_lr: float, max_lr: float, step_size: int) -> None:
    _positive("base_lr", base_lr)
    _positive("max_lr", max_lr)
    if base_lr >= max_lr:
        raise InputError(f"lr_min must be below lr_max, but {base_lr:g} >= {max_lr:g}: swap them")
    if step_size < 1:
        raise InputError(f"step_size must be at least 1 update, but is {step_size}")


def _positive(name: str, rate: float) -> None:
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"{name} must be a positive number, but is {rate}")
