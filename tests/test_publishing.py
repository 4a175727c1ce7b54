"""What is published to Prefect's UI, where the server answers and where it does not."""

import json
import logging
import math
import os
from collections.abc import Callable
from typing import Any

import httpx
import pandas as pd
import pytest
from prefect import flow, runtime
from prefect.context import SyncClientContext
from prefect.settings import PREFECT_API_URL, temporary_settings

from cyclical.manifests import Artifact
from cyclical.store import Slot, Store
from cyclical.training import Progress
from flows.server import Patient
from tasks import publishing
from tasks.publishing import Page, ProgressBar, Section

NOBODY = "http://127.0.0.1:9/api"


@pytest.fixture
def stored(shelf: Store) -> Artifact:
    table = pd.DataFrame({"rate": [0.1, 10.0], "loss": [0.5, math.inf], "note": ["a|b", "-"]})
    slot = Slot(store=shelf, step="lr_sweep", label="sweep", recipe={})
    return shelf.write(slot, {"sweep.parquet": table}, {"a_b.png": b"PNG"}, duration_seconds=1)


def shown_by(publish: Callable[[], None]) -> dict[str, Any]:
    """Publish within a flow run; return the artifact that the server then has."""

    @flow
    def shows() -> str:
        publish()
        return str(runtime.flow_run.id)

    with temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}):
        of_run = {"artifacts": {"flow_run_id": {"any_": [shows()]}}}
    with httpx.Client(
        base_url=os.environ["PREFECT_API_URL"], transport=Patient(), timeout=60
    ) as client:
        [found] = client.post("/artifacts/filter", json=of_run).raise_for_status().json()
    artifact: dict[str, Any] = found
    return artifact


def test_a_page_has_its_title_texts_pictures_and_tables_in_order(
    prefect_server: None, shelf: Store, stored: Artifact
) -> None:
    table = (stored, "sweep.parquet")
    sections = [Section("Some words", stored, table), Section(table=table, columns=["note"])]
    shown = shown_by(lambda: publishing.publish(shelf, "lr_sweep", Page("The sweep", sections)))
    assert (shown["type"], shown["key"], shown["description"]) == (
        *("markdown", "lr-sweep", "The sweep"),
    )
    assert shown["data"] == (
        "# The sweep\n\nSome words\n\n![a b](data:image/png;base64,UE5H)\n\n"
        "| rate | loss | note |\n|---:|---:|:---|\n| 0.1 | 0.5000 | a\\|b |\n| 10 | inf | - |\n\n"
        "| note |\n|:---|\n| a\\|b |\n| - |"
    )


def test_a_table_says_infinity_as_text_which_json_lacks(
    prefect_server: None, shelf: Store, stored: Artifact
) -> None:
    name = "sweep.parquet"
    shown = shown_by(lambda: publishing.publish_table(shelf, "lr_sweep", "All", stored, name))
    assert (shown["type"], shown["key"], shown["description"]) == ("table", "lr-sweep-table", "All")
    assert json.loads(shown["data"]) == [
        {"rate": 0.1, "loss": 0.5, "note": "a|b"},
        {"rate": 10.0, "loss": "inf", "note": "-"},
    ]


def test_a_server_that_is_lost_costs_a_page_and_not_the_run(
    prefect_server: None, shelf: Store, caplog: pytest.LogCaptureFixture
) -> None:
    half = Progress(epoch=1, epochs=2, examples=5, examples_of_all=10, loss=math.nan, accuracy=0.5)

    def lose_and_find_it_again() -> None:
        own_client = SyncClientContext(
            httpx_settings={"timeout": 1}
        )  # not the flow's, which goes on
        with temporary_settings({PREFECT_API_URL: NOBODY}), own_client:
            publishing.publish(shelf, "lr_sweep", Page("The sweep", []))
            bar = ProgressBar("lr=0.1 seed=0")
            bar(half)
            bar._show()
        publishing.publish(shelf, "lr_bounds", Page("The bounds", []))

    with caplog.at_level(logging.WARNING):
        assert shown_by(lose_and_find_it_again)["key"] == "lr-bounds"
    assert "lr-sweep is not shown in Prefect's UI" in caplog.text
    assert "the progress of lr=0.1 seed=0 is not shown" in caplog.text
