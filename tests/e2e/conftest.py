"""What the end-to-end tests share: one server, a worker a file, and a tiny experiment."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests import once, running
from tests.e2e import postgres
from tests.e2e.postgres import Database
from tests.e2e.serving import PATIENCE_MS, Server
from tests.e2e.team import GIVEN, Team, services
from tests.running import SMALL
from tests.waiting import until

expect.set_options(timeout=PATIENCE_MS)
LONGER = {"lr_sweep.epochs": 12, "workers": 2}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start one server for all files, and register the deployments."""
    server = Server(tmp_path_factory.mktemp("prefect"))
    with server.running("ui"):
        until(server.healthy, 180, "the server did not answer")
        server.make("deploy")
        yield server
    server.api.close()


@pytest.fixture(scope="module")
def worker(server: Server) -> Iterator[Server]:
    """Start a worker for the length of a file."""
    with server.running("worker"):
        yield server


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, fashion_mnist: Path) -> dict[str, Any]:
    """Return the settings of a run that ends within seconds, with artifacts of its own."""
    artifacts = tmp_path_factory.mktemp("deployed") / "artifacts"
    return {**SMALL, "artifacts": str(artifacts), "data.path": str(fashion_mnist)}


@pytest.fixture
def longer(tmp_path: Path, fashion_mnist: Path) -> dict[str, Any]:
    """Return the settings of a sweep whose trainings take seconds each, with an empty store."""
    artifacts = str(tmp_path / "artifacts")
    return {**SMALL, **LONGER, "artifacts": artifacts, "data.path": str(fashion_mnist)}


@pytest.fixture(scope="session")
def undisturbed(
    server: Server, fashion_mnist: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the store of the same sweep, run by the command and disturbed by nothing."""
    changes = {**LONGER, "data.path": str(fashion_mnist)}

    def make(folder: Path) -> None:
        ran = running.run(
            *(folder / "artifacts", "--until-step", "lr_bounds"),
            environment={
                each: server.environment[each] for each in ("PREFECT_API_URL", "NO_PROXY")
            },
            **{name.replace(".", "__"): value for name, value in changes.items()},
        )
        assert ran.status == 0, ran.error

    return once.made(tmp_path_factory, "undisturbed", make) / "artifacts"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Debian's Chromium; CI must have it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        told = "Chromium is not installed: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--no-proxy-server", "--disable-gpu"]
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """Start PostgreSQL as the service `database` has it."""
    service = services("compose.yaml", GIVEN)["database"]
    given = service["environment"]
    with postgres.serving(given["POSTGRES_USER"], given["POSTGRES_PASSWORD"]) as database:
        database.done("createdb", given["POSTGRES_DB"])
        check = service["healthcheck"]["test"]
        assert check[:4] == ["CMD", "pg_isready", "--host", "127.0.0.1"]
        database.done("pg_isready", *check[4:])
        yield database


@pytest.fixture(scope="session")
def team(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Start Prefect's server as the service `server` has it."""
    team = Team(tmp_path_factory.mktemp("team"), database)
    try:
        team.start()
        yield team
    finally:
        if "server" in team.started:
            team.kill()
        team.api.close()
