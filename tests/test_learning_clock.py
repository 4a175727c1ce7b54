"""Both sweeps on one clock: the sums of the rates, and what the same sum had reached."""

import math

import numpy as np
import pandas as pd
import pytest

from cyclical.clock_plots import PALE, learning_clock_figure
from cyclical.learning_clock import Ran, at_equal_sums, curve_of, every_epoch
from cyclical.sweeps import DIVERGED, LEARNED
from tests.drawing import drawn, unreadable


def ran(
    rates: list[float], ends: list[int], accuracies: list[float], judged: int | None = None
) -> Ran:
    """Make a training of so many updates by the end of each epoch; one of NaN diverged in it."""
    finite = np.isfinite(accuracies)
    history = pd.DataFrame(
        {
            "epoch": np.arange(1, len(ends) + 1),
            "updates": ends,
            "examples": np.multiply(ends, 64),
            "train_loss": np.where(finite, 1.0, math.nan),
            "train_accuracy": np.where(finite, accuracies, 0.12),  # of the examples until then
            "val_loss": 1.0,
            "val_accuracy": 0.1,  # lags, and says nothing here
        }
    )
    return Ran(history, pd.Series(rates), judged)


RATES = every_epoch(
    {
        (0.1, 0): ran([0.1] * 20, [10, 20], [0.6, 0.8]),
        (0.01, 0): ran([0.01] * 20, [10, 20], [0.3, 0.4]),
        (1.0, 0): ran([1] * 20, [10, 20], [0.5, 0.7]),
        (10.0, 0): ran([10] * 20, [10, 20], [0.1, math.nan]),
    },
    "learning_rate",
)
STATUS = pd.DataFrame(
    {
        "learning_rate": [0.01, 0.1, 1.0, 10.0],
        "train_accuracy": [0.4, 0.8, 0.7, 0.1],
        "status": [LEARNED, LEARNED, LEARNED, DIVERGED],
    }
)
BATCHES = every_epoch(
    {
        (16, 0): ran([0.1] * 20, [10, 20], [0.5, 0.78]),
        (32, 0): ran([0.1] * 20, [10, 20], [0.5, math.nan]),
        (64, 0): ran([0.1] * 4, [2, 4], [0.4, 0.5]),
        (128, 0): ran([0.1] * 40, [20, 40], [0.8, 0.9]),
        (256, 0): ran([0.1] * 2, [1, 2], [0.2, 0.3]),
        (512, 0): ran([0.1] * 5, [5], [0.2]),
    },
    "batch_size",
)


def test_the_sum_is_that_amid_the_epoch_and_goes_up_with_every_update_at_its_own_rate() -> None:
    table = every_epoch({(0.3, 7): ran([0.1, 0.2, 0.4, 0.8], [1, 4], [0.1, 0.2])}, "learning_rate")
    assert table["rate_sum"].tolist() == pytest.approx([0.05, 0.8])
    assert table["from_start"].tolist() == [True, False]
    assert table["learning_rate"].tolist() == [0.3, 0.3]
    assert table["seed"].tolist() == [7, 7]
    assert list(table.columns[:5]) == [
        *("learning_rate", "seed", "rate_sum", "from_start", "epoch"),
    ]


@pytest.mark.parametrize(
    ("judged", "rate_sum", "from_start"), [(2, 0.9, False), (10, 0.5, True), (99, 0.5, True)]
)
def test_a_last_epoch_that_is_judged_by_its_last_updates_has_their_sum(
    judged: int, rate_sum: float, from_start: bool
) -> None:
    [row] = every_epoch({(16, 0): ran([0.1] * 10, [10], [0.5], judged)}, "batch_size").to_dict(
        "records"
    )
    assert row["rate_sum"] == pytest.approx(rate_sum)
    assert row["from_start"] is from_start


def test_a_training_that_diverged_has_no_accuracy() -> None:
    of_rate = RATES[RATES["learning_rate"] == 10]
    assert of_rate["train_accuracy"].isna().tolist() == [False, True]


def test_the_curve_is_of_the_rates_that_learned_until_one_falls_behind() -> None:
    curve = curve_of(RATES, STATUS)  # 1.0 reaches 0.7 where 0.1 had reached 0.8
    assert curve.index.tolist() == pytest.approx([0.15, 1.5])
    assert curve.tolist() == [0.4, 0.8]


def test_a_rate_that_goes_on_where_smaller_ones_ended_is_of_the_curve() -> None:
    further = {(1.0, 0): ran([1.0] * 20, [10, 20], [0.5, 0.79])}
    rates = pd.concat([RATES, every_epoch(further, "learning_rate").assign(learning_rate=0.5)])
    status = pd.concat([STATUS, pd.DataFrame({"learning_rate": [0.5], "status": LEARNED})])
    assert curve_of(rates, status).tolist() == [0.4, 0.8, 0.79]


def test_the_curve_of_single_epochs_is_of_first_ones() -> None:
    curve = curve_of(singles(), STATUS)
    assert curve.index.tolist() == pytest.approx([0.05, 0.5])
    assert curve.tolist() == pytest.approx([0.03, 0.3])


def singles() -> pd.DataFrame:
    """Make a sweep of single epochs."""
    return every_epoch(
        {(rate, 0): ran([rate] * 10, [10], [3 * rate]) for rate in (0.01, 0.1)}, "learning_rate"
    )


def test_sums_that_differ_by_rounding_are_one() -> None:
    rates = every_epoch(
        {
            (0.3, 0): ran([0.3] * 20, [10, 20], [0.4, 0.5]),
            (0.1, 0): ran([0.1] * 60, [30, 60], [0.5, 0.52]),
        },
        "learning_rate",
    )
    assert rates["rate_sum"].nunique() == 4
    status = pd.DataFrame({"learning_rate": [0.1, 0.3], "status": LEARNED})
    assert curve_of(rates, status).tolist() == [0.51]


def test_every_size_stands_beside_the_same_sum_of_the_other_sweep() -> None:
    table = at_equal_sums(BATCHES, RATES, STATUS).set_index("batch_size")
    assert table["rate_sum"].tolist() == pytest.approx([1.5, 1.5, 0.3, 3, 0.15, 0.25])
    between = 0.4 + 0.4 * math.log(0.3 / 0.15) / math.log(1.5 / 0.15)
    assert table["same_sum"][[16, 64, 256]].tolist() == pytest.approx([0.8, between, 0.4])
    assert table["difference"][[16, 64, 256]].tolist() == pytest.approx(
        [-0.02, 0.5 - between, -0.1]
    )


@pytest.mark.parametrize("size", [32, 128, 512], ids=["diverged", "beyond", "from the start"])
def test_some_sizes_have_nothing_to_stand_beside(size: int) -> None:
    table = at_equal_sums(BATCHES, RATES, STATUS).set_index("batch_size")
    assert math.isnan(table["difference"][size])


def test_single_epochs_stand_beside_single_epochs_alone() -> None:
    table = at_equal_sums(BATCHES, singles(), STATUS).set_index("batch_size")
    assert table["difference"].notna().to_dict() == {size: size == 512 for size in table.index}


def test_seeds_are_averaged() -> None:
    batches = every_epoch(
        {
            (16, seed): ran([0.1] * 20, [10, 20], [0.1, accuracy])
            for seed, accuracy in ((0, 0.7), (1, 0.9))
        },
        "batch_size",
    )
    [row] = at_equal_sums(batches, RATES, STATUS).to_dict("records")
    assert row["train_accuracy"] == pytest.approx(0.8)
    assert row["difference"] == pytest.approx(0)


def test_the_picture_marks_every_size_and_every_rate_that_diverged() -> None:
    figure = drawn(learning_clock_figure, BATCHES, RATES, STATUS)
    [axis] = figure.axes
    lines = {line.get_label(): line for line in axis.get_lines()}
    for size in (16, 64, 128, 256):
        last = BATCHES[BATCHES["batch_size"] == size].iloc[-1]
        line = lines[f"batch size {size}"]
        np.testing.assert_allclose(line.get_xdata(), [last["rate_sum"]])
        np.testing.assert_allclose(line.get_ydata(), [last["train_accuracy"]])
    marks = [lines[f"batch size {size}"].get_marker() for size in (16, 64, 128, 256)]
    assert len(set(marks)) == 4
    assert lines["diverged"].get_xdata().tolist() == pytest.approx([50])
    pale = [line for line in axis.get_lines() if line.get_alpha() == PALE]
    first = RATES.loc[RATES["from_start"] & (RATES["learning_rate"] < 10), "rate_sum"]
    assert {x for line in pale for x in line.get_xdata()} >= set(first)
    assert unreadable(figure) == []
