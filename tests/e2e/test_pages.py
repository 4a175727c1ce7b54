"""What a run shows in both of Prefect's UIs, looked at with a real browser, in light and dark.

With SCREENSHOTS=FOLDER every page that is looked at is also kept as a picture.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import running
from tests.e2e.serving import PATIENCE_MS, Server
from tests.test_range_flow import UNTIL, changes

PAGES = {
    "load-data": (1, 2),
    "lr-sweep": (0, 1),
    "lr-bounds": (1, 2),
    "clr-training": (2, 2),
    "batch-sweep": (0, 1),
    "batch-bounds": (2, 4),
    "cyclic-batch-training": (2, 2),
    "effective-batch-training": (2, 2),
    "combined-training": (1, 1),
    "fixed-training": (2, 2),
    "comparison": (4, 1),
    "report": (5, 1),
}
"""The Markdown pages: how many pictures and tables each has."""
TABLES = {"lr-sweep-table": 4, "batch-sweep-table": 3, "comparison-table": 9}
"""The table artifacts: how many rows each has."""
TRAININGS = 4 + 3 + 9
RANGES = {
    "range_test": {"lr-sweep": (0, 1), "lr-bounds": (1, 2)},
    "clock": {"lr-sweep": (0, 2), "lr-bounds": (1, 2)},
}
"""The same for what replaces the sweep."""
LOOKS = [("", "light"), ("", "dark"), ("/v2", "light"), ("/v2", "dark")]
WHOLE = """count => {
    const pictures = [...document.querySelectorAll("img[src^='data:image/png']")];
    pictures.forEach(picture => picture.scrollIntoView());
    const whole = pictures.filter(picture => picture.complete && picture.naturalWidth > 200);
    return whole.length === count;
}"""
FIT = """count => {
    const tables = [...document.querySelectorAll("table")];
    const fits = table => table.scrollWidth <= table.parentElement.clientWidth + 1;
    return tables.length === count && tables.every(fits);
}"""


@pytest.fixture(scope="module")
def runs(
    server: Server, fashion_mnist: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Run the small experiment twice, the second time from the cache; return both flow runs."""
    artifacts = tmp_path_factory.mktemp("shown") / "artifacts"
    environment = {name: server.environment[name] for name in ("PREFECT_API_URL", "PREFECT_HOME")}
    found = []
    for _ in ("computed", "cached"):
        ran = running.run(artifacts, environment=environment)
        assert ran.status == 0, ran.error
        found.append(latest(server, artifacts))
    assert ran.executed == set()
    return found


@pytest.fixture(scope="module")
def ranges(
    server: Server, fashion_mnist: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Run what replaces the sweep, until the bounds; return the flow runs."""
    artifacts = tmp_path_factory.mktemp("ranges") / "artifacts"
    environment = {name: server.environment[name] for name in ("PREFECT_API_URL", "PREFECT_HOME")}
    found = {}
    for method in RANGES:
        options = changes(method)
        ran = running.run(artifacts, *UNTIL, environment=environment, **options)
        assert ran.status == 0, ran.error
        found[method] = latest(server, artifacts)
    return found


def latest(server: Server, artifacts: Path) -> dict[str, Any]:
    run = json.loads((artifacts / "latest.json").read_bytes())["flow_run_id"]
    found: dict[str, Any] = server.api.get(f"/flow_runs/{run}").json()
    return found


@pytest.fixture
def page(browser: Browser, server: Server, look: tuple[str, str]) -> Iterator[Page]:
    """Open a window in one of the two UIs and colour schemes; it must tell no error."""
    _, scheme = look
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{server.port}",
        color_scheme=scheme,
        viewport={"width": 1400, "height": 1000},
    )
    context.add_init_script(f"localStorage.setItem('color-scheme', '\"{scheme}\"')")  # the first UI
    context.set_default_timeout(PATIENCE_MS)
    window = context.new_page()
    errors: list[str] = []
    window.on("pageerror", lambda error: errors.append(str(error)))
    yield window
    context.close()
    assert errors == []


def published(server: Server, run: dict[str, Any]) -> dict[str | None, list[dict[str, Any]]]:
    """Return what a flow run published, by key."""
    by_run = {"flow_run_id": {"any_": [run["id"]]}}
    found: dict[str | None, list[dict[str, Any]]] = {}
    for artifact in server.post("/artifacts/filter", artifacts=by_run, limit=200):
        found.setdefault(artifact["key"], []).append(artifact)
    return found


def keep(page: Page, name: str, look: tuple[str, str]) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        shot = f"{name}{look[0].replace('/', '-')}-{look[1]}.png"
        page.screenshot(path=Path(folder) / shot, full_page=True)


def test_every_step_publishes_its_pages_also_when_it_is_cached(
    server: Server, runs: list[dict[str, Any]]
) -> None:
    computed, cached = (published(server, run) for run in runs)
    keys = {*PAGES, *TABLES}
    assert cached.keys() == keys
    assert computed.keys() == {*keys, None}
    for key in PAGES:
        assert cached[key][0]["data"].splitlines()[0] == computed[key][0]["data"].splitlines()[0]
    assert all(len(found) == 1 for found in cached.values())


def test_every_training_that_ran_shows_its_progress(
    server: Server, runs: list[dict[str, Any]]
) -> None:
    bars = published(server, runs[0])[None]
    assert len({bar["task_run_id"] for bar in bars}) == len(bars) == TRAININGS
    names = {bar["description"].partition(":")[0] for bar in bars}
    assert {"lr=0.001 seed=0", "batch=16 seed=0", "clr-derived seed=0"} < names
    assert {bar["data"] for bar in bars} == {100}


def test_pictures_are_small_enough_for_the_page(server: Server, runs: list[dict[str, Any]]) -> None:
    for key in PAGES:
        [artifact] = published(server, runs[1])[key]
        for picture in re.findall(r"data:image/png;base64,([^)]+)", artifact["data"]):
            assert len(picture) < 200_000


@pytest.mark.parametrize("nth", [0, 1], ids=["computed", "cached"])
def test_the_graph_draws_from_what_each_point_follows(
    server: Server, runs: list[dict[str, Any]], nth: int
) -> None:
    graph = server.api.get(f"/flow_runs/{runs[nth]['id']}/graph-v2").json()
    names = {node[0]: node[1]["label"] for node in graph["nodes"]}
    before = {
        node["label"]: {names[parent["id"]] for parent in node["parents"]}
        for _, node in graph["nodes"]
    }
    rates = {f"lr={rate} seed=0" for rate in (10, 0.1, 0.01, 0.001)}
    assert before["load_data data"] == set()
    assert before["lr=0.1 seed=0"] == {"load_data data"}
    assert before["lr_sweep sweep"] == rates
    assert before["lr_bounds bounds"] == {"lr_sweep sweep"}
    assert before["batch=16 seed=0"] == {"load_data data", "lr_bounds bounds"}
    assert before["combined seed=0"] == {"load_data data", "batch_bounds bounds"}
    assert len(before["comparison comparison"]) == 9
    assert before["comparison pictures"] == {"comparison comparison"}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("key", PAGES)
def test_a_steps_page_shows_its_pictures_and_tables(
    server: Server, runs: list[dict[str, Any]], page: Page, look: tuple[str, str], key: str
) -> None:
    [artifact] = published(server, runs[1])[key]
    assert_shows(page, artifact, look, *PAGES[key])
    keep(page, key, look)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    ("method", "key"), [(method, key) for method in RANGES for key in RANGES[method]]
)
def test_the_pages_of_what_replaces_the_sweep_show_their_pictures_and_tables(
    server: Server,
    ranges: dict[str, dict[str, Any]],
    page: Page,
    look: tuple[str, str],
    method: str,
    key: str,
) -> None:
    [artifact] = published(server, ranges[method])[key]
    assert_shows(page, artifact, look, *RANGES[method][key])
    keep(page, f"{method}-{key}", look)


def assert_shows(
    page: Page, artifact: dict[str, Any], look: tuple[str, str], pictures: int, tables: int
) -> None:
    """Open a page: it has its title, its colours, whole pictures, and tables with rows that fit."""
    page.goto(f"{look[0]}/artifacts/artifact/{artifact['id']}")
    title = artifact["description"]
    expect(page.get_by_role("heading", name=title, exact=True).first).to_be_visible()
    assert ("dark" in (page.locator("html").get_attribute("class") or "")) == (look[1] == "dark")
    shown = page.get_by_role("img").and_(page.locator("img[src^='data:image/png']"))
    expect(shown).to_have_count(pictures)
    page.wait_for_function(WHOLE, arg=pictures)  # at one moment: the page may draw itself anew
    found = page.locator("table")
    expect(found).to_have_count(tables)
    for table in found.all():
        expect(table.locator("tbody tr").first).to_be_visible()
    page.wait_for_function(FIT, arg=tables)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("key", TABLES)
def test_a_table_artifact_shows_its_rows(
    server: Server, runs: list[dict[str, Any]], page: Page, look: tuple[str, str], key: str
) -> None:
    [artifact] = published(server, runs[1])[key]
    page.goto(f"{look[0]}/artifacts/artifact/{artifact['id']}")
    expect(page.locator("table tbody tr")).to_have_count(TABLES[key])
    keep(page, key, look)


@pytest.mark.parametrize("look", LOOKS)
def test_the_reports_links_lead_to_the_steps(
    server: Server, runs: list[dict[str, Any]], page: Page, look: tuple[str, str]
) -> None:
    [report] = published(server, runs[1])["report"]
    page.goto(f"{look[0]}/artifacts/artifact/{report['id']}")
    link = page.get_by_role("link", name="lr_bounds").evaluate("link => link.href")
    assert link.endswith(f"{server.port}{look[0]}/artifacts/key/lr-bounds")
    page.goto(link)
    expect(page.get_by_text("Learning rate: bounds").first).to_be_visible()


@pytest.mark.parametrize("look", LOOKS)
def test_the_flow_runs_page_names_what_ran_and_lists_the_artifacts(
    runs: list[dict[str, Any]], page: Page, look: tuple[str, str]
) -> None:
    page.goto(f"{look[0]}/runs/flow-run/{runs[0]['id']}")
    expect(page.get_by_text("quick").first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()  # one that is left half drawn is an error
    keep(page, "flow-run", look)
    tabs = page.locator("[role=tab], .p-tab")  # of the second UI, of the first
    tabs.filter(has_text="Task Runs").click()
    expect(page.get_by_text("comparison pictures").first).to_be_visible()
    keep(page, "task-runs", look)
    tabs.filter(has_text="Artifacts").click()
    expect(page.get_by_text("quick: the answers").first).to_be_visible()
    keep(page, "run-artifacts", look)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/dashboard", "Flow Runs"),
        ("/runs", "quick"),
        ("/flows", "experiment"),
        ("/deployments", "nightly"),
        ("/work-pools", "gpu"),
        ("/artifacts", "lr-bounds"),
    ],
)
def test_the_other_pages_show_what_is_ours(
    runs: list[dict[str, Any]], page: Page, look: tuple[str, str], path: str, seen: str
) -> None:
    page.goto(f"{look[0]}{path}")
    expect(page.get_by_text(seen).first).to_be_visible()
    keep(page, path.strip("/"), look)
