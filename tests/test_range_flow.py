"""What replaces the learning-rate sweep, end to end, as a user runs it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cyclical.bounds import lr_bounds
from tests import running
from tests.test_planning import fates

UNTIL = ("--until-step", "lr_bounds")
CHANGES: dict[str, dict[str, Any]] = {
    "range_test": {"lr_bounds__rule": "valley"},
    "clock": {},
}


def changes(method: str, updates: int = 60) -> dict[str, Any]:
    return {**CHANGES[method], "lr_sweep__method": method, "lr_sweep__range_updates": updates}


def table(artifacts: Path, point: str, name: str) -> pd.DataFrame:
    [file] = artifacts.glob(f"{point}-*/{name}.parquet")
    return pd.read_parquet(file)


@pytest.fixture(scope="module")
def ran(
    fashion_mnist: Path, prefect_server: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, running.Ran]]:
    """Run both methods, one after the other into the same store."""
    artifacts = tmp_path_factory.mktemp("ranges") / "artifacts"
    return artifacts, {
        method: running.run(artifacts, *UNTIL, **changes(method)) for method in CHANGES
    }


def test_the_range_test_gives_swept_bounds_pictures_and_tables(
    ran: tuple[Path, dict[str, running.Ran]],
) -> None:
    artifacts, each = ran
    assert each["range_test"].status == 0, each["range_test"].error
    assert {"lr_sweep/range-test-seed=0", "lr_sweep/range-test"} < each["range_test"].executed
    assert "(rule valley, read off a range test)" in each["range_test"].out
    [picture] = artifacts.glob("lr_bounds/pictures-*/range_test.png")
    assert picture.stat().st_size < 200_000
    [rules] = artifacts.glob("lr_bounds/bounds-*/rules.parquet")
    found = pd.read_parquet(rules.with_name("bounds.parquet")).iloc[0]
    assert {found["lr_min"], found["lr_max"]} < set(running.SMALL["lr_sweep.learning_rates"])
    assert found["lr_min"] < found["lr_max"]
    assert len(pd.read_parquet(rules)) == 4


def test_the_clock_predicts_the_table_that_the_bounds_are_read_off(
    ran: tuple[Path, dict[str, running.Ran]],
) -> None:
    artifacts, each = ran
    assert each["clock"].status == 0, each["clock"].error
    assert {"lr_sweep/clock-seed=0", "lr_sweep/sweep"} < each["clock"].executed
    assert "(rule plateau, predicted by the clock)" in each["clock"].out
    predicted = table(artifacts, "lr_sweep/sweep", "sweep")
    assert predicted["learning_rate"].tolist() == [0.001, 0.01, 0.1, 10]
    assert predicted["train_accuracy"][1] > 0.3  # it has learned, within 42 updates of 64 images
    expected = lr_bounds(predicted)
    [picture] = artifacts.glob("lr_bounds/pictures-*/clock.png")
    assert picture.stat().st_size < 200_000
    assert f"{expected.lr_min:g} and {expected.lr_max:g}" in each["clock"].out


def test_the_second_training_rises_to_where_the_first_ones_loss_was_least(
    ran: tuple[Path, dict[str, running.Ran]],
) -> None:
    artifacts, _ = ran
    tops = {
        float(summary["lr_at_least_loss"].iloc[0])
        for summary in map(pd.read_parquet, artifacts.glob("lr_sweep/range-test-*/points.parquet"))
    }
    run = table(artifacts, "lr_sweep/clock-seed=0", "iterations")
    assert len(run) == 42  # of 60 updates, 18 are the range test's
    assert float(run["learning_rate"].iloc[-1]) * 43 / 42 in [pytest.approx(top) for top in tops]


@pytest.mark.parametrize("method", CHANGES)
def test_the_plan_knows_that_all_of_it_is_cached(
    ran: tuple[Path, dict[str, running.Ran]], method: str
) -> None:
    planned = fates(ran[0], *UNTIL, **changes(method))
    assert not planned["run"]
    assert not planned["perhaps"]
    assert len(planned["cached"]) == {"range_test": 7, "clock": 9}[method]


def test_the_plan_foretells_a_first_run_of_the_clock(
    ran: tuple[Path, dict[str, running.Ran]], tmp_path: Path
) -> None:
    planned = fates(tmp_path / "nothing", *UNTIL, **changes("clock"))
    sweep = {point for point in planned["run"] if not point.startswith("load_data/")}
    assert sweep == {
        *("lr_sweep/range-test-seed=0", "lr_sweep/range-test", "lr_sweep/clock-seed=0"),
        *("lr_sweep/sweep", "lr_bounds/bounds", "lr_bounds/pictures"),
    }
    assert sweep == {point for point in ran[1]["clock"].executed if "load_data/" not in point}


def test_after_another_range_test_the_clocks_training_is_not_promised(
    ran: tuple[Path, dict[str, running.Ran]],
) -> None:
    planned = fates(ran[0], *UNTIL, "--refresh", "lr_sweep", **changes("clock"))
    assert "lr_sweep/clock-seed=0" in planned["run"]
    longer = fates(ran[0], *UNTIL, **changes("clock", updates=80))
    assert {"lr_sweep/range-test-seed=0", "lr_sweep/clock-seed=0"} < set(longer["run"])
