"""The experiment's steps: what each needs, and which of them a run takes."""

from graphlib import TopologicalSorter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclical.errors import InputError
from cyclical.steps import NEEDS, Selection, ancestors, select

SWEPT = {"load_data", "lr_sweep", "lr_bounds"}
BATCHED = SWEPT | {"batch_sweep", "batch_bounds"}
RATED_ARMS = {"clr_training", "effective_batch_training", "fixed_training"}
BATCHED_ARMS = {"cyclic_batch_training", "combined_training"}
steps = st.sampled_from(sorted(NEEDS))


def upstream(step: str) -> set[str]:
    """Find a step's ancestors by walking back until nothing new turns up."""
    found = set(NEEDS[step])
    while more := {need for known in found for need in NEEDS[known]} - found:
        found |= more
    return found


def chosen(wanted: set[str], frozen: set[str], refreshed: set[str]) -> Selection:
    return Selection(frozenset(wanted), frozenset(frozen), frozenset(refreshed))


def refusal(*refresh: str, from_step: str | None = None, until_step: str | None = None) -> str:
    """Return the one-line error of a selection."""
    with pytest.raises(InputError) as caught:
        select(refresh, from_step, until_step)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_every_need_is_a_step_that_stands_before_it() -> None:
    order = list(NEEDS)
    for step, needs in NEEDS.items():
        assert all(order.index(need) < order.index(step) for need in needs)


def test_no_step_needs_itself_by_way_of_others() -> None:
    TopologicalSorter(NEEDS).prepare()  # raises CycleError
    assert all(step not in ancestors(step) for step in NEEDS)


def test_all_begins_with_the_data_and_ends_in_the_comparison() -> None:
    assert [step for step, needs in NEEDS.items() if not needs] == ["load_data"]
    assert ancestors("comparison") == set(NEEDS) - {"comparison"}
    assert set(NEEDS) == BATCHED | RATED_ARMS | BATCHED_ARMS | {"comparison"}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("load_data", set()),
        ("lr_sweep", {"load_data"}),
        ("lr_bounds", {"load_data", "lr_sweep"}),
        ("clr_training", SWEPT),
        ("batch_sweep", SWEPT),
        ("batch_bounds", SWEPT | {"batch_sweep"}),
        ("cyclic_batch_training", BATCHED),
        ("effective_batch_training", SWEPT),
        ("combined_training", BATCHED),
        ("fixed_training", SWEPT),
    ],
)
def test_ancestors_are_all_that_a_step_needs_directly_or_not(step: str, expected: set[str]) -> None:
    assert ancestors(step) == expected


@given(step=steps)
def test_ancestors_agree_with_walking_back(step: str) -> None:
    assert ancestors(step) == upstream(step)


def test_a_run_takes_all_steps_unless_told_otherwise() -> None:
    assert select() == chosen(set(NEEDS), set(), set())


def test_until_a_step_runs_that_step_and_its_ancestors_alone() -> None:
    assert select(until_step="load_data") == chosen({"load_data"}, set(), set())
    assert select(until_step="lr_bounds") == chosen(SWEPT, set(), set())
    for arm in RATED_ARMS:
        assert select(until_step=arm) == chosen(SWEPT | {arm}, set(), set())
    for arm in BATCHED_ARMS:
        assert select(until_step=arm) == chosen(BATCHED | {arm}, set(), set())


@pytest.mark.parametrize("arm", sorted(RATED_ARMS | BATCHED_ARMS))
def test_from_an_arm_it_and_the_comparison_run_and_the_other_arms_are_cached(arm: str) -> None:
    active = {arm, "comparison"}
    assert select(from_step=arm) == chosen(set(NEEDS), set(NEEDS) - active, set())


def test_from_a_step_all_upstream_of_it_must_be_cached() -> None:
    assert select(from_step="load_data") == chosen(set(NEEDS), set(), set())
    assert select(from_step="comparison") == chosen(set(NEEDS), set(NEEDS) - {"comparison"}, set())


def test_from_a_step_what_its_descendants_need_besides_must_be_cached_too() -> None:
    selection = select(from_step="batch_bounds")
    assert selection.wanted == set(NEEDS)
    assert selection.frozen == SWEPT | {"batch_sweep"} | RATED_ARMS


def test_from_one_step_until_another_runs_what_lies_between() -> None:
    assert select(from_step="batch_sweep", until_step="cyclic_batch_training") == chosen(
        BATCHED | {"cyclic_batch_training"}, SWEPT, set()
    )
    assert select(from_step="lr_bounds", until_step="lr_bounds") == chosen(
        SWEPT, {"load_data", "lr_sweep"}, set()
    )


def test_steps_that_are_to_be_computed_again_are_told_apart() -> None:
    assert select(["clr_training"]).refreshed == {"clr_training"}
    both = select(["lr_sweep", "lr_bounds", "lr_sweep"], until_step="lr_bounds")
    assert both == chosen(SWEPT, set(), {"lr_sweep", "lr_bounds"})
    assert select(["comparison"], from_step="comparison").refreshed == {"comparison"}


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("lr_sweeps", "lr_sweep"),
        ("batchbounds", "batch_bounds"),
        ("clr", "clr_training"),
        ("combined", "combined_training"),
        ("effective_batches", "effective_batch_training"),
    ],
)
def test_an_unknown_step_is_refused_with_the_nearest_and_all_known(
    unknown: str, nearest: str
) -> None:
    messages = {
        refusal(unknown),
        refusal("lr_sweep", unknown),
        refusal(from_step=unknown),
        refusal(until_step=unknown),
        refusal(from_step="load_data", until_step=unknown),
    }
    [message] = messages
    assert message.startswith(f"unknown step {unknown!r}: did you mean {nearest!r}?")
    assert all(step in message for step in NEEDS)


def test_an_empty_name_is_an_unknown_step() -> None:
    assert refusal(from_step="").startswith("unknown step ''")
    assert refusal(until_step="").startswith("unknown step ''")


@pytest.mark.parametrize(
    ("from_step", "until_step"),
    [
        ("lr_bounds", "lr_sweep"),
        ("clr_training", "cyclic_batch_training"),
        ("batch_bounds", "effective_batch_training"),
        ("batch_sweep", "fixed_training"),
        ("comparison", "load_data"),
    ],
)
def test_nothing_between_from_and_until_is_refused(from_step: str, until_step: str) -> None:
    message = refusal(from_step=from_step, until_step=until_step)
    assert message == f"--until-step {until_step} does not need --from-step {from_step}"


def test_computing_again_what_must_be_cached_is_refused() -> None:
    message = refusal("comparison", "lr_sweep", from_step="batch_sweep")
    assert "--refresh lr_sweep contradicts --from-step batch_sweep" in message


@given(refresh=st.lists(steps, max_size=3), first=st.none() | steps, last=st.none() | steps)
def test_a_selection_is_closed_and_freezes_exactly_what_does_not_follow_from_the_first_step(
    refresh: list[str], first: str | None, last: str | None
) -> None:
    within = set(NEEDS) if last is None else upstream(last) | {last}
    active = {step for step in within if first is None or first in upstream(step) | {step}}
    needed = active.union(*(upstream(step) for step in active)) if active else set()
    if not active or set(refresh) & (needed - active):
        refusal(*refresh, from_step=first, until_step=last)
    else:
        selection = select(refresh, first, last)
        assert selection == chosen(needed, needed - active, set(refresh))


@pytest.mark.parametrize(("first", "last"), list(product(NEEDS, NEEDS)))
def test_a_first_and_a_last_step_are_refused_unless_one_leads_to_the_other(
    first: str, last: str
) -> None:
    if first == last or first in upstream(last):
        selection = select(from_step=first, until_step=last)
        assert {first, last} <= selection.wanted - selection.frozen
        assert selection.wanted == upstream(last) | {last}
    else:
        refusal(from_step=first, until_step=last)
