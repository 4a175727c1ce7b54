"""The report of a run: what stands on its page, and that it needs nothing beside it."""

import base64
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from cyclical import report, report_provenance, results, upkeep
from cyclical.answers import answers
from cyclical.errors import InputError
from cyclical.report_sections import SECTIONS
from cyclical.results import RunRecord
from cyclical.settings import resolve
from cyclical.store import Store
from flows.cli import app
from tasks import publishing
from tests import reports
from tests.reports import Page
from tests.shelves import batch_bounds, lr_bounds, point, run_of

HOSTILE = "<script>alert('x')</script>&\"|"
OF_THE_PAGE = ["summary", "provenance"]


@pytest.fixture(scope="module", params=[1, 3], ids=["one-seed", "three-seeds"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = Store(root=tmp_path_factory.mktemp("report") / "artifacts")
    store.ensure_writable()
    run = reports.whole(store, request.param)
    html = report.render(store, run)
    return store, run, html, Page(html)


def steps(html: str) -> list[str]:
    """Return the sections of a page that are of steps."""
    found = re.findall(r'<section id="(\w+)"', html)
    return [name for name in found if name not in OF_THE_PAGE]


def test_a_whole_run_shows_every_step_between_the_summary_and_the_provenance(made: Any) -> None:
    store, run, html, page = made
    wanted = list(dict.fromkeys(section.step for section in SECTIONS))
    assert steps(html) == wanted
    assert [a["href"] for a in page.all("a")] == [
        *("#main", "#summary", *(f"#{step}" for step in wanted), "#provenance")
    ]
    items = page.text("li")
    for answer in answers(results.summary(store, run)):
        assert answer in items


def test_the_page_loads_nothing(made: Any) -> None:
    _, _, html, page = made
    assert page.tags("script", "link", "iframe", "object", "base", "form") == []
    sources = [a[name] for _, a in page.elements for name in ("src", "href") if name in a]
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    assert "http" not in html.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_every_picture_of_the_run_is_in_the_page_whole_and_in_words(made: Any) -> None:
    store, run, _, page = made
    seeds = run.configuration.seeds
    shown = [base64.b64decode(image["src"].partition(",")[2]) for image in page.all("img")]
    others = [p for p in run.points if re.search(r"-seed=[1-9]\d*-pictures$", p.label)]
    assert len(others) == 9 * (len(seeds) - 1)
    expected = [
        file.read_bytes()
        for point in run.points
        if point not in others
        for file in store.pictures(point.artifact)
    ]
    assert sorted(shown) == sorted(expected)
    for image in page.all("img"):
        assert len(image["alt"]) > 20
        assert re.search(r"\d", image["alt"])
        assert (image["width"], image["height"]) != (None, None)


def test_the_words_of_the_pictures_say_the_runs_own_figures(made: Any) -> None:
    store, run, _, page = made
    told = {image["alt"] for image in page.all("img")}
    best = max(results.summary(store, run).arms, key=lambda arm: arm.test_accuracy or 0)
    [finals] = [words for words in told if words.startswith("Test accuracy")]
    assert f"the best first: {best.arm} {best.test_accuracy:.4f}" in finals
    assert "clr-paper diverged" in finals
    [rates] = [words for words in told if "each learning rate" in words]
    assert rates == (
        "Final accuracy and loss for each learning rate of 4, from 1e-09 to 0.01; the best "
        "training accuracy is 0.9000, at 0.01; lr_min 0.0001 and lr_max 0.001 are marked"
    )
    [sizes] = [words for words in told if "each batch size" in words]
    assert sizes.endswith("between 16 and 64 accuracy holds")
    assert any(words.startswith("combined, seed 0, 2 updates: learning rate") for words in told)


def test_tables_have_a_caption_headings_of_columns_and_rows_and_can_be_reached(made: Any) -> None:
    *_, page = made
    tables = page.tags("table", "caption")
    assert tables == ["table", "caption"] * page.tags("table").count("table")
    assert {heading.get("scope") for heading in page.all("th")} == {"col", "row"}
    regions = [a for a in page.all("div") if "scroll" in (a.get("class") or "").split()]
    assert len(regions) == len(page.all("table"))
    for region in regions:
        assert (region["role"], region["tabindex"]) == ("region", "0")
        assert region["aria-label"]


def test_headings_go_down_a_level_at_a_time_and_ids_are_unique(made: Any) -> None:
    *_, page = made
    levels = [int(tag[1]) for tag in page.tags("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in [a for _, a in page.elements if "aria-labelledby" in a]:
        assert {*(attributes["aria-labelledby"] or "").split()} <= {*ids}
    assert [a["href"].removeprefix("#") in ids for a in page.all("a")].count(False) == 0
    assert page.all("html") == [{"lang": "en"}]
    assert page.tags("main", "nav", "header", "footer") == ["header", "nav", "main", "footer"]


def test_the_chart_has_a_line_a_switch_and_a_figure_for_every_arm_and_epoch(made: Any) -> None:
    store, run, html, page = made
    arms = [arm.arm for arm in results.summary(store, run).arms]
    switches = [a for a in page.all("input") if "id" in a]
    assert [(a["type"], "checked" in a) for a in switches] == [("checkbox", True)] * len(arms)
    for number, arm in enumerate(arms):
        assert (
            f".chart:has(#show-{number}:not(:checked)) .arm-{number} {{ display: none; }}" in html
        )
        assert any(text.startswith(arm) for text in page.text("label"))
    told = page.text("title")
    [artifact] = [p.artifact for p in run.points if p.label == "comparison"]
    histories = store.frame(artifact, "accuracy_by_epoch.parquet")
    seeds = histories.pivot(index=["arm", "epoch"], columns="seed", values="val_accuracy")
    means = seeds.mean(axis=1, skipna=False)
    for (arm, epoch), mean in means.dropna().items():
        assert any(text.startswith(f"{arm}, epoch {epoch}: {mean:.4f}") for text in told)
    of_the_page, of_the_diagrams = 1, 2
    assert len(told) == of_the_page + of_the_diagrams + means.notna().sum()
    assert html.count('class="seed"') == (0 if len(run.configuration.seeds) == 1 else 27)


def test_the_provenance_names_versions_device_every_file_and_its_sum(made: Any) -> None:
    store, run, html, page = made
    facts = dict(zip(page.text("dt"), page.text("dd"), strict=True))
    assert (facts["Python"], facts["TensorFlow"], facts["Keras"]) == ("3.11", "2.21.0", "3.15.1")
    assert (facts["Device"], facts["Took"][:10]) == ("CPU", "4 min 48 s")
    manifests = [store.manifest(point.artifact.path) for point in run.points]
    seconds = sum(manifest.duration_seconds for manifest in manifests)
    took = report_provenance.duration(seconds)
    assert facts["Computing took, all results together"] == took
    assert facts[report_provenance.COMPUTING].startswith(f"{took}, ")
    [configuration] = [text for text in page.text("pre") if text.startswith('{ "data"')]
    assert json.loads(configuration) == json.loads(run.configuration.model_dump_json())
    titles = {code["title"] for code in page.all("code") if "title" in code}
    for made_of in run.points:
        manifest = store.manifest(made_of.artifact.path)
        for name, file in manifest.files.items():
            assert f"{file.sha256}  {made_of.artifact.path}/{name}" in html
            assert file.sha256 in titles
    assert str(store.root) not in html


def test_the_same_run_gives_the_same_bytes_wherever_its_store_lies(
    made: Any, tmp_path: Path
) -> None:
    store, run, html, _ = made
    moved = store.root.rename(tmp_path / "moved")
    try:
        assert report.render(Store(root=moved), run) == html
    finally:
        moved.rename(store.root)


@pytest.mark.parametrize(
    ("method", "tables", "picture", "title"),
    [
        ("range_test", {"range-test": ("points", "range_test")}, "range_test", "Range test"),
        ("clock", {"sweep": ("sweep",), "range-test": ("points",)}, "clock", "by the clock"),
    ],
)
def test_what_replaces_the_sweep_has_a_section_of_its_own(
    shelf: Store, method: str, tables: dict[str, tuple[str, ...]], picture: str, title: str
) -> None:
    rates = {"learning_rate": [1e-6, 0.1], "smoothed_loss": [2.3, 0.5], "train_accuracy": 0.5}
    made = [
        point(shelf, "lr_sweep", label, **dict.fromkeys(names, pd.DataFrame(rates)))
        for label, names in tables.items()
    ]
    drawn = point(shelf, "lr_bounds", "pictures", **{picture: reports.png()})
    run = run_of(*made, lr_bounds(shelf), drawn)
    changed = {"lr_sweep.method": method}
    if method == "range_test":
        changed["lr_bounds.rule"] = "valley"
    run = run.model_copy(update={"configuration": resolve("quick", changed)})
    html = report.render(shelf, run)
    assert steps(html) == ["procedure", "lr_sweep", "lr_bounds"]
    assert any(title in text for text in Page(html).text("h2"))
    [image] = Page(html).all("img")
    assert "lr_min 0.0001 and lr_max 0.001 are marked" in (image["alt"] or "")
    assert f"lr_sweep.method={method}" in html


def test_a_run_until_a_step_and_with_fixed_bounds_shows_what_it_has(shelf: Store) -> None:
    run = run_of(lr_bounds(shelf)).model_copy(update={"until_step": "lr_bounds"})
    html = report.render(shelf, run)
    assert steps(html) == ["procedure", "lr_bounds"]
    assert "It ended after the step lr_bounds" in html
    assert "--until-step lr_bounds" in html
    assert steps(report.render(shelf, run_of(lr_bounds(shelf), batch_bounds(shelf)))) == [
        *("procedure", "lr_bounds", "batch_bounds")
    ]


@pytest.mark.parametrize(("fixed", "drawn"), [(None, True), ([16, 64], False)])
def test_how_bounds_are_detected_is_drawn_where_they_were(
    shelf: Store, fixed: list[int] | None, drawn: bool
) -> None:
    config = resolve("quick", {"batch_bounds.fixed": fixed})
    run = run_of(batch_bounds(shelf)).model_copy(update={"configuration": config})
    assert ("How bmin and bmax are detected" in report.render(shelf, run)) == drawn


def test_a_run_of_nothing_has_a_page(shelf: Store) -> None:
    html = report.render(shelf, run_of())
    assert steps(html) == []
    assert "no bounds and no comparison yet" in html


def test_names_from_outside_are_text_wherever_they_stand(shelf: Store) -> None:
    histories = pd.DataFrame({"arm": [HOSTILE], "seed": 0, "epoch": 1, "val_accuracy": 0.5})
    classes = pd.DataFrame({"name": [HOSTILE], HOSTILE: 1, "train": 1})
    run = run_of(
        point(shelf, "load_data", "data", class_counts=classes, model_summary=classes),
        point(shelf, "load_data", "model", model_summary=classes),
        point(shelf, "comparison", "comparison", accuracy_by_epoch=histories, **_empty()),
    )
    config = resolve("quick", {"data.path": f"/data/{HOSTILE}"})
    html = report.render(shelf, run.model_copy(update={"configuration": config}))
    assert "<script" not in html
    page = Page(html)
    assert page.text("h1") == [f"lenet5 on /data/{HOSTILE}"]
    assert HOSTILE in page.text("th")
    assert any(text.startswith(f"{HOSTILE}, epoch 1") for text in page.text("title"))


def _empty() -> dict[str, pd.DataFrame]:
    made = reports.compared("quick")
    return {"comparison": made.trainings, "summary": made.summary}


def test_the_command_makes_the_same_configuration_again(shelf: Store) -> None:
    changes = {"model": "mine:network", "data.path": "a b.npz", "lr_sweep.epochs": 2}
    run = run_of().model_copy(
        update={"configuration": resolve("notebook", changes, seeds=2), "profile": "notebook"}
    )
    assert report_provenance.command(run) == (
        "cyclical run --profile notebook --set 'data.path=a b.npz' --set model=mine:network "
        "--set lr_sweep.epochs=2 --seeds 2"
    )


@pytest.mark.parametrize("harm", ["remove", "change"])
def test_a_damaged_result_is_a_one_line_error_with_a_remedy(shelf: Store, harm: str) -> None:
    run = run_of(lr_bounds(shelf))
    [file] = shelf.root.glob("lr_bounds/*/bounds.parquet")
    file.unlink() if harm == "remove" else file.write_bytes(b"x")
    with pytest.raises(InputError, match="`cyclical run` computes them again"):
        report.render(shelf, run)


def test_the_report_is_found_in_the_summary_and_left_alone_by_upkeep(shelf: Store) -> None:
    run = run_of(lr_bounds(shelf))
    results.record(shelf, run)
    assert results.summary(shelf, run).report is None
    file = report.write(shelf, run)
    assert results.summary(shelf, run).report == str(file)
    assert upkeep.verify(shelf) == []
    assert upkeep.collect(shelf, 1) == []
    assert file.read_text() == report.render(shelf, run)
    results.record(shelf, run_of())
    assert results.summary(shelf, run_of()).report is None


def test_a_report_that_cannot_be_rendered_costs_no_record(
    shelf: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> str:
        raise KeyError("a defect")

    run = run_of(lr_bounds(shelf))
    results.record(shelf, run)
    monkeypatch.setattr(report, "render", fail)
    publishing.keep_report(shelf, run)
    assert "the report is not written" in caplog.text
    assert results.latest(shelf) == run


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["report", *arguments])


def test_the_command_writes_the_page_anew_and_names_it(shelf: Store, tmp_path: Path) -> None:
    run: RunRecord = run_of(lr_bounds(shelf))
    results.record(shelf, run)
    into_store = invoke("--artifacts", str(shelf.root))
    assert into_store.stdout == f"{shelf.root / 'report.html'}\n"
    other = tmp_path / "other.html"
    assert invoke(str(other), "--artifacts", str(shelf.root)).stdout == f"{other}\n"
    assert other.read_bytes() == (shelf.root / "report.html").read_bytes()
    shown = CliRunner().invoke(app, ["show", "--artifacts", str(shelf.root)]).stdout
    assert f"Report: {shelf.root / 'report.html'}\n" in shown


@pytest.mark.parametrize("file", ["", "no/such/folder.html", "."])
def test_the_command_refuses_in_one_line(shelf: Store, file: str) -> None:
    if file:
        results.record(shelf, run_of())
    target = [str(shelf.root / file)] if file else []
    refused = invoke(*target, "--artifacts", str(shelf.root))
    assert (refused.exit_code, refused.stdout) == (2, "")
    [line] = refused.stderr.splitlines()
    assert ("can't be written" if file else "holds no finished run") in line
