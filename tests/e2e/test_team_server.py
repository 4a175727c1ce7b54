"""A server for a team: what deploy/team/compose.yaml starts, without its containers."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tasks.cluster import GPU_LIMIT
from tests import running
from tests.e2e import postgres
from tests.e2e.postgres import Database
from tests.e2e.serving import Server, until
from tests.e2e.test_gpu_limit import holder, line, stop
from tests.running import ROOT

TEAM = ROOT / "deploy" / "team"
GIVEN = {
    "DATABASE_PASSWORD": "a password: of @ the/database?",
    "PREFECT_SERVER_API_AUTH_STRING": "team:another, of the $erver",
}
CREDENTIALS = GIVEN["PREFECT_SERVER_API_AUTH_STRING"]
VARIABLE = re.compile(r"\$\{(\w+):([-?])([^}]*)\}")


class Compose(yaml.SafeLoader):
    """Read YAML with compose's tag for a list that takes the place of another file's."""


Compose.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def filled(node: Any, given: dict[str, str]) -> Any:
    """Put values in the place of `${NAME:-default}` and `${NAME:?message}`, as compose does."""
    if isinstance(node, dict):
        return {name: filled(value, given) for name, value in node.items()}
    if isinstance(node, list):
        return [filled(value, given) for value in node]
    if not isinstance(node, str):
        return node

    def value(found: re.Match[str]) -> str:
        name, kind, otherwise = found.groups()
        if given.get(name):
            return given[name]
        assert kind == "-", otherwise
        return otherwise

    return VARIABLE.sub(value, node)


def services(file: str, given: dict[str, str]) -> dict[str, dict[str, Any]]:
    read = yaml.load((TEAM / file).read_text(), Loader=Compose)
    found: dict[str, dict[str, Any]] = filled(read, given)["services"]
    return found


class Team(Server):
    """The service `server` of the file: its command and environment, elsewhere."""

    def __init__(self, home: Path, database: Database) -> None:
        super().__init__(home)
        service = services("compose.yaml", GIVEN)["server"]
        there = {"prefect": f"{Path(sys.executable).parent}/prefect", "0.0.0.0": "127.0.0.1"}
        there |= {"python": sys.executable, "4200": str(self.port)}
        self.command = [there.get(word, word) for word in service["command"]]
        self.check = [
            there.get(word, word).replace(":4200/", f":{self.port}/")
            for word in service["healthcheck"]["test"][1:]
        ]
        ours = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
        self.of_server = {
            **ours,
            **service["environment"],
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
            "PREFECT_SERVER_DATABASE_PORT": str(database.port),
        }
        self.environment |= {"PREFECT_API_AUTH_STRING": CREDENTIALS}
        self.api.auth = httpx.BasicAuth(*CREDENTIALS.split(":", 1))

    def start(self) -> None:
        """Start the server, and wait until it is ready by the file's own check."""
        with (self.home / "server.log").open("ab") as log:
            process = subprocess.Popen(
                self.command,
                env=self.of_server,
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started["server"] = process

        def ready() -> bool | None:
            assert process.poll() is None, (self.home / "server.log").read_text()
            checked = subprocess.run(
                self.check, env=self.environment, capture_output=True, timeout=30, check=False
            )
            return checked.returncode == 0 or None

        until(ready, 120, "the server was not ready")

    def kill(self) -> None:
        os.killpg(self.started["server"].pid, signal.SIGKILL)
        self.started["server"].wait()

    def do(self, *words: str) -> str:
        """Run a command of this checkout against the server; return what it printed."""
        ran = subprocess.run(
            [sys.executable, "-m", *words],
            env={**self.environment, "CYCLICAL_CHECKOUT": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def run(team: Team, tiny: dict[str, Any]) -> dict[str, Any]:
    """Register all that `make deploy` does, and let a worker do a run; return it."""
    team.do("flows.registering", "process", "1")
    team.do("prefect", "--no-prompt", "deploy", "--all")
    quick = team.deployments()["quick"]["id"]
    settings = {**tiny, "lr_sweep.learning_rates": [0.1, 0.01]}
    wanted = {"parameters": {"settings": settings, "until_step": "lr_bounds"}}
    run = team.post(f"/deployments/{quick}/create_flow_run", **wanted)["id"]
    team.do("prefect", "worker", "start", "--pool", "gpu", "--run-once")
    return team.completed(run)


def test_the_files_hold_no_password_and_the_pinned_version() -> None:
    pinned = re.search("^prefect==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    server = services("compose.yaml", GIVEN)["server"]
    for file, of_prefect in (("compose.yaml", 1), ("replicas.yaml", 2)):
        text = (TEAM / file).read_text()
        for name in GIVEN:
            with pytest.raises(AssertionError, match=f"set {name}"):
                services(file, {**GIVEN, name: ""})
        assert set(re.findall(r"\$\{(\w+)", text)) <= {*GIVEN, "SERVER_ADDRESS", "SERVER_URL"}
        images = re.findall(r"image: prefecthq/prefect:([\d.]+)-", text)
        assert images == [pinned[1]] * of_prefect
    assert server["ports"] == ["127.0.0.1:4200:4200"]


def test_what_the_server_keeps_in_files_lies_in_its_volume() -> None:
    for file, name, folder in (
        ("compose.yaml", "server", "/var/lib/prefect"),
        ("compose.yaml", "database", "/var/lib/postgresql/data"),
        ("replicas.yaml", "redis", "/data"),
    ):
        assert services(file, GIVEN)[name]["volumes"] == [f"{name}:{folder}"]
        assert name in yaml.load((TEAM / file).read_text(), Loader=Compose)["volumes"]
    server = services("compose.yaml", GIVEN)["server"]
    assert server["environment"]["PREFECT_HOME"] == "/var/lib/prefect"


def test_replicas_differ_from_one_server_by_what_they_share() -> None:
    one = services("compose.yaml", GIVEN)["server"]["environment"]
    several = services("replicas.yaml", GIVEN)
    for name in ("server", "background", "tables"):
        environment = several[name]["environment"]
        assert {each for each in environment if one.get(each) != environment[each]} == {
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
            "PREFECT_SERVER_EVENTS_MESSAGING_BROKER",
            "PREFECT_SERVER_EVENTS_MESSAGING_CACHE",
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING",
            "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE",
            "PREFECT_REDIS_MESSAGING_URL",
            "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL",
            "PREFECT_SERVER_DOCKET_URL",
        }
        assert set(one) - set(environment) == {"PREFECT_SERVER_UI_API_URL"}


def test_a_command_with_a_wrong_password_gets_one_line(team: Team, tmp_path: Path) -> None:
    wrong = {"PREFECT_API_URL": team.environment["PREFECT_API_URL"], "NO_PROXY": "127.0.0.1"}
    wrong["PREFECT_API_AUTH_STRING"] = "team:a guess"
    ran = running.run(tmp_path / "artifacts", environment=wrong)
    assert ran.status == 2
    [told] = ran.error.splitlines()
    assert "asks for a password: set PREFECT_API_AUTH_STRING" in told


def test_a_run_is_kept_in_postgresql_alone(
    team: Team, database: Database, run: dict[str, Any]
) -> None:
    kept = f"select state_name from flow_run where id = '{run['id']}'"
    assert database.ask(kept, "prefect") == "Completed"
    for file in team.home.rglob("*"):
        assert file.is_dir() or not file.read_bytes().startswith(b"SQLite format 3"), file


def test_a_killed_server_knows_the_run_and_who_holds_a_gpu_when_it_is_back(
    team: Team, run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def places() -> float:
        return float(team.api.get(f"/v2/concurrency_limits/{GPU_LIMIT}").json()["active_slots"])

    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "NO_PROXY"):
        monkeypatch.setenv(name, team.environment[name])
    with holder("0") as training:
        assert [line(training), line(training)] == ["starts", "trains"]
        team.kill()
        team.start()
        assert team.ended(run["id"]) == run
        assert places() == 1
        stop(training)
    assert places() == 0


def test_what_pg_dump_wrote_can_be_restored(
    database: Database, run: dict[str, Any], tmp_path: Path
) -> None:
    dump = str(tmp_path / "prefect.dump")
    database.done("pg_dump", "--format", "custom", "--file", dump, "prefect")
    database.done("createdb", "restored")
    database.done("pg_restore", "--exit-on-error", "--dbname", "restored", dump)
    everything = "select id, state_name from flow_run order by id"
    assert run["id"] in database.ask(everything, "restored")
    assert database.ask(everything, "restored") == database.ask(everything, "prefect")


def test_no_password_is_logged(team: Team, run: dict[str, Any]) -> None:
    logged = (team.home / "server.log").read_text() + json.dumps(team.logged(run["id"]))
    for password in GIVEN.values():
        assert password not in logged
