"""Which trainings an experiment consists of: every sweep point and every arm, for every seed."""

import math
from collections.abc import Iterator
from typing import Any

from cyclical import schedules
from cyclical.config import Experiment
from cyclical.plans import LearningRate, Training
from cyclical.values import POLICIES, SAVED_MODEL, GradientNoise, Optimizer

RANGE_SHARE = 0.05  # of the sweep's updates, where lr_sweep.range_updates does not say
TEST_SHARE = 0.3  # of the clock's updates, for the range test that tells how far it may go
DECADES = 7  # below the greatest rate at which a range test begins at the lowest; fastai's are 8
RANGE_TEST, CLOCK = "range-test", "clock"


def lr_sweep(config: Experiment) -> Iterator[tuple[float, Training]]:
    """Pair every swept learning rate with its training, one a seed, in the order given."""
    sweep = config.lr_sweep
    for rate in sweep.learning_rates:
        for seed in config.seeds:
            yield (
                rate,
                _training(
                    config,
                    label=f"lr={repr(rate).removesuffix('.0')}",  # exact: no two rates share it
                    optimizer=sweep.optimizer,
                    learning_rate=_constant(rate),
                    batch_sizes=(sweep.batch_size,),
                    epochs=sweep.epochs,
                    seed=seed,
                    give_up=sweep.give_up,
                ),
            )


def sweep_updates(config: Experiment, train_images: int) -> int:
    """Return how many updates each training of the learning-rate sweep makes."""
    return config.lr_sweep.epochs * math.ceil(train_images / config.lr_sweep.batch_size)


def range_updates(config: Experiment, train_images: int) -> tuple[int, int]:
    """Divide the updates that replace the sweep: between the range test, and the clock's training.

    >>> from cyclical.config import NOTEBOOK, LrSweep
    >>> range_updates(NOTEBOOK.model_copy(update={"lr_sweep": LrSweep(method="clock")}), 60_000)
    (774, 1805)
    """
    sweep = config.lr_sweep
    every = len(sweep.learning_rates) * sweep_updates(config, train_images)
    of_all = sweep.range_updates or max(20, int(RANGE_SHARE * every))
    of_test = of_all if sweep.method == "range_test" else round(TEST_SHARE * of_all)
    return of_test, of_all - of_test


def range_test(config: Experiment, train_images: int) -> Iterator[Training]:
    """Raise the rate exponentially over those of the sweep, at most seven decades, once a seed."""
    updates, _ = range_updates(config, train_images)
    greatest = max(config.lr_sweep.learning_rates)
    least = max(min(config.lr_sweep.learning_rates), greatest / 10**DECADES)
    rate = LearningRate(policy="exponential", base_lr=least, max_lr=greatest, step_size=updates)
    yield from _rising(config, RANGE_TEST, rate, train_images)


def clock(config: Experiment, train_images: int, lr_max: float) -> Iterator[Training]:
    """Raise the rate linearly from almost nothing to `lr_max`, once a seed.

    So the clock covers decades, while the rate stays as far below instability as it may.
    """
    _, updates = range_updates(config, train_images)
    rate = LearningRate(
        policy="triangular", base_lr=lr_max / (updates + 1), max_lr=lr_max, step_size=updates
    )
    yield from _rising(config, CLOCK, rate, train_images)


def _rising(
    config: Experiment, label: str, rate: LearningRate, train_images: int
) -> Iterator[Training]:
    """Yield one training a seed that ends with the ramp of its rate."""
    batch_size, updates = config.lr_sweep.batch_size, rate.step_size or 1
    for seed in config.seeds:
        yield _training(
            config,
            label=label,
            optimizer=config.lr_sweep.optimizer,
            learning_rate=rate,
            batch_sizes=(batch_size,),
            epochs=math.ceil(updates / math.ceil(train_images / batch_size)),
            updates=updates,
            seed=seed,
        )


def batch_sweep(
    config: Experiment, lr_min: float, train_images: int
) -> Iterator[tuple[int, Training]]:
    """Pair every swept batch size with its training, one a seed, in the order given."""
    sweep = config.batch_sweep
    for size in sweep.batch_sizes:
        epochs, updates = _budget(config, size, train_images)
        for seed in config.seeds:
            yield (
                size,
                _training(
                    config,
                    label=f"batch={size}",
                    optimizer=sweep.optimizer,
                    learning_rate=_constant(lr_min),
                    batch_sizes=(size,),
                    epochs=epochs,
                    updates=updates,
                    seed=seed,
                    noise=_noise(config) if size == noise_size(config) else None,
                ),
            )


def _budget(config: Experiment, size: int, train_images: int) -> tuple[int, int | None]:
    """Return how many epochs a point of the batch sweep begins, and how many updates it makes."""
    judged = judged_updates(config, train_images)
    if judged is None:
        return config.batch_sweep.epochs, None
    updates = config.batch_sweep.epochs * judged
    return math.ceil(updates / math.ceil(train_images / size)), updates


def judged_updates(config: Experiment, train_images: int) -> int | None:
    """Return how many updates at its end a point of the batch sweep is judged by.

    At equal updates those of an epoch of lr_sweep.batch_size, at equal epochs None: its last epoch.
    """
    if config.batch_sweep.budget == "epochs":
        return None
    return math.ceil(train_images / config.lr_sweep.batch_size)


def noise_size(config: Experiment) -> int | None:
    """Return the swept batch size at which the gradient noise is measured, None for none.

    >>> from cyclical.config import QUICK
    >>> noise_size(QUICK)
    64
    """
    noise = config.batch_sweep.noise
    if noise is None:
        return None
    nearest: int = min(
        config.batch_sweep.batch_sizes, key=lambda size: abs(math.log2(size / noise.batch_size))
    )
    return nearest


def _noise(config: Experiment) -> GradientNoise | None:
    """Measure on batches that memory has room for: of `micro_batch` examples at most."""
    noise, parts = config.batch_sweep.noise, config.micro_batch
    if noise is None or parts is None:
        return noise
    return noise.model_copy(update={"batch_size": min(noise.batch_size, parts)})


def clr(config: Experiment, lr_min: float, lr_max: float) -> Iterator[Training]:
    """Train with a cyclical learning rate: between the derived bounds, and the paper's."""
    settings = config.clr
    for name, (low, high) in {"derived": (lr_min, lr_max), "paper": settings.paper}.items():
        rate = LearningRate(
            policy=settings.policy,
            base_lr=low,
            max_lr=high,
            step_size=settings.step_size,
            gamma=settings.gamma if settings.policy == "exp_range" else None,
            scale_of=settings.scale_of if settings.policy not in POLICIES else None,
        )
        yield from _arm(config, f"clr-{name}", settings.optimizer, rate, (settings.batch_size,))


def cyclic_batch(config: Experiment, bmin: int, bmax: int) -> Iterator[Training]:
    """Train with a batch size that cycles by epoch: the derived range, the reference's sizes."""
    rate = _constant(config.cyclic_batch.learning_rate)
    derived = _batch_cycle(config, bmin, bmax)
    for name, sizes in {"derived": derived, "reference": config.cyclic_batch.reference}.items():
        yield from _arm(config, f"cyclic-batch-{name}", config.cyclic_batch.optimizer, rate, sizes)


def effective_batch(config: Experiment, lr_min: float) -> Iterator[Training]:
    """Train on accumulated gradients: groups of one size, and groups that grow and start again."""
    settings = config.effective_batch
    groups = {"constant": (settings.group,), "cyclic": tuple(range(1, settings.group + 1))}
    for name, accumulate in groups.items():
        yield from _arm(
            config,
            f"effective-batch-{name}",
            settings.optimizer,
            _constant(lr_min),
            (settings.micro_batch,),
            accumulate,
        )


def combined(config: Experiment, bmin: int, bmax: int) -> Iterator[Training]:
    """Train with both cycling: the learning rate follows the batch size."""
    settings = config.combined
    at_bmin = config.cyclic_batch.learning_rate * bmin / config.fixed.batch_size
    rate = LearningRate(policy=settings.scaling, base_lr=settings.lr_at_bmin or at_bmin)
    yield from _arm(config, "combined", settings.optimizer, rate, _batch_cycle(config, bmin, bmax))


def fixed(config: Experiment, lr_max: float) -> Iterator[Training]:
    """Train with the fixed settings that cycling must beat."""
    settings, sizes = config.fixed, (config.fixed.batch_size,)
    at_rate, at_lr_max = fixed_labels(config)
    yield from _arm(config, at_rate, settings.optimizer, _constant(settings.learning_rate), sizes)
    yield from _arm(config, at_lr_max, config.clr.optimizer, _constant(lr_max), sizes)


def fixed_labels(config: Experiment) -> tuple[str, str]:
    """Name the arms with fixed settings after their optimizers: the one at lr_max is the second.

    >>> from cyclical.config import QUICK
    >>> fixed_labels(QUICK)
    ('fixed-sgd', 'fixed-rmsprop')
    """
    at_rate, at_lr_max = (f"fixed-{each.optimizer.name}" for each in (config.fixed, config.clr))
    return at_rate, at_lr_max if at_lr_max != at_rate else f"{at_lr_max}-lr-max"


def baselines(config: Experiment) -> dict[str, str]:
    """Pair every arm that cycles with the fixed settings that it must beat."""
    at_rate, at_lr_max = fixed_labels(config)
    return {
        "clr-derived": at_lr_max,
        "clr-paper": at_lr_max,
        "cyclic-batch-derived": at_rate,
        "cyclic-batch-reference": at_rate,
        "effective-batch-cyclic": "effective-batch-constant",
        "combined": at_rate,
    }


def describe(training: Training) -> str:
    """Say in a few words how a training's learning rate and batch size run.

    >>> from cyclical.config import QUICK
    >>> describe(next(cyclic_batch(QUICK, 16, 64)))
    'lr 0.01, batch 16-32-64'
    >>> describe(next(combined(QUICK, 16, 64)))
    'lr 0.0025..0.01 linear, batch 16-32-64'
    >>> [describe(arm) for arm in effective_batch(QUICK, 0.001)]
    ['lr 0.001, batch 16 x 32', 'lr 0.001, batch 1..16 x 32']
    """
    groups = training.accumulate
    several = f"{groups[0]}..{groups[-1]}" if len(groups) > 1 else f"{groups[0]}"
    sizes = [str(size) for size in training.batch_sizes]
    micro = "-".join(sizes if len(sizes) < 8 else [*sizes[:2], "...", sizes[-1]])
    batches = micro if groups == (1,) else f"{several} x {micro}"
    return f"lr {_describe_rate(training)}, batch {batches}"


def _describe_rate(training: Training) -> str:
    rate = training.learning_rate
    if rate.policy in schedules.SCALING:
        follow = schedules.batch_scaled(rate.base_lr, min(training.batch_sizes), rate.policy)
        first, last = follow(training.batch_sizes[0]), follow(training.batch_sizes[-1])
        return f"{first:.4g}..{last:.4g} {rate.policy}"
    if rate.max_lr is None:
        return f"{rate.base_lr:g}"
    return f"{rate.base_lr:g}..{rate.max_lr:g} {rate.policy}"


def workload(config: Experiment, train_images: int) -> dict[str, tuple[int, int]]:
    """Count each training step's points, and the examples that one of them trains on."""
    seeds = len(config.arm_seeds)
    full = config.training.epochs * train_images
    return {
        "lr_sweep": _lr_workload(config, train_images),
        "batch_sweep": _batch_workload(config, train_images),
        "clr_training": (2 * seeds, full),
        "cyclic_batch_training": (2 * seeds, full),
        "effective_batch_training": (2 * seeds, full),
        "combined_training": (seeds, full),
        "fixed_training": (2 * seeds, full),
    }


def _lr_workload(config: Experiment, train_images: int) -> tuple[int, int]:
    sweep, seeds = config.lr_sweep, len(config.seeds)
    if config.lr_bounds.fixed:
        return 0, sweep.epochs * train_images
    if sweep.method == "sweep":
        return len(sweep.learning_rates) * seeds, sweep.epochs * train_images
    updates = [count for count in range_updates(config, train_images) if count]
    return len(updates) * seeds, sum(updates) * sweep.batch_size // len(updates)


def _batch_workload(config: Experiment, train_images: int) -> tuple[int, int]:
    points = list(batch_sweep(config, config.fixed.learning_rate, train_images))
    in_all = sum(training.examples(train_images) for _, training in points)
    return (0 if config.batch_bounds.fixed else len(points)), in_all // len(points)


def _arm(
    config: Experiment,
    label: str,
    optimizer: Optimizer,
    learning_rate: LearningRate,
    batch_sizes: tuple[int, ...],
    accumulate: tuple[int, ...] = (1,),
) -> Iterator[Training]:
    """Yield one full training a seed."""
    for seed in config.arm_seeds:
        yield _training(
            config,
            label=label,
            optimizer=optimizer,
            learning_rate=learning_rate,
            batch_sizes=batch_sizes,
            accumulate=accumulate,
            epochs=config.training.epochs,
            seed=seed,
        )


def _training(config: Experiment, *, batch_sizes: tuple[int, ...], **settings: Any) -> Training:
    """Make a training of the experiment; parts of a batch are named only where one has several."""
    parts = config.micro_batch
    return Training(
        model=model_of(config),
        loss=config.loss,
        metrics=config.metrics,
        precision=config.precision,
        batch_sizes=batch_sizes,
        micro_batch=parts if parts and parts < max(batch_sizes) else None,
        **settings,
    )


def model_of(config: Experiment) -> str:
    """Return what trainings call the model: the place of a saved one makes no difference."""
    return SAVED_MODEL if config.model.endswith(SAVED_MODEL) else config.model


def _constant(learning_rate: float) -> LearningRate:
    return LearningRate(policy="constant", base_lr=learning_rate)


def _batch_cycle(config: Experiment, bmin: int, bmax: int) -> tuple[int, ...]:
    return schedules.batch_cycle(bmin, bmax, config.cyclic_batch.spacing, config.cyclic_batch.order)
