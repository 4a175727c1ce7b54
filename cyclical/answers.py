"""A run's answers, in sentences."""

import json

from cyclical.learning_clock import ONE_CURVE
from cyclical.results import EqualSum, Summary

METHODS = {"range_test": ", read off a range test", "clock": ", predicted by the clock"}


def named(summary: Summary) -> str:
    """Name a run: its profile, and what was changed of it."""
    changes = ", ".join(f"{name}={json.dumps(value)}" for name, value in summary.changes.items())
    return f"{summary.profile} with {changes}" if changes else summary.profile


def answers(summary: Summary) -> list[str]:
    """Say in a sentence each between which values to cycle, and what that brought."""
    told = []
    if summary.lr_min is not None:
        rates = f"{summary.lr_min:g} and {summary.lr_max:g}"
        method = METHODS.get(str(summary.changes.get("lr_sweep.method")), "")
        how = "" if summary.lr_rule == "fixed" else method
        alone = _alone(summary.lr_agreeing, len(summary.seeds))
        rule = "; ".join([f"rule {summary.lr_rule}{how}", *alone])
        told.append(f"Learning rate: cycle between {rates} ({rule})")
    if summary.bmin is not None and summary.bmax is not None:
        alone = _alone(summary.batch_agreeing, len(summary.seeds))
        sizes = " ".join([f"{summary.bmin} and {summary.bmax}", *(f"({each})" for each in alone)])
        told += [f"Batch size: cycle between {sizes}", *_second_opinions(summary)]
    return told + summary.findings


def _alone(agreeing: int | None, seeds: int) -> list[str]:
    if agreeing is None or seeds == 1:
        return []
    return [f"{agreeing} of {seeds} seeds alone say the same"]


def _second_opinions(summary: Summary) -> list[str]:
    """Say what the gradient noise and the sums of rates have to say on bmin and bmax."""
    told = []
    if summary.noise_scale is not None:
        told.append(
            f"Gradient noise scale, a second opinion on bmax: {summary.noise_scale:.0f} examples "
            f"after epoch {summary.noise_epoch} of the sweep; beyond it a larger batch saves few "
            "updates"
        )
    compared = [each for each in summary.sums if each.difference is not None]
    return [*told, _at_equal_sums(summary, compared)] if compared else told


def _at_equal_sums(summary: Summary, compared: list[EqualSum]) -> str:
    """Say whether these sizes lie on the curve of the sweep of the rate, and what that means."""
    most = max(abs(each.difference or 0.0) for each in compared)
    if most > ONE_CURVE:
        meant = (
            "more than one curve: this sum alone does not tell how far a training has come, and "
            "says nothing on bmin and bmax"
        )
    elif 2 * len(compared) < len(summary.sums):
        meant = f"too few of the {len(summary.sums)} sizes to tell whether all lie on one curve"
    elif summary.changes.get("batch_sweep.budget") == "updates":
        meant = "one curve: after as many updates the size itself makes little difference"
    else:
        meant = (
            "one curve: what large batches lose at equal epochs is updates, and so bmin and bmax "
            "depend on the epochs (batch_sweep.budget=updates compares at equal updates)"
        )
    sizes = ", ".join(str(each.batch_size) for each in compared)
    return (
        f"At equal sums of rates, the batch size{'s' * (len(compared) > 1)} {sizes} lie"
        f"{'s' * (len(compared) == 1)} within {100 * most:.1f} points of the sweep of the rate: "
        f"{meant}"
    )
