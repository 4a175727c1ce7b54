"""The range test: smoothing, divergence, and the bounds of curves whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cyclical.errors import InputError
from cyclical.range_test import (
    RULES,
    bounds,
    curve,
    diverging_rate,
    lr_at_least_loss,
    smooth,
    suggestions,
    summary,
)

SWEPT = [float(f"1e{power}") for power in range(1, -10, -1)]
RATES = np.geomspace(1e-6, 10, 701)  # a hundred updates a decade


def run(loss: NDArray[np.float64], accuracy: NDArray[np.float64] | None = None) -> pd.DataFrame:
    accuracy = 1 - loss / 4 if accuracy is None else accuracy
    table = {"learning_rate": RATES[: len(loss)], "loss": loss, "accuracy": accuracy}
    return pd.DataFrame(table)


def known(loss: NDArray[np.float64], accuracy: NDArray[np.float64] | None = None) -> pd.DataFrame:
    """Make a curve that smoothing has not shifted."""
    made = run(loss, accuracy)
    smoothed = {f"smoothed_{name}": made[name] for name in ("loss", "accuracy")}
    return made.assign(seeds=1, diverged=False, **smoothed)


def falling(middle: float, width: float = 0.3) -> NDArray[np.float64]:
    """Return a loss that falls from 3 to 1 around `middle` and rises from 0.1 on, least there."""
    x = np.log10(RATES)
    fall = 3 - 2 / (1 + np.exp(-(x - np.log10(middle)) / width))
    return np.asarray(fall + np.where(x > -1, (x + 1) ** 2, 0))


def test_smoothing_corrects_the_bias_of_the_start() -> None:
    # m = 1, 2.5, 2.75 (beta = 1/2: m = m/2 + v/2), corrected by 1/2, 3/4, 7/8.
    assert smooth(np.array([2.0, 4.0, 3.0]), 0.5).tolist() == pytest.approx([2, 10 / 3, 22 / 7])


@given(value=st.floats(-10, 10), beta=st.floats(0, 0.99), length=st.integers(1, 50))
def test_a_constant_stays_what_it_is(value: float, beta: float, length: int) -> None:
    assert smooth(np.full(length, value), beta) == pytest.approx(np.full(length, value))


@given(
    values=st.lists(st.floats(-5, 5), min_size=1, max_size=40),
    beta=st.floats(0, 0.99),
)
def test_a_smoothed_value_lies_among_those_so_far(values: list[float], beta: float) -> None:
    smoothed = smooth(np.array(values), beta)
    for update in range(len(values)):
        so_far = values[: update + 1]
        assert min(so_far) - 1e-9 <= smoothed[update] <= max(so_far) + 1e-9


def test_without_memory_nothing_is_smoothed() -> None:
    assert smooth(np.array([2.0, 4.0]), 0).tolist() == [2, 4]


def test_a_beta_of_one_is_refused() -> None:
    with pytest.raises(InputError, match="beta must lie in"):
        smooth(np.array([1.0]), 1)


def test_the_runs_of_all_seeds_are_averaged_and_smoothed_over_four_percent() -> None:
    loss = np.linspace(3, 2, 100)
    table = curve([run(loss), run(loss - 1)])
    assert table["loss"].tolist() == pytest.approx(list(loss - 0.5))
    assert table["smoothed_loss"].tolist() == pytest.approx(list(smooth(loss - 0.5, 1 - 1 / 4)))
    assert set(table["seeds"]) == {2}
    assert len(table) == 100
    assert not table["diverged"].any()
    assert diverging_rate(table) == np.inf


def test_the_test_ends_where_the_smoothed_loss_is_over_four_times_its_least() -> None:
    loss = np.ones(20)  # so short that nothing is smoothed
    loss[5], loss[12], loss[15] = 0.5, 2.0, 2.01  # 4 times 0.5, and more
    table = curve([run(loss)])
    assert len(table) == 16
    assert table["diverged"].tolist() == [False] * 15 + [True]
    assert diverging_rate(table) == RATES[15]
    assert lr_at_least_loss(table) == RATES[5]


def test_the_test_ends_at_a_loss_that_is_not_finite() -> None:
    loss = np.ones(20)
    loss[10] = np.nan
    assert len(curve([run(loss)])) == 11
    assert lr_at_least_loss(curve([run(loss)])) == RATES[0]


def test_the_shortest_run_ends_the_mean() -> None:
    assert len(curve([run(np.ones(20)), run(np.ones(15))])) == 15


def test_each_rule_finds_the_rate_that_its_curve_was_made_for() -> None:
    accuracy = np.interp(np.log10(RATES), [-5, -2], [0.1, 0.9])
    table = suggestions(known(falling(1e-3), accuracy)).set_index("rule")
    assert list(table.index) == list(RULES)
    # The loss is least at 0.1, where the fit before and the parabola behind meet: a tenth is 0.01.
    assert table.loc["minimum_tenth"].tolist() == pytest.approx([1e-3, 1e-2], rel=0.15)
    assert table.loc["steepest"].tolist() == pytest.approx([1e-4, 1e-3], rel=0.05)
    # It falls strictly from 1e-6 to 0.1, of which the middle is 10^-3.5.
    assert table.loc["valley"].tolist() == pytest.approx([10**-4.5, 10**-3.5], rel=0.15)
    # A tenth of the rise of three decades is done at 10^-4.7, nine tenths at 10^-2.3.
    assert table.loc["smith"].tolist() == pytest.approx([10**-4.7, 10**-2.3], rel=0.05)


@given(power=st.floats(-4.5, -2.5))
def test_the_steepest_rate_moves_with_the_curve(power: float) -> None:
    table = suggestions(known(falling(10**power))).set_index("rule")
    assert np.log10(table.loc["steepest", "lr_max"]) == pytest.approx(power, abs=0.05)


def test_what_comes_after_the_least_loss_is_left_out() -> None:
    loss = falling(1e-3)
    risen = loss.copy()
    risen[RATES > 0.3] = 2.9  # and falls steeply once more
    risen[RATES > 1] = 1.2
    before, after = (suggestions(known(each)) for each in (loss, risen))
    pd.testing.assert_frame_equal(before, after)


def test_an_accuracy_that_rises_for_a_moment_has_not_begun_to_rise() -> None:
    accuracy = np.interp(np.log10(RATES), [-4, -2], [0.1, 0.9])
    accuracy[20] = 0.5
    table = suggestions(known(falling(1e-3), accuracy)).set_index("rule")
    assert table.loc["smith", "lr_min"] == pytest.approx(10**-3.8, rel=0.05)


@pytest.mark.parametrize("rule", RULES)
def test_bounds_are_swept_rates_and_rise(rule: str) -> None:
    found = bounds(known(falling(2e-3)), rule, SWEPT)
    assert found.lr_min in SWEPT
    assert found.lr_max in SWEPT
    assert found.lr_min < found.lr_max
    assert found.rule == rule


def test_the_nearest_swept_rates_are_taken_on_a_log_scale() -> None:
    # steepest at 2e-3 and 2e-4: 1e-3 and 1e-4 are 0.3 decades away, the next ones 0.7.
    found = bounds(known(falling(2e-3)), "steepest", SWEPT)
    assert (found.lr_min, found.lr_max) == (1e-4, 1e-3)


def test_bounds_on_one_rate_take_the_next_smaller_or_else_larger_one() -> None:
    table = known(falling(2e-3))
    first = bounds(table, "steepest", [10, 1e-3, 1e-8])
    assert (first.lr_min, first.lr_max) == (1e-8, 1e-3)
    last = bounds(table, "steepest", [10, 1e-3])
    assert (last.lr_min, last.lr_max) == (1e-3, 10)


@given(order=st.permutations(SWEPT))
def test_the_order_of_the_swept_rates_does_not_matter(order: list[float]) -> None:
    assert bounds(known(falling(1e-3)), "steepest", order) == bounds(
        known(falling(1e-3)), "steepest", SWEPT
    )


def test_a_loss_that_never_fell_is_an_error_with_its_remedy() -> None:
    with pytest.raises(InputError, match=r"never fell within 30 updates.*range_updates"):
        suggestions(known(np.linspace(1, 2, 30)))


def test_a_rule_of_sweeps_and_a_single_rate_are_refused() -> None:
    table = known(falling(1e-3))
    with pytest.raises(InputError, match="'plateau' is none of a range test's"):
        bounds(table, "plateau", SWEPT)
    with pytest.raises(InputError, match="two rates"):
        bounds(table, "valley", [0.1, 0.1])


def test_the_summary_says_how_far_each_seed_came() -> None:
    broken = np.append(np.full(10, 2.0), [1.0, np.nan])
    table = summary({3: run(np.linspace(3, 1, 20)), 7: run(broken)})
    assert table["seed"].tolist() == [3, 7]
    assert table["updates"].tolist() == [20, 12]
    assert table["least_loss"].tolist() == pytest.approx([1, 1])
    assert table["lr_at_least_loss"].tolist() == pytest.approx([RATES[19], RATES[10]])
    assert table["lr_at_end"].tolist() == pytest.approx([RATES[19], RATES[11]])
    assert table["status"].tolist() == ["finished", "diverged"]


def test_a_loss_that_falls_below_zero_does_not_diverge_and_one_that_rises_again_does() -> None:
    falling = np.linspace(0.2, -0.9, 200)
    assert len(curve([run(falling)])) == 200
    back = np.concatenate([falling, np.linspace(-0.9, 5.0, 200)])
    table = curve([run(back)])
    assert 200 < len(table) < 400
    assert table["diverged"].iloc[-1]
