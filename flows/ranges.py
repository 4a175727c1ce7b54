"""What replaces the sweep of the learning rate: the range test, and the clock that builds on it."""

import logging
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING

from cyclical import arms, range_test
from cyclical.manifests import Artifact
from cyclical.plans import Training
from tasks import bounds, pictures, sweeps
from tasks.publishing import POINT_COLUMNS, Section
from tasks.sweeps import Runs

log = logging.getLogger(f"tasks.{__name__}")  # one of those that Prefect and the command show

if TYPE_CHECKING:
    from flows.loading import Loaded
    from flows.stages import Stage

Later = Callable[[], Artifact]
LEAST_UPDATES = 100  # 130 and more were tried
RULES = "What each rule says, before it is snapped to a swept rate"


def test_range(stage: "Stage", loaded: "Loaded") -> Later:
    """Train once a seed while the rate rises over those of the sweep."""
    images = loaded.images
    if (updates := sum(arms.range_updates(stage.config, images))) < LEAST_UPDATES:
        log.warning(
            "%d updates are too few for bounds to trust: set lr_sweep.range_updates to %d or more",
            *(updates, LEAST_UPDATES),
        )
    trainings = arms.range_test(stage.config, images)
    runs = _start(stage, loaded, trainings)

    @cache
    def tabulated() -> Artifact:
        table = stage.here(sweeps.tabulate_range_test, arms.RANGE_TEST, runs=runs())
        if stage.config.lr_sweep.method == "range_test":
            stage.show("Range test", Section(table=(table, "points.parquet")))
            stage.run.show_table(stage.step, "Every run of the test", table, "points.parquet")
        return table

    return tabulated


def read_clock(stage: "Stage", loaded: "Loaded") -> Later:
    """Train once more a seed, up to the rate where the range test's loss is least; predict."""
    tested = test_range(stage, loaded)

    @cache
    def predicted() -> Artifact:
        images, sweep = loaded.images, stage.config.lr_sweep
        curve = stage.run.table(tested(), "range_test.parquet")
        trainings = arms.clock(stage.config, images, range_test.lr_at_least_loss(curve))
        table = stage.here(
            sweeps.predict_sweep,
            "sweep",
            runs=_start(stage, loaded, trainings)(),
            test=tested(),
            swept=sweep.learning_rates,
            updates=arms.sweep_updates(stage.config, images),
            epochs=sweep.epochs,
            least=loaded.least,
        )
        columns = ("learning_rate", *POINT_COLUMNS)
        shown = Section(
            "The rate rises until the range test's loss was least; nothing is validated.",
            table=(table, "points.parquet"),
            columns=[column for column in columns if not column.startswith("val_")],
        )
        tests = Section("## The range test before it", table=(tested(), "points.parquet"))
        stage.show("Sweep of the learning rate, predicted by the clock", shown, tests)
        stage.run.show_table(stage.step, "Every point, predicted", table, "points.parquet")
        return table

    return predicted


def derive_bounds(stage: "Stage", test: Artifact) -> Artifact:
    """Read lr_min and lr_max off the range test, draw and show them."""
    found = stage.here(
        bounds.derive_range_bounds,
        "bounds",
        sweep=test,
        rule=stage.config.lr_bounds.rule,
        swept=stage.config.lr_sweep.learning_rates,
    )
    drawn = stage.here(pictures.draw_range_test, "pictures", sweep=test, bounds=found)
    stage.show(
        "Learning rate: bounds",
        Section("The bounds", drawn, (found, "bounds.parquet")),
        Section(RULES, table=(found, "rules.parquet")),
    )
    return found


def _start(stage: "Stage", loaded: "Loaded", trainings: Iterable[Training]) -> Callable[[], Runs]:
    started = [(each.seed, stage.train(loaded, each)) for each in trainings]
    return lambda: [(seed, artifact()) for seed, artifact in started]
