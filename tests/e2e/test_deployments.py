"""A server, the work pool, the deployments and a worker, started as a user starts them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests.running import ROOT, SMALL, hashes, states_of

T = TypeVar("T")
RUN_SECONDS = 240
DEPLOYMENTS = {"nightly", "quick", "sweeps", "from-sweeps"}


def until(look: Callable[[], T | None], seconds: float, what: str) -> T:
    """Ask again until there is an answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.2)
    return pytest.fail(f"{what} within {seconds:.0f} s")


def heed_interrupts() -> None:
    """Undo what a shell does to jobs in its background: they, and all below, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Server:
    """What a user sees of a server: `make`, the `prefect` command and the HTTP API."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.home = home
        url = f"http://127.0.0.1:{self.port}/api"
        self.api = httpx.Client(base_url=url, trust_env=False, timeout=30)
        ours = {"PREFECT_API_URL": url, "PREFECT_HOME": str(home), "PORT": str(self.port)}
        self.environment = {**os.environ, **ours, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def make(self, target: str) -> str:
        ran = subprocess.run(
            ["make", "-C", str(ROOT), target],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    @contextmanager
    def running(self, target: str) -> Iterator[None]:
        """Run a target that does not end by itself; end it with all that it started."""
        with (self.home / f"{target}.log").open("wb") as log:
            process = subprocess.Popen(
                ["make", "-C", str(ROOT), target],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=heed_interrupts,  # noqa: PLW1509 (no other thread runs)
            )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C at a terminal
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
            with suppress(ProcessLookupError):  # all ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def healthy(self) -> bool | None:
        try:
            return self.api.get("/health").is_success or None
        except httpx.TransportError:
            return None

    def post(self, path: str, **body: Any) -> Any:
        answer = self.api.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def deployments(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.post("/deployments/filter")}

    def trigger(self, deployment: str, **parameters: Any) -> str:
        """Start a run with the `prefect` command; return its id."""
        given = [f"{name}={json.dumps(value)}" for name, value in parameters.items()]
        command = [sys.executable, "-m", "prefect", "deployment", "run", f"experiment/{deployment}"]
        ran = subprocess.run(
            [*command, *(word for pair in given for word in ("--param", pair))],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
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
        """Start a run and wait until it has ended."""
        return self.wait(self.trigger(deployment, **parameters))

    def wait(self, run: str) -> dict[str, Any]:
        return until(lambda: self.ended(run), RUN_SECONDS, "the run did not end")

    def ended(self, run: str) -> dict[str, Any] | None:
        found: dict[str, Any] = self.api.get(f"/flow_runs/{run}").json()
        terminal = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        return found if found["state_type"] in terminal else None

    def states(self, run: dict[str, Any], artifacts: Path) -> dict[str, str]:
        """Return the state of every task run of the latest run, name -> state."""
        points = json.loads((artifacts / "latest.json").read_bytes())["points"]
        found = states_of(self.api, run["id"], len(points))
        assert len(found) == len(points)
        return {key.partition(" ")[2]: state for key, state in found.items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a server and register the deployments."""
    server = Server(tmp_path_factory.mktemp("prefect"))
    with server.running("ui"):
        until(server.healthy, 90, "the server did not answer")
        server.make("deploy")
        yield server
    server.api.close()


@pytest.fixture(scope="module")
def worker(server: Server) -> Iterator[Server]:
    """Start a worker too."""
    with server.running("worker"):
        yield server


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, fashion_mnist: Path) -> dict[str, Any]:
    """Return the settings of a run that ends within seconds, with artifacts of its own."""
    artifacts = tmp_path_factory.mktemp("deployed") / "artifacts"
    return {**SMALL, "artifacts": str(artifacts), "data.path": str(fashion_mnist)}


def test_all_deployments_are_registered_and_registering_again_changes_none(
    server: Server,
) -> None:
    before = server.deployments()
    assert before.keys() == DEPLOYMENTS
    server.make("deploy")
    after = server.deployments()
    assert {name: each["id"] for name, each in after.items()} == {
        name: each["id"] for name, each in before.items()
    }
    for deployment in after.values():
        assert deployment["work_pool_name"] == "gpu"
        assert deployment["description"]
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    [nightly] = after["nightly"]["schedules"]
    assert nightly["active"]
    assert nightly["schedule"] == {"cron": "0 2 * * *", "timezone": "Etc/UTC", "day_or": True}
    assert [name for name, each in after.items() if each["schedules"]] == ["nightly"]


def test_the_schedule_plans_the_coming_nights(server: Server) -> None:
    nightly = server.deployments()["nightly"]["id"]
    wanted = {"deployments": {"id": {"any_": [nightly]}}, "sort": "EXPECTED_START_TIME_ASC"}

    def planned() -> list[str] | None:
        runs = server.post("/flow_runs/filter", **wanted)
        return [run["expected_start_time"] for run in runs] or None

    times = until(planned, 120, "no night was planned")
    assert all("T02:00:00" in time_ for time_ in times)


@pytest.mark.parametrize(
    "wrong",
    [
        {"profile": "fast"},
        {"seeds": 0},
        {"until_step": "lr_sweeps"},
        {"refresh": ["all"]},
        {"settings": "lr_sweep.epochs=1"},
    ],
)
def test_the_form_refuses_what_is_wrong(server: Server, wrong: dict[str, Any]) -> None:
    quick = server.deployments()["quick"]["id"]
    answer = server.api.post(f"/deployments/{quick}/create_flow_run", json={"parameters": wrong})
    assert answer.status_code == httpx.codes.CONFLICT
    assert next(iter(wrong)) in answer.text


def test_the_form_titles_and_describes_every_parameter(server: Server) -> None:
    schema = server.deployments()["quick"]["parameter_openapi_schema"]["properties"]
    assert list(schema) == ["profile", "settings", "seeds", "refresh", "from_step", "until_step"]
    for name, parameter in schema.items():
        assert parameter["title"] != name
        assert parameter["description"]


def test_a_triggered_run_completes_and_a_second_one_finds_everything_cached(
    worker: Server, tiny: dict[str, Any]
) -> None:
    artifacts = Path(tiny["artifacts"])
    first = worker.run("quick", settings=tiny, until_step="lr_bounds")
    assert first["state_name"] == "Completed"
    written = hashes(artifacts)
    began = worker.states(first, artifacts)
    assert set(began.values()) == {"Completed"}

    second = worker.run("quick", settings=tiny, until_step="lr_bounds")
    assert second["state_name"] == "Completed"
    assert worker.states(second, artifacts).keys() == began.keys()
    assert set(worker.states(second, artifacts).values()) == {"Cached"}
    assert hashes(artifacts) == written


def test_a_refreshed_step_alone_runs_again(worker: Server, tiny: dict[str, Any]) -> None:
    again = worker.run("quick", settings=tiny, until_step="lr_bounds", refresh=["lr_bounds"])
    assert again["state_name"] == "Completed"
    states = worker.states(again, Path(tiny["artifacts"]))
    assert {name for name, state in states.items() if state == "Completed"} == {
        *("lr_bounds bounds", "lr_bounds pictures")
    }


def test_of_two_runs_one_waits_for_the_other(worker: Server, tiny: dict[str, Any]) -> None:
    triggered = [
        worker.trigger("quick", settings=tiny, until_step="lr_bounds") for _ in ("one", "two")
    ]
    first, second = sorted(map(worker.wait, triggered), key=lambda run: run["start_time"])
    assert first["state_name"] == second["state_name"] == "Completed"
    assert datetime.fromisoformat(first["end_time"]) <= datetime.fromisoformat(second["start_time"])
