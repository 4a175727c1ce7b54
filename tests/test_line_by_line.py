"""Our figures beside the published ones: which is which, and what chance may explain."""

import numpy as np
import pandas as pd
import pytest

from cyclical import line_by_line, reference
from cyclical.config import NOTEBOOK, QUICK
from cyclical.settings import resolve


def points(*accuracies: float, rate: float = 0.01) -> pd.DataFrame:
    """Make the trainings of one rate, a seed each."""
    return pd.DataFrame(
        {
            "learning_rate": rate,
            "seed": range(len(accuracies)),
            "train_loss": 0.5,
            "train_accuracy": accuracies,
            "val_accuracy": accuracies,
        }
    )


def published(accuracy: float | None, rate: float = 0.01) -> list[dict[str, float | None]]:
    row = {"learning_rate": rate, "train_loss": 0.4, "train_accuracy": accuracy}
    return [row | {"val_accuracy": accuracy}]


def accuracy_line(*ours: float, theirs: float | None) -> dict[str, object]:
    table = line_by_line.of_sweep(points(*ours), "learning_rate", published(theirs))
    assert table["figure"].tolist() == ["train_loss", "train_accuracy", "val_accuracy"]
    return table.set_index("figure").loc["train_accuracy"].to_dict()


def test_a_figure_of_one_seed_has_a_difference_and_no_judgement() -> None:
    line = accuracy_line(0.9, theirs=0.88)
    assert line["setting"] == "learning_rate=0.01"
    assert (line["ours"], line["published"]) == (0.9, 0.88)
    assert line["difference"] == pytest.approx(0.02)
    assert line["within"] == "one seed"
    assert np.isnan([line["low"], line["high"]]).all()


@pytest.mark.parametrize(
    ("theirs", "within"), [(0.87, "yes"), (0.949, "yes"), (0.85, "no"), (0.951, "no")]
)
def test_several_seeds_say_where_one_more_run_may_lie(theirs: float, within: str) -> None:
    # 0.89, 0.90 and 0.91: 4.3027 * 0.01 * root(4 / 3) = 0.0497
    line = accuracy_line(0.89, 0.90, 0.91, theirs=theirs)
    assert line["low"] == pytest.approx(0.90 - 0.04968, abs=1e-5)
    assert line["high"] == pytest.approx(0.90 + 0.04968, abs=1e-5)
    assert line["within"] == within


DIVERGED_RATE = 10.0


@pytest.mark.parametrize(("loss", "within"), [(np.nan, "yes"), (0.5, "no")])
def test_where_the_published_training_diverged_ours_agrees_if_it_did(
    loss: float, within: str
) -> None:
    [theirs] = [
        row for row in reference.sweep("learning_rate") if row["learning_rate"] == DIVERGED_RATE
    ]
    assert theirs["train_loss"] is None
    ours = points(0.1, 0.12, 0.11, rate=DIVERGED_RATE).assign(train_loss=loss)
    table = line_by_line.of_sweep(ours, "learning_rate", [theirs])
    assert table["within"].tolist() == [within] * 3


def test_where_ours_alone_diverged_they_differ() -> None:
    ours = points(np.nan, np.nan).assign(train_loss=np.nan)
    table = line_by_line.of_sweep(ours, "learning_rate", published(0.9))
    assert table["within"].tolist() == ["no"] * 3


def test_rates_that_were_not_swept_here_have_no_line() -> None:
    table = line_by_line.of_sweep(points(0.9), "learning_rate", published(0.9, rate=0.1))
    assert table.empty


def test_every_published_point_finds_its_rate_and_its_size() -> None:
    for value, section in (("learning_rate", "lr_sweep"), ("batch_size", "batch_sweep")):
        swept = getattr(getattr(NOTEBOOK, section), f"{value}s")
        ours = pd.concat([points(0.9, rate=each) for each in swept])
        ours = ours.rename(columns={"learning_rate": value})
        table = line_by_line.of_sweep(ours, value, reference.sweep(value))
        assert table["setting"].nunique() == len(swept)
        assert len(table) == 3 * len(swept)


def test_arms_stand_beside_the_last_and_the_best_published_epoch() -> None:
    trainings = pd.DataFrame(
        {
            "arm": ["clr-paper", "fixed-sgd"],
            "seed": 0,
            "final_val_accuracy": [0.8, 0.7],
            "best_val_accuracy": [0.85, 0.75],
        }
    )
    epochs = [{"val_accuracy": each, "val_images": 10_000} for each in (0.7, 0.9, 0.82)]
    table = line_by_line.of_arms(trainings, {"clr-paper": epochs, "combined": epochs})
    assert table["setting"].tolist() == ["clr-paper"] * 2
    assert table["published"].tolist() == [0.82, 0.9]
    assert table["difference"].tolist() == pytest.approx([-0.02, -0.05])


def test_an_accuracy_of_few_images_varies_by_itself() -> None:
    arm = "effective-batch-constant"
    ours = pd.DataFrame(
        {"arm": arm, "seed": range(3), "final_val_accuracy": [0.789, 0.79, 0.791]}
    ).assign(best_val_accuracy=0.8)
    few, many = (
        line_by_line.of_arms(ours, {arm: [{"val_accuracy": 0.76875, "val_images": images}]})
        for images in (160, 10_000)
    )
    assert (few["within"].iloc[0], many["within"].iloc[0]) == ("yes", "no")
    # 4.3027 * root(0.001^2 * 4 / 3 + 0.76875 * 0.23125 / 160)
    assert few["high"].iloc[0] - 0.79 == pytest.approx(0.14351, abs=1e-5)


def test_bounds_stand_beside_the_published_ones() -> None:
    table = line_by_line.of_bounds({"lr_min": 1e-4, "bmax": 128}, reference.BOUNDS)
    assert table["published"].tolist() == [1e-4, 256]
    assert table["difference"].tolist() == [0, -128]
    assert table["within"].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("bounds", "elsewhere"),
    [
        ({"lr_min": 1e-4, "lr_max": 1e-3}, set()),
        ({"lr_min": 1e-4, "lr_max": 1e-2}, {"clr-derived"}),
        (
            {"lr_min": 1e-3, "lr_max": 1e-3},
            {"clr-derived", "batch_size", "effective-batch-constant"},
        ),
        ({}, {"clr-derived", "batch_size", "effective-batch-constant"}),
    ],
)
def test_what_was_trained_at_other_rates_is_not_compared(
    bounds: dict[str, float], elsewhere: set[str]
) -> None:
    assert reference.at_other_rates(bounds) == elsewhere
    assert elsewhere - {"batch_size"} <= reference.arms().keys()


def test_only_an_experiment_of_the_published_size_is_whole() -> None:
    assert reference.whole(NOTEBOOK, is_fashion=True)
    for beside in ({"workers": 1}, {"lr_sweep.learning_rates": [0.1, 0.01]}, {"gpus": 0}):
        assert reference.whole(resolve("notebook", beside), is_fashion=True), beside
    assert reference.whole(resolve("notebook", seeds=3), is_fashion=True)
    assert not reference.whole(NOTEBOOK, is_fashion=False)
    assert not reference.whole(QUICK, is_fashion=True)
    for field, value in (
        ("training.epochs", 10),
        ("data.train_images", 100),
        ("batch_sweep.budget", "updates"),
        ("model", "mlp"),
        ("cyclic_batch.learning_rate", 0.1),
        ("clr.step_size", 10),
        ("effective_batch.micro_batch", 8),
        ("lr_bounds.fixed", [0.1, 1]),
        ("lr_sweep.give_up", True),
    ):
        assert not reference.whole(resolve("notebook", {field: value}), is_fashion=True), field
