"""The published run's figures: what the files hold, and where they stand beside our own."""

import csv
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclical import reference
from cyclical.config import NOTEBOOK, QUICK
from cyclical.settings import resolve

RATES = [10.0, 1.0, 0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9]
SIZES = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
EVERY_SWEEP = pytest.mark.parametrize(
    ("value", "swept"), [("learning_rate", RATES), ("batch_size", SIZES)]
)


def lines(name: str) -> list[dict[str, str]]:
    """Read a published file as plain text."""
    with (reference.PUBLISHED / name).open(newline="") as file:
        return list(csv.DictReader(file))


def at(value: str, swept: float) -> dict[str, Any]:
    """Return the published figures of one swept value."""
    [row] = [row for row in reference.sweep(value) if row[value] == swept]
    return row


def placed(*updates: int, published: reference.Rows) -> list[list[float]]:
    """Place published epochs beside a training whose epochs ended after so many updates."""
    epochs = range(1, len(updates) + 1)
    history = pd.DataFrame({"epoch": epochs, "updates": updates})
    return reference.beside(history, published).to_numpy(dtype=float).tolist()


def epochs_of(*accuracies: float) -> reference.Rows:
    """Make published epochs with these accuracies and losses of one minus them."""
    return [
        {"epoch": epoch, "train_loss": 1 - accuracy, "train_accuracy": accuracy}
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]


# The sweeps


@EVERY_SWEEP
def test_a_published_sweep_has_a_row_for_each_of_our_swept_values_exactly(
    value: str, swept: list[float]
) -> None:
    rows = reference.sweep(value)
    assert [row[value] for row in rows] == swept
    ours = NOTEBOOK.lr_sweep.learning_rates
    assert swept == list(ours if value == "learning_rate" else NOTEBOOK.batch_sweep.batch_sizes)
    columns = {value, "train_loss", "train_accuracy", "val_accuracy"}
    assert all(row.keys() == columns for row in rows)


def test_the_published_sweeps_give_the_figures_of_the_last_epoch() -> None:
    assert at("learning_rate", 0.01) == {
        "learning_rate": 0.01,
        "train_loss": 0.26983168721199036,
        "train_accuracy": 0.9039666652679443,
        "val_accuracy": 0.8849,
    }
    assert at("batch_size", 256) == {
        "batch_size": 256,
        "train_loss": 0.7042196393013,
        "train_accuracy": 0.7651000022888184,
        "val_accuracy": 0.7618,
    }


def test_what_diverged_in_the_published_sweep_has_no_loss() -> None:
    diverged = at("learning_rate", 10)
    assert (diverged["train_loss"], diverged["train_accuracy"]) == (None, 0.10000000149011612)
    assert diverged["val_accuracy"] == 0.1
    others = [row for row in reference.sweep("learning_rate") if row["learning_rate"] < 10]
    assert None not in [figure for row in others for figure in row.values()]


@EVERY_SWEEP
def test_every_figure_of_a_published_sweep_is_read_as_it_is_written(
    value: str, swept: list[float]
) -> None:
    written = {
        float(line["value"]): (line["final_train_loss"], line["final_train_accuracy"])
        for line in lines("notebook_sweeps.csv")
        if line["sweep"] == value
    }
    assert len(written) == len(swept)
    for row in reference.sweep(value):
        loss, accuracy = written[row[value]]
        assert row["train_loss"] == (None if loss == "nan" else float(loss))
        assert row["train_accuracy"] == float(accuracy)


def test_a_sweep_of_anything_else_is_refused() -> None:
    with pytest.raises(KeyError):
        reference.sweep("momentum")


# The arms


def test_the_published_run_trained_four_of_our_arms_for_twenty_epochs() -> None:
    arms = reference.arms()
    assert sorted(arms) == [
        *("clr-derived", "clr-paper", "cyclic-batch-reference", "effective-batch-constant")
    ]
    columns = {"epoch", "train_loss", "train_accuracy", "val_accuracy", "val_images"}
    for rows in arms.values():
        assert [row["epoch"] for row in rows] == list(range(1, 21))
        assert all(row.keys() == columns for row in rows)


@pytest.mark.parametrize(
    ("arm", "first", "last"),
    [
        ("clr-derived", (0.5103, 0.8198, 0.8168), (0.1315, 0.9539, 0.9058)),
        ("clr-paper", (0.616, 0.7751, 0.7545), (0.3324, 0.8832, 0.878)),
        ("cyclic-batch-reference", (0.4954, 0.8255, 0.855), (0.0951, 0.9682, 0.911)),
        (
            "effective-batch-constant",
            (None, 0.29883334040641785, 0.53125),
            (None, 0.7986833453178406, 0.768750011920929),
        ),
    ],
)
def test_a_published_arm_begins_and_ends_with_its_figures(
    arm: str, first: tuple[float, ...], last: tuple[float, ...]
) -> None:
    names = ("train_loss", "train_accuracy", "val_accuracy")
    rows = reference.arms()[arm]
    assert tuple(rows[0][name] for name in names) == first
    assert tuple(rows[-1][name] for name in names) == last


def test_accumulation_was_scored_on_160_test_images_and_all_else_on_every_one() -> None:
    images = {arm: {row["val_images"] for row in rows} for arm, rows in reference.arms().items()}
    assert images.pop("effective-batch-constant") == {160}
    assert list(images.values()) == [{10_000}] * 3


def test_every_figure_of_the_accumulation_run_is_read_as_it_is_written() -> None:
    written = [
        (int(line["epoch"]), float(line["train_accuracy"]), float(line["val_accuracy_first_160"]))
        for line in lines("notebook_effective_batch.csv")
    ]
    rows = reference.arms()["effective-batch-constant"]
    assert [(r["epoch"], r["train_accuracy"], r["val_accuracy"]) for r in rows] == written


def test_the_published_rows_are_plain_values_that_a_cache_key_can_hold() -> None:
    everything = {
        "rates": reference.sweep("learning_rate"),
        "sizes": reference.sweep("batch_size"),
        **reference.arms(),
    }
    assert json.loads(json.dumps(everything, allow_nan=False)) == everything
    types = {type(x) for rows in everything.values() for row in rows for x in row.values()}
    assert types == {int, float, type(None)}


# Where it is compared with


@pytest.mark.parametrize("seeds", [1, 5])
@pytest.mark.parametrize("profile", ["notebook", "quick"])
def test_the_published_run_stands_beside_the_same_model_and_data_at_any_size(
    profile: str, seeds: int
) -> None:
    changed = {"training.epochs": 2, "lr_sweep.learning_rates": [0.5], "data.test_images": 100}
    assert reference.applies(resolve(profile, changed, seeds=seeds), is_fashion=True)


@pytest.mark.parametrize(
    ("other", "data_name"), [({"model": "mlp"}, "fashion_mnist"), ({}, "digits")]
)
def test_another_model_or_other_data_have_nothing_published_beside_them(
    other: dict[str, Any], data_name: str
) -> None:
    assert reference.applies(QUICK, is_fashion=True)
    assert not reference.applies(
        QUICK.model_copy(update=other), is_fashion=data_name == "fashion_mnist"
    )


@pytest.mark.parametrize("changed", [{"clr.gamma": 0.9}, {"clr.policy": "triangular"}])
def test_arms_that_cycle_otherwise_have_nothing_published_beside_them(
    changed: dict[str, Any],
) -> None:
    found = reference.comparable(resolve("quick", changed), is_fashion=True)
    assert set(found) == {"cyclic-batch-reference", "effective-batch-constant"}


def test_a_published_epoch_stands_in_the_middle_of_the_updates_of_ours() -> None:
    # epochs of 10, 10 and 20 updates: they end at 10, 20 and 40, their middles are 5, 15 and 30
    assert placed(10, 20, 40, published=epochs_of(0.5, 0.75, 0.875)) == [
        [5, 0.5, 0.5],
        [15, 0.25, 0.75],
        [30, 0.125, 0.875],
    ]


def test_epochs_that_only_one_of_both_has_are_left_out() -> None:
    assert placed(7, published=epochs_of(0.5, 0.75)) == [[3.5, 0.5, 0.5]]
    assert placed(8, 16, 24, published=epochs_of(0.5, 0.75)) == [[4, 0.5, 0.5], [12, 0.25, 0.75]]


def test_beside_an_arm_that_was_not_published_stands_nothing() -> None:
    history = pd.DataFrame({"epoch": [1, 2], "updates": [8, 16]})
    nothing = reference.beside(history, [])
    assert list(nothing.columns) == ["iteration", "loss", "accuracy"]
    assert len(nothing) == 0


def test_a_loss_that_was_not_published_stays_unknown() -> None:
    placed_rows = placed(16, 32, published=reference.arms()["effective-batch-constant"])
    assert [row[0] for row in placed_rows] == [8, 24]
    assert np.isnan([row[1] for row in placed_rows]).all()
    assert placed_rows[0][2] == 0.29883334040641785


@given(lengths=st.lists(st.integers(1, 4_000), min_size=1, max_size=20))
def test_every_published_epoch_stands_within_its_own_epoch(lengths: list[int]) -> None:
    ends = [sum(lengths[:count]) for count in range(1, len(lengths) + 1)]
    rows = placed(*ends, published=epochs_of(*[0.5] * 20))
    assert len(rows) == len(lengths)
    for (iteration, _, _), end, length in zip(rows, ends, lengths, strict=True):
        assert iteration == end - length / 2
