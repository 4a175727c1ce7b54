"""What the arms' histories become: a row a training, a row an arm, and a sentence a finding."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclical.arms import baselines
from cyclical.comparison import (
    FINDINGS,
    MEASURED,
    PICKED,
    Trained,
    accuracy_by_epoch,
    compare,
    findings,
    summarise,
)
from cyclical.config import NOTEBOOK
from cyclical.plans import Training
from cyclical.settings import resolve
from tests.drawing import every_arm

PUBLISHED = ["published_final", "published_best", "published_images"]
# Student's t at 0.975 with 1, 2 and 4 degrees of freedom, from a printed table.
T_OF_SEEDS = {2: 12.706204736, 3: 4.302652730, 5: 2.776445105}


def arm(label: str = "clr-derived", seed: int = 0) -> Training:
    """Return the arm of that name of the published experiment."""
    known = {each.label: each for each in every_arm()}
    return known[label].model_copy(update={"seed": seed})


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


def scores(accuracy: float, loss: float = 0.5) -> pd.DataFrame:
    """Make the figures of the test images, where training images were held out."""
    return pd.DataFrame({"test_loss": [loss], "test_accuracy": [accuracy]})


def compared(*accuracies: float, losses: Iterable[float] | None = None) -> Mapping[str, Any]:
    """Compare a single arm and return its row."""
    [row] = compare([Trained(arm(), history(*accuracies, losses=losses))]).to_dict("records")
    return row


def finals(arms: Mapping[str, Sequence[float]], seeds: Sequence[int] = range(9)) -> pd.DataFrame:
    """Compare arms that ended with these accuracies, one a seed."""
    return compare(
        [
            Trained(arm(label, seed), history(accuracy))
            for label, accuracies in arms.items()
            for seed, accuracy in zip(seeds, accuracies, strict=False)
        ]
    )


def summarised(
    arms: Mapping[str, Sequence[float]], against: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Summarise arms that ended with these accuracies: a row an arm, by its name."""
    return summarise(finals(arms), against or {}).set_index("arm")


def interval(row: "pd.Series[Any]", figure: str) -> list[float]:
    return [row[f"{figure}_low"], row[figure], row[f"{figure}_high"]]


def told(cycling: Sequence[float], fixed: Sequence[float]) -> str:
    """Return what is found of clr-derived beside fixed-rmsprop."""
    arms = {"clr-derived": cycling, "fixed-rmsprop": fixed}
    sentence, *_ = findings(summarise(finals(arms), baselines(NOTEBOOK)))
    return sentence


# A row a training


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
        "best_epoch": 4,
        "epochs_to_goal": 2,
        "test_accuracy": 0.89,
        "test_loss": 0.6,
        "held_out": False,
    }


def test_an_optimizer_with_momentum_is_told_with_it() -> None:
    labels = ["effective-batch-constant", "fixed-sgd", "fixed-rmsprop"]
    table = compare([Trained(arm(label), history(0.5)) for label in labels])
    assert table["optimizer"].tolist() == ["sgd momentum 0.9", "sgd", "rmsprop"]


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
    table = compare([Trained(arm(), history(0.5, 0.7, 0.8))], goal=0.7)
    assert table["epochs_to_goal"].tolist() == [2]


@pytest.mark.parametrize(
    ("accuracies", "best", "epoch"),
    [
        ([0.7, 0.9, 0.8], 0.9, 2),
        ([0.9, 0.8, 0.9], 0.9, 1),  # the first of two
        ([0.0, 0.0], 0.0, 1),
        ([0.0, 0.5], 0.5, 2),
        ([np.nan, 0.6, np.nan], 0.6, 2),
    ],
)
def test_the_best_epoch_is_the_first_with_the_best_accuracy(
    accuracies: list[float], best: float, epoch: int
) -> None:
    row = compared(*accuracies)
    assert (row["best_val_accuracy"], row["best_epoch"]) == (best, epoch)


def test_an_arm_that_diverged_has_no_final_figures_but_those_of_its_best_epoch() -> None:
    row = compared(0.7, 0.91, np.nan, losses=[0.5, 0.4, np.nan])
    last = ["final_val_accuracy", "final_val_loss", "test_accuracy", "test_loss"]
    assert np.isnan([row[name] for name in last]).all()
    assert (row["best_val_accuracy"], row["best_val_loss"], row["best_epoch"]) == (0.91, 0.4, 2)
    assert (row["epochs"], row["updates"], row["epochs_to_goal"]) == (3, 30, 2)


def test_the_examples_of_an_epoch_that_broke_off_are_those_it_was_trained_on() -> None:
    broken = history(0.7, np.nan)
    broken.loc[1, "examples"] = 164
    assert compare([Trained(arm(), broken)])["examples"].tolist() == [164]


def test_an_arm_that_diverged_at_once_has_no_best_figures_either() -> None:
    row = compared(np.nan, losses=[np.nan])
    figures = ["final_val_accuracy", "final_val_loss", "best_val_accuracy", "best_val_loss"]
    assert np.isnan([row[figure] for figure in [*figures, "best_epoch"]]).all()


def test_where_images_are_held_out_the_test_figures_are_those_of_the_test_images() -> None:
    held_out = Trained(arm(), history(0.8, 0.92, 0.9), scores(0.87, loss=0.35))
    [row] = compare([held_out]).to_dict("records")
    assert (row["test_accuracy"], row["test_loss"]) == (0.87, 0.35)
    assert (row["final_val_accuracy"], row["final_val_loss"]) == (0.9, pytest.approx(0.1))
    assert (row["best_val_accuracy"], row["best_epoch"], row["epochs_to_goal"]) == (0.92, 2, 2)


def test_without_held_out_images_the_test_figures_are_the_last_validation_figures() -> None:
    row = compared(0.8, 0.92, 0.9, losses=[0.5, 0.3, 0.4])
    assert (row["test_accuracy"], row["test_loss"]) == (0.9, 0.4)


def test_the_comparison_has_one_row_an_arm_and_seed_in_the_given_order() -> None:
    given = [("clr-paper", 1), ("cyclic-batch-derived", 0), ("clr-paper", 0), ("fixed-sgd", 0)]
    table = compare([Trained(arm(*each), history(0.5, 0.6, images=60_000)) for each in given])
    assert list(zip(table["arm"], table["seed"], strict=True)) == given
    assert table["optimizer"].tolist() == ["rmsprop", "sgd", "rmsprop", "sgd"]
    assert table["examples"].tolist() == [120_000] * 4
    assert table.index.tolist() == [0, 1, 2, 3]


def test_counts_are_whole_numbers_and_figures_are_float64() -> None:
    table = compare([Trained(arm(), history(0.5)), Trained(arm(seed=1), history(0.95))])
    counts = ["seed", "epochs", "updates", "examples"]
    assert {str(table[name].dtype) for name in counts} == {"int64"}
    assert str(table["held_out"].dtype) == "bool"
    figures = table.columns[table.columns.get_loc("examples") + 1 :].drop("held_out")
    assert len(figures) == 8
    assert {str(table[name].dtype) for name in figures} == {"float64"}


@given(
    accuracies=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    examples=st.integers(1, 60_000),
)
def test_the_final_figures_are_never_better_than_the_best(
    accuracies: list[float], examples: int
) -> None:
    [row] = compare([Trained(arm(), history(*accuracies, images=examples))]).to_dict("records")
    assert row["final_val_accuracy"] == row["test_accuracy"] == accuracies[-1]
    assert row["best_val_accuracy"] == max(accuracies) >= row["final_val_accuracy"]
    assert row["best_epoch"] == 1 + accuracies.index(max(accuracies))
    assert row["best_val_loss"] == min(1 - a for a in accuracies) <= row["final_val_loss"]
    assert row["examples"] == examples * len(accuracies)
    reached = [epoch for epoch, a in enumerate(accuracies, start=1) if a >= 0.90]
    assert [row["epochs_to_goal"]] == reached[:1] or (
        not reached and np.isnan(row["epochs_to_goal"])
    )


def test_the_accuracies_of_all_arms_are_stacked_epoch_by_epoch() -> None:
    table = accuracy_by_epoch(
        [
            Trained(arm("effective-batch-cyclic", 3), history(0.1, 0.2), scores(0.9)),
            Trained(arm("clr-derived"), history(0.3, np.nan, 0.5)),
        ]
    )
    counts = ["epoch", "updates", "examples"]
    assert list(table.columns) == ["arm", "seed", "optimizer", *counts, "val_accuracy"]
    assert table["arm"].tolist() == ["effective-batch-cyclic"] * 2 + ["clr-derived"] * 3
    assert table["seed"].tolist() == [3, 3, 0, 0, 0]
    assert table["optimizer"].tolist() == ["sgd momentum 0.9"] * 2 + ["rmsprop"] * 3
    assert table["epoch"].tolist() == [1, 2, 1, 2, 3]
    np.testing.assert_array_equal(table["val_accuracy"], [0.1, 0.2, 0.3, np.nan, 0.5])
    assert table.index.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("function", [compare, accuracy_by_epoch])
def test_comparing_leaves_the_histories_alone(function: Callable[[Any], pd.DataFrame]) -> None:
    given, tested = history(0.1, 0.2), scores(0.3)
    function([Trained(arm(), given, tested)])
    pd.testing.assert_frame_equal(given, history(0.1, 0.2))
    pd.testing.assert_frame_equal(tested, scores(0.3))


# A row an arm


def test_an_arm_of_one_seed_has_its_own_figures_and_no_interval() -> None:
    [row] = summarise(finals({"clr-paper": [0.875]}), {}).to_dict("records")
    no_interval = {f"{name}{end}" for name in MEASURED for end in ("_low", "_high")}
    unknown = {"difference", "difference_low", "difference_high", "epochs_to_goal"}
    unknown |= {*PUBLISHED} | no_interval
    assert {name for name, value in row.items() if value != value} == unknown  # noqa: PLR0124
    assert {name: value for name, value in row.items() if name not in unknown} == {
        "arm": "clr-paper",
        "optimizer": "rmsprop",
        "schedule": "lr 0.001..0.006 exp_range, batch 64",
        "seeds": 1,
        "held_out": False,
        "epochs": 1,
        "updates": 10,
        "examples": 100,
        "test_accuracy": 0.875,
        "final_val_accuracy": 0.875,
        "final_val_loss": 0.125,
        "best_val_accuracy": 0.875,
        "best_epoch": 1,
        "baseline": "",
    }


@pytest.mark.parametrize(
    ("accuracies", "mean", "deviation"),
    [
        ([0.90, 0.92], 0.91, 0.02 / 2**0.5),  # twice 0.01 squared, by 1
        ([0.90, 0.92, 0.94], 0.92, 0.02),  # 0.0004 + 0 + 0.0004, by 2
        ([0.96, 0.88, 0.92, 0.90, 0.94], 0.92, 0.001**0.5),  # 0.004 by 4
        ([0.9, 0.9, 0.9], 0.9, 0),
    ],
)
def test_the_interval_of_several_seeds_is_students(
    accuracies: list[float], mean: float, deviation: float
) -> None:
    row = summarised({"fixed-sgd": accuracies}).loc["fixed-sgd"]
    half = T_OF_SEEDS[len(accuracies)] * deviation / len(accuracies) ** 0.5
    assert row["seeds"] == len(accuracies)
    for figure in ("test_accuracy", "final_val_accuracy", "best_val_accuracy"):
        assert interval(row, figure) == pytest.approx([mean - half, mean, mean + half], abs=1e-10)
    loss = [1 - mean - half, 1 - mean, 1 - mean + half]
    assert interval(row, "final_val_loss") == pytest.approx(loss, abs=1e-10)


def test_two_seeds_say_next_to_nothing_and_five_much_more() -> None:
    # 12.706 * 0.01 and 2.776 * 0.0316 / 2.236
    two = summarised({"fixed-sgd": [0.90, 0.92]}).loc["fixed-sgd"]
    five = summarised({"fixed-sgd": [0.88, 0.90, 0.92, 0.94, 0.96]}).loc["fixed-sgd"]
    assert two["test_accuracy_high"] - two["test_accuracy"] == pytest.approx(0.12706204736)
    assert five["test_accuracy_high"] - five["test_accuracy"] == pytest.approx(0.0392648632)


def test_each_figure_has_the_mean_of_its_own_column() -> None:
    trained = [
        Trained(arm(seed=0), history(0.8, 0.92, 0.9, losses=[0.6, 0.3, 0.4]), scores(0.85)),
        Trained(arm(seed=1), history(0.91, 0.7, 0.8, losses=[0.2, 0.9, 0.5]), scores(0.75)),
    ]
    row = summarise(compare(trained), {}).iloc[0]
    assert row["test_accuracy"] == pytest.approx(0.8)
    assert row["final_val_accuracy"] == pytest.approx(0.85)
    assert row["final_val_loss"] == pytest.approx(0.45)
    assert row["best_val_accuracy"] == pytest.approx(0.915)
    assert row["best_epoch"] == 1.5
    assert row["epochs_to_goal"] == 1.5
    assert (row["epochs"], row["updates"], row["examples"]) == (3, 30, 300)


def test_the_epochs_to_the_goal_are_unknown_where_one_seed_never_reached_it() -> None:
    trained = [Trained(arm(seed=0), history(0.95)), Trained(arm(seed=1), history(0.5, 0.6))]
    row = summarise(compare(trained), {}).iloc[0]
    assert np.isnan(row["epochs_to_goal"])
    assert row["best_epoch"] == 1.5
    assert row["epochs"] == 1.5


def test_one_diverged_seed_leaves_an_arm_without_a_mean_but_not_the_others() -> None:
    arms = {"clr-derived": [0.9, np.nan, 0.92], "fixed-rmsprop": [0.9, 0.91, 0.92]}
    summary = summarised(arms, {"clr-derived": "fixed-rmsprop"})
    diverged = summary.loc["clr-derived"]
    figures = [*MEASURED, "difference"]
    for figure in figures:
        assert np.isnan(interval(diverged, figure)).all()
    assert np.isnan(diverged["best_epoch"])
    assert diverged["seeds"] == 3
    fixed = summary.loc["fixed-rmsprop"]
    assert fixed["test_accuracy"] == pytest.approx(0.91)
    assert np.isfinite(interval(fixed, "test_accuracy")).all()


def test_a_baseline_that_diverged_leaves_no_difference() -> None:
    arms = {"clr-derived": [0.9, 0.91], "fixed-rmsprop": [0.9, np.nan]}
    row = summarised(arms, {"clr-derived": "fixed-rmsprop"}).loc["clr-derived"]
    assert np.isnan(interval(row, "difference")).all()
    assert row["test_accuracy"] == pytest.approx(0.905)


def test_differences_are_taken_seed_by_seed() -> None:
    # 0.01, 0.02 and 0: their mean 0.01, their deviation 0.01. Without pairs it would be 0.016.
    arms = {"clr-derived": [0.90, 0.92, 0.94], "fixed-rmsprop": [0.89, 0.90, 0.94]}
    row = summarised(arms, {"clr-derived": "fixed-rmsprop"}).loc["clr-derived"]
    half = 4.302652730 * 0.01 / 3**0.5
    assert interval(row, "difference") == pytest.approx([0.01 - half, 0.01, 0.01 + half])
    assert row["baseline"] == "fixed-rmsprop"


@given(order=st.permutations(range(6)))
def test_the_order_of_the_rows_does_not_change_which_seeds_are_a_pair(order: list[int]) -> None:
    arms = {"clr-derived": [0.90, 0.92, 0.94], "fixed-rmsprop": [0.89, 0.90, 0.94]}
    shuffled = finals(arms, seeds=[7, 0, 3]).iloc[order]
    row = summarise(shuffled, {"clr-derived": "fixed-rmsprop"}).set_index("arm").loc["clr-derived"]
    half = 4.302652730 * 0.01 / 3**0.5
    assert interval(row, "difference") == pytest.approx([0.01 - half, 0.01, 0.01 + half])


def test_other_pairs_of_the_same_figures_give_another_interval_and_the_same_mean() -> None:
    paired, crossed = (
        summarised(
            {"clr-derived": [0.90, 0.92, 0.94], "fixed-rmsprop": fixed},
            {"clr-derived": "fixed-rmsprop"},
        ).loc["clr-derived"]
        for fixed in ([0.89, 0.90, 0.94], [0.94, 0.90, 0.89])
    )
    # crossed: -0.04, 0.02 and 0.05, whose deviation is the root of (0.05² + 0.01² + 0.04²) / 2
    half = 4.302652730 * 0.0021**0.5 / 3**0.5
    assert crossed["difference"] == pytest.approx(paired["difference"])
    assert crossed["difference_high"] - crossed["difference"] == pytest.approx(half)


def test_the_difference_is_one_of_test_figures_and_never_of_the_best_epoch() -> None:
    trained = [
        Trained(arm("clr-derived"), history(0.99, 0.8), scores(0.7)),
        Trained(arm("fixed-rmsprop"), history(0.5, 0.6), scores(0.9)),
    ]
    summary = summarise(compare(trained), {"clr-derived": "fixed-rmsprop"})
    assert summary["difference"][0] == pytest.approx(-0.2)


def test_the_summary_keeps_the_order_of_the_arms_and_counts_whole_seeds() -> None:
    arms = {"fixed-sgd": [0.9, 0.8], "clr-paper": [0.7, 0.6], "combined": [0.5, 0.4]}
    table = finals(arms)
    summary = summarise(table, {"combined": "fixed-sgd"})
    assert summary["arm"].tolist() == list(arms)
    assert summary["baseline"].tolist() == ["", "", "fixed-sgd"]
    assert str(summary["seeds"].dtype) == "int64"
    assert summary["test_accuracy"].tolist() == pytest.approx([0.85, 0.65, 0.45])
    pd.testing.assert_frame_equal(table, finals(arms))


def test_published_figures_stand_beside_the_arms_that_have_them() -> None:
    published = {
        "clr-paper": [{"val_accuracy": last, "val_images": 160} for last in (0.7, 0.9, 0.8)],
        "clr-derived": [{"val_accuracy": 0.6, "val_images": 10_000}],
    }
    table = finals({"clr-paper": [0.5], "fixed-sgd": [0.5]})
    beside = summarise(table, {}, published)[PUBLISHED]
    np.testing.assert_array_equal(beside, [[0.8, 0.9, 160], [np.nan] * 3])
    assert summarise(table, {})[PUBLISHED].isna().all(axis=None)


@given(accuracies=st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_every_mean_lies_within_its_interval_and_beside_itself_no_arm_differs(
    accuracies: list[float],
) -> None:
    row = summarised({"combined": accuracies}, {"combined": "combined"}).loc["combined"]
    for figure in MEASURED:
        low, mean, high = interval(row, figure)
        assert low <= mean <= high
        assert mean - low == pytest.approx(high - mean)
    assert interval(row, "difference") == [0, 0, 0]


# The baselines


@pytest.mark.parametrize(("more", "told"), [({}, "--seeds 5"), ({"more": "others"}, "others")])
def test_another_optimizer_than_the_baselines_is_named(more: dict[str, str], told: str) -> None:
    settings = {"cyclic_batch.optimizer": "adam"}
    arms = [arm for arm in every_arm("notebook", settings=settings) if "batch-c" not in arm.label]
    table = compare([Trained(each, history(0.5)) for each in arms])
    against = baselines(resolve("notebook", settings))
    sentences = findings(summarise(table, against), **more)
    [cycling] = [each for each in sentences if each.startswith("Cycling the batch size")]
    assert "fixed-sgd, with adam in place of its sgd (" in cycling
    assert f"(one seed: {told} would show" in cycling
    assert not [each for each in sentences if each != cycling and "in place of" in each]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"effective_batch.optimizer": {"name": "sgd", "momentum": 0.0}},
        {"cyclic_batch.reference": [32]},
        {"batch_bounds.fixed": [32, 32]},
        {"clr.optimizer": {"name": "rmsprop", "epsilon": 1e-3}},
    ],
)
def test_what_an_arm_must_beat_has_fixed_settings_and_the_same_optimizer(
    settings: dict[str, Any],
) -> None:
    trained = {arm.label: arm for arm in every_arm("notebook", settings=settings)}
    table = compare([Trained(each, history(0.5)) for each in trained.values()])
    against = baselines(resolve("notebook", settings))
    found = summarise(table, against).set_index("arm")["baseline"].to_dict()
    assert {arm: fixed for arm, fixed in found.items() if fixed} == {
        "clr-derived": "fixed-rmsprop",
        "clr-paper": "fixed-rmsprop",
        "cyclic-batch-derived": "fixed-sgd",
        "cyclic-batch-reference": "fixed-sgd",
        "effective-batch-cyclic": "effective-batch-constant",
        "combined": "fixed-sgd",
    }
    for arm, fixed in found.items():
        if fixed:
            assert trained[arm].optimizer == trained[fixed].optimizer


def test_an_arm_whose_fixed_one_was_not_trained_has_no_baseline() -> None:
    table = finals({"clr-derived": [0.5], "fixed-sgd": [0.6]})
    summary = summarise(table, baselines(NOTEBOOK))
    assert summary["baseline"].tolist() == ["", ""]
    assert summary["difference"].isna().all()
    assert findings(summary) == []


# The findings


def test_a_difference_whose_interval_leaves_out_zero_is_told_as_one() -> None:
    # 0.010, 0.012 and 0.014: the half is 4.3027 * 0.002 / 1.7321 = 0.0050
    sentence = told([0.910, 0.922, 0.934], [0.900, 0.910, 0.920])
    assert sentence == (
        "Cycling the learning rate: better by 1.2 points than fixed-rmsprop "
        "(95 % interval 0.7 to 1.7, 3 seeds)"
    )


def test_a_small_difference_that_is_certain_is_told_with_another_figure() -> None:
    # 0.00036, 0.00040 and 0.00044: the half is 4.3027 * 0.00004 / 1.7321 = 0.0001
    sentence = told([0.90036, 0.91040, 0.92044], [0.900, 0.910, 0.920])
    assert sentence == (
        "Cycling the learning rate: better by 0.04 points than fixed-rmsprop "
        "(95 % interval 0.03 to 0.05, 3 seeds)"
    )


def test_a_loss_by_cycling_is_told_as_plainly() -> None:
    sentence = told([0.900, 0.910, 0.920], [0.910, 0.922, 0.934])
    assert sentence == (
        "Cycling the learning rate: worse by 1.2 points than fixed-rmsprop "
        "(95 % interval 0.7 to 1.7, 3 seeds)"
    )


def test_a_difference_whose_interval_holds_zero_is_not_told_as_one() -> None:
    # 0.01, 0.02 and 0: the half is 4.3027 * 0.01 / 1.7321 = 0.0248
    sentence = told([0.90, 0.92, 0.94], [0.89, 0.90, 0.94])
    assert sentence == (
        "Cycling the learning rate: no difference from fixed-rmsprop that 3 seeds can show "
        "(95 % interval -1.5 to +3.5)"
    )


@pytest.mark.parametrize(
    ("cycling", "much"), [(0.9125, "better by 1.2 points"), (0.8625, "worse by 3.8 points")]
)
def test_one_seed_is_told_as_one_seed(cycling: float, much: str) -> None:
    assert told([cycling], [0.9005]) == (
        f"Cycling the learning rate: {much} than fixed-rmsprop "
        "(one seed: --seeds 5 would show how much is chance)"
    )


def test_one_seed_that_ended_level_is_neither_better_nor_worse() -> None:
    for cycling in (0.9, 0.9004):
        assert told([cycling], [0.9]) == (
            "Cycling the learning rate: level with fixed-rmsprop "
            "(one seed: --seeds 5 would show how much is chance)"
        )


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("diverged", ["clr-derived", "fixed-rmsprop"])
def test_a_training_that_diverged_is_not_compared(diverged: str, seeds: int) -> None:
    arms = {"clr-derived": [0.90, 0.92, 0.94], "fixed-rmsprop": [0.89, 0.90, 0.94]}
    arms[diverged][0] = np.nan
    sentence = told(*(figures[:seeds] for figures in arms.values()))
    assert sentence == (
        "Cycling the learning rate: not comparable with fixed-rmsprop, as a training diverged"
    )


def test_there_is_a_sentence_for_each_thing_that_cycled_in_their_order() -> None:
    everything = every_arm()
    table = compare(
        [Trained(arm, history(0.5 + 0.001 * place)) for place, arm in enumerate(everything)]
    )
    end = "(one seed: --seeds 5 would show how much is chance)"
    # the places of the arms: clr 0 and 1, cyclic batch 2 and 3, effective 4 and 5, combined 6
    assert findings(summarise(table, baselines(NOTEBOOK))) == [
        f"Cycling the learning rate: worse by 0.8 points than fixed-rmsprop {end}",
        f"Cycling the batch size: worse by 0.5 points than fixed-sgd {end}",
        "Cycling the effective batch size: better by 0.1 points than effective-batch-constant "
        + end,
        f"Cycling both: worse by 0.1 points than fixed-sgd {end}",
        f"Best that cycles: combined 0.5060; best that does not: fixed-rmsprop 0.5080 ({PICKED})",
    ]
    assert FINDINGS.keys() <= {arm.label for arm in everything}


def test_of_arms_that_are_missing_or_have_no_baseline_nothing_is_told() -> None:
    arms = {"combined": [0.9], "fixed-sgd": [0.8], "clr-derived": [0.7], "clr-paper": [0.9]}
    against = {"combined": "fixed-sgd", "clr-paper": "fixed-sgd"}
    sentence, best = findings(summarise(finals(arms), against))
    assert sentence.startswith("Cycling both: better by 10.0 points than fixed-sgd (one seed")
    assert best == (
        f"Best that cycles: combined 0.9000; best that does not: fixed-sgd 0.8000 ({PICKED})"
    )
    assert findings(summarise(finals({"fixed-sgd": [0.8]}), {})) == []


def test_other_numbers_of_updates_are_told_with_the_difference() -> None:
    arms = {"clr-derived": [0.75], "fixed-rmsprop": [0.5]}
    table = finals(arms)
    for updates, words in (
        (260, "fixed-rmsprop, with 2.6 times its updates ("),
        (110, "fixed-rmsprop ("),
    ):
        table["updates"] = [updates, 100]
        sentence, _ = findings(summarise(table, {"clr-derived": "fixed-rmsprop"}))
        assert f"better by 25.0 points than {words}" in sentence
