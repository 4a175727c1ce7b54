"""The bounds that are read off the sweeps, or fixed by the user."""

from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
from prefect import task

from cyclical import bounds, config
from cyclical.errors import InputError
from cyclical.store import Artifact, Slot, Store
from tasks.caching import save


@task
def derive_lr_bounds(
    slot: Slot, sweep: Artifact, settings: config.LrBounds, classes: int
) -> Artifact:
    """Read lr_min and lr_max off the sweep: bounds.parquet (lr_min, lr_max, rule)."""
    with _table_of(slot, sweep) as table:
        found = bounds.lr_bounds(
            table,
            settings.rule,
            classes,
            lr_min_share=settings.lr_min_share,
            lr_max_share=settings.lr_max_share,
        )
    return save(slot, {"bounds.parquet": pd.DataFrame([vars(found)])})


@task
def fix_lr_bounds(slot: Slot, fixed: tuple[float, float]) -> Artifact:
    """Take lr_min and lr_max as given: bounds.parquet (lr_min, lr_max, rule)."""
    found = bounds.LearningRateBounds(*fixed, rule="fixed")
    return save(slot, {"bounds.parquet": pd.DataFrame([vars(found)])})


@task
def detect_batch_bounds(
    slot: Slot, sweep: Artifact, threshold: float, stretch: str, classes: int
) -> Artifact:
    """Detect bmin and bmax: bounds.parquet (a row a size, with in_range)."""
    with _table_of(slot, sweep) as table:
        found = bounds.batch_bounds(table, threshold, stretch, classes)
    return save(slot, {"bounds.parquet": found.table})


@task
def fix_batch_bounds(slot: Slot, fixed: tuple[int, int]) -> Artifact:
    """Take bmin and bmax as given: bounds.parquet (a row a size, with in_range)."""
    return save(slot, {"bounds.parquet": bounds.fixed_batch_bounds(*fixed).table})


@contextmanager
def _table_of(slot: Slot, sweep: Artifact) -> Iterator[pd.DataFrame]:
    """Read a sweep's table; an error about it names its file."""
    store = Store(root=slot.root)
    try:
        yield store.frame(sweep, "sweep.parquet")
    except InputError as error:
        table = store.root / sweep.path / "sweep.parquet"
        raise InputError(f"{error}; the table is {table}") from None
