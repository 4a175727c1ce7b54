"""The latest run's answers, read back from a store that was made by hand."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cyclical import bounds, comparison, results
from cyclical.answers import answers, named
from cyclical.errors import InputError
from cyclical.results import RunRecord, Summary
from cyclical.settings import resolve
from cyclical.store import Store
from tests.drawing import every_arm
from tests.shelves import batch_bounds, lr_bounds, point, run_of

FINALS = {
    ("clr-derived", 0): 0.90,
    ("clr-derived", 1): 0.92,
    ("cyclic-batch-derived", 0): np.nan,
    ("fixed-rmsprop", 0): 0.89,
    ("fixed-rmsprop", 1): 0.90,
}
SECONDS = {
    "clr-derived-seed=0": 20.5,
    "clr-derived-seed=1": 21.25,
    "cyclic-batch-derived-seed=0": 9,
    "fixed-rmsprop-seed=0": 16,
    "fixed-rmsprop-seed=1": 18,
}
STEPS = {"clr": "clr_training", "cyc": "cyclic_batch_training", "fix": "fixed_training"}


def compared(finals: Mapping[tuple[str, int], float]) -> dict[str, pd.DataFrame]:
    """Make the comparison's tables of trainings of one epoch that ended with these accuracies."""
    known = {(each.label, each.seed): each for each in every_arm(seeds=2)}
    table = comparison.compare(
        [
            comparison.Trained(
                known[arm],
                pd.DataFrame(
                    {"epoch": [1], "updates": [553], "examples": [35_392]}
                    | {"val_accuracy": [final], "val_loss": [1 - final]}
                ),
            )
            for arm, final in finals.items()
        ]
    )
    summary = comparison.summarise(table, {"clr-derived": "fixed-rmsprop"})
    return {"comparison": table, "summary": summary}


def whole_run(
    store: Store, finals: Mapping[tuple[str, int], float] = MappingProxyType(FINALS)
) -> RunRecord:
    """Make a run of all steps, with the trainings of three arms."""
    history = pd.DataFrame({"epoch": [1], "val_loss": [np.nan]})
    return run_of(
        point(store, "load_data", "data", train=history),
        point(store, "lr_sweep", "lr=0.1-seed=0", seconds=99, history=history),
        lr_bounds(store),
        point(store, "lr_bounds", "pictures", lr_sweep=b"1"),
        batch_bounds(store),
        *(
            point(store, STEPS[label[:3]], label, seconds, history=history)
            for label, seconds in SECONDS.items()
        ),
        point(store, "clr_training", "clr-derived-seed=0-pictures", seconds=50, iterations=b"2"),
        point(store, "comparison", "comparison", **compared(finals)),
        point(store, "comparison", "pictures", validation_accuracy=b"3"),
    )


def test_the_run_that_was_recorded_last_is_the_latest(shelf: Store) -> None:
    first = run_of(lr_bounds(shelf), seconds=1)
    changed = {"lr_bounds.fixed": [0.001, 0.01], "data.path": "/images", "workers": 2}
    config = resolve("notebook", changed, seeds=3)
    second = whole_run(shelf).model_copy(update={"configuration": config})
    results.record(shelf, first)
    assert results.latest(shelf) == first
    results.record(shelf, second)
    assert results.latest(shelf) == second
    assert results.latest(shelf).configuration == config


def test_a_record_leaves_one_readable_file_in_the_root(shelf: Store) -> None:
    results.record(shelf, run_of())
    assert [file.name for file in shelf.root.iterdir()] == ["latest.json"]
    told = json.loads((shelf.root / "latest.json").read_text())
    assert told["configuration"]["clr"]["step_size"] == 158
    assert told["duration_seconds"] == 287.5


def test_the_file_of_a_run_goes_when_another_one_is_recorded(shelf: Store) -> None:
    (shelf.root / "experiment.toml").write_text("mine")
    results.record(shelf, run_of())
    results.keep_file(shelf, b"x = 1")
    assert (shelf.root / results.LATEST_FILE).read_bytes() == b"x = 1"
    results.record(shelf, run_of())
    assert not (shelf.root / results.LATEST_FILE).exists()
    assert (shelf.root / "experiment.toml").read_text() == "mine"


def test_a_report_that_no_run_wrote_is_not_written_over(shelf: Store) -> None:
    page = shelf.root / results.LATEST_REPORT
    results.refuse_report_of_others(shelf)
    page.write_text("mine")
    with pytest.raises(InputError, match=r"report\.html is none of ours"):
        results.refuse_report_of_others(shelf)
    page.unlink()
    results.record(shelf, run_of())
    page.write_text("ours")
    results.refuse_report_of_others(shelf)


def test_without_a_finished_run_the_error_says_how_to_start_one(shelf: Store) -> None:
    with pytest.raises(InputError) as caught:
        results.latest(shelf)
    remedy = "start one with `cyclical run`"
    assert str(caught.value) == f"{shelf.root} holds no finished run: {remedy}"


def test_a_root_that_does_not_exist_holds_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished run"):
        results.latest(Store(root=tmp_path / "nowhere"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"finished": "today"}'])
def test_a_record_that_cannot_be_read_is_a_one_line_error_with_a_remedy(
    shelf: Store, content: bytes
) -> None:
    (shelf.root / "latest.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        results.latest(shelf)
    message = str(caught.value)
    assert str(shelf.root / "latest.json") in message
    assert "`cyclical run`" in message
    assert len(message.splitlines()) == 1


def test_a_record_of_an_experiment_with_other_fields_is_a_one_line_error(shelf: Store) -> None:
    results.record(shelf, run_of())
    file = shelf.root / "latest.json"
    told = json.loads(file.read_text())
    told["configuration"]["of_another_version"] = 1
    file.write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"latest\.json"):
        results.latest(shelf)


def test_the_summary_gathers_the_bounds_the_comparison_and_the_pictures(shelf: Store) -> None:
    told = results.summary(shelf, whole_run(shelf))
    assert (told.finished, told.duration_seconds) == ("2026-01-31T12:00:00+00:00", 287.5)
    assert (told.profile, told.seeds, told.until_step) == ("quick", [0], None)
    assert (told.lr_min, told.lr_max, told.lr_rule) == (1e-4, 1e-3, "plateau")
    assert (told.bmin, told.bmax) == (16, 64)
    assert [(row.arm, row.seed) for row in told.comparison] == list(FINALS)
    assert [row.final_val_accuracy for row in told.comparison] == [0.90, 0.92, None, 0.89, 0.90]
    assert [row.seconds for row in told.comparison] == list(SECONDS.values())
    pictures = [Path(picture) for picture in told.pictures]
    assert [picture.read_bytes() for picture in pictures] == [b"1", b"2", b"3"]
    assert all(picture.is_absolute() for picture in pictures)


def test_the_summary_has_a_row_an_arm_with_the_means_of_its_seeds(shelf: Store) -> None:
    told = results.summary(shelf, whole_run(shelf))
    cycled, batches, fixed = told.arms
    assert [arm.arm for arm in told.arms] == [
        *("clr-derived", "cyclic-batch-derived", "fixed-rmsprop")
    ]
    assert [arm.seeds for arm in told.arms] == [2, 1, 2]
    assert cycled.test_accuracy == pytest.approx(0.91)
    assert (batches.test_accuracy, batches.final_val_accuracy_low) == (None, None)
    assert [arm.seconds for arm in told.arms] == [20.875, 9, 17]
    assert (cycled.baseline, fixed.baseline) == ("fixed-rmsprop", "")
    # 0.01 and 0.02: the half-width is 12.7062 * 0.0070711 / 1.4142
    assert cycled.difference == pytest.approx(0.015)
    assert cycled.difference_high == pytest.approx(0.015 + 0.0635310, abs=1e-7)
    assert told.findings == comparison.findings(compared(FINALS)["summary"])
    assert len(told.findings) == 2


@pytest.mark.parametrize(
    ("changes", "more"), [({}, "--seeds 5"), ({"training.seeds": [3]}, "more training.seeds")]
)
def test_what_trains_more_seeds_is_told_as_the_run_was(
    shelf: Store, changes: dict[str, Any], more: str
) -> None:
    run = whole_run(shelf).model_copy(update={"configuration": resolve("quick", changes)})
    tables = compared({arm: final for arm, final in FINALS.items() if arm[1] == 0})
    comparisons = [each for each in run.points if each.label != "comparison"]
    run = run.model_copy(
        update={"points": (*comparisons, point(shelf, "comparison", "comparison", **tables))}
    )
    assert f"(one seed: {more} would show" in results.summary(shelf, run).findings[0]


def test_the_summary_names_the_folder_of_every_artifact(shelf: Store) -> None:
    run = whole_run(shelf)
    told = results.summary(shelf, run).artifacts
    assert list(told) == [f"{point.step}/{point.label}" for point in run.points]
    history = Path(told["clr_training/clr-derived-seed=1"]) / "history.parquet"
    assert pd.read_parquet(history)["epoch"].tolist() == [1]


@pytest.mark.parametrize("figure", [np.nan, np.inf, -np.inf])
def test_the_summary_can_be_written_as_strict_json_whatever_the_figures(
    shelf: Store, figure: float
) -> None:
    told = results.summary(shelf, whole_run(shelf, {**FINALS, ("clr-derived", 0): figure}))
    written = told.model_dump_json()
    assert "NaN" not in written
    assert "Infinity" not in written
    assert Summary.model_validate_json(written) == told
    assert [row.final_val_loss for row in told.comparison] == pytest.approx(
        [None, 0.08, None, 0.11, 0.1]
    )


def test_the_schema_describes_every_field_that_the_json_has(shelf: Store) -> None:
    schema = Summary.model_json_schema()
    written = json.loads(results.summary(shelf, whole_run(shelf)).model_dump_json())
    described = {
        "arms": schema["$defs"]["ArmResult"],
        "comparison": schema["$defs"]["TrainingResult"],
    }
    assert set(written) == set(schema["properties"]) == set(schema["required"])
    for name, row in described.items():
        assert set(written[name][0]) == set(row["properties"]) == set(row["required"])
        assert row["description"]


def test_whole_numbers_stay_whole_in_the_summary(shelf: Store) -> None:
    [row, *_] = json.loads(results.summary(shelf, whole_run(shelf)).model_dump_json())["comparison"]
    whole = {name for name, value in row.items() if type(value) is int}
    assert whole == {"seed", "epochs", "updates", "examples"}


def test_a_training_without_a_point_has_no_seconds(shelf: Store) -> None:
    whole = whole_run(shelf)
    kept = tuple(point for point in whole.points if point.label != "clr-derived-seed=1")
    rows = results.summary(shelf, run_of(*kept)).comparison
    assert [row.seconds for row in rows] == [20.5, None, 9.0, 16, 18]


def test_a_run_that_stopped_before_a_step_has_no_answer_of_it(shelf: Store) -> None:
    nothing = results.summary(shelf, run_of())
    assert nothing.model_dump(
        exclude={"finished", "duration_seconds", "profile", "changes", "seeds", "goal"}
    ) == {
        **dict.fromkeys(("until_step", *results.FOUND)),
        "sums": [],
        "findings": [],
        "arms": [],
        "comparison": [],
        "pictures": [],
        "report": None,
        "artifacts": {},
    }
    swept = results.summary(shelf, run_of(lr_bounds(shelf)))
    assert (swept.lr_min, swept.lr_max) == (1e-4, 1e-3)
    assert (swept.bmin, swept.bmax, swept.comparison) == (None, None, [])


@pytest.mark.parametrize("step", ["lr_bounds", "batch_bounds", "clr_training", "comparison"])
def test_a_result_that_is_gone_is_a_one_line_error_with_a_remedy(shelf: Store, step: str) -> None:
    run = whole_run(shelf)
    shutil.rmtree(shelf.root / step)
    with pytest.raises(InputError) as caught:
        results.summary(shelf, run)
    message = str(caught.value)
    assert str(shelf.root) in message
    assert "`cyclical run`" in message
    assert len(message.splitlines()) == 1


def test_bounds_that_were_fixed_are_told_like_those_that_were_found(shelf: Store) -> None:
    fixed = bounds.fixed_batch_bounds(8, 32).table
    told = results.summary(shelf, run_of(point(shelf, "batch_bounds", "bounds", bounds=fixed)))
    assert (told.bmin, told.bmax) == (8, 32)


def test_pictures_are_listed_point_by_point_and_by_name(shelf: Store) -> None:
    run = run_of(
        point(shelf, "comparison", "pictures", z=b"1", a=b"2"),
        point(shelf, "load_data", "pictures", samples=b"3"),
        lr_bounds(shelf),
    )
    assert [file.name for file in results.pictures(shelf, run)] == ["a.png", "z.png", "samples.png"]


def test_a_run_with_a_duration_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        run_of(seconds=math.nan)


def test_a_run_is_named_after_what_was_changed_of_its_profile(shelf: Store) -> None:
    assert named(results.summary(shelf, run_of())) == "quick"
    changed = resolve("quick", {"lr_sweep.epochs": 2, "clr.policy": "triangular", "gpus": 0})
    other = run_of().model_copy(update={"configuration": changed})
    told = results.summary(shelf, other)
    assert told.changes == {"lr_sweep.epochs": 2, "clr.policy": "triangular"}
    assert named(told) == 'quick with lr_sweep.epochs=2, clr.policy="triangular"'


# What single seeds, the gradient noise and the sums of rates say


def with_opinions(
    shelf: Store, noise: float, apart: float, budget: str = "epochs", beyond: int = 1
) -> list[str]:
    """Return the answers of a run of two seeds, one of whose batch sizes lies so far `apart`.

    So many others are `beyond` all sums of the sweep of the rate.
    """
    seeds = pd.DataFrame({"seed": [0, 1], "bmin": [16, 16], "bmax": [64, 128]})
    steps = pd.DataFrame({"batch_size": [16, 32, 64, 128], "in_range": [True] * 3 + [False]})
    sums = pd.DataFrame(
        {
            "batch_size": [*[16] * beyond, 32],
            "updates": [*[10.0] * beyond, 5.0],
            "rate_sum": [*[1.0] * beyond, 0.5],
            "train_accuracy": [0.8] * (beyond + 1),
            "same_sum": [*[math.nan] * beyond, 0.8 + apart],
            "difference": [*[math.nan] * beyond, -apart],
        }
    )
    run = run_of(
        point(shelf, "batch_bounds", "bounds", bounds=steps, seeds=seeds),
        point(
            shelf,
            "batch_bounds",
            "noise",
            noise=pd.DataFrame({"epoch": [3], "noise_scale": [noise]}),
        ),
        point(shelf, "batch_bounds", "sums", sums=sums),
    )
    config = resolve("quick", {"batch_sweep.budget": budget}, seeds=2)
    run = run.model_copy(update={"configuration": config})
    return answers(results.summary(shelf, run))


def test_the_answers_tell_how_many_seeds_agree_and_the_second_opinions(shelf: Store) -> None:
    bounds, noise, clock = with_opinions(shelf, 123.4, apart=0.012)
    assert bounds == "Batch size: cycle between 16 and 64 (1 of 2 seeds alone say the same)"
    assert noise == (
        "Gradient noise scale, a second opinion on bmax: 123 examples after epoch 3 of the sweep; "
        "beyond it a larger batch saves few updates"
    )
    assert clock == (
        "At equal sums of rates, the batch size 32 lies within 1.2 points of the sweep of the "
        "rate: one curve: what large batches lose at equal epochs is updates, and so bmin and bmax "
        "depend on the epochs (batch_sweep.budget=updates compares at equal updates)"
    )


def test_more_than_one_curve_is_told_as_that_and_an_unknown_noise_not_at_all(shelf: Store) -> None:
    bounds, clock = with_opinions(shelf, math.nan, apart=0.2)
    assert bounds.startswith("Batch size")
    assert clock.endswith(
        "more than one curve: this sum alone does not tell how far a training has come, and says "
        "nothing on bmin and bmax"
    )


def test_of_few_sizes_on_the_curve_nothing_is_concluded(shelf: Store) -> None:
    *_, clock = with_opinions(shelf, math.nan, apart=0.012, beyond=2)
    assert clock.endswith("rate: too few of the 3 sizes to tell whether all lie on one curve")
    *_, clock = with_opinions(shelf, math.nan, apart=0.2, beyond=2)
    assert "rate: more than one curve" in clock


def test_at_equal_updates_one_curve_says_something_else(shelf: Store) -> None:
    *_, clock = with_opinions(shelf, math.nan, apart=0.012, budget="updates")
    assert clock.endswith(
        "one curve: after as many updates the size itself makes little difference"
    )
