"""From a sweep's table to its bounds: the published numbers, and tables made by hand."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cyclical import reference
from cyclical.bounds import (
    BatchBounds,
    LearningRateBounds,
    batch_bounds,
    batch_range,
    fixed_batch_bounds,
    lr_bounds,
    lr_range,
)
from cyclical.errors import InputError
from cyclical.sweeps import DIVERGED, LEARNED, with_status
from tests import running

PUBLISHED = reference.PUBLISHED / "notebook_sweeps.csv"
RULES = ("plateau", "smith", "argmin_tenth")
every_rule = pytest.mark.parametrize("rule", RULES)


def published(value: str) -> pd.DataFrame:
    """Return a sweep of the published run as the bounds take it."""
    table = pd.read_csv(PUBLISHED)
    table = table[table["sweep"] == value].drop(columns="sweep")
    return table.set_axis([value, "train_loss", "train_accuracy"], axis="columns")


LEARNING_RATES = published("learning_rate")
BATCH_SIZES = published("batch_size")


def rates(*rows: tuple[float, float, float]) -> pd.DataFrame:
    """Make a learning-rate sweep of (rate, final loss, final accuracy)."""
    return pd.DataFrame(rows, columns=["learning_rate", "train_loss", "train_accuracy"])


def sizes(*accuracies: float, start: int = 16) -> pd.DataFrame:
    """Make a batch-size sweep of the final accuracies at 16, 32, 64, ..."""
    doublings = [start << power for power in range(len(accuracies))]
    return pd.DataFrame({"batch_size": doublings, "train_loss": 1.0, "train_accuracy": accuracies})


def by_rule(table: pd.DataFrame, classes: int = 10) -> dict[str, tuple[float, float]]:
    """Return (lr_min, lr_max) by every rule."""
    return {rule: pair(lr_bounds(table, rule, classes)) for rule in RULES}


def pair(found: LearningRateBounds) -> tuple[float, float]:
    return found.lr_min, found.lr_max


def ends(found: BatchBounds) -> tuple[int, int]:
    return found.bmin, found.bmax


def refusal_of_rates(table: pd.DataFrame, rule: str = "plateau") -> str:
    """Return the error of a table that allows no learning-rate bounds: one line, with a remedy."""
    with pytest.raises(InputError) as caught:
        lr_bounds(table, rule)
    assert "\n" not in str(caught.value)
    assert "lr_sweep.learning_rates" in str(caught.value)
    return str(caught.value)


def refusal_of_sizes(table: pd.DataFrame, threshold: float = 3.5) -> str:
    """Return the one-line error of a table in which no step holds."""
    with pytest.raises(InputError) as caught:
        batch_bounds(table, threshold)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Learning rates


@given(order=st.permutations(range(len(LEARNING_RATES))))
def test_the_published_sweep_gives_its_published_learning_rates_in_any_order(
    order: list[int],
) -> None:
    shuffled = LEARNING_RATES.iloc[order]
    found = lr_bounds(shuffled)
    assert found == LearningRateBounds(lr_min=1e-4, lr_max=1e-3, rule="plateau")
    # A = 0.9040. plateau: 0.85 A = 0.768 is first reached at 1e-4 (0.8145), 0.93 A = 0.841 at 1e-3
    # (0.8675). smith, from f = 0.0566: a tenth of the rise, 0.1413, at 1e-6 (0.3301), nine tenths,
    # 0.8193, at 1e-3. argmin_tenth: the least loss, 0.2629, is that of 0.1.
    assert by_rule(shuffled) == {
        "plateau": (1e-4, 1e-3),
        "smith": (1e-6, 1e-3),
        "argmin_tenth": (1e-3, 1e-2),
    }


@every_rule
def test_bounds_are_plain_floats_and_remember_their_rule(rule: str) -> None:
    whole = rates((100, 0.4, 0.9), (10, 0.5, 0.85), (1, 0.9, 0.6)).astype({"learning_rate": int})
    for table in (LEARNING_RATES, whole):
        found = lr_bounds(table, rule)
        assert type(found.lr_min) is type(found.lr_max) is float
        assert found.rule == rule
        assert lr_range(pd.DataFrame([vars(found)])) == pair(found)


def test_the_shares_are_85_and_93_percent_of_the_best_accuracy_and_may_just_be_reached() -> None:
    # best 0.8: 85 % is 0.68 and 93 % is 0.744
    table = [(1.0, 1, 0.8), (1e-1, 1, 0.7441), (1e-2, 1, 0.7439), (1e-3, 1, 0.6801)]
    assert pair(lr_bounds(rates(*table, (1e-4, 1, 0.6799)))) == (1e-3, 1e-1)
    # best 1.0, reached exactly
    assert pair(lr_bounds(rates((1, 1, 1), (0.1, 1, 0.93), (0.01, 1, 0.85)))) == (0.01, 0.1)


def test_other_shares_may_be_given() -> None:
    table = rates((1, 1, 1.0), (0.1, 1, 0.8), (0.01, 1, 0.6), (1e-3, 1, 0.4))
    assert pair(lr_bounds(table, lr_min_share=0.4, lr_max_share=0.8)) == (1e-3, 0.1)
    assert pair(lr_bounds(table, lr_min_share=0.5)) == (0.01, 1)
    assert pair(lr_bounds(table, lr_max_share=0.5, lr_min_share=0.41)) == (0.01, 0.1)


def test_shares_that_fall_still_give_bounds_that_rise() -> None:
    table = rates((1, 1, 0.95), (0.1, 1, 1.0), (0.01, 1, 0.6), (1e-3, 1, 0.4))
    assert pair(lr_bounds(table, lr_min_share=0.9, lr_max_share=0.5)) == (0.1, 1)


def test_lr_max_is_the_next_rate_that_learned_where_both_shares_fall_on_one() -> None:
    assert pair(lr_bounds(rates((0.01, 1, 0.2), (0.1, 1, 0.9), (1, 1, 0.85), (10, 1, 0.8)))) == (
        0.1,
        1,
    )


def test_a_rate_that_did_not_learn_is_passed_over_for_lr_max() -> None:
    table = rates((0.1, 1, 0.9), (1, 2.3, 0.1), (10, 1, 0.5), (100, np.nan, 0.1))
    assert pair(lr_bounds(table)) == (0.1, 10)


def test_accuracy_need_not_rise_with_the_rate() -> None:
    table = rates((1e-3, 1, 0.86), (1e-2, 1, 0.5), (1e-1, 1, 0.95), (1, 1, 1.0))
    assert pair(lr_bounds(table)) == (1e-3, 1e-1)


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_point_whose_loss_is_not_finite_sets_neither_the_best_accuracy_nor_a_bound(
    loss: float,
) -> None:
    table = rates(
        (1e-6, loss, 1.0), (1e-4, 0.95, 0.5), (1e-3, 0.9, 0.6), (1e-2, 0.8, 0.7), (1e-1, loss, 1.0)
    )
    assert by_rule(table) == {
        "plateau": (1e-3, 1e-2),  # 0.85 * 0.7 = 0.595 and 0.93 * 0.7 = 0.651
        "smith": (1e-4, 1e-2),  # 0.2 + 0.1 * 0.5 = 0.25 and 0.2 + 0.9 * 0.5 = 0.65
        "argmin_tenth": (1e-4, 1e-3),  # the least loss is that of 1e-2
    }


@pytest.mark.parametrize("loss", [2.3, 0.01])
def test_a_diverged_point_with_a_finite_loss_is_ignored_even_if_it_is_the_least(
    loss: float,
) -> None:
    learned = [(1e-3, 0.9, 0.6), (1e-2, 0.5, 0.8), (1e-1, 0.4, 0.82)]
    diverged = [(1.0, loss, 0.1), (10.0, loss, 0.19), (100.0, loss, np.nan)]
    expected = {
        "plateau": (1e-2, 1e-1),  # 0.697 and 0.763 are both reached at 1e-2
        "smith": (1e-3, 1e-2),  # 0.2 + 0.9 * 0.62 = 0.758
        "argmin_tenth": (1e-3, 1e-2),
    }
    assert by_rule(rates(*learned)) == expected
    assert by_rule(rates(*learned, *diverged)) == expected


def test_where_two_rates_have_the_same_accuracy_the_smaller_reached_it_first() -> None:
    table = rates((1e-1, 0.4, 0.8), (1e-2, 0.5, 0.8), (1e-3, 0.6, 0.5))
    assert by_rule(table) == {
        "plateau": (1e-2, 1e-1),
        "smith": (1e-3, 1e-2),
        "argmin_tenth": (1e-3, 1e-2),
    }


def test_accuracy_that_dips_and_rises_again_shows_each_rules_idea_of_a_peak() -> None:
    ends = [(1e-5, 1.9, 0.3), (1e-4, 1.1, 0.6), (1e-2, 0.4, 0.9), (1e-1, 0.5, 0.85), (1, 2.3, 0.1)]
    assert by_rule(rates(*ends, (1e-3, 1.5, 0.4))) == {
        "plateau": (1e-2, 1e-1),  # 0.765 and 0.837 are both reached at 1e-2
        "smith": (1e-5, 1e-4),  # 0.2 + 0.1 * 0.7 = 0.27; at 1e-4 it turns
        "argmin_tenth": (1e-4, 1e-3),
    }
    # A dip to guessing: 1e-3 is no bound. 1e-4 and 1e-2 are equally near to it, 1e-4 is the
    # smaller; it is also the nearest to a hundredth of 1e-2, so lr_min is the next smaller.
    assert by_rule(rates(*ends, (1e-3, 0.1, 0.1))) == {
        "plateau": (1e-2, 1e-1),
        "smith": (1e-5, 1e-4),
        "argmin_tenth": (1e-5, 1e-4),
    }


def test_the_number_of_classes_decides_what_learned() -> None:
    # best 0.7: 85 % is 0.595 and 93 % is 0.651; of two classes, 0.62 is below 5 / 8
    table = rates((1e-4, 1, 0.62), (1e-3, 1, 0.7), (1e-2, 1, 0.68))
    assert pair(lr_bounds(table, classes=10)) == (1e-4, 1e-3)
    assert pair(lr_bounds(table, classes=3)) == (1e-4, 1e-3)
    assert pair(lr_bounds(table, classes=2)) == (1e-3, 1e-2)


@given(
    accuracies=st.lists(st.floats(0, 1), min_size=2, max_size=11),
    data=st.data(),
)
def test_the_bounds_are_swept_rates_that_learned_and_rise(
    accuracies: list[float], data: st.DataObject
) -> None:
    swept = [10.0**-power for power in range(len(accuracies))]
    losses = data.draw(
        st.lists(
            st.sampled_from([0.5, 2.3, np.nan, np.inf]),
            min_size=len(swept),
            max_size=len(swept),
        )
    )
    rows = list(zip(swept, losses, accuracies, strict=True))
    learned = {rate: a for rate, loss, a in rows if np.isfinite(loss) and a >= 0.2}
    best = max(learned.values(), default=0)
    assume(any(rate > min(r for r, a in learned.items() if a >= 0.85 * best) for rate in learned))
    low, high = pair(lr_bounds(rates(*rows)))
    assert low < high
    assert {low, high} <= set(learned)
    assert learned[low] >= 0.85 * best
    assert all(a < 0.85 * best for rate, a in learned.items() if rate < low)
    reached = [rate for rate, a in learned.items() if a >= 0.93 * best]
    above = [rate for rate in learned if rate > low]
    assert high == (min(reached) if min(reached) > low else min(above))


@every_rule
def test_where_nothing_learned_the_error_tells_the_best_accuracy_and_what_to_widen(
    rule: str,
) -> None:
    table = rates((10, np.nan, 0.1), (1e-8, 2.9, 0.1234), (1e-9, 3.4, 0.05))
    message = refusal_of_rates(table, rule)
    assert "0.1234" in message
    assert "0.2 is needed" in message
    assert "lr_sweep.epochs" in message


@every_rule
def test_where_every_loss_is_not_finite_nothing_learned(rule: str) -> None:
    table = rates((10, np.nan, 0.9), (1, np.inf, 1))
    assert "no learning rate learned" in refusal_of_rates(table, rule)


@every_rule
def test_where_only_the_largest_rate_learned_the_error_asks_for_rates_beside_it(rule: str) -> None:
    message = refusal_of_rates(rates((1e-3, 2.3, 0.1), (1e-2, 2.2, 0.15), (0.1, 0.5, 0.8)), rule)
    if rule == "argmin_tenth":
        assert message.startswith("no learning rate below lr_max = 0.1 learned")
        assert "add rates just below it" in message
    else:
        assert message.startswith("no learning rate above lr_min = 0.1 learned")
        assert "add rates just above it" in message


@pytest.mark.parametrize("rule", ["plateau", "smith"])
def test_where_all_rates_above_lr_min_diverged_the_error_names_lr_min(rule: str) -> None:
    message = refusal_of_rates(rates((0.1, 0.5, 0.8), (1, 2.3, 0.1), (10, np.nan, 0.1)), rule)
    assert "above lr_min = 0.1" in message


@pytest.mark.parametrize("rule", ["steepest", "Plateau", ""])
def test_an_unknown_rule_is_refused_by_name(rule: str) -> None:
    known = "known are plateau, smith, argmin_tenth"
    with pytest.raises(InputError, match=f"^lr_bounds.rule '{rule}' is unknown: {known}$"):
        lr_bounds(LEARNING_RATES, rule)


SWEPT = st.lists(
    st.tuples(
        st.sampled_from([10.0**power for power in range(-9, 2)] + [3e-5, 2e-3, 0.7]),
        st.sampled_from([0.3, 0.5, 2.3, np.nan, np.inf]),
        st.one_of(st.floats(0, 1), st.sampled_from([0.1, 0.2, 0.8])),
    ),
    min_size=1,
    max_size=11,
    unique_by=lambda row: row[0],
)


def learned_of(rows: Sequence[tuple[float, float, float]]) -> dict[float, tuple[float, float]]:
    """Return the rates that learned, rising: rate -> (loss, accuracy)."""
    return {
        rate: (loss, accuracy)
        for rate, loss, accuracy in sorted(rows)
        if np.isfinite(loss) and accuracy >= 0.2
    }


@every_rule
@given(rows=SWEPT)
def test_every_rule_returns_rates_that_were_swept_and_learned_or_names_the_one_it_found(
    rule: str, rows: list[tuple[float, float, float]]
) -> None:
    learned = learned_of(rows)
    try:
        low, high = pair(lr_bounds(rates(*rows), rule))
    except InputError:
        message = refusal_of_rates(rates(*rows), rule)
        alone = f"above lr_min = {max(learned, default=0):g} learned"
        if rule == "argmin_tenth":
            alone = f"below lr_max = {min(learned, default=0):g} learned"
        assert (alone if learned else "no learning rate learned") in message
    else:
        assert low < high
        assert {low, high} <= learned.keys()


@given(rows=SWEPT, top=st.floats(0.3, 1))
def test_smith_starts_with_a_tenth_of_the_rise_and_ends_with_nine_or_at_the_first_turn(
    rows: list[tuple[float, float, float]], top: float
) -> None:
    rows = [*rows, (50, 0.5, 0.3), (100, 0.5, top)]
    learned = {rate: accuracy for rate, (_, accuracy) in learned_of(rows).items()}
    table = with_status(rates(*rows), "learning_rate", 0.2)
    best = table.loc[table["train_accuracy"].where(table["status"] == LEARNED).idxmax()]
    below = table[table["learning_rate"] <= best["learning_rate"]]
    guessed = below.loc[below["status"] != DIVERGED, "train_accuracy"].min()
    floor = min(guessed, 0.2)
    rise = best["train_accuracy"] - floor
    after = dict(pairwise(sorted(rate for rate, _, _ in rows)))
    turned = {  # the next swept rate is worse, did not learn or does not exist
        rate: learned.get(after.get(rate, np.nan), 0) < accuracy
        for rate, accuracy in learned.items()
    }
    low = min(rate for rate in learned if learned[rate] >= floor + 0.1 * rise)
    above = [rate for rate in learned if rate > low]
    slowed = {rate for rate in above if learned[rate] >= floor + 0.9 * rise}
    half = {rate for rate in above if learned[rate] >= floor + 0.5 * rise and turned[rate]}
    ends = slowed | half or above
    assert pair(lr_bounds(rates(*rows), "smith")) == (low, min(ends))


@given(
    rows=st.lists(
        st.tuples(st.floats(-6, 1).map(lambda power: 10**power), st.sampled_from([0.3, 0.5])),
        min_size=1,
        max_size=9,
        unique_by=lambda row: row[0],
    )
)
def test_no_rate_is_nearer_to_argmin_tenths_tenth_than_lr_max_nor_to_its_hundredth_than_lr_min(
    rows: list[tuple[float, float]],
) -> None:
    rows = [*rows, (1e-8, 0.9), (1e-9, 0.9)]
    best = min(rows, key=lambda row: (row[1], row[0]))[0]
    low, high = argmin_tenth(*rows)
    away = {rate: abs(np.log10(rate / best) + 1) for rate, _ in rows}
    further = {rate: abs(np.log10(rate / best) + 2) for rate, _ in rows}
    assert away[high] <= min(away.values()) + 1e-8
    if further[high] <= min(further.values()) + 1e-8:
        assert low == max(rate for rate, _ in rows if rate < high)
    else:
        assert further[low] <= min(further.values()) + 1e-8
        assert low < high


# The rule `smith`


def smith(*rows: tuple[float, float], classes: int = 10) -> tuple[float, float]:
    """Return the bounds by the rule `smith` of (rate, accuracy) with a loss that tells nothing."""
    table = rates(*((rate, 1.0, accuracy) for rate, accuracy in rows))
    return pair(lr_bounds(table, "smith", classes))


def test_smiths_tenth_and_nine_tenths_of_the_rise_may_just_be_reached() -> None:
    # from 0.0625 to 1 accuracy rises by 0.9375, a tenth of which is 0.09375
    at = {1e-6: 0.0625, 1e-5: 0.156, 1e-4: 0.0625 + 0.09375, 1e-3: 0.906, 1e-2: 1 - 0.09375, 1: 1.0}
    assert smith(*at.items(), classes=16) == (1e-4, 1e-2)


def test_smiths_rise_begins_where_a_rate_learned_and_not_merely_above_chance() -> None:
    # a tenth of the rise from 0.1 to 0.9 is reached at 0.18, but 0.2 is needed to have learned
    assert smith((1e-5, 0.1), (1e-4, 0.19), (1e-3, 0.2), (1e-2, 0.9)) == (1e-3, 1e-2)
    # of 100 classes, 0.02 has learned, but the rise has begun at 0.01 + 0.1 * 0.89 = 0.099
    rows = [(1e-6, 0.01), (1e-5, 0.03), (1e-4, 0.09), (1e-3, 0.1), (1e-2, 0.9)]
    assert smith(*rows, classes=100) == (1e-3, 1e-2)


def test_smiths_rise_does_not_begin_where_an_untrained_network_guesses_well() -> None:
    # A quick run's seed 1, whose initial weights already get a fifth right: a tenth of the rise
    # from 0.2014, taken as 0.2, to 0.8526 is reached at 0.2653, and nine tenths at 0.7873.
    rows = [(1e-7, 0.2014), (1e-6, 0.2172), (1e-5, 0.3260), (1e-4, 0.6434), (1e-3, 0.8060)]
    assert smith(*rows, (1e-2, 0.8526), (1e-1, 0.8258)) == (1e-5, 1e-3)


def test_a_sweep_that_begins_with_much_learned_begins_to_rise_at_its_first_rate() -> None:
    # a tenth of the rise from 0.2, as far as guessing goes, to 0.9 is at 0.27
    assert smith((1e-4, 0.3), (1e-3, 0.6), (1e-2, 0.9)) == (1e-4, 1e-2)


def test_smiths_accuracy_turns_where_it_falls_and_not_where_it_stays() -> None:
    # nine tenths of the rise from 0.2 to 0.8 are at 0.74
    assert smith((1e-3, 0.3), (1e-2, 0.5), (1e-1, 0.5), (1, 0.8)) == (1e-3, 1)
    assert smith((1e-3, 0.3), (1e-2, 0.5), (1e-1, 0.4999), (1, 0.8)) == (1e-3, 1e-2)


def test_a_dip_at_the_foot_of_the_curve_is_no_turn_for_smith() -> None:
    # half of the rise from 0.1 to 0.9 is at 0.5, nine tenths at 0.82
    foot = [(1e-7, 0.1), (1e-6, 0.25), (1e-5, 0.27), (1e-4, 0.269)]
    assert smith(*foot, (1e-3, 0.6), (1e-2, 0.85), (1e-1, 0.9)) == (1e-6, 1e-2)
    assert smith(*foot, (1e-3, 0.6), (1e-2, 0.59), (1e-1, 0.9)) == (1e-6, 1e-3)


def test_smiths_accuracy_may_turn_at_lr_min_which_is_not_yet_lr_max() -> None:
    assert smith((1e-4, 0.3), (1e-3, 0.25), (1e-2, 0.4), (1e-1, 0.9)) == (1e-4, 1e-1)


def test_smiths_range_ends_before_a_rate_that_diverged() -> None:
    table = rates((1e-3, 1, 0.4), (1e-2, 1, 0.6), (1e-1, np.nan, 0.7), (1, 1, 0.9))
    assert pair(lr_bounds(table, "smith")) == (1e-3, 1e-2)


# The rule `argmin_tenth`


def argmin_tenth(*rows: tuple[float, float]) -> tuple[float, float]:
    """Return the bounds by the rule `argmin_tenth` of (rate, loss) that all learned alike."""
    return pair(lr_bounds(rates(*((rate, loss, 0.5) for rate, loss in rows)), "argmin_tenth"))


def test_of_two_rates_with_the_least_loss_argmin_tenth_takes_a_tenth_of_the_smaller() -> None:
    rows = [(1.0, 0.9), (1e-1, 0.4), (1e-2, 0.4), (1e-3, 0.7), (1e-4, 0.8)]
    assert argmin_tenth(*rows) == argmin_tenth(*rows[::-1]) == (1e-4, 1e-3)


def test_a_tenth_that_was_not_swept_is_snapped_by_the_ratio_and_not_by_the_distance() -> None:
    # 0.05 lies 0.03 from 0.02 and from 0.08, but 2.5 times over the one and 1.6 below the other;
    # of 0.005 it is 1.25 times down to 0.004 and 4 times up to 0.02
    assert argmin_tenth((0.5, 0.3), (0.08, 0.4), (0.02, 0.5), (0.004, 0.6)) == (0.004, 0.08)


@pytest.mark.parametrize("best", [0.4, 0.7, 3e-5, 1 / 3])
@pytest.mark.parametrize("factor", [1.5, 2, 3])
def test_of_two_rates_equally_near_by_their_ratio_the_smaller_is_taken(
    best: float, factor: float
) -> None:
    swept = [best / tenth * side for tenth in (10, 100) for side in (factor, 1 / factor)]
    rows = [(rate, 0.9) for rate in swept]
    assert argmin_tenth((best, 0.3), *rows) == (swept[3], swept[1])
    assert argmin_tenth(*rows[::-1], (best, 0.3)) == (swept[3], swept[1])


def test_where_both_tenths_snap_to_one_rate_lr_min_is_the_next_smaller() -> None:
    # 0.1 and 0.01 are nearest to 0.04, 2.5 times below and 4 times above them
    assert argmin_tenth((1, 0.3), (0.04, 0.5), (1e-9, 0.9), (1e-8, 0.9)) == (1e-8, 0.04)


def test_where_both_tenths_snap_to_the_least_rate_the_error_asks_for_rates_below_it() -> None:
    table = rates((0.1, 0.3, 0.9), (0.05, 0.4, 0.8), (0.02, 0.5, 0.7))
    message = refusal_of_rates(table, "argmin_tenth")
    assert message.startswith("no learning rate below lr_max = 0.02 learned")


def test_the_stored_row_gives_the_bounds_back() -> None:
    found = lr_bounds(LEARNING_RATES)
    assert lr_range(pd.DataFrame([vars(found)])) == (1e-4, 1e-3)


# Batch sizes


@given(order=st.permutations(range(len(BATCH_SIZES))), stretch=st.sampled_from(["first", "outer"]))
def test_the_published_sweep_gives_its_published_batch_sizes_in_any_order(
    order: list[int], stretch: str
) -> None:
    found = batch_bounds(BATCH_SIZES.iloc[order], stretch=stretch)
    assert ends(found) == (16, 256)
    assert type(found.bmin) is type(found.bmax) is int


def test_the_published_step_to_256_holds_by_six_hundredths_of_a_percent() -> None:
    steps = batch_bounds(BATCH_SIZES).steps.set_index("batch_size")
    drops = [1.01, 1.45, 3.09, 3.44, 3.98, 7.06, 15.75, 36.79, 69.48]
    assert steps["relative_drop"].tolist()[:-1] == pytest.approx(drops, abs=0.006)
    assert np.isnan(steps["relative_drop"][8192])
    assert steps["holds"].tolist() == [True] * 4 + [False] * 6
    assert ends(batch_bounds(BATCH_SIZES, threshold=3.43)) == (16, 128)
    assert ends(batch_bounds(BATCH_SIZES, threshold=3.99)) == (16, 512)


def test_the_drop_is_relative_to_the_accuracy_of_the_later_size() -> None:
    # 100 * (0.6 - 0.5) / 0.5 = 20, where 100 * (0.6 - 0.5) / 0.6 would be 16.7
    found = batch_bounds(sizes(0.6, 0.6, 0.5))
    assert found.steps["relative_drop"].tolist()[:2] == pytest.approx([0, 20])
    assert ends(batch_bounds(sizes(0.6, 0.5), threshold=20.001)) == (16, 32)
    refusal_of_sizes(sizes(0.6, 0.5), threshold=19.999)


def test_a_step_holds_where_the_drop_equals_the_threshold() -> None:
    assert ends(batch_bounds(sizes(0.75, 0.5), threshold=50)) == (16, 32)


def test_a_step_on_which_accuracy_rises_holds() -> None:
    assert ends(batch_bounds(sizes(0.5, 0.6, 0.9), threshold=0)) == (16, 64)


def test_the_first_unbroken_stretch_is_taken_and_a_later_longer_one_is_not() -> None:
    # drops in percent: 100, 0, 50, 0, 0, 0
    found = batch_bounds(sizes(0.9, 0.45, 0.45, 0.3, 0.3, 0.3, 0.3))
    assert found.steps["holds"].tolist() == [False, True, False, True, True, True, False]
    assert ends(found) == (32, 64)
    assert found.table["in_range"].tolist() == [False, True, True, False, False, False, False]


def test_the_outer_stretch_reaches_to_the_last_step_that_holds_whatever_lies_between() -> None:
    # drops in percent: 100, 0, 50, 0, 0, 0 and 0, 100, 0, 100, 100
    found = batch_bounds(sizes(0.9, 0.45, 0.45, 0.3, 0.3, 0.3, 0.3), stretch="outer")
    assert ends(found) == (32, 1024)
    assert found.table["in_range"].tolist() == [False, True, True, True, True, True, True]
    twice = sizes(0.8, 0.8, 0.4, 0.4, 0.2, 0.1)
    assert ends(batch_bounds(twice)) == (16, 32)
    assert ends(batch_bounds(twice, stretch="outer")) == (16, 128)


@given(
    accuracies=st.lists(st.sampled_from([0.2, 0.4, 0.5, 0.8]), min_size=2, max_size=10),
    threshold=st.sampled_from([0.0, 25.0]),
)
def test_both_stretches_begin_alike_and_differ_only_where_steps_hold_beyond_the_first(
    accuracies: list[float], threshold: float
) -> None:
    drops = [100 * (a - b) / b for a, b in pairwise(accuracies)]
    held = [2**step for step, drop in enumerate(drops) if drop <= threshold]
    assume(held)
    first, outer = (
        batch_bounds(sizes(*accuracies, start=1), threshold, stretch)
        for stretch in ("first", "outer")
    )
    assert first.bmin == outer.bmin == held[0]
    assert outer.bmax == 2 * held[-1]
    assert (first.bmax < outer.bmax) == (first.bmax < held[-1])
    pd.testing.assert_frame_equal(first.steps, outer.steps)


@pytest.mark.parametrize("stretch", ["last", "First", ""])
def test_an_unknown_stretch_is_refused_by_name(stretch: str) -> None:
    told = f"^batch_bounds.stretch must be first or outer, but is '{stretch}'$"
    with pytest.raises(InputError, match=told):
        batch_bounds(BATCH_SIZES, stretch=stretch)


@pytest.mark.parametrize("stretch", ["first", "outer"])
def test_where_no_step_holds_neither_stretch_is_found(stretch: str) -> None:
    with pytest.raises(InputError, match=r"threshold of 25\.00 would give a range"):
        batch_bounds(sizes(0.5, 0.4, 0.2), 3.5, stretch)


@pytest.mark.parametrize("stretch", ["first", "outer"])
def test_where_every_step_holds_the_range_is_the_whole_sweep(stretch: str) -> None:
    found = batch_bounds(sizes(0.8, 0.8, 0.8, 0.8), stretch=stretch)
    assert ends(found) == (16, 128)
    assert found.table["in_range"].all()


def test_the_last_step_alone_may_hold() -> None:
    assert ends(batch_bounds(sizes(0.9, 0.6, 0.6))) == (32, 64)


def test_the_table_has_one_row_a_size_in_rising_order() -> None:
    found = batch_bounds(sizes(0.8, 0.79, 0.5).iloc[::-1])
    columns = ["batch_size", "train_accuracy", "relative_drop", "holds", "in_range"]
    assert list(found.table.columns) == columns
    assert found.table["batch_size"].tolist() == [16, 32, 64]
    assert found.table["train_accuracy"].tolist() == [0.8, 0.79, 0.5]
    assert found.table["holds"].dtype == found.table["in_range"].dtype == bool


def test_detecting_leaves_its_argument_alone() -> None:
    table = sizes(0.8, 0.79, 0.5).iloc[::-1]
    before = table.copy()
    batch_bounds(table)
    pd.testing.assert_frame_equal(table, before)


def test_an_accuracy_of_zero_neither_crashes_nor_holds() -> None:
    found = batch_bounds(sizes(0.0, 0.0, 0.0, 0.5, 0.5, 0.0))
    assert found.steps["holds"].tolist() == [False, False, False, True, False, False]
    assert ends(found) == (128, 256)
    drops = found.steps["relative_drop"]
    assert drops[3] == 0
    assert drops.isna().sum() == 5


def test_accuracy_that_holds_at_chance_is_no_range() -> None:
    falling = (0.7, 0.6, 0.45, 0.3, 0.2)
    for stretch in ("first", "outer"):
        assert ends(batch_bounds(sizes(0.71, *falling, 0.102, 0.1), stretch=stretch)) == (16, 32)
    refusal = refusal_of_sizes(sizes(*falling, 0.102, 0.1))
    assert "16->32: 16.67 %" in refusal
    assert "512->1024: not learned" in refusal
    assert "a threshold of 16.67 would give a range" in refusal
    # of 100 classes even 0.1 has learned
    assert ends(batch_bounds(sizes(*falling, 0.102, 0.1), classes=100)) == (512, 1024)


def test_sizes_that_diverged_are_no_range_however_equal_their_accuracies() -> None:
    table = sizes(0.8, 0.8, 0.8, 0.4).assign(train_loss=[1, np.nan, np.inf, 1])
    assert "no two neighbouring batch sizes learned" in refusal_of_sizes(table)


def test_a_missing_accuracy_breaks_the_stretch() -> None:
    assert ends(batch_bounds(sizes(0.8, 0.8, np.nan, 0.8, 0.8))) == (16, 32)


@pytest.mark.parametrize("accuracies", [(0.8,), (0.0, 0.0), (np.nan, 0.8), (0.5, 0.0)])
def test_where_no_step_can_be_compared_the_error_says_what_to_widen(
    accuracies: Sequence[float],
) -> None:
    message = refusal_of_sizes(sizes(*accuracies), threshold=3.5)
    assert "batch_sweep.batch_sizes" in message
    assert "batch_sweep.epochs" in message
    assert ("(one size)" if len(accuracies) == 1 else "16->32: ") in message


def test_where_no_step_holds_the_error_shows_the_steps_and_a_threshold_that_works() -> None:
    table = sizes(0.9, 0.6, 0.5, 0.4)
    message = refusal_of_sizes(table, threshold=3.5)
    assert "batch_bounds.threshold = 3.5" in message
    assert "16->32: 50.00 %, 32->64: 20.00 %, 64->128: 25.00 %" in message
    [advice] = re.findall(r"a threshold of ([\d.]+) would give a range", message)
    assert 20 <= float(advice) <= 20.01
    assert ends(batch_bounds(table, float(advice))) == (32, 64)


@example(accuracies=[54_321 / 60_000, 7 / 60_000], threshold=3.5)
@given(
    accuracies=st.lists(st.integers(0, 60_000).map(lambda n: n / 60_000), min_size=2, max_size=10),
    threshold=st.floats(0, 10),
)
def test_the_advised_threshold_always_gives_a_range_and_is_the_least_to_the_hundredth(
    accuracies: list[float], threshold: float
) -> None:
    table = sizes(*accuracies)
    try:
        batch_bounds(table, threshold)
    except InputError as error:
        advice = re.findall(r"a threshold of ([\d.e+]+) would give a range", str(error))
    else:
        return
    comparable = any(min(pair) >= 0.2 for pair in pairwise(accuracies))
    assert len(advice) == comparable
    for least in map(float, advice):
        low, high = ends(batch_bounds(table, least))
        assert low < high
        refusal_of_sizes(table, least - 0.0101)


@given(accuracies=st.lists(st.floats(0.2, 1), min_size=2, max_size=10))
def test_within_the_range_every_step_holds_and_the_step_out_of_it_does_not(
    accuracies: list[float],
) -> None:
    threshold = 5.0
    drops = [100 * (a - b) / b for a, b in pairwise(accuracies)]
    assume(min(drops) <= threshold)
    low, high = ends(batch_bounds(sizes(*accuracies, start=1), threshold))
    first, last = low.bit_length() - 1, high.bit_length() - 1
    assert first < last
    assert all(drop <= threshold for drop in drops[first:last])
    assert all(drop > threshold for drop in drops[:first])
    assert last == len(drops) or drops[last] > threshold


def test_fixed_sizes_are_the_whole_range_and_were_not_measured() -> None:
    found = fixed_batch_bounds(16, 64)
    assert ends(found) == (16, 64)
    assert found.table["batch_size"].tolist() == [16, 32, 64]
    assert found.table["in_range"].tolist() == [True, True, True]
    assert found.table["holds"].tolist() == [False, False, False]
    assert found.table[["train_accuracy", "relative_drop"]].isna().all(axis=None)
    assert list(found.table.columns) == list(batch_bounds(BATCH_SIZES).table.columns)


def test_fixed_sizes_that_no_doubling_joins_are_refused() -> None:
    with pytest.raises(InputError, match="bmin is 16 and bmax is 48"):
        fixed_batch_bounds(16, 48)


@pytest.mark.parametrize("found", [batch_bounds(BATCH_SIZES), fixed_batch_bounds(16, 256)])
def test_the_stored_steps_give_the_sizes_back(found: BatchBounds) -> None:
    assert batch_range(found.table) == (16, 256)
    assert batch_range(found.table.iloc[::-1]) == (16, 256)


# What the command tells


@pytest.mark.parametrize(
    ("step", "changes", "told"),
    [
        ("lr_bounds", {"lr_sweep__learning_rates": [10]}, "no learning rate learned"),
        (
            "batch_bounds",
            {"batch_sweep__batch_sizes": [64]},
            "no two neighbouring batch sizes learned",
        ),
    ],
)
def test_a_sweep_without_an_answer_ends_the_command_in_one_line_that_names_its_table(
    store: Path, step: str, changes: dict[str, Any], told: str
) -> None:
    ran = running.run(store, "--until-step", step, **changes)
    assert ran.status == 2
    [line] = ran.error.strip().splitlines()
    assert line.startswith(f"cyclical: {told}")
    [named] = re.findall(r"; the table is (\S+)$", line)
    [(value, swept)] = changes.items()
    table = pd.read_parquet(named)
    assert table[value.split("__")[1].removesuffix("s")].tolist() == swept
    assert Path(named).is_relative_to(store / step.replace("bounds", "sweep"))
    assert ran.executed == {f"{step.replace('bounds', 'sweep')}/sweep"}
