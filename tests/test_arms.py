"""Which trainings an experiment consists of, and the table that compares the arms."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclical import arms
from cyclical.comparison import accuracy_by_epoch, compare
from cyclical.config import (
    NOTEBOOK,
    PROFILES,
    QUICK,
    Experiment,
    Training,
    resolve,
)
from cyclical.errors import InputError

SGD = {"name": "sgd", "momentum": 0.0}
RMSPROP = {"name": "rmsprop", "momentum": 0.0}
TWO_SEEDS = resolve("notebook", seeds=2)
EVERY_PROFILE = pytest.mark.parametrize("profile", PROFILES)


def constant(rate: float) -> dict[str, Any]:
    """Return the settings of a learning rate that stays."""
    unset = {"max_lr": None, "step_size": None, "gamma": None}
    return {"policy": "constant", "base_lr": rate, **unset}


def settings(training: Training) -> dict[str, Any]:
    """Return a training's settings as plain values, without the model's name."""
    return training.model_dump(exclude={"model"})


def everything(config: Experiment) -> dict[str, list[Training]]:
    """Return the trainings of every step, with bounds that were swept."""
    return {
        "lr_sweep": [training for _, training in arms.lr_sweep(config)],
        "batch_sweep": [training for _, training in arms.batch_sweep(config, 1e-4)],
        "clr_training": list(arms.clr(config, 1e-4, 1e-3)),
        "cyclic_batch_training": list(arms.cyclic_batch(config, 16, 256)),
    }


def history(
    *accuracies: float, losses: Iterable[float] | None = None, images: int = 100
) -> pd.DataFrame:
    """Make a history of 10 updates an epoch with these validation figures."""
    epochs = np.arange(1, len(accuracies) + 1)
    given = 1 - np.asarray(accuracies) if losses is None else np.asarray(list(losses))
    return pd.DataFrame(
        {
            "epoch": epochs,
            "updates": epochs * 10,
            "examples": epochs * images,
            "train_loss": 0.1,
            "train_accuracy": 0.99,
            "val_loss": given,
            "val_accuracy": accuracies,
        }
    )


def arm(label: str = "clr-derived", seed: int = 0) -> Training:
    """Return the arm of that name of the published experiment."""
    config = resolve("notebook", {"seeds": [seed]})
    known = {each.label: each for each in chain(*everything(config).values())}
    return known[label]


def compared(*accuracies: float, losses: Iterable[float] | None = None) -> Mapping[str, Any]:
    """Compare a single arm and return its row."""
    [row] = compare([(arm(), history(*accuracies, losses=losses))]).to_dict("records")
    return row


# The trainings


def test_the_learning_rate_sweep_is_plain_sgd_at_eleven_rates() -> None:
    points = list(arms.lr_sweep(NOTEBOOK))
    rates = [10, 1, 0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9]
    assert [rate for rate, _ in points] == rates
    names = [
        "10",
        "1",
        "0.1",
        "0.01",
        "0.001",
        "0.0001",
        *(f"1e-0{power}" for power in range(5, 10)),
    ]
    assert [settings(training) for _, training in points] == [
        {
            "label": f"lr={name}",
            "optimizer": SGD,
            "learning_rate": constant(rate),
            "batch_sizes": (64,),
            "accumulate": (1,),
            "epochs": 5,
            "seed": 0,
        }
        for rate, name in zip(rates, names, strict=True)
    ]


def test_the_batch_size_sweep_is_plain_sgd_at_lr_min_with_ten_sizes() -> None:
    points = list(arms.batch_sweep(NOTEBOOK, 1e-4))
    sizes = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
    assert [size for size, _ in points] == sizes
    assert [settings(training) for _, training in points] == [
        {
            "label": f"batch={size}",
            "optimizer": SGD,
            "learning_rate": constant(1e-4),
            "batch_sizes": (size,),
            "accumulate": (1,),
            "epochs": 5,
            "seed": 0,
        }
        for size in sizes
    ]


def test_the_cyclical_rate_runs_between_the_derived_and_the_papers_bounds() -> None:
    bounds = {"derived": (1e-4, 1e-3), "paper": (0.001, 0.006)}
    assert [settings(training) for training in arms.clr(NOTEBOOK, 1e-4, 1e-3)] == [
        {
            "label": f"clr-{name}",
            "optimizer": RMSPROP,
            "learning_rate": {
                "policy": "exp_range",
                "base_lr": low,
                "max_lr": high,
                "step_size": 2000,
                "gamma": 0.99994,
            },
            "batch_sizes": (64,),
            "accumulate": (1,),
            "epochs": 20,
            "seed": 0,
        }
        for name, (low, high) in bounds.items()
    ]


@pytest.mark.parametrize("policy", ["triangular", "triangular2"])
def test_a_policy_without_gamma_carries_none(policy: str) -> None:
    config = resolve("notebook", {"clr.policy": policy, "clr.gamma": 0.5})
    for training in arms.clr(config, 1e-4, 1e-3):
        assert training.learning_rate.policy == policy
        assert training.learning_rate.gamma is None


def test_the_batch_size_cycles_through_the_derived_range_and_the_references_sizes() -> None:
    cycles = {"derived": (16, 32, 64, 128, 256), "reference": (16, 32, 64)}
    assert [settings(training) for training in arms.cyclic_batch(NOTEBOOK, 16, 256)] == [
        {
            "label": f"cyclic-batch-{name}",
            "optimizer": SGD,
            "learning_rate": constant(0.01),
            "batch_sizes": sizes,
            "accumulate": (1,),
            "epochs": 20,
            "seed": 0,
        }
        for name, sizes in cycles.items()
    ]


def test_a_range_of_batch_sizes_that_no_doubling_joins_is_refused() -> None:
    with pytest.raises(InputError, match="bmin is 16 and bmax is 48"):
        list(arms.cyclic_batch(NOTEBOOK, 16, 48))


@pytest.mark.parametrize("step", everything(QUICK))
def test_every_setting_is_trained_once_a_seed_and_otherwise_alike(step: str) -> None:
    config = resolve("quick", {"seeds": [5, 2, 9]})
    trained = everything(config)[step]
    for seed in (5, 2, 9):
        of_seed = [t.model_copy(update={"seed": 0}) for t in trained if t.seed == seed]
        assert of_seed == everything(QUICK)[step]
    assert len(trained) == 3 * len(everything(QUICK)[step])


def test_every_training_builds_the_experiments_model() -> None:
    assert {each.model for each in chain(*everything(NOTEBOOK).values())} == {"lenet5"}


@EVERY_PROFILE
def test_no_two_trainings_of_a_seed_have_the_same_label(profile: str) -> None:
    trainings = list(chain(*everything(resolve(profile, seeds=3)).values()))
    assert len({(each.label, each.seed) for each in trainings}) == len(trainings)


@given(rates=st.lists(st.floats(1e-12, 1e12), min_size=2, max_size=20, unique=True))
def test_rates_that_differ_have_labels_that_differ(rates: list[float]) -> None:
    close = {*rates, *(float(np.nextafter(rate, 1e13)) for rate in rates)}
    config = resolve("quick", {"lr_sweep.learning_rates": sorted(close)})
    labels = [training.label for _, training in arms.lr_sweep(config)]
    assert len(set(labels)) == len(close)


@given(rates=st.permutations([0.1, 10.0, 1e-3]), sizes=st.permutations([16, 8, 64]))
def test_the_sweeps_go_through_their_values_in_the_order_given(
    rates: list[float], sizes: list[int]
) -> None:
    changed = {"lr_sweep.learning_rates": rates, "batch_sweep.batch_sizes": sizes}
    config = resolve("quick", changed, seeds=2)
    points = [(rate, each.learning_rate.base_lr, each.seed) for rate, each in arms.lr_sweep(config)]
    assert points == [(rate, rate, seed) for rate in rates for seed in (0, 1)]
    batches = [(size, *each.batch_sizes, each.seed) for size, each in arms.batch_sweep(config, 0.1)]
    assert batches == [(size, size, seed) for size in sizes for seed in (0, 1)]


@pytest.mark.parametrize("config", [NOTEBOOK, QUICK, TWO_SEEDS], ids=["notebook", "quick", "seeds"])
def test_the_workload_counts_the_trainings_there_are_and_the_examples_of_one(
    config: Experiment,
) -> None:
    workload = arms.workload(config, 1_000)
    for step, trainings in everything(config).items():
        points, examples = workload[step]
        assert points == len(trainings)
        assert {training.epochs * 1_000 for training in trainings} == {examples}
    assert workload.keys() == everything(config).keys()


def test_the_published_workload_is_185_epochs_of_60000_images() -> None:
    workload = arms.workload(NOTEBOOK, 60_000)
    assert workload["lr_sweep"] == (11, 300_000)
    assert workload["batch_sweep"] == (10, 300_000)
    assert workload["clr_training"] == (2, 1_200_000)
    assert workload["cyclic_batch_training"] == (2, 1_200_000)


@pytest.mark.parametrize(
    ("field", "fixed", "step"),
    [
        ("lr_bounds.fixed", [0.001, 0.01], "lr_sweep"),
        ("batch_bounds.fixed", [16, 32], "batch_sweep"),
    ],
)
def test_fixed_bounds_leave_their_sweep_without_a_point(
    field: str, fixed: list[float], step: str
) -> None:
    workload = arms.workload(resolve("notebook", {field: fixed}), 1_000)
    assert workload[step][0] == 0
    others = arms.workload(NOTEBOOK, 1_000)
    assert {s: w for s, w in workload.items() if s != step} == {
        s: w for s, w in others.items() if s != step
    }


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("lr=1e-05", "lr 1e-05, batch 64"),
        ("batch=512", "lr 0.0001, batch 512"),
        ("clr-derived", "lr 0.0001..0.001 exp_range, batch 64"),
        ("clr-paper", "lr 0.001..0.006 exp_range, batch 64"),
        ("cyclic-batch-derived", "lr 0.01, batch 16-32-64-128-256"),
        ("cyclic-batch-reference", "lr 0.01, batch 16-32-64"),
    ],
)
def test_a_training_is_described_in_a_few_words(label: str, expected: str) -> None:
    assert arms.describe(arm(label)) == expected


# The comparison


def test_an_arm_is_compared_by_its_final_and_its_best_epoch() -> None:
    row = compared(0.5, 0.92, 0.91, 0.93, 0.89, losses=[1.5, 0.3, 0.2, 0.4, 0.6])
    assert row == {
        "arm": "clr-derived",
        "seed": 0,
        "optimizer": "rmsprop",
        "schedule": "lr 0.0001..0.001 exp_range, batch 64",
        "epochs": 5,
        "updates": 50,
        "examples": 500,
        "final_val_accuracy": 0.89,
        "final_val_loss": 0.6,
        "best_val_accuracy": 0.93,
        "best_val_loss": 0.2,
        "epochs_to_goal": 2.0,
    }


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.9], 1),
        ([0.95, 0.96], 1),
        ([0.8999, 0.9], 2),
        ([0.1, 0.2, 0.91, 0.3, 0.99], 3),
        ([np.nan, 0.91], 2),
    ],
)
def test_the_epochs_to_the_goal_end_with_the_first_that_reaches_it(
    accuracies: list[float], expected: int
) -> None:
    assert compared(*accuracies)["epochs_to_goal"] == expected


@pytest.mark.parametrize("accuracies", [[0.8999], [0.1, 0.5, 0.89], [np.nan]])
def test_the_epochs_to_a_goal_that_was_not_reached_are_not_a_number(
    accuracies: list[float],
) -> None:
    assert np.isnan(compared(*accuracies)["epochs_to_goal"])


def test_another_goal_may_be_set() -> None:
    table = compare([(arm(), history(0.5, 0.7, 0.8))], goal=0.7)
    assert table["epochs_to_goal"].tolist() == [2]


def test_an_arm_that_diverged_has_no_final_figures_but_those_of_its_best_epoch() -> None:
    row = compared(0.7, 0.91, np.nan, losses=[0.5, 0.4, np.nan])
    assert np.isnan([row["final_val_accuracy"], row["final_val_loss"]]).all()
    assert (row["best_val_accuracy"], row["best_val_loss"]) == (0.91, 0.4)
    assert (row["epochs"], row["updates"], row["epochs_to_goal"]) == (3, 30, 2)


def test_the_examples_of_an_epoch_that_broke_off_are_those_it_was_trained_on() -> None:
    broken = history(0.7, np.nan)
    broken.loc[1, "examples"] = 164
    assert compare([(arm(), broken)])["examples"].tolist() == [164]


def test_an_arm_that_diverged_at_once_has_no_best_figures_either() -> None:
    row = compared(np.nan, losses=[np.nan])
    figures = ["final_val_accuracy", "final_val_loss", "best_val_accuracy", "best_val_loss"]
    assert np.isnan([row[figure] for figure in figures]).all()


def test_the_comparison_has_one_row_an_arm_and_seed_in_the_given_order() -> None:
    given = [("clr-paper", 1), ("cyclic-batch-derived", 0), ("clr-paper", 0), ("lr=0.1", 0)]
    table = compare([(arm(*each), history(0.5, 0.6, images=60_000)) for each in given])
    assert list(zip(table["arm"], table["seed"], strict=True)) == given
    assert table["optimizer"].tolist() == ["rmsprop", "sgd", "rmsprop", "sgd"]
    assert table["examples"].tolist() == [120_000] * 4
    assert table.index.tolist() == [0, 1, 2, 3]


def test_counts_are_whole_numbers_and_figures_are_float64() -> None:
    table = compare([(arm(), history(0.5)), (arm(seed=1), history(0.95))])
    counts = ["seed", "epochs", "updates", "examples"]
    assert {str(table[name].dtype) for name in counts} == {"int64"}
    figures = [name for name in table.columns if "_val_" in name or name == "epochs_to_goal"]
    assert len(figures) == 5
    assert {str(table[name].dtype) for name in figures} == {"float64"}


@given(
    accuracies=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    examples=st.integers(1, 60_000),
)
def test_the_final_figures_are_never_better_than_the_best(
    accuracies: list[float], examples: int
) -> None:
    [row] = compare([(arm(), history(*accuracies, images=examples))]).to_dict("records")
    assert row["final_val_accuracy"] == accuracies[-1]
    assert row["best_val_accuracy"] == max(accuracies) >= row["final_val_accuracy"]
    assert row["best_val_loss"] == min(1 - a for a in accuracies) <= row["final_val_loss"]
    assert row["examples"] == examples * len(accuracies)
    reached = [epoch for epoch, a in enumerate(accuracies, start=1) if a >= 0.90]
    assert [row["epochs_to_goal"]] == reached[:1] or (
        not reached and np.isnan(row["epochs_to_goal"])
    )


def test_the_accuracies_of_all_arms_are_stacked_epoch_by_epoch() -> None:
    table = accuracy_by_epoch(
        [(arm("clr-paper", 3), history(0.1, 0.2)), (arm("clr-derived"), history(0.3, np.nan, 0.5))]
    )
    assert list(table.columns) == ["arm", "seed", "epoch", "val_accuracy"]
    assert table["arm"].tolist() == ["clr-paper"] * 2 + ["clr-derived"] * 3
    assert table["seed"].tolist() == [3, 3, 0, 0, 0]
    assert table["epoch"].tolist() == [1, 2, 1, 2, 3]
    np.testing.assert_array_equal(table["val_accuracy"], [0.1, 0.2, 0.3, np.nan, 0.5])
    assert table.index.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("function", [compare, accuracy_by_epoch])
def test_comparing_leaves_the_histories_alone(function: Callable[[Any], pd.DataFrame]) -> None:
    given = history(0.1, 0.2)
    function([(arm(), given)])
    pd.testing.assert_frame_equal(given, history(0.1, 0.2))
