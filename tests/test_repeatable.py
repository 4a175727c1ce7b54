"""The same configuration and seed give the same bytes, whatever the cluster does."""

import json
from pathlib import Path

from tests import running


def test_two_workers_in_another_order_give_the_bytes_of_one_whatever_threads_the_user_asks_for(
    finished: Path, tmp_path: Path
) -> None:
    assert running.SMALL["workers"] == 1
    ran = running.run(
        tmp_path / "artifacts",
        environment={"OMP_NUM_THREADS": "2", "TF_NUM_INTRAOP_THREADS": "2"},
        lr_sweep__learning_rates=running.SMALL["lr_sweep.learning_rates"][::-1],
        batch_sweep__batch_sizes=running.SMALL["batch_sweep.batch_sizes"][::-1],
        workers=2,
    )
    assert ran.status == 0, ran.error
    assert running.hashes(tmp_path / "artifacts") == running.hashes(finished)


def test_one_worker_trains_the_sweeps_first_and_the_longest_arms(finished: Path) -> None:
    files = sorted(
        finished.glob("*/*-seed=0-*/manifest.json"), key=lambda file: file.stat().st_mtime_ns
    )
    manifests = [json.loads(file.read_bytes()) for file in files]
    trained = [
        (manifest["step"], manifest["label"])
        for manifest in manifests
        if "history.parquet" in manifest["files"]
    ]
    steps = [step for step, _ in trained]
    points = len(running.SMALL["lr_sweep.learning_rates"])
    assert steps[:points] == ["lr_sweep"] * points
    batches = [label for step, label in trained if step == "batch_sweep"]
    assert batches == [f"batch={size}-seed=0" for size in (16, 32, 64)]
    arms = [label for step, label in trained if step.endswith("_training")]
    assert len(arms) == 9
    known_early = [label for label in arms if not label.startswith(("cyclic-batch", "combined"))]
    assert all(label.startswith("effective-batch") for label in known_early[:2])  # batches of 32
