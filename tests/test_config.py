"""The profiles, changing their fields, and the one-line errors of values that a field refuses."""

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cyclical.config import LR_RULES, NOTEBOOK, PROFILES, QUICK, Clr, Experiment
from cyclical.errors import InputError
from cyclical.plans import LearningRate, Training
from cyclical.schedules import exponential_batches
from cyclical.settings import fields, parse_settings, resolve
from cyclical.values import GradientNoise, Measure, Optimizer

FIELDS = fields()
texts = st.text('aN0e-é€=[]{}",. \n\\', max_size=8)  # much of it reads like JSON


def value_of(experiment: Experiment, field: str) -> Any:
    """Read a field by its dotted name."""
    value: Any = experiment
    for name in field.split("."):
        value = getattr(value, name)
    return value


def refusal(field: str, value: Any, profile: str = "quick") -> str:
    """Return the one-line error that a field's value gives."""
    with pytest.raises(InputError) as caught:
        resolve(profile, {field: value})
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    return message


# Profiles


def test_the_notebook_profile_has_the_published_numbers() -> None:
    assert {field: value_of(NOTEBOOK, field) for field in FIELDS} == {
        "data.name": "fashion_mnist",
        "data.path": None,
        "data.train_images": None,
        "data.test_images": None,
        "data.validation_split": 0.0,
        "model": "lenet5",
        "loss": Measure(name="sparse_categorical_crossentropy"),
        "metrics": (),
        "precision": "float32",
        "micro_batch": None,
        "lr_sweep.learning_rates": (10, 1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9),
        "lr_sweep.epochs": 5,
        "lr_sweep.batch_size": 64,
        "lr_sweep.method": "sweep",
        "lr_sweep.optimizer": Optimizer(name="sgd"),
        "lr_sweep.give_up": False,
        "lr_sweep.range_updates": None,
        "lr_bounds.rule": "plateau",
        "lr_bounds.lr_min_share": 0.85,
        "lr_bounds.lr_max_share": 0.93,
        "lr_bounds.fixed": None,
        "clr.policy": "exp_range",
        "clr.scale_of": "cycle",
        "clr.gamma": 0.99994,
        "clr.step_size": 2000,
        "clr.batch_size": 64,
        "clr.optimizer": Optimizer(name="rmsprop"),
        "clr.paper": (0.001, 0.006),
        "batch_sweep.batch_sizes": (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
        "batch_sweep.epochs": 5,
        "batch_sweep.budget": "epochs",
        "batch_sweep.noise": GradientNoise(batch_size=64, group=16, repeats=16),
        "batch_sweep.optimizer": Optimizer(name="sgd"),
        "batch_bounds.threshold": 3.5,
        "batch_bounds.stretch": "first",
        "batch_bounds.fixed": None,
        "cyclic_batch.learning_rate": 0.01,
        "cyclic_batch.optimizer": Optimizer(name="sgd"),
        "cyclic_batch.spacing": "exponential",
        "cyclic_batch.order": "ascending",
        "cyclic_batch.reference": (16, 32, 64),
        "effective_batch.micro_batch": 256,
        "effective_batch.group": 16,
        "effective_batch.optimizer": Optimizer(name="sgd", momentum=0.9),
        "combined.scaling": "linear",
        "combined.lr_at_bmin": None,
        "combined.optimizer": Optimizer(name="sgd"),
        "fixed.learning_rate": 0.01,
        "fixed.batch_size": 64,
        "fixed.optimizer": Optimizer(name="sgd"),
        "training.epochs": 20,
        "training.seeds": None,
        "comparison.goal": 0.9,
        "seeds": (0,),
        "workers": None,
        "gpus": None,
        "cluster.address": None,
        "cluster.kind": None,
        "cluster.arguments": {},
        "cluster.workers": None,
        "cluster.gpu": None,
        "cluster.wait_minutes": 15,
        "artifacts": "artifacts",
    }


def test_the_quick_profile_is_the_same_experiment_scaled_down() -> None:
    changed = {
        field: value_of(QUICK, field)
        for field in FIELDS
        if value_of(QUICK, field) != value_of(NOTEBOOK, field)
    }
    assert changed == {
        "data.train_images": 5_000,
        "data.test_images": 1_000,
        "lr_sweep.epochs": 3,
        "clr.step_size": 158,
        "batch_sweep.batch_sizes": (16, 32, 64, 128, 256, 512, 1024),
        "batch_sweep.epochs": 3,
        "effective_batch.micro_batch": 32,
        "training.epochs": 7,
    }


def test_the_quick_half_cycle_is_two_epochs_and_its_batch_cycle_closes() -> None:
    assert QUICK.data.train_images is not None
    assert QUICK.clr.step_size == 2 * math.ceil(QUICK.data.train_images / QUICK.clr.batch_size)
    sizes = QUICK.batch_sweep.batch_sizes
    assert QUICK.training.epochs >= len(exponential_batches(min(sizes), max(sizes)))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_without_changes_is_itself(profile: str) -> None:
    assert resolve(profile) == PROFILES[profile]
    assert resolve(profile, {}) == PROFILES[profile]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_an_experiment_comes_back_whole_from_json(profile: Experiment) -> None:
    assert Experiment.model_validate_json(profile.model_dump_json()) == profile


def test_an_experiment_is_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        QUICK.clr.step_size = 3  # type: ignore[misc]


def test_every_field_that_sets_a_batch_size_is_named_with_its_largest() -> None:
    assert NOTEBOOK.batch_sizes == {
        "lr_sweep.batch_size": 64,
        "clr.batch_size": 64,
        "cyclic_batch.reference": 64,
        "effective_batch.micro_batch": 256,
        "fixed.batch_size": 64,
        "batch_sweep.batch_sizes": 8192,
    }
    unsorted = resolve("notebook", {"batch_sweep.batch_sizes": [32, 2048, 64]})
    assert unsorted.batch_sizes["batch_sweep.batch_sizes"] == 2048
    fixed = resolve("quick", {"batch_bounds.fixed": [8, 512], "cyclic_batch.reference": [96, 3]})
    assert fixed.batch_sizes == {
        "lr_sweep.batch_size": 64,
        "clr.batch_size": 64,
        "cyclic_batch.reference": 96,
        "effective_batch.micro_batch": 32,
        "fixed.batch_size": 64,
        "batch_bounds.fixed": 512,
    }


# Changing fields


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("data.path", "/tmp/images", Path("/tmp/images")),
        ("data.train_images", 100, 100),
        ("data.train_images", None, None),
        ("data.validation_split", 0, 0.0),
        ("data.validation_split", 0.1, 0.1),
        ("lr_sweep.learning_rates", [0.1, 1, 1e-3], (0.1, 1.0, 1e-3)),
        ("lr_sweep.epochs", 1, 1),
        ("lr_sweep.batch_size", 16, 16),
        ("lr_bounds.rule", "plateau", "plateau"),
        ("lr_bounds.fixed", [0.001, 0.1], (0.001, 0.1)),
        ("clr.policy", "triangular2", "triangular2"),
        ("clr.policy", "mine:fade", "mine:fade"),
        ("clr.policy", "_my.own_2.fades:_slow", "_my.own_2.fades:_slow"),
        ("clr.scale_of", "iteration", "iteration"),
        ("clr.gamma", 1, 1.0),
        ("clr.step_size", 3, 3),
        ("clr.paper", [0.001, 0.002], (0.001, 0.002)),
        ("batch_sweep.batch_sizes", [8], (8,)),
        ("batch_sweep.batch_sizes", [48, 3, 12], (48, 3, 12)),
        ("lr_bounds.lr_min_share", 0.5, 0.5),
        ("batch_bounds.threshold", 0, 0.0),
        ("batch_bounds.stretch", "outer", "outer"),
        ("batch_bounds.fixed", [16, 128], (16, 128)),
        ("batch_bounds.fixed", [16, 16], (16, 16)),
        ("cyclic_batch.learning_rate", 0.5, 0.5),
        ("cyclic_batch.spacing", "linear", "linear"),
        ("cyclic_batch.order", "descending", "descending"),
        ("cyclic_batch.reference", [64, 16, 64], (64, 16, 64)),
        ("effective_batch.micro_batch", 1, 1),
        ("effective_batch.group", 1, 1),
        (
            "effective_batch.optimizer",
            {"name": "sgd", "momentum": 0.0},
            Optimizer(name="sgd", momentum=0.0),
        ),
        ("effective_batch.optimizer", "sgd", Optimizer(name="sgd")),
        ("combined.scaling", "sqrt", "sqrt"),
        ("combined.lr_at_bmin", 0.1, 0.1),
        ("fixed.learning_rate", 1, 1.0),
        ("fixed.batch_size", 1, 1),
        ("training.epochs", 2, 2),
        (
            "clr.optimizer",
            {"name": "rmsprop", "epsilon": 1e-14},
            Optimizer(name="rmsprop", epsilon=1e-14),
        ),
        ("comparison.goal", 1, 1.0),
        ("seeds", [3, 1], (3, 1)),
        ("workers", 4, 4),
        ("artifacts", "/tmp/a", "/tmp/a"),
        ("artifacts", "s3://bucket/a/", "s3://bucket/a"),
    ],
)
def test_setting_a_field_changes_that_field_alone(field: str, value: Any, expected: Any) -> None:
    changed = resolve("quick", {field: value})
    assert value_of(changed, field) == expected
    others = [other for other in FIELDS if other != field]
    assert [value_of(changed, o) for o in others] == [value_of(QUICK, o) for o in others]


def test_several_fields_are_set_at_once_and_no_profile_changes() -> None:
    before = copy.deepcopy(PROFILES)
    changed = resolve("notebook", {"lr_sweep.epochs": 1, "batch_sweep.epochs": 2})
    assert (changed.lr_sweep.epochs, changed.batch_sweep.epochs) == (1, 2)
    assert before == PROFILES
    assert resolve("notebook") == NOTEBOOK


def test_a_number_of_seeds_stands_for_those_from_zero() -> None:
    assert resolve("quick", seeds=1).seeds == (0,)
    assert resolve("quick", seeds=3).seeds == (0, 1, 2)
    assert resolve("quick", {"seeds": [7]}, seeds=2).seeds == (0, 1)


def test_settings_are_read_as_json_else_as_text() -> None:
    pairs = ["lr_sweep.epochs=2", "clr.policy=triangular", "data.path=/tmp/x y", "seeds=[1, 2]"]
    assert parse_settings(pairs) == {
        "lr_sweep.epochs": 2,
        "clr.policy": "triangular",
        "data.path": "/tmp/x y",
        "seeds": [1, 2],
    }


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("a=1.5", {"a": 1.5}),
        ("a=true", {"a": True}),
        ("a=null", {"a": None}),
        ('a="1"', {"a": "1"}),
        ("a=x=y", {"a": "x=y"}),
        ("a=", {"a": ""}),
        (" a =1", {"a": 1}),
        ("a=1e-3", {"a": 0.001}),
        ("a=[0.1, 1e-3]", {"a": [0.1, 0.001]}),
        ("a=[1", {"a": "[1"}),
    ],
)
def test_one_setting(pair: str, expected: dict[str, Any]) -> None:
    assert parse_settings([pair]) == expected


def test_the_last_of_two_settings_of_one_field_holds() -> None:
    assert parse_settings(["a=1", "a=2"]) == {"a": 2}


def test_no_settings_change_nothing() -> None:
    assert parse_settings([]) == {}


@given(
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
            lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
            max_leaves=5,
        ),
    )
)
def test_a_setting_is_read_back_as_it_was_written(settings: dict[str, Any]) -> None:
    pairs = [f"{field}={json.dumps(value)}" for field, value in settings.items()]
    assert parse_settings(pairs) == settings


def test_a_setting_without_an_equals_sign_is_refused() -> None:
    with pytest.raises(InputError, match=r"^--set takes field=value, but got 'seeds'$"):
        parse_settings(["lr_sweep.epochs=2", "seeds"])


def test_a_number_with_too_many_digits_is_refused_like_any_other_value() -> None:
    settings = parse_settings([f"training.epochs={'9' * 5_000}"])
    with pytest.raises(InputError, match=r"^training\.epochs: input should be a valid integer"):
        resolve("quick", settings)


# Refusals


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"^unknown profile 'quack': known are quick, notebook$"):
        resolve("quack")


@pytest.mark.parametrize(
    ("field", "nearest"),
    [
        ("lr_sweep.epoch", "lr_sweep.epochs"),
        ("lr_sweep.learning_rate", "lr_sweep.learning_rates"),
        ("batchsweep.batch_sizes", "batch_sweep.batch_sizes"),
        ("seed", "seeds"),
        ("clr.step", "clr.step_size"),
        ("CLR.GAMMA", None),
        ("", None),
        ("line\nbreak", None),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(
    field: str, nearest: str | None
) -> None:
    message = refusal(field, 1)
    assert message.startswith(f"unknown field {field!r}: did you mean '")
    [meant] = re.findall("did you mean '(.*)'", message)
    assert meant in FIELDS
    assert nearest in {None, meant}


@pytest.mark.parametrize(
    "section", [name for name in Experiment.model_fields if name not in FIELDS]
)
@pytest.mark.parametrize("value", [3, {}, {"epochs": 1}, None])
def test_a_whole_section_cannot_be_set(section: str, value: Any) -> None:
    message = refusal(section, value)
    assert message.startswith(f"unknown field {section!r}: did you mean '")
    [meant] = re.findall("did you mean '(.*)'", message)
    assert meant in FIELDS
    assert section in meant.split(".")  # `fixed` is a section and a field of two others


@pytest.mark.parametrize(
    ("field", "value"),
    [
        # text for a number, a number for text
        ("lr_sweep.epochs", "5"),
        ("clr.gamma", "0.9"),
        ("seeds", "0"),
        ("model", 5),
        ("data.path", 5),
        ("artifacts", None),
        # a fraction or a truth value for a count, a truth value for a rate
        ("lr_sweep.epochs", 5.0),
        ("lr_sweep.epochs", 2.5),
        ("lr_sweep.batch_size", True),
        ("clr.gamma", True),
        ("workers", False),
        # a single value or text for a list, and the other way round
        ("lr_sweep.learning_rates", "0.1"),
        ("lr_sweep.learning_rates", 0.1),
        ("batch_sweep.batch_sizes", "16"),
        ("seeds", 3),
        ("seeds", None),
        ("training.epochs", [3]),
        ("clr.step_size", {"updates": 3}),
        # counts below one
        ("lr_sweep.epochs", 0),
        ("batch_sweep.epochs", 0),
        ("training.epochs", -1),
        ("lr_sweep.batch_size", 0),
        ("clr.batch_size", -64),
        ("clr.step_size", 0),
        ("data.train_images", 0),
        ("data.test_images", -1),
        ("workers", 0),
        ("effective_batch.micro_batch", 0),
        ("effective_batch.group", 0),
        ("fixed.batch_size", 0),
        # figures out of range
        ("clr.gamma", 0),
        ("clr.gamma", 1.1),
        ("clr.gamma", math.nan),
        ("lr_bounds.lr_min_share", 0),
        ("lr_bounds.lr_max_share", 1.01),
        ("comparison.goal", 0),
        ("comparison.goal", 90),
        ("batch_bounds.threshold", -0.1),
        ("batch_bounds.threshold", math.nan),
        ("batch_bounds.threshold", math.inf),
        ("cyclic_batch.learning_rate", 0),
        ("cyclic_batch.learning_rate", -0.01),
        ("cyclic_batch.learning_rate", math.nan),
        ("cyclic_batch.learning_rate", math.inf),
        ("data.validation_split", -0.1),
        ("data.validation_split", 1),
        ("data.validation_split", math.nan),
        ("effective_batch.optimizer", None),
        ("effective_batch.optimizer", ["sgd"]),
        ("combined.lr_at_bmin", 0),
        ("fixed.learning_rate", 0),
        ("fixed.learning_rate", math.nan),
        # unknown names
        ("clr.scale_of", "epoch"),
        ("clr.policy", 3),
        ("lr_bounds.rule", "highest"),
        ("lr_sweep.method", "guess"),
        ("lr_sweep.range_updates", 9),
        ("batch_bounds.stretch", "last"),
        ("cyclic_batch.spacing", "quadratic"),
        ("cyclic_batch.order", "random"),
        ("combined.scaling", "cubic"),
        # empty lists
        ("lr_sweep.learning_rates", []),
        ("batch_sweep.batch_sizes", []),
        ("cyclic_batch.reference", []),
        ("seeds", []),
        # pairs of other lengths
        ("lr_bounds.fixed", [0.1]),
        ("lr_bounds.fixed", [0.1, 0.2, 0.3]),
        ("batch_bounds.fixed", [16]),
        ("clr.paper", None),
    ],
)
def test_a_value_that_a_field_does_not_take_is_refused_with_both(field: str, value: Any) -> None:
    message = refusal(field, value)
    assert re.match(rf"{field}(\.\d)?: ", message)
    assert message.endswith(f", not {json.dumps(value)}")


@pytest.mark.parametrize(
    "policy",
    [
        *("circular", "constant", "linear", "sqrt", "Triangular", "triangular ", ""),
        *("mine", "mine.fade", "mine:", ":fade", "mine:fade:slow", "mine:fade.slow", "./mine:fade"),
        *("2mine:fade", "mine:2", "my mine:fade", "mine.py:fade()", "mine:fade\n", "a\nb"),
    ],
)
def test_a_policy_that_is_no_name_and_no_reference_is_refused_with_the_choices(policy: str) -> None:
    assert refusal("clr.policy", policy) == (
        f"clr.policy: {policy!r} is neither triangular, triangular2, exp_range nor your own scale "
        "function, written package.module:function"
    )


@pytest.mark.parametrize("model", ["resnet\n50", "resnet50", "LeNet5", "mine:", "mine.py", ""])
def test_a_model_that_is_no_name_and_no_reference_is_refused_with_the_choices(model: str) -> None:
    message = refusal("model", model)
    assert message.startswith(
        f"model: {model!r} is neither lenet5, resnet, mlp, nor a saved .keras"
    )
    assert message.endswith("nor a function of your own, written package.module:function")


@pytest.mark.parametrize("name", ["imagenet", "cifar\n10", "CIFAR10", "mine:", "data.npz", ""])
def test_data_that_are_no_name_and_no_reference_are_refused_with_the_choices(name: str) -> None:
    assert refusal("data.name", name) == (
        f"data.name: {name!r} is neither fashion_mnist, mnist, cifar10, cifar100 nor a function of "
        "your own, written package.module:function (files of your own go into data.path)"
    )


@pytest.mark.parametrize(
    ("optimizer", "where"),
    [
        ("rmsprob", ".name: "),
        ({"momentum": 0.9}, ".name: "),
        ({"name": "sgd", "momentum": math.nan}, ".momentum"),
        ({"name": "sgd", "momentum": [0.9]}, ".momentum"),
        ({"name": "sgd", "learning_rate": 0.1}, ": learning_rate can't be set"),
    ],
)
def test_an_optimizer_of_another_name_or_with_arguments_it_cannot_have_is_refused(
    optimizer: Any, where: str
) -> None:
    assert refusal("clr.optimizer", optimizer).startswith(f"clr.optimizer{where}")


@pytest.mark.parametrize(
    ("field", "value", "wrong"),
    [
        ("lr_sweep.learning_rates", [0.1, 0], 1),
        ("lr_sweep.learning_rates", [-0.1, 0.1], 0),
        ("lr_sweep.learning_rates", [0.1, 0.2, math.nan], 2),
        ("lr_sweep.learning_rates", [math.inf], 0),
        ("lr_sweep.learning_rates", [0.1, "0.2"], 1),
        ("lr_sweep.learning_rates", [True], 0),
        ("lr_bounds.fixed", [0, 0.1], 0),
        ("lr_bounds.fixed", [0.1, math.inf], 1),
        ("lr_bounds.fixed", [math.nan, 0.1], 0),
        ("clr.paper", [-1, 0.1], 0),
        ("batch_sweep.batch_sizes", [16, 0], 1),
        ("batch_sweep.batch_sizes", [-16], 0),
        ("batch_sweep.batch_sizes", [16.0], 0),
        ("batch_bounds.fixed", [0, 16], 0),
        ("batch_bounds.fixed", [-16, -64], 0),
        ("cyclic_batch.reference", [16, 0], 1),
        ("seeds", [0, -1], 1),
        ("seeds", [2**31], 0),
        ("seeds", ["0"], 0),
        ("seeds", [0.5], 0),
    ],
)
def test_a_wrong_item_of_a_list_is_refused_with_its_place(
    field: str, value: list[Any], wrong: int
) -> None:
    message = refusal(field, value)
    assert message.startswith(f"{field}.{wrong}: ")
    assert f", not {json.dumps(value[wrong])}" in message


@pytest.mark.parametrize("field", ["lr_bounds.fixed", "clr.paper"])
@pytest.mark.parametrize("value", [[0.006, 0.001], [0.1, 0.1], [1, 0.5]])
def test_a_pair_of_rates_that_does_not_rise_is_refused(field: str, value: list[float]) -> None:
    low, high = value
    expected = f"{field}: lr_min must be below lr_max, not {low:g} and {high:g}"
    assert refusal(field, value) == expected


@pytest.mark.parametrize("value", [[16, 48], [16, 40], [64, 16], [3, 16], [5, 7]])
def test_a_pair_of_sizes_that_no_doubling_joins_is_refused(value: list[int]) -> None:
    bmin, bmax = value
    expected = f"bmax must be bmin times a power of two, not {bmin} and {bmax}"
    assert refusal("batch_bounds.fixed", value) == f"batch_bounds.fixed: {expected}"


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [([16, 48], 16, 48), ([16, 100], 16, 100), ([64, 16, 32, 96], 64, 96), ([2, 5, 4], 4, 5)],
)
def test_swept_sizes_that_no_doubling_joins_are_refused(
    value: list[int], low: int, high: int
) -> None:
    message = refusal("batch_sweep.batch_sizes", value)
    assert message.startswith("batch_sweep.batch_sizes: each size must be the one before times")
    assert message.endswith(f"unlike {low} and {high}")


@pytest.mark.parametrize(
    ("field", "value", "twice"),
    [
        ("lr_sweep.learning_rates", [0.1, 1e-3, 1e-2, 0.001], "0.001"),
        ("batch_sweep.batch_sizes", [64, 16, 32, 16], "16"),
        ("seeds", [5, 5], "5"),
    ],
)
def test_a_value_that_is_named_twice_is_refused(field: str, value: list[Any], twice: str) -> None:
    assert refusal(field, value) == f"{field}: {twice} is named twice"


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_of_seeds_below_one_is_refused(number: int) -> None:
    with pytest.raises(InputError, match=f"^--seeds must be between 1 and 100, but is {number}$"):
        resolve("quick", seeds=number)


def test_several_wrong_values_are_counted() -> None:
    with pytest.raises(InputError, match=r"^lr_sweep\.epochs: .*, not 0 \(and 1 more\)$"):
        resolve("quick", {"lr_sweep.epochs": 0, "training.epochs": 0})


@pytest.mark.parametrize("model", [LearningRate, Training, Clr, Experiment])
def test_a_field_that_does_not_exist_is_refused_by_every_model(model: type[Experiment]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        model.model_validate_json('{"momentun": 0.9}')


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.integers()
    | st.floats()
    | st.sampled_from(["plateau", "triangular", "fashion_mnist", "lenet5", "", "a\nb", "a:b"])
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(
    profile=st.sampled_from(sorted(PROFILES)),
    settings=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=4),
)
def test_whatever_is_set_the_outcome_is_an_experiment_or_a_one_line_error(
    profile: str, settings: dict[str, Any]
) -> None:
    try:
        experiment = resolve(profile, settings)
    except InputError as error:
        message = str(error)
    else:
        message = ""
        assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
        kept = set(FIELDS) - set(settings)
        assert all(value_of(experiment, f) == value_of(PROFILES[profile], f) for f in kept)
    assert len(message.splitlines()) <= 1
    where = message.partition(":")[0]  # the field, or the section that it does not go with
    assert not message or any(
        message.startswith(field) or field.startswith(f"{where}.") for field in settings
    )


rates = st.floats(1e-12, 100)


@given(
    learning_rates=st.lists(rates, min_size=1, unique=True),
    powers=st.lists(st.integers(0, 20), min_size=1, unique=True),
    pair=st.tuples(rates, rates).filter(lambda pair: pair[0] < pair[1]),
    bmin=st.integers(1, 1_000),
    doublings=st.integers(0, 12),
    seeds=st.lists(st.integers(0, 2**31 - 1), min_size=1, unique=True),
)
def test_every_valid_value_is_taken_exactly_as_given(
    learning_rates: list[float],
    powers: list[int],
    pair: tuple[float, float],
    bmin: int,
    doublings: int,
    seeds: list[int],
) -> None:
    settings = {
        "lr_sweep.learning_rates": learning_rates,
        "batch_sweep.batch_sizes": [bmin << power for power in powers],
        "lr_bounds.fixed": pair,
        "clr.paper": pair,
        "batch_bounds.fixed": (bmin, bmin << doublings),
        "seeds": seeds,
    }
    pairs = [f"{field}={json.dumps(value)}" for field, value in settings.items()]
    experiment = resolve("quick", parse_settings(pairs))
    assert {field: value_of(experiment, field) for field in settings} == {
        field: tuple(value) for field, value in settings.items()
    }


@pytest.mark.parametrize(
    ("method", "rule", "others"),
    [
        ("sweep", "valley", "range_test"),
        ("clock", "steepest", "range_test"),
        ("range_test", "plateau", "sweep or clock"),
        ("range_test", "argmin_tenth", "sweep or clock"),
    ],
)
def test_a_rule_that_does_not_go_with_the_method_is_refused_with_those_that_do(
    method: str, rule: str, others: str
) -> None:
    changes = {"lr_sweep.method": method, "lr_bounds.rule": rule}
    with pytest.raises(InputError) as caught:
        resolve("quick", changes)
    assert str(caught.value) == (
        f"experiment: lr_bounds.rule {rule} does not go with lr_sweep.method {method}: "
        f"take {', '.join(LR_RULES[method])}, or lr_sweep.method {others}"
    )
    fixed = resolve("quick", {**changes, "lr_bounds.fixed": [0.001, 0.01]})
    assert fixed.lr_sweep.method == method


@pytest.mark.parametrize(
    ("method", "rule"), [(method, rule) for method, rules in LR_RULES.items() for rule in rules]
)
def test_every_rule_of_a_method_is_taken(method: str, rule: str) -> None:
    chosen = resolve("quick", {"lr_sweep.method": method, "lr_bounds.rule": rule})
    assert (chosen.lr_sweep.method, chosen.lr_bounds.rule) == (method, rule)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"lr_sweep.method": "clock", "lr_sweep.give_up": True}, "give_up is for the method sweep"),
        ({"lr_sweep.range_updates": 20}, "range_updates is for the methods range_test and clock"),
        (
            {"lr_sweep.method": "clock", "lr_sweep.learning_rates": [0.1]},
            "the method clock needs two learning_rates",
        ),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        resolve("quick", changes)
