"""What docs/scaling.md says is what the simulation gives, and the simulation is a schedule."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import scaling
from benchmarks.prices import Cost, Prices
from benchmarks.programs import Here, Operation, Submit, Wait
from benchmarks.simulation import Placed, Schedule, simulate
from cyclical import arms
from cyclical.config import QUICK
from cyclical.forecast import is_training
from cyclical.plans import Training
from flows.cli import app

ANY = next(arms.fixed(QUICK, 0.01))
GRAPH = ("sgd", False)


def submit(label: str, priority: float = 0) -> Submit:
    return Submit("lr_sweep", label, priority, ANY.model_copy(update={"label": label}))


def prices(seconds: Mapping[str, float], *, once: float = 0, point: float = 0) -> Prices:
    """Let trainings take so many seconds by their labels, `once` more on each worker."""

    def train(training: Training) -> Cost:
        return Cost(0, (seconds[training.label],), {(GRAPH, 0): once})

    return Prices(1, train, lambda here: seconds[here.label], point)


def times(run: Schedule) -> dict[str, tuple[float, float]]:
    return {each.submit.label: (each.began, each.ended) for each in run.placed.values()}


def test_a_schedule_worked_out_by_hand() -> None:
    program: list[Operation] = [
        *(submit("a"), submit("b"), submit("c"), submit("d", priority=1)),
        *(Wait(1), Here("lr_bounds", "bounds", 1), submit("e", priority=2)),
        *(Wait(0), Wait(2), Wait(3), Wait(6)),
    ]
    seconds = {"a": 4, "b": 2, "c": 3, "d": 1, "bounds": 1.5, "e": 10}
    run = simulate(program, prices(seconds), 2)
    # d overtakes c; e is submitted at 3 + 1.5, when c has begun and a still runs until 5
    assert times(run) == {"a": (1, 5), "b": (1, 3), "d": (3, 4), "c": (4, 7), "e": (5, 15)}
    assert (run.makespan, run.own, run.busy) == (15, 1 + 1.5, 20)
    assert run.utilisation == 20 / (2 * 15)
    assert [run.waited[number] for number in (1, 0, 2, 3, 6)] == [2, 0.5, 2, 0, 8]


def test_the_flow_submits_one_after_the_other_and_a_cold_worker_pays_once() -> None:
    program = [submit("a"), submit("b"), submit("c"), Wait(0), Wait(1), Wait(2)]
    run = simulate(program, prices({"a": 2, "b": 2, "c": 2}, once=5, point=0.5), 2)
    assert times(run) == {"a": (1.5, 8.5), "b": (2, 9), "c": (8.5, 10.5)}
    warm = simulate(program, prices({"a": 2, "b": 2, "c": 2}, once=5, point=0.5), 2, cold=False)
    assert warm.makespan == 1.5 + 2 + 2


CASES = [(device, workers) for device in scaling.DEVICES for workers in scaling.WORKERS]


@pytest.mark.parametrize(("device", "workers"), CASES)
def test_no_run_is_shorter_than_its_critical_path_or_its_work(device: str, workers: int) -> None:
    case, run = scaling.case(device), scaling.run(device, workers)
    assert run.makespan >= case.shortest.makespan
    assert run.makespan >= case.prices.start + case.work / workers
    assert run.busy == pytest.approx(case.work + sum(each.once for each in run.placed.values()))
    on_path = sum(each.ended - each.began for each in case.chain)
    assert case.prices.start + on_path < case.shortest.makespan <= on_path + case.shortest.own


@pytest.mark.parametrize(("device", "workers"), CASES)
def test_no_worker_idles_while_a_training_waits_and_the_urgent_come_first(
    device: str, workers: int
) -> None:
    run = scaling.run(device, workers)
    by_worker: dict[int, list[Placed]] = {}
    for each in sorted(run.placed.values(), key=lambda each: each.began):
        assert each.submitted <= each.began < each.ended <= run.makespan
        by_worker.setdefault(each.worker, []).append(each)
    assert scaling.loads.at_once(run) <= len(by_worker) <= workers
    waited = [each for each in run.placed.values() if each.began > each.submitted]
    for mine in by_worker.values():
        for before, after in pairwise(mine):
            assert before.ended <= after.began
            idle = [each for each in waited if overlap(each, before.ended, after.began)]
            assert idle == []
    for early, late in overtaken(waited, list(run.placed.values())):
        assert early.submit.priority >= late.submit.priority


def overlap(waiting: Placed, since: float, until: float) -> bool:
    return max(waiting.submitted, since) < min(waiting.began, until)


def overtaken(waited: Sequence[Placed], placed: Sequence[Placed]) -> list[tuple[Placed, Placed]]:
    """Pair what was begun with what was waiting at that moment: of many, every so many."""
    pairs = []
    for late in waited[:: max(1, len(waited) // 100)]:
        begun = [each for each in placed if late.submitted < each.began < late.began]
        pairs += [(early, late) for early in begun]
    return pairs


def test_one_worker_takes_as_long_as_all_trainings_and_the_waits_between_them() -> None:
    case, run = scaling.case("core"), scaling.run("core", 1)
    placed = sorted(run.placed.values(), key=lambda each: each.began)
    idle = [placed[0].began] + [after.began - before.ended for before, after in pairwise(placed)]
    assert run.makespan - placed[-1].ended + sum(idle) + run.busy == pytest.approx(run.makespan)
    assert sum(gap > 0 for gap in idle) <= 3  # for the start and the bounds alone
    assert case.work < run.makespan < case.work + run.own + sum(each.once for each in placed)


def test_the_trainings_are_those_that_plan_lists(fashion_mnist: Path, tmp_path: Path) -> None:
    options = ["--profile", "notebook", "--seeds", str(scaling.SEEDS), "--set", "gpus=0", "--json"]
    planned = CliRunner().invoke(
        app, ["plan", *options, "--artifacts", str(tmp_path / "none")], catch_exceptions=False
    )
    listed = {
        (point["step"], point["label"])
        for point in json.loads(planned.stdout)
        if is_training(point["label"])
    }
    case = scaling.case("core")
    simulated = [(each.submit.step, each.submit.label) for each in case.shortest.placed.values()]
    assert len(simulated) == len(listed) == 600
    assert set(simulated) == listed


def test_what_is_begun_earlier_is_waited_for_as_before() -> None:
    program = scaling.case("core").program
    changed = scaling.earlier(program, scaling.UNBOUND)
    assert sorted(map(repr, strip(changed))) == sorted(map(repr, strip(program)))

    def waits(of: Sequence[Operation]) -> list[Operation]:
        return [of[each.submitted] for each in of if isinstance(each, Wait)]

    assert waits(changed) == waits(program)
    assert changed != program


def strip(program: Sequence[Operation]) -> list[Operation]:
    return [each for each in program if not isinstance(each, Wait)]


def test_the_quick_run_took_about_as_long_as_its_simulation() -> None:
    rows = scaling.validated().to_dict("records")
    for row in rows:
        assert row["simulated"] == pytest.approx(row["measured"], rel=0.1)


def test_the_page_holds_what_the_script_prints() -> None:
    page = scaling.PAGE.read_text()
    assert scaling.renewed(page) == page, "`python -m benchmarks.scaling --write` mends that"
    assert scaling.PICTURE.exists()
