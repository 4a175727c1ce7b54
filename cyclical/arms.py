"""Which trainings an experiment consists of: every sweep point and every arm, for every seed."""

from collections.abc import Iterator

from cyclical import schedules
from cyclical.config import Experiment, LearningRate, Optimizer, Training

SGD = Optimizer(name="sgd")
RMSPROP = Optimizer(name="rmsprop")


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
                    learning_rate=LearningRate(policy="constant", base_lr=rate),
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
                    learning_rate=LearningRate(policy="constant", base_lr=lr_min),
                    batch_sizes=(size,),
                    epochs=config.batch_sweep.epochs,
                    seed=seed,
                ),
            )


def clr(config: Experiment, lr_min: float, lr_max: float) -> Iterator[Training]:
    """Train with a cyclical learning rate: between the derived bounds, and the paper's."""
    clr = config.clr
    for name, (low, high) in {"derived": (lr_min, lr_max), "paper": clr.paper}.items():
        rate = LearningRate(
            policy=clr.policy,
            base_lr=low,
            max_lr=high,
            step_size=clr.step_size,
            gamma=clr.gamma if clr.policy == "exp_range" else None,
        )
        for seed in config.seeds:
            yield Training(
                label=f"clr-{name}",
                model=config.model,
                optimizer=RMSPROP,
                learning_rate=rate,
                batch_sizes=(clr.batch_size,),
                epochs=config.training.epochs,
                seed=seed,
            )


def cyclic_batch(config: Experiment, bmin: int, bmax: int) -> Iterator[Training]:
    """Train with a batch size that cycles by epoch: the derived range, the reference's sizes."""
    derived = tuple(schedules.exponential_batches(bmin, bmax))
    for name, sizes in {"derived": derived, "reference": config.cyclic_batch.reference}.items():
        for seed in config.seeds:
            yield Training(
                label=f"cyclic-batch-{name}",
                model=config.model,
                optimizer=SGD,
                learning_rate=LearningRate(
                    policy="constant", base_lr=config.cyclic_batch.learning_rate
                ),
                batch_sizes=sizes,
                epochs=config.training.epochs,
                seed=seed,
            )


def describe(training: Training) -> str:
    """Say in a few words how a training's learning rate and batch size run.

    >>> from cyclical.config import QUICK
    >>> describe(next(cyclic_batch(QUICK, 16, 64)))
    'lr 0.01, batch 16-32-64'
    """
    rate = training.learning_rate
    rates = f"{rate.base_lr:g}"
    if rate.max_lr is not None:
        rates = f"{rate.base_lr:g}..{rate.max_lr:g} {rate.policy}"
    return f"lr {rates}, batch {'-'.join(str(size) for size in training.batch_sizes)}"


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
    }
