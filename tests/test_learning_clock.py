"""Both sweeps on one clock: the sums of the rates, and what the same sum had reached."""

import math

import numpy as np
import pandas as pd
import pytest

from cyclical.clock_plots import PALE, learning_clock_figure
from cyclical.learning_clock import Ran, at_equal_sums, curve_of, every_epoch
from cyclical.sweeps import DIVERGED, LEARNED
from tests.drawing import drawn, unreadable


def ran(rates: list[float], ends: list[int], accuracies: list[float]) -> Ran:
    """Make a training of so many updates by the end of each epoch."""
    history = pd.DataFrame(
        {
            "epoch": np.arange(1, len(ends) + 1),
            "updates": ends,
            "examples": np.multiply(ends, 64),
            "train_loss": 1.0,
            "train_accuracy": accuracies,
            "val_loss": 1.0,
            "val_accuracy": 0.1,  # lags, and says nothing here
        }
    )
    return Ran(history, pd.Series(rates))


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
        (64, 0): ran([0.1] * 4, [2, 4], [0.4, 0.5]),
        (128, 0): ran([0.1] * 40, [20, 40], [0.8, 0.9]),
        (256, 0): ran([0.1] * 2, [1, 2], [0.2, 0.3]),
    },
    "batch_size",
)


def test_the_sum_goes_up_with_every_update_at_its_own_rate() -> None:
    table = every_epoch({(0.3, 7): ran([0.1, 0.2, 0.4, 0.8], [1, 4], [0.1, 0.2])}, "learning_rate")
    assert table["rate_sum"].tolist() == pytest.approx([0.1, 1.5])
    assert table["learning_rate"].tolist() == [0.3, 0.3]
    assert table["seed"].tolist() == [7, 7]
    assert list(table.columns[:4]) == ["learning_rate", "seed", "rate_sum", "epoch"]


def test_the_curve_is_of_the_rates_that_learned_up_to_the_best() -> None:
    curve = curve_of(RATES, STATUS)
    assert curve.index.tolist() == pytest.approx([0.15, 1.5])
    assert curve.tolist() == [0.4, 0.8]


def test_the_curve_of_single_epochs_is_of_first_ones() -> None:
    rates = every_epoch(
        {(rate, 0): ran([rate] * 10, [10], [3 * rate]) for rate in (0.01, 0.1)}, "learning_rate"
    )
    curve = curve_of(rates, STATUS)
    assert curve.index.tolist() == pytest.approx([0.05, 0.5])
    assert curve.tolist() == pytest.approx([0.03, 0.3])


def test_every_size_stands_beside_the_same_sum_of_the_other_sweep() -> None:
    table = at_equal_sums(BATCHES, RATES, STATUS).set_index("batch_size")
    assert table["rate_sum"].tolist() == pytest.approx([1.5, 0.3, 3, 0.15])
    between = 0.4 + 0.4 * math.log(0.3 / 0.15) / math.log(1.5 / 0.15)
    assert table["same_sum"][[16, 64, 256]].tolist() == pytest.approx([0.8, between, 0.4])
    assert table["difference"][[16, 64, 256]].tolist() == pytest.approx(
        [-0.02, 0.5 - between, -0.1]
    )


def test_beyond_what_was_swept_there_is_nothing_to_stand_beside() -> None:
    table = at_equal_sums(BATCHES, RATES, STATUS).set_index("batch_size")
    assert math.isnan(table["same_sum"][128])


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
        begin, end = BATCHES.loc[BATCHES["batch_size"] == size, "rate_sum"]
        line = lines[f"batch size {size}"]
        np.testing.assert_allclose(line.get_xdata(), [(begin + end) / 2])
        [_, accuracy] = BATCHES.loc[BATCHES["batch_size"] == size, "train_accuracy"]
        np.testing.assert_allclose(line.get_ydata(), [accuracy])
    marks = [lines[f"batch size {size}"].get_marker() for size in (16, 64, 128, 256)]
    assert len(set(marks)) == 4
    assert lines["diverged"].get_xdata().tolist() == pytest.approx([50])
    pale = [line for line in axis.get_lines() if line.get_alpha() == PALE]
    first = RATES.loc[(RATES["epoch"] == 1) & (RATES["learning_rate"] < 10), "rate_sum"] / 2
    assert {x for line in pale for x in line.get_xdata()} >= set(first)
    assert unreadable(figure) == []
