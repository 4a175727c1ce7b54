"""What is tried again and what is not, by real tasks on a real Dask worker."""

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pandas as pd
import pytest
from prefect import flow, task
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, temporary_settings

from cyclical.errors import InputError, RunError
from cyclical.ledger import Header
from cyclical.manifests import Artifact
from cyclical.steps import select
from cyclical.store import Slot, Store
from flows.server import Patient
from tasks.caching import save
from tasks.places import Place
from tasks.progress import Event, observed_by
from tasks.running import Run
from tests.waiting import until

HEADER = Header(flow_run_id="none", profile="quick", configuration={})
ERRORS: dict[str, Callable[[], Exception]] = {
    "disk": lambda: OSError(errno.EIO, "Input/output error"),
    "connection": lambda: ConnectionResetError("the other side is gone"),
    "missing": lambda: FileNotFoundError("no such file"),
    "input": lambda: InputError("the learning rate is red"),
    "defect": lambda: TypeError("it was no number"),
}


@task
def stumbling(slot: Slot, tally: str, stumbles: int, over: str) -> Artifact:
    """Fail the first `stumbles` times that it is run, and count the times."""
    with Path(tally).open("a") as file:
        file.write("run\n")
    if len(Path(tally).read_text().splitlines()) <= stumbles:
        raise ERRORS[over]()
    return save(slot, {"table.parquet": pd.DataFrame({"x": [1]})})


@flow
def on_the_cluster(root: Path, stumbles: dict[str, int]) -> dict[str, Exception | None]:
    """Run a point for each error, all on one worker; return what each ended with."""
    ended: dict[str, Exception | None] = {}
    with Run(Store(root=root), select([], None, None), HEADER, Place(workers=1)) as run:
        for over, times in stumbles.items():
            given = {"tally": str(root / f"{over}.tally"), "stumbles": times, "over": over}
            point = run.submit("lr_sweep", stumbling, f"{over}-seed=0", **given)
            try:
                point()
                ended[over] = None
            except (InputError, RunError) as error:
                ended[over] = error
    return ended


@dataclass(frozen=True)
class Outcome:
    ended: dict[str, Exception | None]
    runs: dict[str, int]
    told: dict[str, str]


@pytest.fixture(scope="module")
def outcome(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Stumble once over what passes, and always over what does not."""
    root = tmp_path_factory.mktemp("stumbling")
    api = os.environ["PREFECT_API_URL"]
    stumbles = {"disk": 1, "connection": 1, "missing": 9, "input": 9, "defect": 9}
    told: dict[str, str] = {}

    def slow(event: Event) -> None:
        time.sleep(1)  # longer than a cluster takes to close
        told[event.label.removesuffix("-seed=0")] = event.kind

    with temporary_settings({PREFECT_API_URL: api}), observed_by(slow):
        ended = on_the_cluster(root, stumbles)
        APILogHandler().flush()  # while there is a server to take the rest of the log
    runs = {over: len((root / f"{over}.tally").read_text().splitlines()) for over in stumbles}
    return Outcome(ended, runs, told.copy())


@pytest.mark.parametrize("passing", ["disk", "connection"])
def test_what_may_pass_is_tried_again(outcome: Outcome, passing: str) -> None:
    assert outcome.ended[passing] is None
    assert outcome.runs[passing] == 2


@pytest.mark.parametrize("lasting", ["missing", "input", "defect"])
def test_what_waiting_does_not_mend_is_tried_once(outcome: Outcome, lasting: str) -> None:
    assert outcome.ended[lasting] is not None
    assert outcome.runs[lasting] == 1


def test_wrong_input_stays_wrong_input_and_a_defect_names_its_point(outcome: Outcome) -> None:
    assert isinstance(outcome.ended["input"], InputError)
    assert str(outcome.ended["input"]) == "the learning rate is red"
    assert isinstance(outcome.ended["defect"], RunError)
    assert "lr_sweep defect-seed=0 failed (TypeError: it was no number)" in str(
        outcome.ended["defect"]
    )


def test_whoever_watches_was_told_how_every_point_ended_before_the_cluster_closed(
    outcome: Outcome,
) -> None:
    assert outcome.told == {
        over: "finished" if error is None else "failed" for over, error in outcome.ended.items()
    }


def test_the_log_has_what_is_tried_again_and_tracebacks_of_defects_alone(outcome: Outcome) -> None:
    api = os.environ["PREFECT_API_URL"]
    with httpx.Client(base_url=api, transport=Patient(), timeout=60) as client:

        def logged() -> list[str]:
            logs = client.post("/logs/filter", json={"limit": 200, "sort": "TIMESTAMP_DESC"})
            found = [each["message"] for each in logs.raise_for_status().json()]
            defects = [one for one in found if "Traceback" in one and "it was no number" in one]
            return found if defects else []

        messages = until(logged, 120, "the defect was not logged")
    tracebacks = [message for message in messages if "Traceback" in message]
    assert any("TypeError: it was no number" in each for each in tracebacks)
    assert any("disk seed=0 failed (OSError: " in message for message in messages)
    assert any("the learning rate is red" in message for message in messages)
    assert not any("the learning rate is red" in each for each in tracebacks)
