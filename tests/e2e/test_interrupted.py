"""Runs that are cancelled, killed or fail: nothing is left behind, and Retry goes on."""

from pathlib import Path
from typing import Any

from cyclical import upkeep
from cyclical.store import Store
from tests.e2e.serving import Server, ended
from tests.running import hashes
from tests.waiting import until

SWEEP = {f"lr={rate} seed=0" for rate in ("10", "0.1", "0.01", "0.001")}


def training(server: Server, run: str) -> set[str]:
    states = server.attempt(run, 1)
    return {name for name in SWEEP if states.get(name) == "Running"}


def test_a_cancelled_run_ends_its_processes_and_gives_its_place_to_the_next(
    worker: Server, longer: dict[str, Any], tiny: dict[str, Any]
) -> None:
    endless = {**longer, "lr_sweep.epochs": 10_000}
    run = worker.trigger("quick", settings=endless, until_step="lr_bounds")
    until(lambda: training(worker, run), 180, "no training began")
    processes = worker.processes("worker", "prefect.engine")
    processes += worker.processes("worker", "spawn_main")
    assert len(processes) == 3

    worker.prefect("flow-run", "cancel", run)
    worker.await_state(run, "Cancelled", 60)  # from 30 on Prefect does not ask, but kills
    until(lambda: ended(processes), 5, "a cancelled run's processes did not end")
    assert upkeep.verify(Store(root=Path(endless["artifacts"]))) == []

    worker.run("quick", settings=tiny, until_step="load_data")


def test_a_killed_flow_run_is_crashed_and_retry_takes_what_was_finished(
    worker: Server, longer: dict[str, Any], undisturbed: Path
) -> None:
    run = worker.begin(longer)
    cluster = worker.processes("worker", "spawn_main")
    assert len(cluster) == 2
    [flow] = worker.processes("worker", "prefect.engine")
    flow.kill()
    assert "SIGKILL" in worker.await_state(run, "Crashed", 60)["message"]
    until(lambda: ended(cluster), 10, "the Dask workers outlived their run")
    finished = set(Path(longer["artifacts"]).glob("lr_sweep/lr=*/manifest.json"))
    assert 0 < len(finished) < len(SWEEP)

    # The worker reports once more how the process ended; a Retry in between would be undone.
    until(lambda: worker.reported(run), 120, "the worker did not report the end")
    worker.retry(run)
    again = worker.ended_as(run, 2, SWEEP)
    cached = {name for name in SWEEP if again[name] == "Cached"}
    assert len(cached) == len(finished)
    assert {again[name] for name in SWEEP - cached} == {"Completed"}
    assert hashes(Path(longer["artifacts"])) == hashes(undisturbed)


def test_a_killed_dask_worker_costs_a_run_nothing_but_time(
    worker: Server, longer: dict[str, Any], undisturbed: Path
) -> None:
    run = worker.begin(longer)
    victim = worker.processes("worker", "spawn_main")[0]
    victim.kill()
    worker.completed(run)
    assert not victim.is_running()
    assert hashes(Path(longer["artifacts"])) == hashes(undisturbed)


def test_a_failure_names_its_point_and_retry_after_mending_goes_on(
    worker: Server, longer: dict[str, Any], undisturbed: Path
) -> None:
    [whole] = undisturbed.glob("lr_sweep/lr=0.01-seed=0-*")
    in_the_way = Path(longer["artifacts"]) / "lr_sweep" / whole.name
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where the point's folder goes")
    ran = worker.wait(worker.trigger("quick", settings=longer, until_step="lr_bounds"))
    assert ran["state_name"] == "Failed"
    line = "lr_sweep lr=0.01-seed=0 failed (FileExistsError: "
    assert line in ran["state"]["message"]
    assert "what was finished is kept, and the next run goes on" in ran["state"]["message"]
    assert "\n" not in worker.message(ran["id"], line)
    failed = {"lr=0.01 seed=0": "Failed"}
    assert worker.ended_as(ran["id"], 1, SWEEP) == dict.fromkeys(SWEEP, "Completed") | failed

    in_the_way.unlink()
    until(lambda: worker.reported(ran["id"]), 120, "the worker did not report the end")
    worker.retry(ran["id"])
    mended = {"lr=0.01 seed=0": "Completed"}
    assert worker.ended_as(ran["id"], 2, SWEEP) == dict.fromkeys(SWEEP, "Cached") | mended
    assert hashes(Path(longer["artifacts"])) == hashes(undisturbed)


def test_wrong_input_is_told_in_one_line(worker: Server, tiny: dict[str, Any]) -> None:
    ran = worker.wait(worker.trigger("quick", settings={**tiny, "lr_sweep.epoch": 2}))
    assert ran["state_name"] == "Failed"
    assert "lr_sweep.epochs" in ran["state"]["message"]  # the nearest right one
    for words in ("Encountered exception", "Finished in state Failed"):
        line = worker.message(ran["id"], words)
        assert "lr_sweep.epochs" in line
        assert "\n" not in line
