"""The worked examples, run at a tiny size as their first line says."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import running

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = {
    "lr_sweep.learning_rates": [0.2, 0.1, 0.02],
    "lr_sweep.epochs": 5,
    "lr_bounds.lr_min_share": 0.3,
    "batch_sweep.epochs": 4,
    "batch_sweep.batch_sizes": [16, 32],
    "batch_bounds.threshold": 100,
    "cyclic_batch.reference": [16, 32],
}
SEEN = {
    "digits": {"height": 8, "width": 8, "channels": 1, "train_images": 400, "classes": 10},
    "shapes": {"height": 16, "width": 16, "channels": 3, "train_images": 360, "classes": 4},
}


@pytest.mark.parametrize("name", SEEN)
def test_an_example_runs_to_its_end(name: str, prefect_server: None, tmp_path: Path) -> None:
    place, store = tmp_path / "examples", tmp_path / "artifacts"
    shutil.copytree(EXAMPLES, place, ignore=shutil.ignore_patterns("artifacts-*", "__pycache__"))
    words = running.settings(store, **TINY)
    ran = running.command("run", f"{name}.toml", *words, report=tmp_path / "audit", cwd=place)
    assert ran.status == 0, ran.error
    assert "Batch size: cycle between 16 and 32" in ran.out
    [about] = store.glob("load_data/data-*/about.parquet")
    [seen] = pd.read_parquet(about).to_dict("records")
    assert {key: seen[key] for key in SEEN[name]} == SEEN[name]
    [summary] = store.glob("comparison/comparison-*/summary.parquet")
    arms = pd.read_parquet(summary)
    assert len(arms) == 9
    assert np.isfinite(arms["test_accuracy"]).all()
    assert (arms["held_out"] == (name == "shapes")).all()
