"""`cyclical plan`: it must foretell what the run with the same options does."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from cyclical.manifests import Manifest
from flows.cli import app
from tests import running
from tests.running import Ran, command, settings


def plan(artifacts: Path, *options: str, source: Path = running.ROOT, **changes: Any) -> Ran:
    report = artifacts.with_suffix(".plan-audit")
    return command("plan", *settings(artifacts, **changes), *options, report=report, source=source)


def points(artifacts: Path, *options: str, **changes: Any) -> list[dict[str, Any]]:
    """Plan within this process, which saves the time that a process of its own takes to start."""
    planned = CliRunner().invoke(
        app, ["plan", *settings(artifacts, **changes), *options, "--json"], catch_exceptions=False
    )
    assert planned.exit_code == 0, planned.output
    found: list[dict[str, Any]] = json.loads(planned.stdout)
    return found


def fates(artifacts: Path, *options: str, **changes: Any) -> dict[str, dict[str, str]]:
    """Return the points of each fate, each with the words that say why."""
    return by_fate(points(artifacts, *options, **changes))


def by_fate(planned: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {"cached": {}, "perhaps": {}, "run": {}}
    for point in planned:
        found[point["fate"]][f"{point['step']}/{point['label']}"] = point["why"]
    return found


def test_before_the_first_run_it_lists_what_that_run_computes(
    finished: Path, tmp_path: Path
) -> None:
    found = fates(tmp_path / "nothing")
    assert set(found["run"]) == set(running.manifests(finished))
    assert set(found["run"].values()) == {"never computed"}
    assert not (tmp_path / "nothing").exists()
    assert "no training was timed yet" in plan(tmp_path / "nothing").out


def test_after_a_run_all_is_cached_and_nothing_is_touched(store: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in store.rglob("*")}
    planned = plan(store)
    assert planned.status == 0, planned.error
    assert planned.audit == {"imported_tensorflow": False, "listened": 0}
    points = len(running.manifests(store))
    assert f"{points} cached, 0 to run" in planned.out
    assert "Time" not in planned.out
    assert {file: file.stat().st_mtime_ns for file in store.rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ((), {"lr_bounds__rule": "smith"}),
        (("--refresh", "lr_sweep"), {}),
        (
            ("--from-step", "batch_sweep", "--until-step", "batch_bounds"),
            {"batch_sweep__epochs": 2},
        ),
        (("--until-step", "lr_bounds"), {"lr_sweep__learning_rates": [0.1, 0.01, 0.002]}),
    ],
)
def test_a_run_computes_what_was_planned_and_at_most_what_was_perhaps(
    store: Path, options: tuple[str, ...], changes: dict[str, Any]
) -> None:
    planned = fates(store, *options, **changes)
    ran = running.run(store, *options, **changes)
    assert ran.status == 0, ran.error
    assert ran.executed
    assert set(planned["run"]) <= ran.executed <= {*planned["run"], *planned["perhaps"]}


def test_it_names_the_field_that_changed_with_both_values(store: Path) -> None:
    planned = fates(store, lr_sweep__epochs=3)
    assert planned["run"]["lr_sweep/lr=0.1-seed=0"] == "epochs 1 -> 3"
    assert planned["run"]["lr_sweep/sweep"].startswith("after lr=0.001-seed=0")
    assert planned["perhaps"]["batch_sweep/batch=16-seed=0"] == "cached if unchanged: lr_bounds"
    told = plan(store, lr_sweep__epochs=3).out
    assert "Since the latest run: lr_sweep.epochs 1 -> 3" in told


def test_more_images_are_counted_before_they_are_loaded(store: Path) -> None:
    more = {"data__train_images": 2000, "batch_sweep__batch_sizes": [512, 1024]}
    before, after = (
        {point["label"]: point for point in points(store, **changes)}
        for changes in ({"lr_sweep__epochs": 2}, {"lr_sweep__epochs": 2, **more})
    )
    assert after["data"]["why"] == "train_images 400 -> 2000"
    point = "lr=0.01-seed=0"
    assert after[point]["seconds"] == pytest.approx(5 * before[point]["seconds"])
    assert {each["fate"] for each in after.values()} == {"run"}


def test_it_names_the_module_that_was_edited(store: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for package in ("cyclical", "tasks", "flows"):
        shutil.copytree(running.ROOT / package, source / package)
    style = source / "cyclical" / "style.py"
    style.write_text(style.read_text().replace('"figure.dpi": 200', '"figure.dpi": 100'))
    edited = plan(store, "--json", source=source)
    planned = by_fate(json.loads(edited.out))
    assert set(planned["run"]) == {
        name for name in running.manifests(store) if name.endswith("pictures")
    }
    for why in planned["run"].values():
        assert re.fullmatch(r"code cyclical\.style [0-9a-f]{8} -> [0-9a-f]{8}", why)


def test_it_names_the_file_that_is_damaged(store: Path) -> None:
    [file] = store.glob("lr_sweep/lr=0.01-seed=0-*/history.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    planned = fates(store)
    assert planned["run"] == {"lr_sweep/lr=0.01-seed=0": f"{file} differs from its manifest"}
    assert planned["perhaps"]["lr_sweep/sweep"] == "cached if unchanged: lr=0.01-seed=0"


def test_the_time_follows_from_the_last_durations(store: Path) -> None:
    [manifest] = store.glob("lr_sweep/lr=0.01-seed=0-*/manifest.json")
    told = dict(Manifest.model_validate_json(manifest.read_bytes())) | {"duration_seconds": 100.0}
    del told["digest"]
    manifest.write_text(Manifest.sealed(**told).model_dump_json())
    planned = points(store, lr_sweep__epochs=3)  # of three times as many examples
    [point] = [each for each in planned if each["label"] == "lr=0.01-seed=0"]
    assert point["seconds"] == pytest.approx(300)


def test_what_was_never_trained_takes_as_long_an_example_as_what_was(store: Path) -> None:
    planned = points(store, lr_sweep__learning_rates=[10, 0.1, 0.02, 0.001])
    [point] = [each for each in planned if each["label"] == "lr=0.02-seed=0"]
    assert point["fate"] == "run"
    assert point["seconds"] > 0


def test_a_missing_ancestor_ends_it_as_it_would_end_the_run(store: Path) -> None:
    planned = plan(store, "--from-step", "batch_sweep", lr_sweep__epochs=2)
    assert planned.status == 2
    assert planned.error.splitlines() == [
        (
            "cyclical: --from-step needs lr_sweep, but its point lr=10-seed=0 is not cached: "
            "run that first, without it"
        )
    ]


def test_the_same_data_at_another_place_leave_all_else_perhaps_cached(
    store: Path, tmp_path: Path, fashion_mnist: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(fashion_mnist)
    planned = fates(store, data__path=str(elsewhere))
    assert planned["run"].keys() == {"load_data/data"}
    ran = running.run(store, data__path=str(elsewhere))
    assert ran.executed == {"load_data/data"}


def test_fixed_bounds_are_known_before_they_are_written(store: Path) -> None:
    changes = {"lr_bounds__fixed": [0.002, 0.02]}
    planned = fates(store, **changes)
    [why] = {planned["run"][f"batch_sweep/batch={size}-seed=0"] for size in (16, 32, 64)}
    assert why.startswith("learning_rate.base_lr ")
    assert why.endswith(" -> 0.002")
    assert planned["run"]["clr_training/clr-derived-seed=0"].endswith(" -> 0.02")
    assert planned["cached"]["clr_training/clr-paper-seed=0"] == ""


def test_damaged_bounds_alone_are_computed_again(store: Path) -> None:
    [file] = store.glob("lr_bounds/bounds-*/bounds.parquet")
    file.write_bytes(b"")
    planned = fates(store)
    assert planned["run"].keys() == {"lr_bounds/bounds"}


def test_what_other_experiments_left_in_the_store_does_not_pass_for_bounds(store: Path) -> None:
    apart = {"lr_sweep__learning_rates": [0.02, 0.05], "lr_sweep__epochs": 2}
    ran = running.run(store, "--until-step", "lr_bounds", **apart)
    assert ran.status == 0, ran.error
    planned = fates(store, "--seeds", "2")
    assert "batch_sweep/batch=16-seed=0" in planned["perhaps"]
    assert not any("base_lr" in why for why in planned["run"].values())


def test_a_training_that_diverged_is_expected_to_end_as_early_again(store: Path) -> None:
    rates = {"lr_sweep__learning_rates": [1e6, 0.1, 0.01, 0.001]}
    ran = running.run(store, "--until-step", "lr_sweep", **rates, lr_sweep__epochs=2)
    assert ran.status == 0, ran.error
    planned = points(store, **rates, lr_sweep__epochs=50)
    [point] = [each for each in planned if each["label"].startswith("lr=1")]
    [folder] = store.glob(f"lr_sweep/{point['label']}-*")
    assert pd.read_parquet(folder / "history.parquet")["train_loss"].isna().iloc[-1]
    took = json.loads((folder / "manifest.json").read_bytes())["duration_seconds"]
    assert point["seconds"] == took


def test_brackets_in_a_path_are_shown_as_they_are(finished: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(finished, tmp_path / "x[b]y"))
    [file] = store.glob("lr_sweep/lr=0.01-seed=0-*/history.parquet")
    file.unlink()
    assert "x[b]y" in plan(store, "--until-step", "lr_bounds").out
