"""A server for others: it asks for a password, and all that belongs to us sends it."""

import os
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from cyclical.errors import InputError
from flows import server as our_server
from tests.e2e.serving import Server
from tests.running import ROOT
from tests.waiting import until

PASSWORD = "me:the secret"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a server that asks for a password."""
    server = Server(tmp_path_factory.mktemp("guarded"))
    server.environment["PREFECT_SERVER_API_AUTH_STRING"] = PASSWORD
    with server.running("ui"):
        until(server.healthy, 180, "the server did not answer")
        yield server
    server.api.close()


def test_a_server_for_others_is_not_started_without_a_password() -> None:
    environment = {**os.environ, "PORT": "1"}
    environment.pop("PREFECT_SERVER_API_AUTH_STRING", None)
    ran = subprocess.run(
        ["make", "-C", str(ROOT), "ui", "HOST=0.0.0.0"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    [line] = [line for line in ran.stderr.splitlines() if not line.startswith("make")]
    assert line.startswith("cyclical: HOST=0.0.0.0 ")
    assert "PREFECT_SERVER_API_AUTH_STRING" in line


def test_who_does_not_know_the_password_learns_and_changes_nothing(guarded: Server) -> None:
    for user in (None, ("me", "a guess")):
        answer = guarded.api.post("/deployments/filter", json={}, auth=user)
        assert answer.status_code == httpx.codes.UNAUTHORIZED
        assert answer.json() == {"exception_message": "Unauthorized"}
    with pytest.raises(AssertionError, match="set PREFECT_API_AUTH_STRING"):
        guarded.make("deploy")


def test_deploy_the_command_and_the_page_send_the_password(
    guarded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded.environment["PREFECT_API_AUTH_STRING"] = PASSWORD
    guarded.api.auth = httpx.BasicAuth(*PASSWORD.split(":"))
    guarded.make("deploy")
    assert "experiment/quick" in guarded.prefect("deployment", "ls")
    quick = guarded.deployments()["quick"]["id"]
    run = guarded.post(f"/deployments/{quick}/create_flow_run")["id"]

    monkeypatch.setenv("PREFECT_API_URL", guarded.environment["PREFECT_API_URL"])
    with pytest.raises(InputError, match="asks for a password: set PREFECT_API_AUTH_STRING"):
        our_server.page(run)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", PASSWORD)
    assert our_server.page(run).endswith(f"/runs/flow-run/{run}")
