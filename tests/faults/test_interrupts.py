"""A run that is interrupted or killed ends at once, with all its processes, and goes on later."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import running
from tests.waiting import until

ENDS_WITHIN_SECONDS = 5
UNTIL_BOUNDS = ("--until-step", "lr_bounds")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Prefect home that outlives one run, as a project's does."""
    return tmp_path_factory.mktemp("home")


def start(artifacts: Path, home: Path) -> "subprocess.Popen[bytes]":
    """Start the small experiment with a server of its own, as at a terminal."""
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "run",
        *running.settings(artifacts, workers=2),
        *UNTIL_BOUNDS,
    ]
    with artifacts.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=running.ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def until_a_training_is_stored(artifacts: Path, process: "subprocess.Popen[bytes]") -> None:
    def stored() -> list[Path]:
        assert process.poll() is None, artifacts.with_suffix(".log").read_text()
        return list(artifacts.glob("lr_sweep/lr=*/manifest.json"))

    until(stored, 240, "no training was stored")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_no_process_and_its_finished_points_are_not_computed_again(
    fashion_mnist: Path, prefect_server: None, home: Path, tmp_path: Path, number: signal.Signals
) -> None:
    artifacts = tmp_path / "artifacts"
    process = start(artifacts, home)
    until_a_training_is_stored(artifacts, process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3, "a server and two workers"

    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: the workers get it too
    else:
        process.send_signal(number)

    def left() -> list[object]:
        command = [process] if process.poll() is None else []
        return command + psutil.wait_procs(children, timeout=0)[1]

    until(lambda: not left(), ENDS_WITHIN_SECONDS, lambda: f"still there: {left()}")
    if number != signal.SIGKILL:
        assert process.returncode == 130
        told = artifacts.with_suffix(".log").read_text()
        assert "interrupted" in told
        assert "Traceback" not in told

    finished = set(running.manifests(artifacts))
    ran = running.run(artifacts, *UNTIL_BOUNDS)
    assert ran.status == 0, ran.error
    assert ran.executed.isdisjoint(finished)
