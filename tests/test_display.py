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


def told(shelf: Store, made: Compared) -> list[str]:
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
    console = Console(file=io.StringIO(), width=COLUMNS)
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
    assert max(len(line.rstrip()) for line in lines[: len(made.summary) + 3]) <= COLUMNS
    assert len(rows(lines, made)) == 9
    assert " to 0.9 " in lines[0]


@SEEDS
def test_every_arm_tells_its_figures_in_one_row(shelf: Store, seeds: int) -> None:
    made = compared("notebook", seeds)
    shown = rows(told(shelf, made), made)
    for arm in made.summary.to_dict("records"):
        row = shown[str(arm["arm"])]
        assert f" {arm['updates']:,.0f} " in row
        assert f" {arm['test_accuracy']:.4f}" in row
        assert f" {arm['best_val_accuracy']:.4f} " in row
        assert " 20 " in row, "seconds"
        half = arm["test_accuracy_high"] - arm["test_accuracy"]
        assert (f"± {half:.4f}" in row) == (seeds > 1)
        assert (f" {100 * arm['difference']:+.1f}" in row) == bool(arm["baseline"])
    assert shown["clr-derived"].endswith(" 0.9058"), "the published run's last epoch"
    assert shown["combined"].rstrip().endswith(" 20"), "which was not published"


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
    assert [line for line in lines if line.startswith("Cycling")] == found
    assert len(found) == 4
    below = lines[lines.index("Pictures:") + 1 :]
    assert [line.rpartition("/")[2] for line in below] == [
        *("final_accuracy.png", "validation_accuracy.png", "iterations.png (45)")
    ]


def test_a_legend_says_where_the_best_epoch_was_picked(shelf: Store) -> None:
    made = compared("notebook", 5)
    assert any("picked on the test set: optimistic" in line for line in told(shelf, made))
    held_out = made.summary.assign(test_accuracy=made.summary["test_accuracy"] - 0.01)
    changed = Compared(held_out, made.trainings, made.histories)
    assert any("picked on the held-out images" in line for line in told(shelf, changed))


def test_a_run_that_ended_with_the_bounds_shows_them_alone(shelf: Store) -> None:
    console = Console(file=io.StringIO(), width=COLUMNS)
    display.show(console, results.summary(shelf, run_of(lr_bounds(shelf))))
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "Learning rate: cycle between 0.0001 and 0.001 (rule plateau)",
        "Pictures:",
    ]
