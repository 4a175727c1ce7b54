"""What `cyclical show` prints: the whole result on one screen."""

import io
from collections.abc import Iterable

import pytest
from rich.console import Console

from cyclical import comparison, results
from cyclical.store import Store
from flows import display
from tests.drawing import Compared, compared
from tests.shelves import batch_bounds, lr_bounds, point, run_of

COLUMNS, LINES = 100, 40
SEEDS = pytest.mark.parametrize("seeds", [1, 5])


def told(shelf: Store, made: Compared, columns: int = COLUMNS) -> list[str]:
    """Show a finished run with that comparison and a picture a training."""
    tables = {"comparison": made.trainings, "summary": made.summary}
    run = run_of(
        lr_bounds(shelf),
        batch_bounds(shelf),
        *(
            point(shelf, "some_training", f"{row.arm}-seed={row.seed}", 20.4, iterations=b"1")
            for row in made.trainings.itertuples()
        ),
        point(shelf, "comparison", "comparison", **tables),
        point(shelf, "comparison", "pictures", final_accuracy=b"2", validation_accuracy=b"3"),
    )
    console = Console(file=io.StringIO(), width=columns)
    display.show(console, results.summary(shelf, run))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def rows(lines: Iterable[str], made: Compared) -> dict[str, str]:
    """Return the arms' lines, each on one line of its own."""
    found = {line.split()[0]: line for line in lines if line and line[0].isalpha()}
    return {arm: found[arm] for arm in made.summary["arm"]}


@SEEDS
@pytest.mark.parametrize("profile", ["notebook", "quick"])
def test_the_whole_result_stands_on_one_screen(shelf: Store, profile: str, seeds: int) -> None:
    made = compared(profile, seeds)
    lines = told(shelf, made)
    assert len(lines) <= LINES
    # Paths and sentences are never broken, so that they can be copied; a table's lines must fit.
    assert max(len(line.rstrip()) for line in lines[: len(made.summary) + 6]) <= COLUMNS
    assert len(rows(lines, made)) == 9
    assert lines[0].startswith("quick, seed 0, finished 2026-01-31T12:00:00+00:00")
    assert " to 0.9 " in lines[1]


@SEEDS
def test_every_arm_tells_its_figures_in_one_row(shelf: Store, seeds: int) -> None:
    made = compared("notebook", seeds)
    shown = rows(told(shelf, made), made)
    for arm in made.summary.to_dict("records"):
        row = shown[str(arm["arm"])]
        assert f" {arm['updates']:,.0f} " in row
        assert f" {arm['test_accuracy']:.4f}" in row
        assert f" {arm['best_val_accuracy']:.4f} " in row
        assert row.split()[-1] == "20", "seconds"
        half = arm["test_accuracy_high"] - arm["test_accuracy"]
        assert (f"± {half:.4f}" in row) == (seeds > 1)
        assert (f" {100 * arm['difference']:+.1f}" in row) == bool(arm["baseline"])
    assert " 0.9058 " in shown["clr-derived"], "the published run's last epoch"
    assert " 0.7688 (160) " in shown["effective-batch-constant"], "on few images"


def test_an_arm_that_diverged_says_so_and_an_unreached_goal_is_a_dash(shelf: Store) -> None:
    made = compared("notebook", diverged=["clr-derived"])
    row = rows(told(shelf, made), made)["clr-derived"]
    assert " diverged " in row
    assert " - " in row


def test_bounds_findings_and_pictures_follow_the_table(shelf: Store) -> None:
    made = compared("notebook", 5)
    lines = told(shelf, made)
    assert "Learning rate: cycle between 0.0001 and 0.001 (rule plateau)" in lines
    assert "Batch size: cycle between 16 and 64" in lines
    found = comparison.findings(made.summary)
    assert [line for line in lines if line in found] == found
    assert len(found) == 5
    below = lines[lines.index("Pictures:") + 1 :]
    assert [line.rpartition("/")[2] for line in below] == [
        *("final_accuracy.png", "validation_accuracy.png", "iterations.png (45)")
    ]


def test_a_legend_says_where_the_best_epoch_was_picked(shelf: Store) -> None:
    made = compared("notebook", 5)
    assert any("best epoch on the test images: optimistic" in line for line in told(shelf, made))
    changed = Compared(made.summary.assign(held_out=True), made.trainings, made.histories)
    assert any("best epoch on the held-out images" in line for line in told(shelf, changed))


def test_a_narrow_terminal_leaves_out_columns_but_breaks_no_name(shelf: Store) -> None:
    made = compared("notebook", 5)
    lines = told(shelf, made, columns=80)
    assert all(arm in line for arm, line in rows(lines, made).items())
    assert max(len(line.rstrip()) for line in lines[: len(made.summary) + 6]) <= 80
    assert "seconds" not in lines[1]


def test_a_baseline_that_diverged_does_not_make_an_arm_look_diverged(shelf: Store) -> None:
    made = compared("notebook", 5, diverged=["fixed-sgd"])
    shown = rows(told(shelf, made), made)
    assert " diverged " in shown["fixed-sgd"]
    assert "diverged" not in shown["combined"]


def test_a_run_that_ended_with_the_bounds_shows_them_alone(shelf: Store) -> None:
    console = Console(file=io.StringIO(), width=COLUMNS)
    run = run_of(lr_bounds(shelf)).model_copy(update={"until_step": "lr_bounds"})
    display.show(console, results.summary(shelf, run))
    assert console.file.getvalue().splitlines()[1:] == [  # type: ignore[attr-defined]
        "Only until lr_bounds: without --until-step it goes on",
        "Learning rate: cycle between 0.0001 and 0.001 (rule plateau)",
        "Pictures:",
    ]
