"""From a sweep's trainings to its table: the last epochs, the means over the seeds, the status."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclical import reference, sweeps
from cyclical.learning import least_learned
from cyclical.mean_curves import mean_curve
from cyclical.sweeps import DIVERGED, LEARNED, NOT_LEARNED, final_metrics, with_status

Row = tuple[float, float, float]
LEAST = least_learned(10)


def sweep(value: str, rows: Sequence[Row]) -> pd.DataFrame:
    """Make a sweep's table of (swept value, final loss, final accuracy)."""
    return pd.DataFrame(rows, columns=[value, "train_loss", "train_accuracy"])


def statuses(value: str, rows: Sequence[Row], classes: int = 10) -> dict[float, str]:
    judged = with_status(sweep(value, rows), value, least_learned(classes))
    return dict(zip(judged[value], judged["status"], strict=True))


def history(*accuracies: float, loss: float = 0.5, updates: int = 79) -> pd.DataFrame:
    """Make a training's history with one epoch an accuracy."""
    epochs = np.arange(1, len(accuracies) + 1)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "updates": epochs * updates,
            "train_loss": loss / epochs,
            "train_accuracy": accuracies,
            "val_loss": 2 * loss / epochs,
            "val_accuracy": np.asarray(accuracies) - 0.01,
        }
    )


def finals(value: str, rows: Sequence[tuple[float, int, float, float]]) -> pd.DataFrame:
    """Make the table of the last epochs: (swept value, seed, loss, accuracy)."""
    table = pd.DataFrame(rows, columns=[value, "seed", "train_loss", "train_accuracy"])
    return table.assign(val_loss=table["train_loss"] * 2, val_accuracy=table["train_accuracy"] / 2)


def test_the_statuses_are_named_as_readers_of_the_table_expect() -> None:
    assert (LEARNED, NOT_LEARNED, DIVERGED) == ("learned", "not_learned", "diverged")


def test_a_point_learned_where_its_loss_is_finite_and_it_is_twice_as_good_as_chance() -> None:
    rows = [(1e-1, 0.4, 0.87), (1e-2, 1.9, 0.2), (1e-3, 2.2, 0.1999)]
    assert statuses("learning_rate", rows) == {1e-1: LEARNED, 1e-2: LEARNED, 1e-3: NOT_LEARNED}


def test_chance_depends_on_the_number_of_classes() -> None:
    rows = [(0.1, 0.6, 0.55)]
    assert statuses("learning_rate", rows, classes=2) == {0.1: NOT_LEARNED}
    assert statuses("learning_rate", rows, classes=3) == {0.1: LEARNED}


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("value", ["learning_rate", "batch_size"])
def test_a_loss_that_is_not_finite_diverged_whatever_its_accuracy(value: str, loss: float) -> None:
    assert statuses(value, [(16, loss, 0.99)]) == {16: DIVERGED}
    assert statuses(value, [(16, loss, 0.10)]) == {16: DIVERGED}


def test_a_learning_rate_that_did_not_learn_above_one_that_did_diverged() -> None:
    rows = [(10, np.nan, 0.1), (1, 2.3, 0.1), (0.1, 0.4, 0.9), (1e-8, 2.9, 0.1)]
    expected = {10: DIVERGED, 1: DIVERGED, 0.1: LEARNED, 1e-8: NOT_LEARNED}
    assert statuses("learning_rate", rows) == expected
    assert statuses("learning_rate", rows[::-1]) == expected


def test_a_learning_rate_between_two_that_learned_diverged() -> None:
    rows = [(0.1, 0.4, 0.9), (0.01, 2.3, 0.1), (0.001, 0.5, 0.8)]
    assert statuses("learning_rate", rows) == {0.1: LEARNED, 0.01: DIVERGED, 0.001: LEARNED}


def test_a_learning_rate_above_one_that_diverged_but_none_that_learned_did_not_learn() -> None:
    assert statuses("learning_rate", [(10, 2.3, 0.1), (1, np.nan, 0.1)]) == {
        10: NOT_LEARNED,
        1: DIVERGED,
    }


def test_a_batch_size_above_one_that_learned_did_not_diverge() -> None:
    rows = [(16, 0.5, 0.8), (8192, 2.1, 0.15), (32, np.nan, 0.1)]
    assert statuses("batch_size", rows) == {16: LEARNED, 32: DIVERGED, 8192: NOT_LEARNED}


def test_the_status_of_the_published_run() -> None:
    published = pd.read_csv(reference.PUBLISHED / "notebook_sweeps.csv")
    names = {"final_train_loss": "train_loss", "final_train_accuracy": "train_accuracy"}
    parts = dict(list(published.rename(columns=names).groupby("sweep")))
    rates = parts["learning_rate"].rename(columns={"value": "learning_rate"})
    judged = with_status(rates, "learning_rate", LEAST)
    assert judged["learning_rate"].tolist() == [float(f"1e{power}") for power in range(-9, 2)]
    assert judged["status"].tolist() == [NOT_LEARNED] * 3 + [LEARNED] * 6 + [DIVERGED] * 2
    sizes = parts["batch_size"].rename(columns={"value": "batch_size"})
    assert with_status(sizes, "batch_size", LEAST)["status"].tolist() == [LEARNED] * 10


@given(order=st.permutations(range(5)))
def test_the_status_does_not_depend_on_the_order_of_the_rows(order: list[int]) -> None:
    rows: list[Row] = [(10, np.nan, 0.1), (1, 2, 0.1), (0.1, 1, 0.9), (1e-2, 1, 0.5), (1e-9, 3, 0)]
    judged = with_status(sweep("learning_rate", [rows[i] for i in order]), "learning_rate", LEAST)
    assert judged["learning_rate"].tolist() == [1e-9, 1e-2, 0.1, 1, 10]
    assert judged["status"].tolist() == [NOT_LEARNED, LEARNED, LEARNED, DIVERGED, DIVERGED]
    assert judged.index.tolist() == [0, 1, 2, 3, 4]


def test_judging_leaves_its_argument_and_its_other_columns_alone() -> None:
    table = sweep("batch_size", [(32, 0.5, 0.8), (16, 0.4, 0.1)]).assign(seeds=3)
    before = table.copy()
    judged = with_status(table, "batch_size", LEAST)
    pd.testing.assert_frame_equal(table, before)
    assert judged["seeds"].tolist() == [3, 3]
    again = with_status(judged, "batch_size", LEAST)
    pd.testing.assert_frame_equal(again, judged)


def test_the_last_epoch_of_every_training_is_taken_in_rising_order() -> None:
    table = final_metrics(
        {
            (0.1, 1): history(0.3, 0.6, 0.9),
            (0.1, 0): history(0.2, 0.8),
            (0.01, 0): history(0.7, 0.5, updates=10),
        },
        "learning_rate",
        LEAST,
    )
    metrics = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    assert list(table.columns) == [
        *("learning_rate", "seed", "epochs", "updates", *metrics, "status")
    ]
    assert table.index.tolist() == [0, 1, 2]
    assert table["learning_rate"].tolist() == [0.01, 0.1, 0.1]
    assert table["seed"].tolist() == [0, 0, 1]
    assert table["epochs"].tolist() == [2, 2, 3]
    assert table["updates"].tolist() == [20, 158, 237]
    assert table["train_accuracy"].tolist() == [0.5, 0.8, 0.9]
    assert table["val_accuracy"].tolist() == pytest.approx([0.49, 0.79, 0.89])
    assert table["train_loss"].tolist() == pytest.approx([0.25, 0.25, 0.5 / 3])
    assert table["val_loss"].tolist() == pytest.approx([0.5, 0.5, 1 / 3])


def test_counts_and_batch_sizes_stay_whole_numbers() -> None:
    table = final_metrics({(16, 0): history(0.2), (8, 0): history(0.1)}, "batch_size", LEAST)
    assert {
        name: str(table[name].dtype) for name in ("batch_size", "seed", "epochs", "updates")
    } == {
        "batch_size": "int64",
        "seed": "int64",
        "epochs": "int64",
        "updates": "int64",
    }


def test_a_training_that_ended_early_gives_its_last_row_as_it_is() -> None:
    broken = history(0.4, 0.15)
    broken.loc[1, ["train_loss", "val_loss", "val_accuracy"]] = np.nan
    [row] = final_metrics({(10.0, 0): broken}, "learning_rate", LEAST).to_dict("records")
    assert (row["epochs"], row["updates"], row["train_accuracy"]) == (2, 158, 0.15)
    assert np.isnan([row["train_loss"], row["val_loss"], row["val_accuracy"]]).all()


def test_every_training_is_judged_among_those_of_its_seed_alone() -> None:
    # Seed 0 learned at 0.1, so that its 1 and 10 lie above; of seed 1 only 10 learned.
    of_seeds = {
        10.0: (history(0.1), history(0.9)),
        1.0: (history(0.1, loss=np.nan), history(0.1)),
        0.1: (history(0.8), history(0.15)),
        0.01: (history(0.19), history(0.1, loss=np.inf)),
    }
    table = final_metrics(
        {(rate, seed): each[seed] for rate, each in of_seeds.items() for seed in (1, 0)},
        "learning_rate",
        LEAST,
    )
    assert list(zip(table["learning_rate"], table["seed"], table["status"], strict=True)) == [
        (0.01, 0, NOT_LEARNED),
        (0.01, 1, DIVERGED),
        (0.1, 0, LEARNED),
        (0.1, 1, NOT_LEARNED),
        (1, 0, DIVERGED),
        (1, 1, NOT_LEARNED),
        (10, 0, DIVERGED),
        (10, 1, LEARNED),
    ]
    # The mean of 0.1 and 0.9 learned at 10, of 0.8 and 0.15 at 0.1; the others diverged.
    assert mean_curve(table, "learning_rate", LEAST)["status"].tolist() == [
        *(DIVERGED, LEARNED, DIVERGED, LEARNED)
    ]


def test_the_number_of_classes_decides_which_trainings_learned() -> None:
    histories = {(16, 0): history(0.45), (32, 0): history(0.55), (64, 0): history(0.65)}
    judged = {
        classes: final_metrics(histories, "batch_size", least_learned(classes))["status"].tolist()
        for classes in (2, 3, 10)
    }
    assert judged == {
        2: [NOT_LEARNED, NOT_LEARNED, LEARNED],
        3: [NOT_LEARNED, LEARNED, LEARNED],
        10: [LEARNED] * 3,
    }


def test_the_trainings_of_a_sweep_give_the_curve_of_their_means() -> None:
    table = final_metrics(
        {(16, 0): history(0.8), (16, 1): history(0.7), (32, 0): history(0.2), (32, 1): history(0)},
        "batch_size",
        LEAST,
    )
    curve = mean_curve(table, "batch_size", LEAST)
    assert curve["train_accuracy"].tolist() == pytest.approx([0.75, 0.1])
    assert curve["val_loss"].tolist() == [1, 1]
    assert curve["seeds"].tolist() == [2, 2]
    assert table["status"].tolist() == [LEARNED, LEARNED, LEARNED, NOT_LEARNED]
    assert curve["status"].tolist() == [LEARNED, NOT_LEARNED]


@given(order=st.permutations([(rate, seed) for rate in (0.1, 1.0) for seed in (0, 7)]))
def test_the_order_of_the_trainings_does_not_matter(order: list[tuple[float, int]]) -> None:
    histories = {
        (rate, seed): history(rate * (seed + 1) / 10, updates=1 + seed) for rate, seed in order
    }
    table = final_metrics(histories, "learning_rate", LEAST)
    assert list(zip(table["learning_rate"], table["seed"], strict=True)) == [
        *((0.1, 0), (0.1, 7), (1, 0), (1, 7))
    ]
    assert table["updates"].tolist() == [1, 8, 1, 8]
    assert table["train_accuracy"].tolist() == pytest.approx([0.01, 0.08, 0.1, 0.8])


def test_a_value_is_the_mean_over_its_seeds() -> None:
    table = mean_curve(
        finals("learning_rate", [(0.1, 0, 0.3, 0.8), (0.01, 0, 1, 0.3), (0.1, 1, 0.5, 0.9)]),
        "learning_rate",
        LEAST,
    )
    metrics = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    ends = [f"{name}{end}" for name in metrics for end in ("", "_low", "_high")]
    assert list(table.columns) == ["learning_rate", "seeds", *ends, "status"]
    # two seeds: t is 12.7062, and the deviation of 0.8 and 0.9 is 0.1 / root 2
    half = 12.7062 * 0.1 / 2
    assert table["train_accuracy_low"][1] == pytest.approx(0.85 - half, abs=1e-4)
    assert table["train_accuracy_high"][1] == pytest.approx(0.85 + half, abs=1e-4)
    assert np.isnan(table["train_accuracy_low"][0])
    assert table["learning_rate"].tolist() == [0.01, 0.1]
    assert table["seeds"].tolist() == [1, 2]
    assert table["train_loss"].tolist() == pytest.approx([1, 0.4])
    assert table["train_accuracy"].tolist() == pytest.approx([0.3, 0.85])
    assert table["val_loss"].tolist() == pytest.approx([2, 0.8])
    assert table["val_accuracy"].tolist() == pytest.approx([0.15, 0.425])
    assert table["status"].tolist() == [LEARNED, LEARNED]


def test_the_mean_decides_the_status_and_no_single_seed() -> None:
    rows = [(0.1, 0, 2.0, 0.1), (0.1, 1, 1.0, 0.32), (0.01, 0, 2.0, 0.1), (0.01, 1, 2.0, 0.28)]
    table = mean_curve(finals("learning_rate", rows), "learning_rate", LEAST)
    assert table["status"].tolist() == [NOT_LEARNED, LEARNED]


@pytest.mark.parametrize("value", ["learning_rate", "batch_size"])
def test_one_seed_without_a_figure_leaves_the_mean_without_one(value: str) -> None:
    rows = [(16, 0, np.nan, 0.9), (16, 1, 0.4, 0.9), (32, 0, 0.4, np.nan), (32, 1, 0.4, 0.9)]
    table = mean_curve(finals(value, rows), value, LEAST)
    assert np.isnan(table["train_loss"]).tolist() == [True, False]
    assert np.isnan(table["val_loss"]).tolist() == [True, False]
    assert np.isnan(table["train_accuracy"]).tolist() == [False, True]
    assert table["train_accuracy"][0] == pytest.approx(0.9)
    assert table["seeds"].tolist() == [2, 2]
    assert table["status"].tolist() == [DIVERGED, NOT_LEARNED]


def test_an_infinite_loss_in_one_seed_diverged() -> None:
    rows = [(16, 0, np.inf, 0.9), (16, 1, 0.4, 0.9)]
    assert mean_curve(finals("batch_size", rows), "batch_size", LEAST)["status"].tolist() == [
        DIVERGED
    ]


accuracies = st.lists(st.floats(0, 1), min_size=1, max_size=4)


@given(table=st.dictionaries(st.integers(1, 9_000), accuracies, min_size=1, max_size=6))
def test_every_mean_lies_among_its_seeds_and_every_value_has_one_row(
    table: dict[int, list[float]],
) -> None:
    rows = [(size, seed, 1.0, a) for size, each in table.items() for seed, a in enumerate(each)]
    curve = mean_curve(finals("batch_size", rows), "batch_size", LEAST).set_index("batch_size")
    assert curve.index.tolist() == sorted(table)
    for size, each in table.items():
        assert min(each) - 1e-12 <= curve["train_accuracy"][size] <= max(each) + 1e-12
        assert curve["seeds"][size] == len(each)


@pytest.mark.parametrize("epoch_updates", [7, 30, 90, 200])
def test_trainings_of_as_many_updates_are_judged_by_the_same_part_of_them(
    epoch_updates: int,
) -> None:
    # one learning curve, whatever the number of updates that an epoch has
    updates = np.arange(90)
    curve = pd.DataFrame(
        {"batch_size": 16, "loss": 2.0 - 0.01 * updates, "accuracy": 0.01 * updates}
    )
    ends = [*range(epoch_updates, 90, epoch_updates), 90]
    history = pd.DataFrame(
        [
            {
                "epoch": number,
                "updates": end,
                "train_loss": curve["loss"][begin:end].mean(),
                "train_accuracy": curve["accuracy"][begin:end].mean(),
                "val_accuracy": 0.5,
            }
            for number, (begin, end) in enumerate(pairwise([0, *ends]), start=1)
        ]
    )
    judged = sweeps.judged_at_its_end(history, curve, 30)
    assert judged.iloc[-1].to_dict() == {
        **history.iloc[-1],
        "train_loss": pytest.approx(2.0 - 0.745),
        "train_accuracy": pytest.approx(0.745),
    }
    assert judged.iloc[:-1].equals(history.iloc[:-1])


def test_a_short_batch_counts_by_its_examples() -> None:
    iterations = pd.DataFrame(
        {"batch_size": [64, 64, 16], "loss": [9.0, 1.0, 2.0], "accuracy": [0.0, 0.5, 1.0]}
    )
    history = pd.DataFrame({"train_loss": [0.0], "train_accuracy": [0.0]})
    [row] = sweeps.judged_at_its_end(history, iterations, 2).to_dict("records")
    assert row == {"train_loss": pytest.approx(1.2), "train_accuracy": pytest.approx(0.6)}
