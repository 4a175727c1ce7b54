"""What is computed again, and what is not: real runs with a real server and cluster."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests import running

ROOT = Path(__file__).parents[1]
ARMS = {
    *("clr_training/clr-derived-seed=0", "clr_training/clr-paper-seed=0"),
    "cyclic_batch_training/cyclic-batch-derived-seed=0",
    "cyclic_batch_training/cyclic-batch-reference-seed=0",
    "effective_batch_training/effective-batch-constant-seed=0",
    "effective_batch_training/effective-batch-cyclic-seed=0",
    "combined_training/combined-seed=0",
    *("fixed_training/fixed-sgd-seed=0", "fixed_training/fixed-rmsprop-seed=0"),
}
BATCH_POINTS = {f"batch_sweep/batch={size}-seed=0" for size in (16, 32, 64)}
RATE_POINTS = {f"lr_sweep/lr={rate}-seed=0" for rate in ("10", "0.1", "0.01", "0.001")}
PICTURES = {f"{arm}-pictures" for arm in ARMS} | {
    *(f"{step}/pictures" for step in ("load_data", "lr_bounds", "batch_bounds", "comparison")),
    *("batch_bounds/sums-pictures", "comparison/seconds-pictures"),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a copy of the sources, to be edited."""
    for package in ("cyclical", "tasks", "flows"):
        shutil.copytree(ROOT / package, tmp_path / "source" / package)
    return tmp_path / "source"


def edit(file: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, file.read_text(), count=1)
    assert count == 1, f"{pattern} is not in {file}"
    file.write_text(text)


def test_the_first_run_computes_everything_and_tells_it(finished: Path) -> None:
    assert set(running.manifests(finished)) == RATE_POINTS | BATCH_POINTS | ARMS | PICTURES | {
        *("load_data/data", "load_data/model", "lr_sweep/sweep", "lr_bounds/bounds"),
        *("batch_sweep/sweep", "batch_bounds/bounds", "comparison/comparison"),
        *("batch_bounds/noise", "batch_bounds/sums"),
    }
    pictures = Counter(picture.name for picture in finished.rglob("*.png"))
    assert pictures == {
        **dict.fromkeys(("samples.png", "lr_sweep.png", "batch_sweep.png"), 1),
        **dict.fromkeys(("final_accuracy.png", "validation_accuracy.png"), 1),
        **dict.fromkeys(("learning_clock.png", "accuracy_by_updates.png"), 1),
        "accuracy_by_seconds.png": 1,
        "iterations.png": len(ARMS),
    }


def test_a_second_run_executes_no_body_imports_no_tensorflow_and_starts_no_cluster(
    store: Path,
) -> None:
    before = {file: file.stat().st_mtime_ns for file in store.rglob("*.*") if file.is_file()}
    ran = running.run(store)
    assert ran.status == 0, ran.error
    assert ran.audit == {"imported_tensorflow": False, "listened": 0}
    assert ran.executed == set()
    points = json.loads((store / "latest.json").read_bytes())["points"]
    assert list(running.states(len(points)).values()) == ["Cached"] * len(points)
    for renewed in ("latest.json", "report.html"):
        del before[store / renewed]
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert "cycle between" in ran.out


def test_files_that_are_gone_or_damaged_are_computed_again_and_they_alone(store: Path) -> None:
    before = running.hashes(store)
    deleted, damaged, truncated = (
        next(store.glob(f"lr_sweep/lr={rate}-seed=0-*/history.parquet"))
        for rate in ("0.1", "0.01", "0.001")
    )
    deleted.unlink()
    content = damaged.read_bytes()
    damaged.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    truncated.write_bytes(truncated.read_bytes()[:-1])
    ran = running.run(store)
    assert ran.status == 0, ran.error
    assert ran.executed == {f"lr_sweep/lr={rate}-seed=0" for rate in ("0.1", "0.01", "0.001")}
    assert ran.out.count("it is computed again") == 3
    assert running.hashes(store) == before


def test_a_deleted_result_record_costs_nothing(store: Path) -> None:
    shutil.rmtree(store / ".records")
    ran = running.run(store)
    assert ran.status == 0, ran.error
    assert ran.executed == set()


def test_other_epochs_recompute_the_sweep_and_what_depends_on_it_but_not_the_data(
    store: Path,
) -> None:
    ran = running.run(store, "--until-step", "lr_bounds", lr_sweep__epochs=2)
    assert ran.status == 0, ran.error
    assert ran.executed >= RATE_POINTS | {"lr_sweep/sweep", "lr_bounds/bounds"}
    assert ran.executed.isdisjoint({"load_data/data", "load_data/model"})


def test_an_edit_of_the_plots_redraws_and_does_not_train(store: Path, source: Path) -> None:
    edit(source / "cyclical" / "style.py", r'"figure.dpi": 200', '"figure.dpi": 100')
    ran = running.run(store, source=source)
    assert ran.status == 0, ran.error
    assert ran.audit == {"imported_tensorflow": False, "listened": 0}
    assert ran.executed == PICTURES


def test_a_comment_in_the_loop_recomputes_nothing_and_an_edit_of_its_code_the_trainings(
    store: Path, source: Path
) -> None:
    loop = source / "cyclical" / "training.py"
    edit(loop, r'(def epoch_order.*\n    """)', r"# A remark.\n\1Told in other words: ")
    ran = running.run(store, source=source)
    assert ran.status == 0, ran.error
    assert ran.executed == set()

    edit(source / "cyclical" / "updates.py", r"SCORING_BATCH = 100", "SCORING_BATCH = 50")
    ran = running.run(store, "--until-step", "clr_training", source=source)
    assert ran.status == 0, ran.error
    assert ran.executed >= RATE_POINTS | {arm for arm in ARMS if arm.startswith("clr_training")}
    assert "load_data/data" not in ran.executed


def test_nothing_in_the_store_is_a_pickle(finished: Path) -> None:
    files = [file for file in finished.rglob("*") if file.is_file()]
    records = [file for file in files if file.parent.name == ".records"]
    assert records
    for file in files:
        if file in records or file.suffix == ".json":
            json.loads(file.read_bytes())
        elif file.suffix == ".html":
            assert file.read_text().startswith("<!doctype html>")
        elif file.suffix == ".jsonl":
            assert [json.loads(line) for line in file.read_bytes().splitlines()]
        else:
            assert file.suffix in {".parquet", ".png"} or file.name == ".lock"
    for record in records:
        assert set(json.loads(json.loads(record.read_bytes())["result"])) == {
            *("path", "files", "rows")
        }


def test_a_refreshed_step_runs_again_and_its_same_bytes_leave_the_rest_cached(
    store: Path,
) -> None:
    ran = running.run(store, "--refresh", "lr_bounds")
    assert ran.status == 0, ran.error
    assert ran.executed == {"lr_bounds/bounds", "lr_bounds/pictures"}


def test_until_step_stops_there(finished: Path, tmp_path: Path) -> None:
    ran = running.run(tmp_path / "artifacts", "--until-step", "lr_bounds")
    assert ran.status == 0, ran.error
    before = {"load_data/data", "load_data/model", "load_data/pictures"}
    assert ran.executed == RATE_POINTS | before | {
        *("lr_sweep/sweep", "lr_bounds/bounds", "lr_bounds/pictures"),
    }


def test_from_step_takes_what_is_before_from_the_cache(store: Path) -> None:
    span = ("--from-step", "batch_sweep", "--until-step", "batch_bounds")
    ran = running.run(store, *span, batch_sweep__epochs=2)
    assert ran.status == 0, ran.error
    assert ran.executed >= BATCH_POINTS
    assert not any(name.startswith(("load_data", "lr_")) for name in ran.executed)


def test_from_step_names_the_ancestor_that_is_not_cached(store: Path) -> None:
    ran = running.run(store, "--from-step", "batch_sweep", lr_sweep__epochs=2)
    assert ran.status == 2
    assert len(ran.error.strip().splitlines()) == 1
    assert "lr_sweep" in ran.error
