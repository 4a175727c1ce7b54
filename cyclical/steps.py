"""The experiment's steps, what each needs, and which of them a run takes."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cyclical.errors import InputError

NEEDS: Mapping[str, tuple[str, ...]] = {
    "load_data": (),
    "lr_sweep": ("load_data",),
    "lr_bounds": ("lr_sweep",),
    "batch_sweep": ("load_data", "lr_bounds"),
    "clr_training": ("load_data", "lr_bounds"),
    "batch_bounds": ("lr_sweep", "batch_sweep"),
    "cyclic_batch_training": ("load_data", "batch_bounds"),
    "effective_batch_training": ("load_data", "lr_bounds"),
    "combined_training": ("load_data", "batch_bounds"),
    "fixed_training": ("load_data", "lr_bounds"),
    "comparison": (
        "clr_training",
        "cyclic_batch_training",
        "effective_batch_training",
        "combined_training",
        "fixed_training",
    ),
}


@dataclass(frozen=True)
class Selection:
    """Which steps a run takes.

    `wanted` are looked at; of these, `frozen` must be cached already; `refreshed` are computed
    again though they are cached.
    """

    wanted: frozenset[str]
    frozen: frozenset[str]
    refreshed: frozenset[str]


def ancestors(step: str) -> frozenset[str]:
    """Return all steps that `step` needs, directly or not.

    >>> sorted(ancestors("lr_bounds"))
    ['load_data', 'lr_sweep']
    """
    needed = NEEDS[step]
    return frozenset(needed).union(*map(ancestors, needed))


def urgency(step: str) -> int:
    """Count the steps on the longest way from a step to the end: what comes first when all wait.

    >>> urgency("lr_sweep"), urgency("batch_sweep"), urgency("clr_training")
    (6, 4, 2)
    """
    after = [other for other, needed in NEEDS.items() if step in needed]
    return 1 + max(map(urgency, after), default=0)


def select(
    refresh: Iterable[str] = (), from_step: str | None = None, until_step: str | None = None
) -> Selection:
    """Choose the steps of a run.

    Args:
        refresh: Steps to compute again; those after them run again only if their bytes changed.
        from_step: Nothing upstream of this step runs: it and its descendants do, and what else
            they need must be cached.
        until_step: Only this step and its ancestors run.

    Raises:
        InputError: A name is no step's, or nothing lies between from_step and until_step.
    """
    refreshed = frozenset(_known(step) for step in refresh)
    wanted = frozenset(NEEDS)
    frozen: frozenset[str] = frozenset()
    if until_step is not None:
        wanted = ancestors(_known(until_step)) | {until_step}
    if from_step is not None:
        active = {_known(from_step)} | {s for s in wanted if from_step in ancestors(s)}
        if from_step not in wanted:
            raise InputError(f"--until-step {until_step} does not need --from-step {from_step}")
        wanted = frozenset(active).union(*map(ancestors, active))
        frozen = wanted - active
    if refreshed & frozen:
        step = min(refreshed & frozen)
        raise InputError(
            f"--refresh {step} contradicts --from-step {from_step}, which lies after it"
        )
    return Selection(wanted, frozen, refreshed)


def _known(step: str) -> str:
    if step not in NEEDS:
        near = difflib.get_close_matches(step, NEEDS, n=1, cutoff=0.35)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown step {step!r}: {meant}Known: {', '.join(NEEDS)}")
    return step
