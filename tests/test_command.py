"""The command as a user meets it: one clear line for bad input, and a clean end."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cyclical import report
from cyclical.results import latest, summary
from cyclical.settings import parse_settings
from cyclical.store import Store
from flows.cli import app
from tests import running

UNTIL_BOUNDS = ("--until-step", "lr_bounds")


def refused(*arguments: str) -> str:
    """Run the command in this process; return its one line."""
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("cyclical: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--profile", "fast"], "unknown profile 'fast': known are quick, notebook"),
        (["--refresh", "lr_swep"], "did you mean 'lr_sweep'?"),
        (["--until-step", "bounds"], "unknown step 'bounds'"),
        (["--from-step", "x"], "unknown step 'x'"),
        (
            ["--set", "clr.policy=square"],
            "clr.policy: 'square' is neither triangular, triangular2, exp_range nor your own",
        ),
        (["--set", "clr.policy=mine.py:fade()"], "written package.module:function"),
        (["--set", "clr.scale_of=epoch"], "clr.scale_of: "),
        (["--set", "lr_sweep.epoch=1"], "did you mean 'lr_sweep.epochs'?"),
        (
            ["--set", "lr_sweep.epochs=many"],
            'lr_sweep.epochs: input should be a valid integer, not "m',
        ),
        (["--set", "lr_sweep.epochs"], "--set takes field=value"),
        (["--seeds", "2", "--set", "seeds=[3]"], "--seeds and --set seeds=... name the same"),
        (["--artifacts", "x", "--set", "artifacts=y"], "--artifacts and --set artifacts=... name"),
        (["--set", "lr_sweep.epochs=0"], "lr_sweep.epochs: "),
        (["--set", "training.epochs=0"], "training.epochs: "),
        (["--set", "lr_bounds.fixed=[0.1,0.1]"], "lr_min must be below lr_max"),
        (["--set", "clr.paper=[0.006,0.001]"], "lr_min must be below lr_max"),
        (["--set", "lr_sweep.learning_rates=[0.1,-1]"], "lr_sweep.learning_rates.1: "),
        (["--set", "lr_sweep.learning_rates=[NaN]"], "lr_sweep.learning_rates.0: "),
        (["--set", "cyclic_batch.learning_rate=Infinity"], "cyclic_batch.learning_rate: "),
        (["--set", "lr_sweep.learning_rates=[]"], "lr_sweep.learning_rates: "),
        (["--set", "batch_sweep.batch_sizes=[]"], "batch_sweep.batch_sizes: "),
        (["--set", "batch_sweep.batch_sizes=[0]"], "batch_sweep.batch_sizes.0: "),
        (["--set", "batch_sweep.batch_sizes=[16,48]"], "times a power of two"),
        (["--set", "batch_bounds.fixed=[16,48]"], "bmin times a power of two"),
        (["--set", "data.validation_split=1"], "data.validation_split: "),
        (["--set", "effective_batch.group=0"], "effective_batch.group: "),
        (["--set", "cyclic_batch.order=down"], "cyclic_batch.order: "),
        (["--set", "combined.scaling=cubic"], "combined.scaling: "),
        (["--set", "clr.optimizer=rmsprob"], "clr.optimizer.name: "),
        (["--until-step", "fixed"], "did you mean 'fixed_training'?"),
        (["--set", "artifacts=/dev/null/x"], "can't be written"),
        (["--seeds", "0"], "--seeds must be between 1 and 100"),
        (["--seeds", "101"], "--seeds must be between 1 and 100"),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments: list[str], told: str) -> None:
    assert told in refused("run", *arguments)


def test_refused_options_leave_no_artifacts_folder_behind(tmp_path: Path) -> None:
    refused("run", "--set", f"artifacts={tmp_path / 'new'}", "--set", "lr_sweep.epochs=0")
    assert not (tmp_path / "new").exists()


def test_show_without_a_run_says_how_to_start_one(tmp_path: Path) -> None:
    assert "cyclical run" in refused("show", "--artifacts", str(tmp_path))


def test_show_gives_programs_the_same_as_people(finished: Path) -> None:
    told = CliRunner().invoke(app, ["show", "--json", "--artifacts", str(finished)])
    answers = json.loads(told.stdout)
    assert answers["lr_min"] in parse_settings(["x=[10,0.1,0.01,0.001]"])["x"]
    assert [row["arm"] for row in answers["comparison"]] == [
        *("clr-derived", "clr-paper", "cyclic-batch-derived", "cyclic-batch-reference"),
        *("effective-batch-constant", "effective-batch-cyclic", "combined"),
        *("fixed-sgd", "fixed-rmsprop"),
    ]
    shown = CliRunner().invoke(app, ["show", "--artifacts", str(finished)]).stdout
    assert f"between {answers['lr_min']:g} and {answers['lr_max']:g}" in shown
    for row in answers["comparison"]:
        assert f"{row['final_val_accuracy']:.4f}" in shown
    traces = [picture for picture in answers["pictures"] if picture.endswith("/iterations.png")]
    assert f"{finished}/*_training/*/iterations.png (9)" in shown
    assert sorted(map(str, finished.glob("*_training/*/iterations.png"))) == sorted(traces)
    for picture in set(answers["pictures"]) - set(traces):
        assert picture in shown
        assert Path(picture).is_file()


def test_a_run_leaves_the_report_that_the_command_would_write_and_show_names_it(
    finished: Path,
) -> None:
    store = Store(root=finished)
    page = finished / "report.html"
    assert page.read_text() == report.render(store, latest(store))
    shown = CliRunner().invoke(app, ["show", "--artifacts", str(finished)]).stdout
    assert f"Report: {page}\n" in shown
    assert summary(store, latest(store)).report == str(page)


def test_every_arm_of_a_run_is_trained_at_the_bounds_that_were_found(finished: Path) -> None:
    store = Store(root=finished)
    run = latest(store)
    found = summary(store, run)
    traces = {
        point.label.removesuffix("-seed=0"): store.frame(point.artifact, "iterations.parquet")
        for point in run.points
        if "iterations.parquet" in point.artifact.files
    }
    for group in ("constant", "cyclic"):
        assert set(traces[f"effective-batch-{group}"]["learning_rate"]) == {found.lr_min}
    assert set(traces["fixed-rmsprop"]["learning_rate"]) == {found.lr_max}
    assert set(traces["fixed-sgd"]["learning_rate"]) == {0.01}
    assert traces["clr-derived"]["learning_rate"].min() == found.lr_min
    sizes, rates = traces["combined"]["batch_size"], traces["combined"]["learning_rate"]
    assert (sizes[0], rates[0]) == (found.bmin, 0.01 * found.bmin / 64)
    assert (sizes.max(), rates.max()) == (2 * found.bmin, 2 * rates[0]), "the second of two epochs"


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER", "true")  # a command that does nothing, in a browser's place


@pytest.mark.usefixtures("no_browser")
def test_ui_opens_the_page_of_the_latest_run(store: Path, tmp_path: Path) -> None:
    assert running.run(store).executed == set()  # on the server of these tests
    ran = running.command("ui", "--artifacts", str(store), report=tmp_path / "audit.json")
    assert ran.status == 0, ran.error
    page = ran.out.strip()
    api = os.environ["PREFECT_API_URL"]
    assert page.startswith(f"{api.removesuffix('/api')}/runs/flow-run/")
    known = httpx.get(
        f"{api}/flow_runs/{page.rpartition('/')[2]}", trust_env=False, timeout=60
    ).json()
    assert (known["name"], known["state_name"]) == ("quick", "Completed")
    asks_for_a_page = {"Accept": "text/html"}
    assert "<html" in httpx.get(page, headers=asks_for_a_page, trust_env=False, timeout=60).text


@pytest.mark.usefixtures("no_browser")
def test_ui_says_that_another_server_ran_the_latest_run(store: Path, tmp_path: Path) -> None:
    record = json.loads((store / "latest.json").read_text())
    record["flow_run_id"] = "00000000-0000-0000-0000-000000000000"
    (store / "latest.json").write_text(json.dumps(record))
    ran = running.command("ui", "--artifacts", str(store), report=tmp_path / "audit.json")
    assert_one_line(ran, "does not know the latest run")


@pytest.mark.parametrize("asked", ["run", "ui"])
def test_a_server_that_is_away_is_told_in_one_line(store: Path, tmp_path: Path, asked: str) -> None:
    away = "http://127.0.0.1:9/api"
    where = ["--artifacts", str(store)]
    ran = running.command(asked, *where, report=tmp_path / "audit.json", PREFECT_API_URL=away)
    assert_one_line(ran, f"PREFECT_API_URL {away} does not answer")


@pytest.fixture
def broken_data(fashion_mnist: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "idx"
    folder.mkdir()
    for file in fashion_mnist.glob("*ubyte*"):
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        (folder / file.name.removesuffix(".gz")).write_bytes(content)
    return folder


def delete(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def corrupt(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[5000] ^= 255
    file.write_bytes(content)


def mismatch(file: Path) -> None:
    shutil.copy(file.with_name("t10k-labels-idx1-ubyte"), file)


@pytest.mark.parametrize("harm", [delete, truncate, corrupt, mismatch])
def test_a_broken_data_folder_is_refused_in_one_line(
    prefect_server: None, broken_data: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    harm(broken_data / "train-labels-idx1-ubyte")
    ran = running.run(tmp_path / "artifacts", data__path=str(broken_data))
    assert_one_line(ran, "train-labels-idx1-ubyte")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"batch_sweep__batch_sizes": [16, 512]},
            "batch_sweep.batch_sizes asks for batches of 512",
        ),
        ({"data__train_images": 60_001}, "60001"),
    ],
)
def test_more_than_the_data_hold_is_refused_in_one_line(
    store: Path, changes: dict[str, Any], told: str
) -> None:
    assert_one_line(running.run(store, **changes), told)


def test_a_report_that_no_run_wrote_is_left_alone_and_told_in_one_line(
    prefect_server: None, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text("mine")
    assert_one_line(running.run(tmp_path), "report.html is none of ours")
    assert (tmp_path / "report.html").read_text() == "mine"


def test_a_scale_of_ones_own_that_is_not_found_is_refused_in_one_line_before_any_training(
    fashion_mnist: Path, prefect_server: None, tmp_path: Path
) -> None:
    ran = running.run(tmp_path / "artifacts", clr__policy="nosuch:fade")
    assert_one_line(ran, "nosuch:fade: no file nosuch.py is found among the installed")
    assert {name.partition("/")[0] for name in ran.executed} == {"load_data"}


def test_a_batch_sweep_in_which_no_step_holds_names_the_threshold_that_would_do(
    store: Path,
) -> None:
    before = running.hashes(store)
    ran = running.run(store, batch_bounds__threshold=0)
    assert_one_line(ran, "a threshold of ")
    least = float(ran.error.split("a threshold of ")[1].split()[0])
    assert running.hashes(store) == before
    ran = running.run(store, "--until-step", "batch_bounds", batch_bounds__threshold=least)
    assert ran.status == 0, ran.error


def test_a_sweep_in_which_nothing_learned_says_what_to_widen(store: Path) -> None:
    ran = running.run(store, lr_sweep__learning_rates=[1e-9, 1e-8])
    assert_one_line(ran, "lr_sweep.learning_rates")


def test_an_arm_that_diverged_is_told_as_such(store: Path) -> None:
    ran = running.run(store, cyclic_batch__learning_rate=1e30)
    assert ran.status == 0, ran.error
    assert "diverged" in ran.out
    shown = CliRunner().invoke(app, ["show", "--artifacts", str(store)])
    assert shown.exit_code == 0
    assert "diverged" in shown.stdout


def test_show_says_how_to_mend_a_store_whose_results_are_gone(store: Path) -> None:
    shutil.rmtree(store / "comparison")
    assert "computes them again" in refused("show", "--artifacts", str(store))


def assert_one_line(ran: running.Ran, told: str) -> None:
    assert ran.status == 2, ran.error
    assert len(ran.error.splitlines()) == 1, ran.error
    assert told in ran.error
