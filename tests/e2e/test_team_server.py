"""A server for a team: what deploy/team/compose.yaml starts, without its containers."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tasks.cluster import GPU_LIMIT
from tests import running
from tests.e2e.postgres import Database
from tests.e2e.team import GIVEN, TEAM, Compose, Team, services
from tests.e2e.test_gpu_limit import holder, line, stop
from tests.running import ROOT, states_of


@pytest.fixture(scope="module")
def run(team: Team, fashion_mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Let the command sweep two rates; return the flow run's id."""
    artifacts = tmp_path_factory.mktemp("run") / "artifacts"
    ran = running.run(
        *(artifacts, "--until-step", "lr_sweep"),
        environment=team.of_client(),
        lr_sweep__learning_rates=[0.1, 0.01],
    )
    assert ran.status == 0, ran.error
    latest = json.loads((artifacts / "latest.json").read_bytes())
    found = states_of(team.api, latest["flow_run_id"], len(latest["points"]))
    assert [*found.values()] == ["Completed"] * len(latest["points"])
    return str(latest["flow_run_id"])


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
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START",
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
    wrong = {**team.of_client(), "PREFECT_API_AUTH_STRING": "team:a guess"}
    ran = running.run(tmp_path / "artifacts", environment=wrong)
    assert ran.status == 2
    [told] = ran.error.splitlines()
    assert "asks for a password: set PREFECT_API_AUTH_STRING" in told


def test_a_run_is_kept_in_postgresql_alone(team: Team, database: Database, run: str) -> None:
    assert team.state(run)["name"] == "Completed"
    kept = f"select state_name from flow_run where id = '{run}'"
    assert database.ask(kept, "prefect") == "Completed"
    for file in team.home.rglob("*"):
        assert file.is_dir() or not file.read_bytes().startswith(b"SQLite format 3"), file


def test_a_killed_server_knows_the_run_and_who_holds_a_gpu_when_it_is_back(
    team: Team, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def places() -> float:
        return float(team.api.get(f"/v2/concurrency_limits/{GPU_LIMIT}").json()["active_slots"])

    team.post("/v2/concurrency_limits/", name=GPU_LIMIT, limit=1, active=True)
    for name, value in team.of_client().items():
        monkeypatch.setenv(name, value)
    before = team.ended(run)
    assert before
    with holder("0", lease=600) as training:  # longer than the server may take to start
        assert [line(training), line(training)] == ["starts", "trains"]
        team.kill()
        team.start()
        assert team.ended(run) == before
        assert places() == 1
        stop(training)
    assert places() == 0


def test_what_pg_dump_wrote_can_be_restored(database: Database, run: str, tmp_path: Path) -> None:
    dump = str(tmp_path / "prefect.dump")
    database.done("pg_dump", "--format", "custom", "--file", dump, "prefect")
    database.done("createdb", "restored")
    again = ("--clean", "--if-exists", "--exit-on-error", "--dbname", "restored")
    for _ in ("an empty database", "one that has it all"):
        database.done("pg_restore", *again, dump)
    everything = "select id, state_name from flow_run order by id"
    assert run in database.ask(everything, "restored")
    assert database.ask(everything, "restored") == database.ask(everything, "prefect")


def test_no_password_is_logged(team: Team, run: str) -> None:
    logged = "\n".join([(team.home / "server.log").read_text(), *team.logged(run)])
    assert "/api" in logged
    for password in GIVEN.values():
        assert password not in logged
