"""From a sweep's table to its bounds: the published numbers, and tables made by hand."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

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

PUBLISHED = reference.PUBLISHED / "notebook_sweeps.csv"


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


def pair(found: LearningRateBounds) -> tuple[float, float]:
    return found.lr_min, found.lr_max


def ends(found: BatchBounds) -> tuple[int, int]:
    return found.bmin, found.bmax


def refusal_of_rates(table: pd.DataFrame) -> str:
    """Return the error of a table that allows no learning-rate bounds: one line, with a remedy."""
    with pytest.raises(InputError) as caught:
        lr_bounds(table)
    assert "\n" not in str(caught.value)
    assert "lr_sweep.learning_rates" in str(caught.value)
    return str(caught.value)


def refusal_of_sizes(table: pd.DataFrame, threshold: float) -> str:
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
    found = lr_bounds(LEARNING_RATES.iloc[order])
    assert found == LearningRateBounds(lr_min=1e-4, lr_max=1e-3, rule="plateau")
    assert type(found.lr_min) is type(found.lr_max) is float


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


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_point_whose_loss_is_not_finite_sets_neither_the_best_accuracy_nor_a_bound(
    loss: float,
) -> None:
    table = rates((1e-3, 1, 0.6), (1e-2, 1, 0.7), (1e-1, loss, 1.0), (1e-5, loss, 1.0))
    assert pair(lr_bounds(table)) == (1e-3, 1e-2)


def test_a_diverged_point_with_a_finite_loss_is_ignored() -> None:
    learned = [(1e-3, 0.6, 0.8), (1e-2, 0.5, 0.9)]
    diverged = [(1e-1, 2.3, 0.1), (1.0, 2.3, 0.19)]
    assert pair(lr_bounds(rates(*learned, *diverged))) == pair(lr_bounds(rates(*learned)))


def test_the_number_of_classes_decides_what_learned() -> None:
    # best 0.7: 85 % is 0.595 and 93 % is 0.651; of three classes, 0.62 is below 2 / 3
    table = rates((1e-4, 1, 0.62), (1e-3, 1, 0.7), (1e-2, 1, 0.68))
    assert pair(lr_bounds(table, classes=10)) == (1e-4, 1e-3)
    assert pair(lr_bounds(table, classes=3)) == (1e-3, 1e-2)


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


def test_where_nothing_learned_the_error_tells_the_best_accuracy_and_what_to_widen() -> None:
    message = refusal_of_rates(rates((10, np.nan, 0.1), (1e-8, 2.9, 0.1234), (1e-9, 3.4, 0.05)))
    assert "0.1234" in message
    assert "0.2 is needed" in message
    assert "lr_sweep.epochs" in message


def test_where_every_loss_is_not_finite_nothing_learned() -> None:
    assert "no learning rate learned" in refusal_of_rates(rates((10, np.nan, 0.9), (1, np.inf, 1)))


def test_where_only_the_largest_rate_learned_the_error_asks_for_rates_above_it() -> None:
    message = refusal_of_rates(rates((0.01, 2.3, 0.1), (0.1, 0.5, 0.8)))
    assert "above lr_min = 0.1" in message
    assert "add rates just above it" in message


def test_where_all_rates_above_lr_min_diverged_the_error_names_lr_min() -> None:
    message = refusal_of_rates(rates((0.1, 0.5, 0.8), (1, 2.3, 0.1), (10, np.nan, 0.1)))
    assert "above lr_min = 0.1" in message


def test_an_unknown_rule_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"^lr_bounds\.rule 'steepest' .* 'plateau'$"):
        lr_bounds(LEARNING_RATES, rule="steepest")


def test_the_stored_row_gives_the_bounds_back() -> None:
    found = lr_bounds(LEARNING_RATES)
    assert lr_range(pd.DataFrame([vars(found)])) == (1e-4, 1e-3)


# Batch sizes


@given(order=st.permutations(range(len(BATCH_SIZES))))
def test_the_published_sweep_gives_its_published_batch_sizes_in_any_order(order: list[int]) -> None:
    found = batch_bounds(BATCH_SIZES.iloc[order])
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


def test_where_every_step_holds_the_range_is_the_whole_sweep() -> None:
    found = batch_bounds(sizes(0.8, 0.8, 0.8, 0.8))
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
    assert found.steps["holds"].tolist() == [False, False, True, True, False, False]
    assert ends(found) == (64, 256)
    drops = found.steps["relative_drop"]
    assert np.isnan(drops[0])
    assert drops[4] == np.inf


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
    comparable = any(low > 0 for _, low in pairwise(accuracies))
    assert len(advice) == comparable
    for least in map(float, advice):
        low, high = ends(batch_bounds(table, least))
        assert low < high
        refusal_of_sizes(table, least - 0.0101)


@given(accuracies=st.lists(st.floats(0.01, 1), min_size=2, max_size=10))
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
