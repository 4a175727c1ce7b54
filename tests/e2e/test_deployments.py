"""The deployments, as a user registers, triggers and repeats them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.serving import Server
from tests.running import hashes
from tests.waiting import until

DEPLOYMENTS = {"nightly", "quick", "sweeps", "from-sweeps"}


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

    def planned() -> list[str]:
        runs = server.post("/flow_runs/filter", **wanted)
        return [run["expected_start_time"] for run in runs]

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
    assert first["name"] == "quick until lr_bounds"
    written = hashes(artifacts)
    began = worker.states(first, artifacts)
    assert set(began.values()) == {"Completed"}

    second = worker.run("quick", settings=tiny, until_step="lr_bounds")
    assert worker.states(second, artifacts).keys() == began.keys()
    assert set(worker.states(second, artifacts).values()) == {"Cached"}
    assert hashes(artifacts) == written


def test_a_refreshed_step_alone_runs_again(worker: Server, tiny: dict[str, Any]) -> None:
    again = worker.run("quick", settings=tiny, until_step="lr_bounds", refresh=["lr_bounds"])
    states = worker.states(again, Path(tiny["artifacts"]))
    assert {name for name, state in states.items() if state == "Completed"} == {
        *("lr_bounds bounds", "lr_bounds pictures")
    }


def test_of_two_runs_one_waits_for_the_other(worker: Server, tiny: dict[str, Any]) -> None:
    triggered = [
        worker.trigger("quick", settings=tiny, until_step="lr_bounds") for _ in ("one", "two")
    ]
    first, second = sorted(map(worker.completed, triggered), key=lambda run: run["start_time"])
    assert datetime.fromisoformat(first["end_time"]) <= datetime.fromisoformat(second["start_time"])


def test_a_schedule_starts_a_run_that_completes(worker: Server, tiny: dict[str, Any]) -> None:
    quick = worker.deployments()["quick"]["id"]
    soon = datetime.now(UTC) + timedelta(seconds=10)
    schedule = {
        "schedule": {"interval": 60, "anchor_date": soon.isoformat(), "timezone": "UTC"},
        "parameters": {"settings": tiny, "until_step": "load_data"},
    }
    answer = worker.api.post(f"/deployments/{quick}/schedules", json=[schedule])
    [made] = answer.raise_for_status().json()
    by_schedule = {
        "deployments": {"id": {"any_": [quick]}},
        "sort": "EXPECTED_START_TIME_ASC",
    }

    def first() -> dict[str, Any] | None:
        runs = worker.post("/flow_runs/filter", **by_schedule)
        return next((run for run in runs if run["auto_scheduled"]), None)

    try:
        planned = until(first, 180, "the schedule planned no run")
        ran = worker.completed(planned["id"])
    finally:
        path = f"/deployments/{quick}/schedules/{made['id']}"
        worker.api.delete(path).raise_for_status()
    assert ran["created_by"]["type"] == "SCHEDULE"
    assert datetime.fromisoformat(ran["start_time"]) >= soon
