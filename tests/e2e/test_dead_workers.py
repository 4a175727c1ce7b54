"""Workers that die: their runs become Crashed, and Retry with a new worker goes on."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.serving import Server, ended
from tests.running import ROOT, hashes
from tests.waiting import until

SWEEP = {f"lr={rate} seed=0" for rate in ("10", "0.1", "0.01", "0.001")}
HEARTBEAT_SECONDS = 30  # the least that Prefect takes, and what the job template sets
WITHIN_SECONDS = 2 * HEARTBEAT_SECONDS + 5  # the deployed one waits for three


@pytest.fixture
def sooner(server: Server, tmp_path: Path) -> Iterator[Server]:
    """Register the automation with a shorter patience, and its own again at the end."""
    automations = json.loads((ROOT / "deploy" / "automations.json").read_bytes())
    assert [each["trigger"]["within"] for each in automations] == [3 * HEARTBEAT_SECONDS]
    for each in automations:
        each["trigger"]["within"] = WITHIN_SECONDS
    file = tmp_path / "automations.json"
    file.write_text(json.dumps(automations))
    command = [sys.executable, "-m", "flows.registering", "process", "1", "--automations", file]
    subprocess.run(command, cwd=ROOT, env=server.environment, check=True)
    yield server
    server.make("deploy")


def test_a_run_whose_worker_was_killed_ends_itself(server: Server, longer: dict[str, Any]) -> None:
    with server.running("worker"):
        run = server.begin(longer)
        below = server.processes("worker", "prefect.engine")
        below += server.processes("worker", "spawn_main")
        assert len(below) == 3
        [worker] = server.processes("worker", "flows.worker")
        worker.kill()
        server.await_state(run, "Crashed", 30)
        until(lambda: ended(below), 5, "the run outlived its worker")


def test_a_run_that_was_killed_with_its_worker_is_crashed_after_its_heartbeats_stop(
    sooner: Server, longer: dict[str, Any], undisturbed: Path
) -> None:
    with sooner.running("worker"):
        run = sooner.begin(longer)
        below = sooner.processes("worker")
        for process in below:  # the worker first: it is the eldest
            with suppress(psutil.NoSuchProcess):  # a Dask worker ends with its parent
                process.kill()
        until(lambda: ended(below), 5, "something outlived the worker")
        assert sooner.state(run)["name"] == "Running"  # nobody is left to say otherwise
        crashed = sooner.await_state(run, "Crashed", WITHIN_SECONDS + HEARTBEAT_SECONDS)
        assert "No heartbeat" in crashed["message"]
    finished = set(Path(longer["artifacts"]).glob("lr_sweep/lr=*/manifest.json"))
    assert 0 < len(finished) < len(SWEEP)

    with sooner.running("worker"):
        sooner.retry(run)
    again = sooner.ended_as(run, 2, SWEEP)
    assert len([name for name in SWEEP if again[name] == "Cached"]) == len(finished)
    assert hashes(Path(longer["artifacts"])) == hashes(undisturbed)
