"""How trainings are laid out: which examples an update takes, and at which learning rate."""

import math
from itertools import chain, cycle, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cyclical import arms, naming, schedules
from cyclical.config import NOTEBOOK
from cyclical.plans import Epoch, LearningRate, Training, lay_out
from cyclical.settings import resolve
from cyclical.values import Optimizer

GROUPS = {training.label: training for training in arms.effective_batch(NOTEBOOK, 1e-4)}
batches = st.lists(st.integers(1, 300), min_size=1, max_size=4)
groups = st.lists(st.integers(1, 16), min_size=1, max_size=6)


def settings(**changes: Any) -> Training:
    values: dict[str, Any] = {
        "label": "test",
        "model": "lenet5",
        "optimizer": Optimizer(name="sgd"),
        "learning_rate": LearningRate(policy="constant", base_lr=0.01),
        "batch_sizes": (64,),
        "epochs": 1,
        "seed": 0,
    }
    return Training(**(values | changes))


def sizes(epoch: Epoch) -> list[int]:
    """Return how many examples each update of an epoch takes."""
    return np.diff(epoch.boundaries).tolist()


def rates(plan: list[Epoch]) -> list[list[float]]:
    return [epoch.learning_rates.tolist() for epoch in plan]


# Groups of micro-batches: 60,000 examples in micro-batches of 256


def test_constant_groups_of_sixteen_give_fifteen_updates_an_epoch() -> None:
    plan = lay_out(GROUPS["effective-batch-constant"], 60_000)
    assert len(plan) == 20
    for epoch in plan:
        assert epoch.micro_batch == 256
        assert sizes(epoch) == [4096] * 14 + [2656]  # 60,000 - 14 * 4,096
        assert epoch.learning_rates.tolist() == [1e-4] * 15


def test_growing_groups_go_round_on_across_epochs_and_a_cut_one_counts_as_a_step() -> None:
    plan = lay_out(GROUPS["effective-batch-cyclic"], 60_000)
    whole = [256 * k for k in range(1, 17)]  # 136 micro-batches, 34,816 examples
    assert whole[:3] == [256, 512, 768]
    assert whole[-1] == 4096
    # The first epoch: 1..16 and 1..13 take 34,816 + 23,296, which leaves the 14th 1,888.
    assert sizes(plan[0]) == [*whole, *whole[:13], 1_888]
    # The second goes on with 15 and 16, then 1..16 and 1..11; that leaves the 12th 352.
    assert sizes(plan[1]) == [3_840, 4_096, *whole, *whole[:11], 352]
    # The third begins with 13 to 16; after 1..16 and 1..8 the 9th is left 1,120.
    assert sizes(plan[2]) == [*whole[12:], *whole, *whole[:8], 1_120]
    # The fourth begins with 10 to 16; after 1..16 and 1..3 the 4th is left 352.
    assert sizes(plan[3]) == [*whole[9:], *whole, *whole[:3], 352]
    assert sizes(plan[4])[0] == 5 * 256
    assert [len(sizes(epoch)) for epoch in plan[:4]] == [30, 30, 29, 27]
    assert {epoch.micro_batch for epoch in plan} == {256}


def test_a_group_larger_than_the_data_is_the_epoch() -> None:
    constant = lay_out(GROUPS["effective-batch-constant"], 1_000)
    assert [sizes(epoch) for epoch in constant] == [[1_000]] * 20
    growing = [sizes(epoch) for epoch in lay_out(GROUPS["effective-batch-cyclic"], 1_000)]
    # 256 and 512 leave the third group 232; from the fourth to the 16th each is an epoch.
    assert growing[0] == [256, 512, 232]
    assert growing[1:14] == [[1_000]] * 13
    assert growing[14] == [256, 512, 232]


def test_a_group_that_just_fits_the_data_is_not_cut() -> None:
    plan = lay_out(settings(batch_sizes=(4,), accumulate=(1, 2), epochs=2), 24)
    assert [sizes(epoch) for epoch in plan] == [[4, 8, 4, 8], [4, 8, 4, 8]]


# The learning rate of every update


def combined(**changes: Any) -> list[Epoch]:
    """Lay both-cycling out on 100 examples, with sizes from 16 to 64 and four epochs."""
    config = resolve("notebook", {"training.epochs": 4, **changes})
    [training] = arms.combined(config, 16, 64)
    return lay_out(training, 100)


def test_the_rate_of_both_cycling_follows_the_batch_size_of_the_epoch() -> None:
    plan = combined()
    cut = [[16] * 6 + [4], [32] * 3 + [4], [64, 36], [16] * 6 + [4]]
    assert [sizes(epoch) for epoch in plan] == cut
    # 0.01 at a batch of 64; the short last batch is trained at the rate of its epoch
    assert rates(plan) == [[0.0025] * 7, [0.005] * 4, [0.01] * 2, [0.0025] * 7]


def test_the_rate_of_both_cycling_may_follow_the_root_of_the_batch_size() -> None:
    by_root = rates(combined(**{"combined.scaling": "sqrt"}))
    assert by_root[0] == by_root[3] == [0.0025] * 7
    assert by_root[1] == pytest.approx([0.0025 * math.sqrt(2)] * 4)
    assert by_root[2] == [0.005] * 2


def test_the_rate_of_both_cycling_starts_at_the_rate_given_for_bmin() -> None:
    assert rates(combined(**{"combined.lr_at_bmin": 0.125}))[:3] == [
        [0.125] * 7,
        [0.25] * 4,
        [0.5] * 2,
    ]


def test_the_rate_falls_with_a_batch_size_that_falls() -> None:
    plan = combined(**{"cyclic_batch.order": "descending"})
    assert rates(plan) == [[0.01] * 2, [0.005] * 4, [0.0025] * 7, [0.01] * 2]


def test_the_rate_follows_sizes_in_equal_steps() -> None:
    plan = combined(**{"cyclic_batch.spacing": "linear"})
    assert [epoch.micro_batch for epoch in plan] == [16, 40, 64, 16]
    assert rates(plan)[1] == [0.00625] * 3  # 0.0025 * 40 / 16


def test_a_cycling_rate_goes_on_from_epoch_to_epoch() -> None:
    rate = LearningRate(policy="triangular", base_lr=0.001, max_lr=0.005, step_size=4)
    plan = lay_out(settings(learning_rate=rate, batch_sizes=(40,), epochs=3), 100)
    assert [len(epoch) for epoch in rates(plan)] == [3, 3, 3]
    expected = [0.001, 0.002, 0.003, 0.004, 0.005, 0.004, 0.003, 0.002, 0.001]
    assert list(chain(*rates(plan))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("policy", "more"), [("triangular", {}), ("triangular2", {}), ("exp_range", {"gamma": 0.9})]
)
def test_a_policy_is_the_schedule_of_its_name(policy: str, more: dict[str, float]) -> None:
    rate = LearningRate(policy=policy, base_lr=0.001, max_lr=0.005, step_size=3, **more)
    plan = lay_out(settings(learning_rate=rate, epochs=5), 300)
    schedule = getattr(schedules, policy)(0.001, 0.005, 3, **more)
    assert list(chain(*rates(plan))) == schedule(np.arange(25)).tolist()


@given(
    examples=st.integers(1, 2_000),
    epochs=st.integers(1, 5),
    batch_sizes=batches,
    accumulate=groups,
    policy=st.sampled_from(["constant", "linear", "sqrt", "triangular"]),
)
def test_every_update_has_its_examples_and_one_rate(
    examples: int, epochs: int, batch_sizes: list[int], accumulate: list[int], policy: str
) -> None:
    cycling = {"max_lr": 0.05, "step_size": 7} if policy == "triangular" else {}
    training = settings(
        learning_rate=LearningRate(policy=policy, base_lr=0.01, **cycling),
        batch_sizes=tuple(batch_sizes),
        accumulate=tuple(accumulate),
        epochs=epochs,
    )
    plan = lay_out(training, examples)
    assert len(plan) == epochs
    counts = cycle(accumulate)
    for epoch, micro_batch in zip(plan, cycle(batch_sizes), strict=False):
        assert (epoch.boundaries[0], epoch.boundaries[-1]) == (0, examples)
        assert all(start < end for start, end in pairwise(epoch.boundaries.tolist()))
        assert epoch.micro_batch == micro_batch
        assert len(epoch.learning_rates) == len(epoch.boundaries) - 1
        assert epoch.learning_rates.dtype == np.float64
        *full, last = sizes(epoch)
        assert full == [micro_batch * next(counts) for _ in full]
        assert last <= micro_batch * next(counts)
        ratio = micro_batch / min(batch_sizes)
        followed = {"constant": 0.01, "linear": 0.01 * ratio, "sqrt": 0.01 * math.sqrt(ratio)}
        if policy in followed:
            expected = [followed[policy]] * (len(full) + 1)
            assert epoch.learning_rates.tolist() == pytest.approx(expected)


# A training's settings


@pytest.mark.parametrize("policy", ["constant", "linear", "triangular", "exp_range"])
def test_a_policy_of_ours_calls_no_code_of_the_users(policy: str) -> None:
    rate = LearningRate(policy=policy, base_lr=0.01)
    assert settings(learning_rate=rate).user_code == ()


@pytest.mark.parametrize("policy", ["cubic", "mine", "mine:", ":fade"])
def test_a_policy_that_is_no_name_and_no_reference_is_refused(policy: str) -> None:
    with pytest.raises(ValidationError, match="is neither triangular, triangular2, exp_range nor"):
        LearningRate(policy=policy, base_lr=0.01)


def test_an_optimizer_is_described_by_its_name_and_its_arguments() -> None:
    assert naming.described(Optimizer(name="sgd")) == "sgd"
    assert naming.described(Optimizer(name="sgd", momentum=0.9)) == "sgd momentum 0.9"
    assert naming.described(Optimizer(name="rmsprop")) == "rmsprop"
    assert naming.described(Optimizer(name="rmsprop", epsilon=1e-14)) == "rmsprop epsilon 1e-14"


@pytest.mark.parametrize("epsilon", [math.nan, math.inf, -math.inf])
def test_an_epsilon_that_is_no_finite_number_is_refused(epsilon: float) -> None:
    with pytest.raises(ValidationError, match="epsilon"):
        Optimizer(name="rmsprop", epsilon=epsilon)


# Trainings that are limited in updates


def test_a_training_of_few_updates_ends_within_its_last_epoch() -> None:
    plan = lay_out(settings(epochs=3, updates=6), 250)  # 64, 64, 64, 58; 64, 64
    assert [sizes(epoch) for epoch in plan] == [[64, 64, 64, 58], [64, 64]]
    assert settings(epochs=3, updates=6).examples(250) == 250 + 128


@given(updates=st.integers(1, 30), epochs=st.integers(1, 5), examples=st.integers(1, 300))
def test_a_limit_of_updates_keeps_the_first_ones_as_they_are(
    updates: int, epochs: int, examples: int
) -> None:
    whole = lay_out(settings(epochs=epochs), examples)
    cut = lay_out(settings(epochs=epochs, updates=updates), examples)
    every = list(chain.from_iterable(map(sizes, whole)))
    assert list(chain.from_iterable(map(sizes, cut))) == every[:updates]
    assert sum(every[:updates]) == settings(epochs=epochs, updates=updates).examples(examples)
    assert sum(every) == settings(epochs=epochs).examples(examples) == epochs * examples


def test_the_rate_of_a_range_test_rises_across_epochs() -> None:
    rate = LearningRate(policy="exponential", base_lr=1e-3, max_lr=1e-1, step_size=4)
    plan = lay_out(settings(epochs=2, updates=4, learning_rate=rate), 192)
    expected = [1e-3, 10**-2.5, 1e-2], [10**-1.5]
    assert [epoch.learning_rates for epoch in plan] == [pytest.approx(each) for each in expected]
