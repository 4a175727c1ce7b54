"""The whole experiment as one Prefect flow."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from prefect import flow

from cyclical import config, results, steps
from cyclical.store import Store
from flows import stages
from tasks.running import Run, cores


@flow(name="experiment", flow_run_name="{profile}", persist_result=False)
def experiment(
    profile: str = "quick",
    settings: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    refresh: Sequence[str] = (),
    from_step: str | None = None,
    until_step: str | None = None,
) -> None:
    """Find the learning rates and batch sizes between which training should cycle, and try them.

    Args:
        profile: `quick` or `notebook`.
        settings: Changes to the profile, dotted field -> value.
        seeds: Run everything for the seeds 0 to seeds - 1.
        refresh: Steps to compute again.
        from_step: Run this step and its descendants; everything before must be cached.
        until_step: Run this step and its ancestors only.

    Raises:
        InputError: The parameters are wrong, or the data or the sweeps do not allow an answer.
    """
    began = time.monotonic()
    chosen = config.resolve(profile, settings, seeds)
    selection = steps.select(refresh, from_step, until_step)
    with Run(Store(root=chosen.artifacts.absolute()), selection, chosen.workers or cores()) as run:
        stage = stages.Stages(run, chosen)
        data = stage("load_data", stages.load_data)
        lr_sweep = stage("lr_sweep", stages.sweep_learning_rates, data)
        lr_bounds = stage("lr_bounds", stages.derive_lr_bounds, data, lr_sweep)
        batch_sweep = stage("batch_sweep", stages.sweep_batch_sizes, data, lr_bounds)
        clr = stage("clr_training", stages.train_with_cyclical_rates, data, lr_bounds)
        effective = stage(
            "effective_batch_training", stages.train_with_effective_batches, data, lr_bounds
        )
        fixed = stage("fixed_training", stages.train_with_fixed_settings, data, lr_bounds)
        batch_bounds = stage("batch_bounds", stages.detect_batch_bounds, data, batch_sweep)
        cyclic = stage(
            "cyclic_batch_training", stages.train_with_cyclic_batches, data, batch_bounds
        )
        combined = stage("combined_training", stages.train_with_both_cycling, data, batch_bounds)
        stage("comparison", stages.compare, clr, cyclic, effective, combined, fixed)
        stage.finish()
        results.record(
            run.store,
            results.RunRecord(
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                duration_seconds=round(time.monotonic() - began, 1),
                profile=profile,
                until_step=until_step,
                configuration=chosen,
                points=tuple(run.points()),
            ),
        )
