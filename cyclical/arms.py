"""Which trainings an experiment consists of: every sweep point and every arm, for every seed."""

from collections.abc import Iterator

from cyclical import schedules
from cyclical.config import POLICIES, Experiment
from cyclical.plans import LearningRate, Optimizer, Training

SGD = Optimizer(name="sgd")


def lr_sweep(config: Experiment) -> Iterator[tuple[float, Training]]:
    """Pair every swept learning rate with its training, one a seed, in the order given."""
    sweep = config.lr_sweep
    for rate in sweep.learning_rates:
        for seed in config.seeds:
            yield (
                rate,
                Training(
                    label=f"lr={repr(rate).removesuffix('.0')}",  # exact: no two rates share it
                    model=config.model,
                    optimizer=SGD,
                    learning_rate=_constant(rate),
                    batch_sizes=(sweep.batch_size,),
                    epochs=sweep.epochs,
                    seed=seed,
                ),
            )


def batch_sweep(config: Experiment, lr_min: float) -> Iterator[tuple[int, Training]]:
    """Pair every swept batch size with its training, one a seed, in the order given."""
    for size in config.batch_sweep.batch_sizes:
        for seed in config.seeds:
            yield (
                size,
                Training(
                    label=f"batch={size}",
                    model=config.model,
                    optimizer=SGD,
                    learning_rate=_constant(lr_min),
                    batch_sizes=(size,),
                    epochs=config.batch_sweep.epochs,
                    seed=seed,
                ),
            )


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
        yield from _arm(config, f"clr-{name}", _rmsprop(config), rate, (settings.batch_size,))


def cyclic_batch(config: Experiment, bmin: int, bmax: int) -> Iterator[Training]:
    """Train with a batch size that cycles by epoch: the derived range, the reference's sizes."""
    rate = _constant(config.cyclic_batch.learning_rate)
    derived = _batch_cycle(config, bmin, bmax)
    for name, sizes in {"derived": derived, "reference": config.cyclic_batch.reference}.items():
        yield from _arm(config, f"cyclic-batch-{name}", SGD, rate, sizes)


def effective_batch(config: Experiment, lr_min: float) -> Iterator[Training]:
    """Train on accumulated gradients: groups of one size, and groups that grow and start again."""
    settings = config.effective_batch
    optimizer = Optimizer(name="sgd", momentum=settings.momentum)
    groups = {"constant": (settings.group,), "cyclic": tuple(range(1, settings.group + 1))}
    for name, accumulate in groups.items():
        yield from _arm(
            config,
            f"effective-batch-{name}",
            optimizer,
            _constant(lr_min),
            (settings.micro_batch,),
            accumulate,
        )


def combined(config: Experiment, bmin: int, bmax: int) -> Iterator[Training]:
    """Train with both cycling: the learning rate follows the batch size."""
    settings = config.combined
    at_bmin = config.cyclic_batch.learning_rate * bmin / config.fixed.batch_size
    rate = LearningRate(policy=settings.scaling, base_lr=settings.lr_at_bmin or at_bmin)
    yield from _arm(config, "combined", SGD, rate, _batch_cycle(config, bmin, bmax))


def fixed(config: Experiment, lr_max: float) -> Iterator[Training]:
    """Train with the fixed settings that cycling must beat."""
    sizes = (config.fixed.batch_size,)
    yield from _arm(config, "fixed-sgd", SGD, _constant(config.fixed.learning_rate), sizes)
    yield from _arm(config, "fixed-rmsprop", _rmsprop(config), _constant(lr_max), sizes)


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
    seeds = len(config.seeds)
    lr_points = 0 if config.lr_bounds.fixed else len(config.lr_sweep.learning_rates)
    batch_points = 0 if config.batch_bounds.fixed else len(config.batch_sweep.batch_sizes)
    full = config.training.epochs * train_images
    return {
        "lr_sweep": (lr_points * seeds, config.lr_sweep.epochs * train_images),
        "batch_sweep": (batch_points * seeds, config.batch_sweep.epochs * train_images),
        "clr_training": (2 * seeds, full),
        "cyclic_batch_training": (2 * seeds, full),
        "effective_batch_training": (2 * seeds, full),
        "combined_training": (seeds, full),
        "fixed_training": (2 * seeds, full),
    }


def _arm(
    config: Experiment,
    label: str,
    optimizer: Optimizer,
    learning_rate: LearningRate,
    batch_sizes: tuple[int, ...],
    accumulate: tuple[int, ...] = (1,),
) -> Iterator[Training]:
    """Yield one full training a seed."""
    for seed in config.seeds:
        yield Training(
            label=label,
            model=config.model,
            optimizer=optimizer,
            learning_rate=learning_rate,
            batch_sizes=batch_sizes,
            accumulate=accumulate,
            epochs=config.training.epochs,
            seed=seed,
        )


def _rmsprop(config: Experiment) -> Optimizer:
    return Optimizer(name="rmsprop", epsilon=config.training.rmsprop_epsilon)


def _constant(learning_rate: float) -> LearningRate:
    return LearningRate(policy="constant", base_lr=learning_rate)


def _batch_cycle(config: Experiment, bmin: int, bmax: int) -> tuple[int, ...]:
    return schedules.batch_cycle(bmin, bmax, config.cyclic_batch.spacing, config.cyclic_batch.order)
