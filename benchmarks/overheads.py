"""Measure what a run costs beside its trainings, with the command as a user calls it.

A Prefect server of its own is started before and stopped after; all results go to a temporary
folder. Three runs of the quick profile with the 11 learning rates and 10 batch sizes of the full
one: from nothing, again with all cached, and two points of the sweep on all images.

- cached run: the command from its start to its end, when there is nothing to train
- first training: from the command's start until the first task run of a training is Running
- pipeline's own time: the share of the first run's wall time by which it exceeds its trainings'
  durations, summed and divided by the workers; it holds the time in which a worker waits for others
- checkpoint: what it takes to write the state of a training after the last but one of 20 epochs on
  60,000 images at batch 64, when it is largest, and its share of such an epoch
- peak memory: the high-water marks (VmHWM) of the command's process and of its largest worker at
  batch 64

Run: `make bench`, or `python -m benchmarks.overheads`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil

from benchmarks import records
from benchmarks.processes import peak_mib, team
from cyclical import examples, results
from cyclical.manifests import MANIFEST, Manifest
from cyclical.store import Store
from flows import server
from flows.guards import lost_server
from tasks import cluster

UPDATES = 19 * 938
LOOK_SECONDS = 0.2  # between two looks at the memory, which only grows


def command(log: Path, settings: Mapping[str, Any], *more: str) -> "subprocess.Popen[bytes]":
    """Start `cyclical run`; what it prints goes to `log`."""
    pairs = (f"{name}={json.dumps(value)}" for name, value in settings.items())
    words = [word for pair in pairs for word in ("--set", pair)]
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603 (our own command)
            [Path(sys.executable).with_name("cyclical"), "run", *words, *more],
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def finished(run: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait for a run; end where it failed."""
    if run.wait():
        raise SystemExit(log.read_text())


def wall_seconds(log: Path, settings: Mapping[str, Any]) -> float:
    """Return how long a run takes, from the command's start to its end."""
    began = time.monotonic()
    finished(command(log, settings), log)
    return time.monotonic() - began


def first_training(run: results.RunRecord) -> datetime:
    """Return when the first of a run's trainings began, as Prefect's server recorded it."""
    server.await_records(run.flow_run_id, len(run.points))
    asked = {"flow_runs": {"id": {"any_": [run.flow_run_id]}}, "limit": 200}
    with httpx.Client(transport=server.Patient()) as client:
        answer = client.post(f"{os.environ['PREFECT_API_URL']}/task_runs/filter", json=asked)
    starts = [
        datetime.fromisoformat(each["start_time"])
        for each in answer.raise_for_status().json()
        if each["name"].startswith("lr=")
    ]
    return min(starts)


def training_seconds(store: Store, run: results.RunRecord) -> float:
    """Sum the durations of a run's trainings, as their manifests tell."""
    manifests = (
        Manifest.model_validate_json((store.root / each.artifact.path / MANIFEST).read_bytes())
        for each in run.points
        if "history.parquet" in each.artifact.files
    )
    return sum(each.duration_seconds for each in manifests)


def peaks(log: Path, settings: Mapping[str, Any]) -> tuple[float, float]:
    """Return the peak memory of a sweep's command and of its largest child, in MiB."""
    run = command(log, settings, "--until-step", "lr_sweep")
    marks: dict[int, float] = {}
    while run.poll() is None:
        for pid in [run.pid, *(child.pid for child in psutil.Process(run.pid).children(True))]:
            with suppress(OSError, ValueError):  # it has just ended
                marks[pid] = peak_mib(pid)
        with suppress(subprocess.TimeoutExpired):
            run.wait(LOOK_SECONDS)
    finished(run, log)
    return marks.pop(run.pid), max(marks.values())


def checkpoint_seconds(file: str) -> tuple[float, float]:
    """Return how long a checkpoint takes to be written, and an epoch of so many images to train."""
    from benchmarks import rivals
    from cyclical import training
    from cyclical.checkpoints import Checkpoint, write
    from cyclical.files import File

    began, ended = rivals.train(rivals.our_loop, "", 64, 59_968)
    pixels = np.zeros((1, 28, 28, 1), np.uint8)
    part = examples.Part(pixels, np.zeros(1, np.uint8))
    loop = training.updates_of(rivals.settings_of(64), part, 10)
    trace = pd.DataFrame(
        {
            "learning_rate": np.full(UPDATES, 0.1),
            "batch_size": np.full(UPDATES, 64),
            "loss": np.random.default_rng(0).random(UPDATES, np.float32),
            "accuracy": np.random.default_rng(1).random(UPDATES, np.float32),
        }
    )
    seconds = []
    for _ in range(20):
        start = time.monotonic()
        write(File(Path(file)), Checkpoint(loop.state(), trace[:19], trace, np.ones(19)))
        seconds.append(time.monotonic() - start)
    return float(np.median(seconds)), ended - began


def measure(folder: Path, images: int, most: int) -> pd.DataFrame:
    """Run the command three times; return a row a measure, with its value and unit."""
    log, store = folder / "log", Store(root=folder / "artifacts")
    settings = {
        "artifacts": str(store.root),
        "data.train_images": images,
        "batch_sweep.batch_sizes": [2 << power for power in range(10)],
        "gpus": 0,
    }
    began = datetime.now(UTC)
    whole = wall_seconds(log, settings)
    run = results.latest(store)
    trained = training_seconds(store, run) / cluster.cores()
    cached = wall_seconds(log, settings)
    two = settings | {"data.train_images": most, "data.test_images": None}
    two |= {"lr_sweep.learning_rates": [0.01, 0.001], "lr_sweep.epochs": 1}
    process, worker = peaks(log, two)
    with team(1, cluster.WORKER_ENVIRONMENT) as alone:
        [(written, epoch)] = alone.together(checkpoint_seconds, str(folder / "checkpoint"))
    rows = [
        ("run from nothing", whole, "s"),
        ("first training after", (first_training(run) - began).total_seconds(), "s"),
        ("trainings, divided by the workers", trained, "s"),
        ("pipeline's own time", 100 * (1 - trained / whole), "%"),
        (f"cached run of {len(run.points)} results", cached, "s"),
        ("checkpoint", 1000 * written, "ms"),
        ("checkpoint, share of an epoch", 100 * written / epoch, "%"),
        (f"peak memory of a worker, {most:,} images", worker, "MiB"),
        ("peak memory of the command", process, "MiB"),
    ]
    return pd.DataFrame(rows, columns=["measure", "value", "unit"])


def main() -> None:
    """Print a table of all measures."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--images", type=int, default=5_000, help="of the first two runs")
    options.add_argument("--most", type=int, default=60_000, help="images of the third run")
    options.add_argument("--save", type=Path, metavar="FOLDER", help="keep the table there")
    asked = options.parse_args()
    os.environ.pop("PREFECT_API_URL", None)
    with TemporaryDirectory() as folder:
        os.environ["PREFECT_HOME"] = f"{folder}/prefect"
        with server.running(lost_server):
            table = measure(Path(folder), asked.images, asked.most)
    records.show(table.round(1))
    records.save(asked.save, "overheads", table, images=asked.images)


if __name__ == "__main__":
    main()
