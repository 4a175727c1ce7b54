"""Which trainings an experiment consists of."""

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclical import arms
from cyclical.config import NOTEBOOK, PROFILES, QUICK, Experiment, resolve
from cyclical.errors import InputError
from cyclical.plans import Training

SGD = {"name": "sgd", "momentum": 0.0, "epsilon": None}
MOMENTUM = {"name": "sgd", "momentum": 0.9, "epsilon": None}
RMSPROP = {"name": "rmsprop", "momentum": 0.0, "epsilon": None}
TWO_SEEDS = resolve("notebook", seeds=2)
EVERY_PROFILE = pytest.mark.parametrize("profile", PROFILES)


def constant(rate: float) -> dict[str, Any]:
    """Return the settings of a learning rate that stays."""
    return following("constant", rate)


def following(policy: str, rate: float) -> dict[str, Any]:
    """Return the settings of a learning rate that does not cycle by itself."""
    unset = {"max_lr": None, "step_size": None, "gamma": None, "scale_of": None}
    return {"policy": policy, "base_lr": rate, **unset}


def settings(training: Training) -> dict[str, Any]:
    """Return a training's settings as plain values, without the model's name."""
    return training.model_dump(exclude={"model"})


def everything(config: Experiment) -> dict[str, list[Training]]:
    """Return the trainings of every step, with bounds that were swept."""
    return {
        "lr_sweep": [training for _, training in arms.lr_sweep(config)],
        "batch_sweep": [training for _, training in arms.batch_sweep(config, 1e-4)],
        "clr_training": list(arms.clr(config, 1e-4, 1e-3)),
        "cyclic_batch_training": list(arms.cyclic_batch(config, 16, 256)),
        "effective_batch_training": list(arms.effective_batch(config, 1e-4)),
        "combined_training": list(arms.combined(config, 16, 256)),
        "fixed_training": list(arms.fixed(config, 1e-3)),
    }


def arm(label: str = "clr-derived", seed: int = 0) -> Training:
    """Return the arm of that name of the published experiment."""
    config = resolve("notebook", {"seeds": [seed]})
    known = {each.label: each for each in chain(*everything(config).values())}
    return known[label]


def test_the_learning_rate_sweep_is_plain_sgd_at_eleven_rates() -> None:
    points = list(arms.lr_sweep(NOTEBOOK))
    rates = [10, 1, 0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9]
    assert [rate for rate, _ in points] == rates
    names = [
        "10",
        "1",
        "0.1",
        "0.01",
        "0.001",
        "0.0001",
        *(f"1e-0{power}" for power in range(5, 10)),
    ]
    assert [settings(training) for _, training in points] == [
        {
            "label": f"lr={name}",
            "optimizer": SGD,
            "learning_rate": constant(rate),
            "batch_sizes": (64,),
            "accumulate": (1,),
            "epochs": 5,
            "seed": 0,
        }
        for rate, name in zip(rates, names, strict=True)
    ]


def test_the_batch_size_sweep_is_plain_sgd_at_lr_min_with_ten_sizes() -> None:
    points = list(arms.batch_sweep(NOTEBOOK, 1e-4))
    sizes = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
    assert [size for size, _ in points] == sizes
    assert [settings(training) for _, training in points] == [
        {
            "label": f"batch={size}",
            "optimizer": SGD,
            "learning_rate": constant(1e-4),
            "batch_sizes": (size,),
            "accumulate": (1,),
            "epochs": 5,
            "seed": 0,
        }
        for size in sizes
    ]


def test_the_cyclical_rate_runs_between_the_derived_and_the_papers_bounds() -> None:
    bounds = {"derived": (1e-4, 1e-3), "paper": (0.001, 0.006)}
    assert [settings(training) for training in arms.clr(NOTEBOOK, 1e-4, 1e-3)] == [
        {
            "label": f"clr-{name}",
            "optimizer": RMSPROP,
            "learning_rate": {
                "policy": "exp_range",
                "base_lr": low,
                "max_lr": high,
                "step_size": 2000,
                "gamma": 0.99994,
                "scale_of": None,
            },
            "batch_sizes": (64,),
            "accumulate": (1,),
            "epochs": 20,
            "seed": 0,
        }
        for name, (low, high) in bounds.items()
    ]


@pytest.mark.parametrize("policy", ["triangular", "triangular2"])
def test_a_policy_without_gamma_carries_none(policy: str) -> None:
    config = resolve("notebook", {"clr.policy": policy, "clr.gamma": 0.5})
    for training in arms.clr(config, 1e-4, 1e-3):
        assert training.learning_rate.policy == policy
        assert training.learning_rate.gamma is None
        assert training.learning_rate.scale_of is None


@pytest.mark.parametrize("scale_of", ["cycle", "iteration"])
def test_a_users_scale_carries_what_it_is_called_with_and_no_gamma(scale_of: str) -> None:
    config = resolve("notebook", {"clr.policy": "mine.fades:slow", "clr.scale_of": scale_of})
    for training in arms.clr(config, 1e-4, 1e-3):
        assert training.learning_rate.policy == "mine.fades:slow"
        assert training.learning_rate.scale_of == scale_of
        assert training.learning_rate.gamma is None
        assert training.user_code == ("mine.fades:slow",)
    others = chain(*(arms_ for step, arms_ in everything(config).items() if step[:3] != "clr"))
    assert {training.user_code for training in others} == {()}


def test_the_batch_size_cycles_through_the_derived_range_and_the_references_sizes() -> None:
    cycles = {"derived": (16, 32, 64, 128, 256), "reference": (16, 32, 64)}
    assert [settings(training) for training in arms.cyclic_batch(NOTEBOOK, 16, 256)] == [
        {
            "label": f"cyclic-batch-{name}",
            "optimizer": SGD,
            "learning_rate": constant(0.01),
            "batch_sizes": sizes,
            "accumulate": (1,),
            "epochs": 20,
            "seed": 0,
        }
        for name, sizes in cycles.items()
    ]


@pytest.mark.parametrize(
    ("spacing", "order", "sizes"),
    [
        ("exponential", "descending", (256, 128, 64, 32, 16)),
        ("linear", "ascending", (16, 76, 136, 196, 256)),  # steps of 240 / 4
        ("linear", "descending", (256, 196, 136, 76, 16)),
    ],
)
def test_spacing_and_order_shape_the_derived_cycles_and_never_the_references(
    spacing: str, order: str, sizes: tuple[int, ...]
) -> None:
    changed = {"cyclic_batch.spacing": spacing, "cyclic_batch.order": order}
    config = resolve("notebook", changed)
    derived, reference = arms.cyclic_batch(config, 16, 256)
    [combined] = arms.combined(config, 16, 256)
    assert (derived.label, derived.batch_sizes) == ("cyclic-batch-derived", sizes)
    assert combined.batch_sizes == sizes
    assert combined.learning_rate.base_lr == 0.0025  # at bmin, wherever it stands
    assert reference == list(arms.cyclic_batch(NOTEBOOK, 16, 256))[1]
    untouched = ["clr_training", "effective_batch_training", "fixed_training"]
    assert all(everything(config)[step] == everything(NOTEBOOK)[step] for step in untouched)


def test_a_range_of_batch_sizes_that_no_doubling_joins_is_refused() -> None:
    for cycling in (arms.cyclic_batch, arms.combined):
        with pytest.raises(InputError, match="bmin is 16 and bmax is 48"):
            list(cycling(NOTEBOOK, 16, 48))


def test_gradients_are_averaged_over_sixteen_micro_batches_or_one_to_sixteen() -> None:
    groups = {
        "constant": (16,),
        "cyclic": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
    }
    assert [settings(training) for training in arms.effective_batch(NOTEBOOK, 1e-4)] == [
        {
            "label": f"effective-batch-{name}",
            "optimizer": MOMENTUM,
            "learning_rate": constant(1e-4),
            "batch_sizes": (256,),
            "accumulate": accumulate,
            "epochs": 20,
            "seed": 0,
        }
        for name, accumulate in groups.items()
    ]


def test_the_micro_batch_the_group_and_the_momentum_are_settings() -> None:
    changed = {"micro_batch": 8, "group": 3, "momentum": 0.5}
    config = resolve("quick", {f"effective_batch.{name}": each for name, each in changed.items()})
    trained = list(arms.effective_batch(config, 0.1))
    assert [training.accumulate for training in trained] == [(3,), (1, 2, 3)]
    assert {training.batch_sizes for training in trained} == {(8,)}
    assert {training.optimizer.momentum for training in trained} == {0.5}
    assert {training.learning_rate.base_lr for training in trained} == {0.1}


@pytest.mark.parametrize(
    ("changed", "bmin", "policy", "at_bmin"),
    [
        ({}, 16, "linear", 0.0025),  # 0.01 * 16 / 64
        ({}, 64, "linear", 0.01),
        ({}, 256, "linear", 0.04),
        ({"combined.scaling": "sqrt"}, 16, "sqrt", 0.0025),
        ({"combined.lr_at_bmin": 0.125}, 16, "linear", 0.125),
        ({"cyclic_batch.learning_rate": 0.02}, 16, "linear", 0.005),
        ({"fixed.batch_size": 128}, 16, "linear", 0.00125),
    ],
)
def test_both_cycle_with_the_rate_of_64_scaled_down_to_bmin_unless_it_is_given(
    changed: dict[str, Any], bmin: int, policy: str, at_bmin: float
) -> None:
    [training] = arms.combined(resolve("notebook", changed), bmin, 4 * bmin)
    assert settings(training) == {
        "label": "combined",
        "optimizer": SGD,
        "learning_rate": following(policy, at_bmin),
        "batch_sizes": (bmin, 2 * bmin, 4 * bmin),
        "accumulate": (1,),
        "epochs": 20,
        "seed": 0,
    }


def test_the_fixed_settings_are_sgd_at_a_hundredth_and_rmsprop_at_lr_max() -> None:
    optimizers = {"sgd": (SGD, 0.01), "rmsprop": (RMSPROP, 0.003)}
    assert [settings(training) for training in arms.fixed(NOTEBOOK, 0.003)] == [
        {
            "label": f"fixed-{name}",
            "optimizer": optimizer,
            "learning_rate": constant(rate),
            "batch_sizes": (64,),
            "accumulate": (1,),
            "epochs": 20,
            "seed": 0,
        }
        for name, (optimizer, rate) in optimizers.items()
    ]


def test_the_fixed_rate_is_sgds_and_the_fixed_batch_size_both_arms() -> None:
    config = resolve("quick", {"fixed.learning_rate": 0.5, "fixed.batch_size": 32})
    sgd, rmsprop = arms.fixed(config, 0.003)
    assert (sgd.learning_rate.base_lr, rmsprop.learning_rate.base_lr) == (0.5, 0.003)
    assert (sgd.batch_sizes, rmsprop.batch_sizes) == ((32,), (32,))


def test_rmsprops_epsilon_reaches_the_three_arms_that_use_rmsprop_and_no_other() -> None:
    trainings = everything(resolve("notebook", {"training.rmsprop_epsilon": 1e-14}))
    epsilons = {each.label: each.optimizer.epsilon for each in chain(*trainings.values())}
    assert {label for label, epsilon in epsilons.items() if epsilon == 1e-14} == {
        *("clr-derived", "clr-paper", "fixed-rmsprop")
    }
    assert set(epsilons.values()) == {1e-14, None}


@pytest.mark.parametrize("step", everything(QUICK))
def test_every_setting_is_trained_once_a_seed_and_otherwise_alike(step: str) -> None:
    config = resolve("quick", {"seeds": [5, 2, 9]})
    trained = everything(config)[step]
    for seed in (5, 2, 9):
        of_seed = [t.model_copy(update={"seed": 0}) for t in trained if t.seed == seed]
        assert of_seed == everything(QUICK)[step]
    assert len(trained) == 3 * len(everything(QUICK)[step])


def test_every_training_builds_the_experiments_model() -> None:
    assert {each.model for each in chain(*everything(NOTEBOOK).values())} == {"lenet5"}


@EVERY_PROFILE
def test_no_two_trainings_of_a_seed_have_the_same_label(profile: str) -> None:
    trainings = list(chain(*everything(resolve(profile, seeds=3)).values()))
    assert len({(each.label, each.seed) for each in trainings}) == len(trainings)


@given(rates=st.lists(st.floats(1e-12, 1e12), min_size=2, max_size=20, unique=True))
def test_rates_that_differ_have_labels_that_differ(rates: list[float]) -> None:
    close = {*rates, *(float(np.nextafter(rate, 1e13)) for rate in rates)}
    config = resolve("quick", {"lr_sweep.learning_rates": sorted(close)})
    labels = [training.label for _, training in arms.lr_sweep(config)]
    assert len(set(labels)) == len(close)


@given(rates=st.permutations([0.1, 10.0, 1e-3]), sizes=st.permutations([16, 8, 64]))
def test_the_sweeps_go_through_their_values_in_the_order_given(
    rates: list[float], sizes: list[int]
) -> None:
    changed = {"lr_sweep.learning_rates": rates, "batch_sweep.batch_sizes": sizes}
    config = resolve("quick", changed, seeds=2)
    points = [(rate, each.learning_rate.base_lr, each.seed) for rate, each in arms.lr_sweep(config)]
    assert points == [(rate, rate, seed) for rate in rates for seed in (0, 1)]
    batches = [(size, *each.batch_sizes, each.seed) for size, each in arms.batch_sweep(config, 0.1)]
    assert batches == [(size, size, seed) for size in sizes for seed in (0, 1)]


@pytest.mark.parametrize("config", [NOTEBOOK, QUICK, TWO_SEEDS], ids=["notebook", "quick", "seeds"])
def test_the_workload_counts_the_trainings_there_are_and_the_examples_of_one(
    config: Experiment,
) -> None:
    workload = arms.workload(config, 1_000)
    for step, trainings in everything(config).items():
        points, examples = workload[step]
        assert points == len(trainings)
        assert {training.epochs * 1_000 for training in trainings} == {examples}
    assert workload.keys() == everything(config).keys()


def test_the_published_workload_is_285_epochs_of_60000_images() -> None:
    workload = arms.workload(NOTEBOOK, 60_000)
    assert workload == {
        "lr_sweep": (11, 300_000),
        "batch_sweep": (10, 300_000),
        "clr_training": (2, 1_200_000),
        "cyclic_batch_training": (2, 1_200_000),
        "effective_batch_training": (2, 1_200_000),
        "combined_training": (1, 1_200_000),
        "fixed_training": (2, 1_200_000),
    }
    assert sum(points * examples for points, examples in workload.values()) == 285 * 60_000


@pytest.mark.parametrize(
    ("field", "fixed", "step"),
    [
        ("lr_bounds.fixed", [0.001, 0.01], "lr_sweep"),
        ("batch_bounds.fixed", [16, 32], "batch_sweep"),
    ],
)
def test_fixed_bounds_leave_their_sweep_without_a_point(
    field: str, fixed: list[float], step: str
) -> None:
    workload = arms.workload(resolve("notebook", {field: fixed}), 1_000)
    assert workload[step][0] == 0
    others = arms.workload(NOTEBOOK, 1_000)
    assert {s: w for s, w in workload.items() if s != step} == {
        s: w for s, w in others.items() if s != step
    }


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("lr=1e-05", "lr 1e-05, batch 64"),
        ("batch=512", "lr 0.0001, batch 512"),
        ("clr-derived", "lr 0.0001..0.001 exp_range, batch 64"),
        ("clr-paper", "lr 0.001..0.006 exp_range, batch 64"),
        ("cyclic-batch-derived", "lr 0.01, batch 16-32-64-128-256"),
        ("cyclic-batch-reference", "lr 0.01, batch 16-32-64"),
        ("effective-batch-constant", "lr 0.0001, batch 16 x 256"),
        ("effective-batch-cyclic", "lr 0.0001, batch 1..16 x 256"),
        ("combined", "lr 0.0025..0.04 linear, batch 16-32-64-128-256"),
        ("fixed-sgd", "lr 0.01, batch 64"),
        ("fixed-rmsprop", "lr 0.001, batch 64"),
    ],
)
def test_a_training_is_described_in_a_few_words(label: str, expected: str) -> None:
    assert arms.describe(arm(label)) == expected


def test_a_description_names_a_users_scale_and_the_rates_as_they_run() -> None:
    mine = resolve("notebook", {"clr.policy": "mine:fade"})
    derived, _ = arms.clr(mine, 1e-4, 1e-3)
    assert arms.describe(derived) == "lr 0.0001..0.001 mine:fade, batch 64"
    down = resolve("notebook", {"combined.scaling": "sqrt", "cyclic_batch.order": "descending"})
    [combined] = arms.combined(down, 16, 64)  # 0.0025 times 2, the root of 2, and 1
    assert arms.describe(combined) == "lr 0.005..0.0025 sqrt, batch 64-32-16"
