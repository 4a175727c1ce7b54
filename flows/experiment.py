"""The whole experiment as one Prefect flow."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow, runtime
from pydantic import Field
from pydantic.fields import FieldInfo

from cyclical import clusters, config, ledger, machine, results, steps
from cyclical.settings import resolve
from cyclical.store import Store
from cyclical.values import MOST_SEEDS
from flows import loading, stages
from tasks import places, publishing
from tasks.running import Run


def _titled(title: str) -> FieldInfo:
    """Title a parameter in the form of Prefect's UI; its description is the docstring's."""
    titled: FieldInfo = Field(json_schema_extra={"title": title})
    return titled


def _one_of(names: Iterable[str]) -> FieldInfo:
    """Let the form offer these names, and the server refuse others."""
    choice: FieldInfo = Field(json_schema_extra={"enum": list(names)})
    return choice


Step = Annotated[str, _one_of(steps.NEEDS)]
Seeds = Annotated[int, Field(ge=1, le=MOST_SEEDS)]


def wire(stage: stages.Stages) -> None:
    """Take the steps one after the other, each with what it needs, and wait for all."""
    data = stage("load_data", loading.load)
    lr_sweep = stage("lr_sweep", stages.sweep_learning_rates, data)
    lr_bounds = stage("lr_bounds", stages.derive_lr_bounds, data, lr_sweep)
    batch_sweep = stage("batch_sweep", stages.sweep_batch_sizes, data, lr_bounds)
    clr = stage("clr_training", stages.train_with_cyclical_rates, data, lr_bounds)
    effective = stage(
        "effective_batch_training", stages.train_with_effective_batches, data, lr_bounds
    )
    fixed = stage("fixed_training", stages.train_with_fixed_settings, data, lr_bounds)
    batch_bounds = stage("batch_bounds", stages.detect_batch_bounds, data, lr_sweep, batch_sweep)
    cyclic = stage("cyclic_batch_training", stages.train_with_cyclic_batches, data, batch_bounds)
    combined = stage("combined_training", stages.train_with_both_cycling, data, batch_bounds)
    sweeps = {"learning_rate": lr_sweep, "batch_size": batch_sweep}
    found = dict(zip(("lr_min", "lr_max"), lr_bounds, strict=True)) if lr_bounds else {}
    found |= dict(zip(("bmin", "bmax"), batch_bounds, strict=True)) if batch_bounds else {}
    trained = (clr, cyclic, effective, combined, fixed)
    stage("comparison", stages.compare, data, sweeps, found, *trained)
    stage.finish()


def _name() -> str:
    """Name a run after its options: `quick`, `notebook until batch_bounds`, `quick seeds 5`."""
    given = runtime.flow_run.parameters
    options = [
        f"{word} {given[name]}"
        for word, name in (("from", "from_step"), ("until", "until_step"), ("seeds", "seeds"))
        if given.get(name)
    ]
    return " ".join([given["profile"], *options])


@flow(name="experiment", flow_run_name=_name, persist_result=False)
def experiment(
    profile: Annotated[str, _one_of(config.PROFILES), _titled("Profile")] = "quick",
    settings: Annotated[Mapping[str, Any] | None, _titled("Changes to the profile")] = None,
    seeds: Annotated[Seeds | None, _titled("Number of seeds")] = None,
    refresh: Annotated[Sequence[Step], _titled("Steps to compute again")] = (),
    from_step: Annotated[Step | None, _titled("First step")] = None,
    until_step: Annotated[Step | None, _titled("Last step")] = None,
) -> None:
    """Find the learning rates and batch sizes between which training should cycle, and try them.

    Args:
        profile: quick ends within minutes; notebook is the published experiment at full size.
        settings: Dotted field -> value, such as {"lr_sweep.epochs": 2}.
        seeds: Run everything for the seeds 0 to this number - 1; empty for the profile's seeds.
        refresh: These are computed again though they are cached; what follows from them only if
            their bytes changed.
        from_step: Run this step and what follows from it; everything before must be cached.
        until_step: Run this step and what it needs only.

    Raises:
        InputError: The parameters are wrong, or the data or the sweeps do not allow an answer.
    """
    began = time.monotonic()
    chosen = resolve(profile, settings, seeds)
    selection = steps.select(refresh, from_step, until_step)
    place = places.chosen(chosen)
    machine.refuse_precision(chosen.precision, place.on_gpus)
    store = Store.at(chosen.artifacts)
    results.refuse_report_of_others(store)
    told = chosen.model_copy(update={"cluster": clusters.Cluster()})  # it may be gone tomorrow
    header = ledger.Header(
        flow_run_id=str(runtime.flow_run.id),
        profile=profile,
        until_step=until_step,
        configuration=json.loads(told.model_dump_json()),
    )
    with Run(store, selection, header, place) as run:
        wire(stages.Stages(run, chosen, selection.wanted))
        record = results.RunRecord(
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            duration_seconds=round(time.monotonic() - began, 1),
            profile=profile,
            until_step=until_step,
            flow_run_id=str(runtime.flow_run.id),
            configuration=told,
            points=tuple(run.points()),
        )
        results.record(store, record)
        publishing.publish_report(store, record)
        publishing.keep_report(store, record)
