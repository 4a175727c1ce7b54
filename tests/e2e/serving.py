"""A server, the work pool, the deployments and a worker, started as a user starts them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

from flows.server import Patient, free_port
from tests.running import ROOT, states_of
from tests.waiting import until

T = TypeVar("T")
RUN_SECONDS = 240
PATIENCE_MS = 120_000  # a page of many task runs, on a slow machine


def heed_interrupts() -> None:
    """Undo what a shell does to jobs in its background: they, and all below, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def told(process: psutil.Process) -> str:
    """Return a process's command line; of one that ended, nothing."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def ended(processes: list[psutil.Process]) -> bool:
    """Tell whether all of these are gone."""
    return not any(told(each) for each in processes)  # a zombie's command line is empty


class Server:
    """What a user sees of a server: `make`, the `prefect` command and the HTTP API."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.home = home
        url = f"http://127.0.0.1:{self.port}/api"
        self.api = httpx.Client(base_url=url, transport=Patient(), timeout=60)
        ours = {"PREFECT_API_URL": url, "PREFECT_HOME": str(home), "PORT": str(self.port)}
        self.started: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {**os.environ, **ours, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def make(self, *arguments: str) -> str:
        ran = subprocess.run(
            ["make", "-C", str(ROOT), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    @contextmanager
    def running(self, target: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a target that does not end by itself; end it with all that it started."""
        with (self.home / f"{target}.log").open("ab") as log:
            process = subprocess.Popen(
                ["make", "-C", str(ROOT), target],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=heed_interrupts,  # noqa: PLW1509 (no other thread runs)
            )
        try:
            self.started[target] = process
            yield process
        finally:
            with suppress(ProcessLookupError):  # a test killed it
                os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C at a terminal
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
            with suppress(ProcessLookupError):  # all ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def processes(self, target: str, *words: str) -> list[psutil.Process]:
        """List what a running target started, and all below, that has these words in its command.

        A worker's own process is `flows.worker`, its flow runs' `prefect.engine`, and of these the
        Dask workers' `spawn_main`.
        """
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.started[target].pid).children(recursive=True)
            return [each for each in below if all(word in told(each) for word in words)]
        return []

    def prefect(self, *arguments: str) -> str:
        """Run the `prefect` command; return what it printed."""
        ran = subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def healthy(self) -> bool:
        try:
            return self.api.get("/health").is_success
        except httpx.TransportError:
            return False

    def post(self, path: str, **body: Any) -> Any:
        answer = self.api.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def deployments(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.post("/deployments/filter")}

    def trigger(self, deployment: str, **parameters: Any) -> str:
        """Start a run with the `prefect` command; return its id."""
        given = [f"{name}={json.dumps(value)}" for name, value in parameters.items()]
        pairs = [word for pair in given for word in ("--param", pair)]
        self.prefect("deployment", "run", f"experiment/{deployment}", *pairs)
        of_deployment = {"id": {"any_": [self.deployments()[deployment]["id"]]}}
        [newest] = self.post(
            "/flow_runs/filter",
            deployments=of_deployment,
            sort="EXPECTED_START_TIME_DESC",
            limit=1,
        )
        run: str = newest["id"]
        return run

    def run(self, deployment: str, **parameters: Any) -> dict[str, Any]:
        """Start a run and wait until it is completed."""
        return self.completed(self.trigger(deployment, **parameters))

    def completed(self, run: str) -> dict[str, Any]:
        """Wait until a run has ended; fail with what it logged if it is not completed."""
        ended = self.wait(run)
        if ended["state_name"] != "Completed":
            said = [f"{ended['state_name']}: {ended['state']['message']}", *self.logged(run)]
            pytest.fail("\n".join(said))
        return ended

    def wait(self, run: str) -> dict[str, Any]:
        return self.until_run(run, lambda: self.ended(run), RUN_SECONDS, "did not end")

    def until_run(self, run: str, look: Callable[[], T | None], seconds: float, what: str) -> T:
        """Wait for something of a run; fail with its state and with what it logged."""
        try:
            return until(look, seconds, f"the run {what}")
        except AssertionError as failure:
            state = self.state(run)
            said = f"it is {state['name']}: {state['message']}"
            return pytest.fail("\n".join([str(failure), said, *self.logged(run)]))

    def ended(self, run: str) -> dict[str, Any] | None:
        found: dict[str, Any] = self.api.get(f"/flow_runs/{run}").json()
        terminal = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        return found if found["state_type"] in terminal else None

    def state(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/flow_runs/{run}").json()["state"]
        return found

    def await_state(self, run: str, name: str, seconds: float) -> dict[str, Any]:
        """Wait for a state; return it."""

        def look() -> dict[str, Any] | None:
            state = self.state(run)
            return state if state["name"] == name else None

        return self.until_run(run, look, seconds, f"did not become {name}")

    def attempt(self, run: str, number: int) -> dict[str, str]:
        """Return the task runs of a flow run's first, second ... attempt: name -> state."""
        wanted = {"flow_runs": {"id": {"any_": [run]}}, "limit": 200}
        found = self.post("/task_runs/filter", **wanted)
        return {
            each["name"]: each["state_name"]
            for each in found
            if each["flow_run_run_count"] == number
        }

    def ended_as(self, run: str, number: int, names: Collection[str]) -> dict[str, str]:
        """Return how these task runs of an attempt ended; the server records that a moment later.

        They are waited for until each is Completed, Cached or Failed.
        """
        terminal = {"Completed", "Cached", "Failed"}

        def look() -> dict[str, str] | None:
            found = self.attempt(run, number)
            told = {name: found[name] for name in names if found.get(name) in terminal}
            return told if len(told) == len(names) else None

        return until(look, 60, lambda: f"attempt {number} has {self.attempt(run, number)}")

    def logged(self, run: str) -> list[str]:
        """Return the newest lines of a flow run's log and of its task runs', oldest first."""
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_DESC", "limit": 200}
        return [each["message"] for each in reversed(self.post("/logs/filter", **wanted))]

    def message(self, run: str, words: str) -> str:
        """Wait for a line of a flow run's log that has these words; return it."""

        def look() -> str | None:
            return next((message for message in self.logged(run) if words in message), None)

        return until(look, 120, f"{words} was not logged")

    def reported(self, run: str) -> bool:
        """Tell whether the worker has said its last about a run's process."""
        asked = {
            "event": {"name": ["prefect.worker.executed-flow-run"]},
            "related": {"id": [f"prefect.flow-run.{run}"]},
        }
        return bool(self.post("/events/filter", filter=asked)["events"])

    def retry(self, run: str) -> dict[str, Any]:
        """Go on with a run that has ended, as the UI's Retry; wait until it is completed."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
        answer = self.post(f"/flow_runs/{run}/set_state", state=state, force=True)
        assert answer["status"] == "ACCEPT", answer
        return self.await_state(run, "Completed", RUN_SECONDS)

    def begin(self, settings: dict[str, Any]) -> str:
        """Start a sweep and wait until a point is finished and another one is trained."""
        parameters = {"settings": settings, "until_step": "lr_bounds"}
        quick = self.deployments()["quick"]["id"]
        run: str = self.post(f"/deployments/{quick}/create_flow_run", parameters=parameters)["id"]
        sweep = Path(settings["artifacts"]) / "lr_sweep"
        until(lambda: next(sweep.glob("lr=*/manifest.json"), None), 180, "no point was finished")
        assert self.state(run)["name"] == "Running"
        return run

    def states(self, run: dict[str, Any], artifacts: Path) -> dict[str, str]:
        """Return the state of every task run of the latest run, name -> state."""
        points = json.loads((artifacts / "latest.json").read_bytes())["points"]
        found = states_of(self.api, run["id"], len(points))
        assert len(found) == len(points)
        return {key.partition(" ")[2]: state for key, state in found.items()}
