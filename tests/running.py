"""What the tests of whole runs share: a small experiment on real data, run as a user runs it."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from flows.server import Patient
from tasks.cluster import WORKER_ENVIRONMENT
from tests.waiting import until

ROOT = Path(__file__).parents[1]
SMALL: dict[str, Any] = {
    "data.train_images": 400,
    "data.test_images": 100,
    "lr_sweep.learning_rates": [10, 0.1, 0.01, 0.001],
    "lr_sweep.epochs": 1,
    "batch_sweep.batch_sizes": [16, 32, 64],
    "batch_sweep.epochs": 1,
    "batch_bounds.threshold": 50,
    "clr.step_size": 4,
    "cyclic_batch.reference": [32, 64],
    "training.epochs": 2,
    "gpus": 0,
    "workers": 1,  # TensorFlow is imported, and the model traced, once
}


@dataclass(frozen=True)
class Ran:
    """A finished command: exit status, output, what its process did, points it computed."""

    status: int
    out: str
    error: str
    audit: dict[str, Any]
    executed: set[str] = field(default_factory=set)


def command(
    *arguments: str, report: Path, source: Path = ROOT, cwd: Path = ROOT, **changes: Any
) -> Ran:
    """Run `cyclical` in a process of its own, with the sources in `source`."""
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "audited.py"), str(report), *arguments],
        env={**without_our_settings(), "PYTHONPATH": str(source), **changes},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    audit = json.loads(report.read_text()) if report.exists() else {}
    return Ran(ran.returncode, ran.stdout, ran.stderr, audit)


def without_our_settings() -> dict[str, str]:
    """Return the environment as a user has it: the tests' own trainings need more."""
    return {name: value for name, value in os.environ.items() if name not in WORKER_ENVIRONMENT}


def settings(artifacts: Path, **changes: Any) -> list[str]:
    """Spell the small experiment's settings out for the command line."""
    values = {**SMALL, "artifacts": str(artifacts)}
    values |= {name.replace("__", "."): value for name, value in changes.items()}
    pairs = (f"{name}={json.dumps(value)}" for name, value in values.items())
    return [word for pair in pairs for word in ("--set", pair)]


def run(
    artifacts: Path,
    *options: str,
    source: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    **changes: Any,
) -> Ran:
    """Run the small experiment."""
    arguments = ["run", *settings(artifacts, **changes), *options]
    before = manifests(artifacts)
    report = artifacts.with_suffix(".audit")
    ran = command(*arguments, report=report, source=source, **(environment or {}))
    after = manifests(artifacts)
    return replace(ran, executed={name for name in after if after[name] != before.get(name)})


def manifests(artifacts: Path) -> dict[str, int]:
    """Return when each point of a store was written: step/label -> nanoseconds."""
    return {
        f"{file.parent.parent.name}/{file.parent.name.rpartition('-')[0]}": file.stat().st_mtime_ns
        for file in sorted(
            artifacts.rglob("manifest.json"), key=lambda file: file.stat().st_mtime_ns
        )
    }


def states(points: int) -> dict[str, str]:
    """Return the state of each of the latest flow run's task runs, label -> name.

    The server records task runs a moment after they end: it is asked until it knows all `points`.
    """
    with httpx.Client(
        base_url=os.environ["PREFECT_API_URL"], transport=Patient(), timeout=60
    ) as client:
        latest = {"sort": "START_TIME_DESC", "limit": 1}
        flow_run = client.post("/flow_runs/filter", json=latest).raise_for_status().json()[0]
        return states_of(client, flow_run["id"], points)


def states_of(client: httpx.Client, flow_run: str, points: int) -> dict[str, str]:
    """Return the state of each of a flow run's task runs, as `states` does."""
    wanted = {"flow_runs": {"id": {"any_": [flow_run]}}, "limit": 200}

    def look() -> dict[str, str] | None:
        runs = client.post("/task_runs/filter", json=wanted).raise_for_status().json()
        ended = [run for run in runs if run["state_type"] in {"COMPLETED", "FAILED"}]
        found = {f"{run['id']} {run['name']}": run["state_name"] for run in runs}
        return found if len(ended) >= points else None

    return until(look, 60, f"{points} task runs did not end")


def hashes(artifacts: Path) -> dict[str, str]:
    """Return the SHA-256 of every Parquet file of a store."""
    return {
        str(file.relative_to(artifacts)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(artifacts.rglob("*.parquet"))
    }
