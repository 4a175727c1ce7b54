"""The learning clock: exact where accuracy follows the sum of the rates, by construction."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cyclical import clock, schedules, sweeps
from cyclical.bounds import lr_bounds
from cyclical.errors import InputError
from cyclical.mean_curves import mean_curve

UPDATES, EPOCHS = 1000, 5
GRID = [1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5]
LAST_EPOCH = np.linspace(0.8, 1, clock.POINTS)


def accuracy_at(clocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an accuracy that depends on the clock alone: 0.1 at 1e-4, 0.2 more a decade."""
    return np.asarray(0.5 + 0.2 * (np.log10(clocks) + 2))


def run(rates: NDArray[np.float64]) -> pd.DataFrame:
    accuracy = accuracy_at(np.maximum(clock.clock(rates), rates[0] / 2))
    return pd.DataFrame({"learning_rate": rates, "loss": 3 - 2 * accuracy, "accuracy": accuracy})


def ramp(top: float = 0.05, updates: int = 400) -> NDArray[np.float64]:
    return top * np.arange(1, updates + 1) / updates


def predicted(rates: NDArray[np.float64], diverging: float = np.inf) -> pd.DataFrame:
    table = clock.predict(run(rates), GRID, UPDATES, EPOCHS, diverging)
    return table.set_index("learning_rate")


@given(rates=st.lists(st.floats(0.001, 1), min_size=1, max_size=20))
def test_the_clock_is_the_sum_of_the_rates_before(rates: list[float]) -> None:
    expected = [sum(rates[:update]) for update in range(len(rates))]
    assert clock.clock(np.array(rates)).tolist() == pytest.approx(expected, abs=1e-9)


def test_what_is_straight_over_the_clock_is_not_bent_by_smoothing() -> None:
    clocks = np.geomspace(1e-4, 10, 200)
    wanted = np.array([1e-4, 3e-3, 0.5, 10])
    read = clock.smoothed_at(clocks, accuracy_at(clocks), wanted)
    assert read == pytest.approx(accuracy_at(wanted))


def test_smoothing_takes_away_noise() -> None:
    clocks = np.geomspace(1e-4, 10, 500)
    noisy = accuracy_at(clocks) + np.random.default_rng(0).normal(0, 0.1, 500)
    read = clock.smoothed_at(clocks, noisy, clocks)
    assert np.std(read - accuracy_at(clocks)) < 0.025


def test_beyond_both_ends_the_value_there_is_held() -> None:
    clocks = np.geomspace(1e-3, 1, 100)
    read = clock.smoothed_at(clocks, accuracy_at(clocks), np.array([1e-9, 1e-3, 1, 100]))
    assert read[0] == pytest.approx(read[1])
    assert read[2] == pytest.approx(read[3])
    assert read[2] == pytest.approx(accuracy_at(np.array([1.0]))[0])


def test_a_single_update_near_is_read_as_it_is() -> None:
    read = clock.smoothed_at(np.array([1e-9, 1.0]), np.array([0.2, 0.7]), np.array([1e-9, 1.0]))
    assert read == pytest.approx([0.2, 0.7])


def test_a_rate_is_predicted_as_the_mean_over_its_last_epoch() -> None:
    table = predicted(ramp())  # its clock ends at about 10: beyond that of 0.001, which is 1
    for rate in (1e-3, 1e-4):
        expected = accuracy_at(rate * UPDATES * LAST_EPOCH).mean()
        assert table.loc[rate, "train_accuracy"] == pytest.approx(expected, abs=1e-3)
        assert table.loc[rate, "train_loss"] == pytest.approx(3 - 2 * expected, abs=2e-3)


@given(top=st.floats(0.03, 0.3), updates=st.integers(300, 900))
def test_it_does_not_matter_how_the_clock_got_there(top: float, updates: int) -> None:
    straight = predicted(ramp(top, updates))
    bent = predicted(schedules.exponential(1e-5, top * 3, updates)(np.arange(updates)))
    for rate in (1e-3, 1e-4):
        figures = [table.loc[rate, "train_accuracy"] for table in (straight, bent)]
        assert figures[0] == pytest.approx(figures[1], abs=0.01)


def test_a_rate_beyond_the_run_is_given_the_runs_last_stretch() -> None:
    rates = ramp()
    end = clock.clock(rates)[-1]
    table = predicted(rates)
    expected = accuracy_at(end * LAST_EPOCH).mean()
    assert table.loc[0.1, "train_accuracy"] == pytest.approx(expected, abs=1e-3)
    assert table.loc[1.0, "train_accuracy"] == table.loc[0.1, "train_accuracy"]


def test_rates_from_the_diverging_one_on_are_predicted_to_diverge() -> None:
    table = predicted(ramp(), diverging=0.1)
    assert table["train_loss"].isna().to_dict() == {rate: rate >= 0.1 for rate in GRID}
    assert table["train_accuracy"].isna().to_dict() == {rate: rate >= 0.1 for rate in GRID}


def test_what_follows_a_loss_that_is_not_finite_is_left_out() -> None:
    made = run(ramp())
    broken = made.copy()
    broken.loc[300, "loss"] = np.nan
    broken.loc[301:, "accuracy"] = 0.0
    pd.testing.assert_frame_equal(
        clock.predict(broken, GRID, UPDATES, EPOCHS, np.inf),
        clock.predict(made.iloc[:300], GRID, UPDATES, EPOCHS, made["learning_rate"][300]),
    )


def test_the_predicted_sweep_has_the_columns_of_a_sweep_and_takes_its_rules() -> None:
    finals = clock.finals({1: run(ramp()), 0: run(ramp())}, GRID, UPDATES, EPOCHS, 1.0, 0.2)
    history = pd.DataFrame(
        {"updates": [5], **{name: [0.5] for name in sweeps.METRICS}, "examples": [9]}
    )
    swept = sweeps.final_metrics({(0.1, 0): history}, "learning_rate", 0.2)
    assert list(finals.columns) == list(swept.columns)
    assert finals.dtypes[["seed", "epochs", "updates"]].tolist() == ["int64"] * 3
    assert finals["seed"].tolist() == [0, 1] * len(GRID)
    assert set(finals["status"][finals["learning_rate"] == 1]) == {sweeps.DIVERGED}
    # At the last epoch's middle, S = 900 r: 0.90 at 0.001 + 0.2 a decade; the run ends at S = 10.
    table = mean_curve(finals, "learning_rate", 0.2)
    found = lr_bounds(table, "plateau")
    assert (found.lr_min, found.lr_max) == (1e-2, 1e-1)


def test_the_curve_is_drawn_over_the_rate_whose_training_ends_at_the_clock() -> None:
    table = clock.curve([run(ramp()), run(ramp()).assign(accuracy=0.0)], UPDATES)
    assert table["learning_rate"].tolist()[1:] == pytest.approx(
        list(clock.clock(ramp())[1:] / UPDATES)
    )
    assert table["present_rate"].tolist() == pytest.approx(list(ramp()))
    assert table["accuracy"].tolist() == pytest.approx(list(run(ramp())["accuracy"] / 2))
    assert table["smoothed_accuracy"].iloc[200] == pytest.approx(table["accuracy"].iloc[200], 0.01)
    assert set(table["seeds"]) == {2}


def test_a_long_curve_is_smoothed_in_little_memory_and_as_a_short_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates = np.linspace(1e-4, 0.04, 1_000)
    monkeypatch.setattr(clock, "MOST_READ", 200)
    monkeypatch.setattr(clock, "MOST_AT_ONCE", 10_000)
    long = pd.DataFrame({"learning_rate": rates, "loss": 1.0, "accuracy": accuracy_at(rates)})
    tracemalloc.start()
    table = clock.curve([long], UPDATES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(rates) ** 2 / 2  # a square of weights would be twice that
    monkeypatch.setattr(clock, "MOST_READ", len(rates))
    whole = clock.curve([long], UPDATES)
    for name in ("smoothed_loss", "smoothed_accuracy"):
        np.testing.assert_allclose(table[name], whole[name], atol=1e-4)


def test_a_run_that_broke_tells_until_then_and_that_its_last_rate_diverges() -> None:
    rates = np.geomspace(1e-4, 1, 60)
    run = pd.DataFrame({"learning_rate": rates, "loss": np.linspace(2, 1, 60), "accuracy": 0.5})
    broken = run.assign(loss=run["loss"].where(run.index < 50))
    assert clock.curve([broken], updates=60)["smoothed_loss"].notna().all()
    predicted = clock.predict(broken, [1e-3, 10.0], 60, 5, np.inf).set_index("learning_rate")
    assert np.isfinite(predicted.loc[1e-3, "train_loss"])
    assert np.isnan(predicted.loc[10.0, "train_loss"])


def test_a_run_that_broke_at_once_is_refused() -> None:
    run = pd.DataFrame({"learning_rate": [0.1], "loss": [np.nan], "accuracy": [0.1]})
    with pytest.raises(InputError, match="first loss is not finite"):
        clock.predict(run, [1e-3], 60, 5, np.inf)
