"""The bounds that are read off the sweeps, or fixed by the user."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
from prefect import task

from cyclical import agreement, bounds, config, learning_clock, noise, range_test
from cyclical.errors import InputError
from cyclical.manifests import Artifact
from cyclical.store import Slot
from tasks.caching import save


@task
def derive_lr_bounds(
    slot: Slot, sweep: Artifact, settings: config.LrBounds, least: float
) -> Artifact:
    """Read lr_min and lr_max off the sweep: bounds.parquet (lr_min, lr_max, rule).

    seeds.parquet holds those of every seed alone.
    """

    def find(table: pd.DataFrame) -> bounds.LearningRateBounds:
        return bounds.lr_bounds(
            table,
            settings.rule,
            lr_min_share=settings.lr_min_share,
            lr_max_share=settings.lr_max_share,
            least=least,
        )

    with _table_of(slot, sweep) as table:
        found = find(table)
    points = slot.store.frame(sweep, "points.parquet")
    alone = agreement.by_seed(points, lambda table: _named(find(table), "lr_min", "lr_max"))
    tables = {"bounds.parquet": pd.DataFrame([vars(found)]), "seeds.parquet": alone}
    return save(slot, tables)


@task
def derive_range_bounds(slot: Slot, sweep: Artifact, rule: str, swept: Sequence[float]) -> Artifact:
    """Read lr_min and lr_max off the range test: bounds.parquet, rules.parquet (by every rule)."""
    with _table_of(slot, sweep, "range_test.parquet") as curve:
        found = range_test.bounds(curve, rule, swept)
        rules = range_test.suggestions(curve)
    return save(slot, {"bounds.parquet": pd.DataFrame([vars(found)]), "rules.parquet": rules})


@task
def fix_lr_bounds(slot: Slot, fixed: tuple[float, float]) -> Artifact:
    """Take lr_min and lr_max as given: bounds.parquet (lr_min, lr_max, rule)."""
    found = bounds.LearningRateBounds(*fixed, rule="fixed")
    return save(slot, {"bounds.parquet": pd.DataFrame([vars(found)])})


@task
def detect_batch_bounds(
    slot: Slot, sweep: Artifact, threshold: float, stretch: str, least: float
) -> Artifact:
    """Detect bmin and bmax: bounds.parquet (a row a size, with in_range).

    seeds.parquet holds those of every seed alone.
    """

    def find(table: pd.DataFrame) -> bounds.BatchBounds:
        return bounds.batch_bounds(table, threshold, stretch, least=least)

    with _table_of(slot, sweep) as table:
        found = find(table)
    points = slot.store.frame(sweep, "points.parquet")
    alone = agreement.by_seed(points, lambda table: _named(find(table), "bmin", "bmax"))
    return save(slot, {"bounds.parquet": found.table, "seeds.parquet": alone})


@task
def estimate_noise(
    slot: Slot, sweep: Artifact, measured: int, small_batch: int, big_batch: int, examples: int
) -> Artifact:
    """Estimate the gradient noise scale at the swept size that was measured: noise.parquet.

    It has a row an epoch.
    """
    epochs = slot.store.frame(sweep, "epochs.parquet")
    of_size = epochs[epochs["batch_size"] == measured]
    histories = {int(str(seed)): of_seed for seed, of_seed in of_size.groupby("seed")}
    table = noise.noise_scale(histories, small_batch, big_batch, examples)
    return save(slot, {"noise.parquet": table})


@task
def compare_at_equal_sums(slot: Slot, sweep: Artifact, of_rates: Artifact) -> Artifact:
    """Compare batch sizes with the sweep of the rate at equal sums of rates: sums.parquet."""
    store = slot.store
    batches, rates = (store.frame(each, "epochs.parquet") for each in (sweep, of_rates))
    table = learning_clock.at_equal_sums(batches, rates, store.frame(of_rates, "sweep.parquet"))
    return save(slot, {"sums.parquet": table})


@task
def fix_batch_bounds(slot: Slot, fixed: tuple[int, int]) -> Artifact:
    """Take bmin and bmax as given: bounds.parquet (a row a size, with in_range)."""
    return save(slot, {"bounds.parquet": bounds.fixed_batch_bounds(*fixed).table})


def _named(found: object, *names: str) -> dict[str, float]:
    return {name: getattr(found, name) for name in names}


@contextmanager
def _table_of(slot: Slot, sweep: Artifact, name: str = "sweep.parquet") -> Iterator[pd.DataFrame]:
    """Read a sweep's table; an error about it names its file."""
    store = slot.store
    try:
        yield store.frame(sweep, name)
    except InputError as error:
        table = store.root / sweep.path / name
        raise InputError(f"{error}; the table is {table}") from None
