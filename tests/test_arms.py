"""Which trainings an experiment consists of."""

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclical import arms, naming
from cyclical.config import NOTEBOOK, PROFILES, QUICK, Experiment
from cyclical.errors import InputError
from cyclical.plans import Training, lay_out
from cyclical.settings import resolve

SGD = {"name": "sgd"}
MOMENTUM = {"name": "sgd", "momentum": 0.9}
RMSPROP = {"name": "rmsprop"}
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
    """Return a training's settings as plain values, without what all have in common."""
    unlimited = {"updates"} if training.updates is None else set()
    common = {"model", "loss", "metrics", "precision", "micro_batch", "give_up", "noise"}
    return training.model_dump(exclude={*common, *unlimited})


def everything(config: Experiment) -> dict[str, list[Training]]:
    """Return the trainings of every step, with bounds that were swept."""
    return {
        "lr_sweep": [training for _, training in arms.lr_sweep(config)],
        "batch_sweep": [training for _, training in arms.batch_sweep(config, 1e-4, 60_000)],
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


def test_every_training_computes_in_the_precision_that_is_set_and_only_rates_give_up() -> None:
    config = NOTEBOOK.model_copy(
        update={
            "precision": "mixed_bfloat16",
            "lr_sweep": NOTEBOOK.lr_sweep.model_copy(update={"give_up": True}),
        }
    )
    for step, trainings in everything(config).items():
        assert {training.precision for training in trainings} == {"mixed_bfloat16"}
        assert {training.give_up for training in trainings} == {step == "lr_sweep"}
    rising = [*arms.range_test(config, 60_000), *arms.clock(config, 60_000, 0.1)]
    assert {training.precision for training in rising} == {"mixed_bfloat16"}
    usual = chain.from_iterable(everything(NOTEBOOK).values())
    assert {(each.precision, each.give_up) for each in usual} == {("float32", False)}


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
    points = list(arms.batch_sweep(NOTEBOOK, 1e-4, 60_000))
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
    changed = {"micro_batch": 8, "group": 3, "optimizer": {"name": "sgd", "momentum": 0.5}}
    config = resolve("quick", {f"effective_batch.{name}": each for name, each in changed.items()})
    trained = list(arms.effective_batch(config, 0.1))
    assert [training.accumulate for training in trained] == [(3,), (1, 2, 3)]
    assert {training.batch_sizes for training in trained} == {(8,)}
    assert [training.optimizer.arguments for training in trained] == [{"momentum": 0.5}] * 2
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
    changed = {"clr.optimizer": {"name": "rmsprop", "epsilon": 1e-14}}
    trainings = everything(resolve("notebook", changed))
    epsilons = {
        each.label: each.optimizer.arguments.get("epsilon") for each in chain(*trainings.values())
    }
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
    every = list(chain(*everything(NOTEBOOK).values()))
    assert {each.model for each in every} == {"lenet5"}
    assert {naming.described(each.loss) for each in every} == {"sparse_categorical_crossentropy"}
    assert {each.metrics for each in every} == {()}


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
    batches = [
        (size, *each.batch_sizes, each.seed) for size, each in arms.batch_sweep(config, 0.1, 60_000)
    ]
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


# What replaces the learning-rate sweep


def by(method: str, **changes: Any) -> Experiment:
    rule = "smith"  # goes with every method
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return resolve(
        named.pop("profile", "notebook"),
        {"lr_sweep.method": method, "lr_bounds.rule": rule, **named},
        seeds=2,
    )


def test_the_range_test_rises_over_seven_decades_within_a_twentieth_of_the_sweep() -> None:
    first, second = arms.range_test(by("range_test"), 60_000)
    assert settings(first) == {
        "label": "range-test",
        "optimizer": SGD,
        "learning_rate": following("exponential", 1e-6) | {"max_lr": 10.0, "step_size": 2579},
        "batch_sizes": (64,),
        "accumulate": (1,),
        "epochs": 3,
        "updates": 2579,  # of 11 rates, 5 epochs, 938 updates: 51,590
        "seed": 0,
    }
    assert settings(second) == settings(first) | {"seed": 1}


def test_the_clock_shares_its_updates_between_a_range_test_and_a_linear_ramp() -> None:
    config = by("clock")
    [test, _], [ramp, _] = arms.range_test(config, 60_000), arms.clock(config, 60_000, 0.02)
    assert (test.updates, ramp.updates) == (774, 1805)
    assert (ramp.label, ramp.epochs) == ("clock", 2)
    rates = np.concatenate([epoch.learning_rates for epoch in lay_out(ramp, 60_000)])
    assert len(rates) == 1805
    assert rates == pytest.approx(0.02 * np.arange(1, 1806) / 1806)


def test_the_number_of_updates_can_be_set_and_few_rates_span_fewer_decades() -> None:
    config = by("range_test", lr_sweep__range_updates=50, lr_sweep__learning_rates=[0.1, 0.001])
    [training, _] = arms.range_test(config, 640)
    assert (training.updates, training.epochs) == (50, 5)
    assert (training.learning_rate.base_lr, training.learning_rate.max_lr) == (0.001, 0.1)


@pytest.mark.parametrize(("method", "runs"), [("range_test", 1), ("clock", 2)])
def test_the_workload_counts_the_runs_that_replace_the_sweep(method: str, runs: int) -> None:
    points, examples = arms.workload(by(method), 60_000)["lr_sweep"]
    assert points == 2 * runs
    assert runs * examples == pytest.approx(2579 * 64, abs=64)


def test_a_micro_batch_parts_only_batches_of_more_and_leaves_the_others_as_they_were() -> None:
    parted = QUICK.model_copy(update={"micro_batch": 100})
    before, after = (dict(arms.batch_sweep(config, 0.01, 5_000)) for config in (QUICK, parted))
    assert {size for size in before if before[size] != after[size]} == {128, 256, 512, 1024}
    assert after[64] == before[64]
    assert (after[128].at_once, after[128].accumulating) == (100, True)
    assert (before[128].at_once, before[128].accumulating) == (128, False)


# The budget of the batch sweep, the gradient noise, and the seeds of the arms


def test_at_equal_updates_every_size_makes_those_of_the_rates_batch_size() -> None:
    config = resolve("notebook", {"batch_sweep.budget": "updates", "batch_sweep.epochs": 2})
    points = dict(arms.batch_sweep(config, 0.1, 1_000))
    updates = 2 * 16  # 1,000 images in batches of 64
    assert {point.updates for point in points.values()} == {updates}
    assert {
        size: point.epochs for size, point in points.items() if size in {16, 64, 512, 1024}
    } == {
        16: 1,
        64: 2,
        512: 16,
        1024: 32,
    }
    for size, point in points.items():
        made = sum(len(epoch.learning_rates) for epoch in lay_out(point, 1_000))
        assert made == updates, size


def test_the_workload_at_equal_updates_is_what_the_sizes_train_on() -> None:
    config = resolve("quick", {"batch_sweep.budget": "updates"})
    points = [point for _, point in arms.batch_sweep(config, 0.1, 5_000)]
    count, examples = arms.workload(config, 5_000)["batch_sweep"]
    assert count == len(points)
    assert examples == sum(point.examples(5_000) for point in points) // len(points)
    assert examples > arms.workload(QUICK, 5_000)["batch_sweep"][1]


@pytest.mark.parametrize(
    ("sizes", "asked", "measured"), [([16, 32, 64], 64, 64), ([128, 256], 64, 128), ([8], 64, 8)]
)
def test_the_gradient_noise_is_measured_at_the_nearest_swept_size(
    sizes: list[int], asked: int, measured: int
) -> None:
    noise = {"batch_size": asked, "group": 4, "repeats": 2}
    changed = {"batch_sweep.batch_sizes": sizes, "batch_sweep.noise": noise}
    config = resolve("notebook", changed)
    assert arms.noise_size(config) == measured
    for size, point in arms.batch_sweep(config, 0.1, 60_000):
        assert (point.noise is not None) == (size == measured)
        assert point.noise is None or point.noise.model_dump() == noise


def test_the_gradient_noise_may_be_left_out_and_keeps_to_the_parts_of_a_batch() -> None:
    without = resolve("notebook", {"batch_sweep.noise": None})
    assert arms.noise_size(without) is None
    assert not any(point.noise for _, point in arms.batch_sweep(without, 0.1, 60_000))
    parted = resolve("notebook", {"micro_batch": 32})
    noise = [point.noise for _, point in arms.batch_sweep(parted, 0.1, 60_000) if point.noise]
    assert [each.batch_size for each in noise] == [32]


@pytest.mark.parametrize(
    ("images", "shape"),
    [(60_000, (16, 16, 64)), (5_000, (4, 16, 64)), (1_000, (1, 15, 64)), (10, (1, 2, 5))],
)
def test_the_noise_takes_no_image_twice(images: int, shape: tuple[int, int, int]) -> None:
    [point] = [each for _, each in arms.batch_sweep(NOTEBOOK, 0.1, images) if each.noise]
    assert point.noise_shape(images) == shape
    assert arm().noise_shape(images) == (0, 0, 0)


def test_the_arms_may_have_seeds_of_their_own() -> None:
    config = resolve("notebook", {"training.seeds": [0, 1, 2]})
    trainings = everything(config)
    for step in ("lr_sweep", "batch_sweep"):
        assert {training.seed for training in trainings.pop(step)} == {0}
    assert all({each.seed for each in of_step} == {0, 1, 2} for of_step in trainings.values())
    assert arms.workload(config, 60_000)["fixed_training"][0] == 6
