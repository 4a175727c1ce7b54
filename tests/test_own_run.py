"""A whole run on the user's own data and network, as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import running

NETWORK = """
import keras
from keras import layers

def network(shape, classes):
    hidden = layers.Dense(16, activation="relu")
    return keras.Sequential([keras.Input(shape), layers.Flatten(), hidden, layers.Dense(classes)])
"""
FILE = """
metrics = [{ name = "sparse_top_k_categorical_accuracy", k = 2 }]
model = "mine:network"
[data]
path = "own.npz"
validation_split = 0.2
[clr]
optimizer = "adam"
[lr_bounds]
lr_min_share = 0.5
"""


@pytest.fixture(scope="module")
def place(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data in colour, a network and an experiment, which was run once."""
    folder = tmp_path_factory.mktemp("own")
    numbers = np.random.default_rng(0)
    labels = numbers.integers(0, 3, 500)
    pixels = numbers.integers(0, 120, (500, 9, 8, 3))
    pixels[np.arange(500), :, :, labels] += 100
    np.savez(
        folder / "own.npz",
        x_train=pixels[:400].astype(np.uint8),
        y_train=np.array(["red", "green", "blue"])[labels[:400]],
        x_test=pixels[400:].astype(np.uint8),
        y_test=np.array(["red", "green", "blue"])[labels[400:]],
    )
    (folder / "mine.py").write_text(NETWORK)
    (folder / "own.toml").write_text(FILE)
    ran = run(folder)
    assert ran.status == 0, ran.error
    return folder


def run(folder: Path, *options: str) -> running.Ran:
    changes = {
        "cyclic_batch.reference": [16, 32],
        "lr_sweep.epochs": 4,
        "lr_sweep.learning_rates": [3, 0.2, 0.1, 0.05],
        "batch_sweep.epochs": 4,
    }
    words = running.settings(folder / "artifacts", **changes)
    return running.command("run", "own.toml", *words, *options, report=folder / "audit", cwd=folder)


def executed(folder: Path, *options: str) -> set[str]:
    """Run again; return the points that were computed."""
    before = running.manifests(folder / "artifacts")
    ran = run(folder, *options)
    assert ran.status == 0, ran.error
    after = running.manifests(folder / "artifacts")
    return {name for name in after if after[name] != before.get(name)}


def table(folder: Path, name: str) -> pd.DataFrame:
    (file,) = (folder / "artifacts").glob(name)
    return pd.read_parquet(file)


def test_all_follows_the_data(place: Path) -> None:
    assert table(place, "load_data/data-*/class_counts.parquet")["name"].tolist() == [
        "blue",
        "green",
        "red",
    ]
    summary = table(place, "comparison/comparison-*/summary.parquet").set_index("arm")
    assert {"fixed-sgd", "fixed-adam"} < set(summary.index)
    assert summary.loc["clr-derived", "baseline"] == "fixed-adam"
    assert summary["published_final"].isna().all()
    assert summary["held_out"].all()
    metric = summary["final_val_sparse_top_k_categorical_accuracy_k_2"]
    assert (metric >= summary["final_val_accuracy"]).all()
    shown = json.loads(
        running.command(
            "show", "--json", "--artifacts", "artifacts", report=place / "audit", cwd=place
        ).out
    )
    assert list(shown["arms"][0]["metrics"]) == [
        f"final_val_sparse_top_k_categorical_accuracy_k_2{end}" for end in ("", "_high", "_low")
    ]


def test_only_arms_are_scored_on_the_test_images(place: Path) -> None:
    tested = {file.parts[-3] for file in (place / "artifacts").glob("*/*/test.parquet")}
    assert tested == {
        "load_data",
        *(f"{arm}_training" for arm in ("clr", "cyclic_batch", "effective_batch", "combined")),
        "fixed_training",
    }


def test_the_file_is_kept_with_the_results(place: Path) -> None:
    assert (place / "artifacts/latest.toml").read_text() == FILE


def test_nothing_is_computed_again_also_without_the_source(place: Path) -> None:
    assert executed(place) == set()
    (place / "own.npz").rename(place / "elsewhere.npz")
    assert executed(place) == set()
    (place / "elsewhere.npz").rename(place / "own.npz")


def test_other_data_at_the_same_path_are_noticed_and_the_same_change_nothing(place: Path) -> None:
    arrays = dict(np.load(place / "own.npz"))
    np.savez_compressed(place / "own.npz", **arrays)
    assert executed(place, "--until-step", "lr_bounds") == {"load_data/data"}
    arrays["x_test"] = arrays["x_test"] + 1
    np.savez(place / "own.npz", **arrays)
    again = executed(place, "--until-step", "lr_bounds")
    assert {"load_data/data", "lr_sweep/lr=0.1-seed=0"} < again


def test_an_edited_network_is_trained_again_on_the_data_that_are_there(place: Path) -> None:
    (place / "mine.py").write_text(NETWORK.replace("16", "24") + "# and a comment\n")
    again = executed(place, "--until-step", "lr_bounds")
    assert "load_data/data" not in again
    assert "load_data/model" in again
    assert sum(name.startswith("lr_sweep/lr=") for name in again) == 4
    (place / "mine.py").write_text(NETWORK.replace("16", "24"))
    assert executed(place, "--until-step", "lr_bounds") == set()


def test_a_network_that_cannot_be_trained_ends_the_run_before_the_sweep(place: Path) -> None:
    (place / "mine.py").write_text(NETWORK.replace("layers.Dense(classes)", "layers.Dense(7)"))
    ran = run(place)
    assert ran.status == 2
    *_, line = ran.error.splitlines()
    assert line.startswith("cyclical: model mine:network gives outputs of shape (4, 7)")
    assert "Traceback" not in ran.error
