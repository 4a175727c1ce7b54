"""What is looked at before hours of sweeps: short trainings to try, settings to beware of."""

import math
from collections.abc import Iterator

from cyclical import arms, naming
from cyclical.config import NOTEBOOK, Experiment
from cyclical.plans import LearningRate, Training
from cyclical.values import MODEL_NAMES

USUAL_OPTIMIZERS = {
    each.optimizer for each in (NOTEBOOK.clr, NOTEBOOK.fixed, NOTEBOOK.effective_batch)
}


def probes(config: Experiment) -> tuple[Training, ...]:
    """Return a short training for every way in which the network will be trained.

    They are the optimizers of all steps, without and with gradients that are averaged over parts.
    None are needed where network, loss, metrics and optimizers are among those of a profile: that
    these can be trained is known.
    """
    every = (config.lr_sweep, config.clr, config.batch_sweep, config.cyclic_batch)
    several = config.micro_batch is not None
    ways = {(each.optimizer, several) for each in (*every, config.combined, config.fixed)}
    ways.add((config.effective_batch.optimizer, True))
    usual = (config.model in MODEL_NAMES, config.loss, config.metrics) == (
        (True, NOTEBOOK.loss, NOTEBOOK.metrics)
    )
    if usual and {optimizer for optimizer, _ in ways} <= USUAL_OPTIMIZERS:
        return ()
    return tuple(
        Training(
            label="probe",
            model=arms.model_of(config),
            loss=config.loss,
            metrics=config.metrics,
            optimizer=optimizer,
            learning_rate=LearningRate(policy="constant", base_lr=config.fixed.learning_rate),
            batch_sizes=(2,),
            accumulate=(2,) if accumulating else (1,),
            epochs=1,
            seed=0,
            precision=config.precision,
        )
        for optimizer, accumulating in sorted(
            ways, key=lambda way: (way[1], way[0].model_dump_json())
        )
    )


def doubtful(config: Experiment, images: int) -> Iterator[str]:
    """Say which settings, though allowed, may not mean what they seem to."""
    clr, sweep = config.clr, config.lr_sweep
    updates = config.training.epochs * math.ceil(images / clr.batch_size)
    if updates < 2 * clr.step_size:
        yield (
            f"{updates} updates make no whole cycle of 2 x {clr.step_size}: "
            f"clr.step_size={max(1, updates // 4)} would make two"
        )
    if clr.optimizer != sweep.optimizer and config.model != "lenet5":
        yield (
            f"the bounds come from a sweep with {naming.described(sweep.optimizer)}, and "
            f"{naming.described(clr.optimizer)} cycles between them: clr.optimizer and "
            "lr_sweep.optimizer may better be the same"
        )
