"""Networks of the user's own, saved ones and those by name; losses, metrics and optimizers."""

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from cyclical import (
    measures,
    models,
    naming,
    networks,
    optimizers,
    precautions,
    saved_models,
    training,
    trials,
    updates,
    values,
)
from cyclical.errors import InputError
from cyclical.examples import Part
from cyclical.files import File
from cyclical.plans import LearningRate, Training
from cyclical.settings import resolve
from cyclical.values import Measure, Optimizer

SHAPE, CLASSES = (8, 8, 1), 3
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
OWN = """
import keras
from keras import layers


class Subclassed(keras.Model):
    def __init__(self, classes):
        super().__init__()
        self.flatten, self.drop = layers.Flatten(), layers.Dropout(0.5)
        self.out = layers.Dense(classes)

    def call(self, images, training=False):
        return self.out(self.drop(self.flatten(images), training=training))


def subclassed(shape, classes):
    return Subclassed(classes)


def functional(shape, classes):
    images = keras.Input(shape)
    outputs = layers.Dense(classes, activation="softmax")(layers.Flatten()(images))
    return keras.Model(images, outputs)


def unbuilt(shape, classes):
    return keras.Sequential([layers.Flatten(), layers.Dense(classes), layers.Softmax()])


def two_outputs(shape, classes):
    images = keras.Input(shape)
    flat = layers.Flatten()(images)
    return keras.Model(images, [layers.Dense(classes)(flat), layers.Dense(classes)(flat)])


def too_many(shape, classes):
    return functional(shape, classes + 1)


def other_images(shape, classes):
    return functional((9, 9, 1), classes)


def frozen(shape, classes):
    model = functional(shape, classes)
    model.trainable = False
    return model


def no_model(shape, classes):
    return "a model"


def fails(shape, classes):
    raise RuntimeError("no luck")


class Untrained(keras.layers.Layer):
    def call(self, inputs, training=False):
        return inputs * float(inputs) if training else inputs


def untrained(shape, classes):
    return keras.Sequential([functional(shape, classes), Untrained()])


kept = []


def the_same(shape, classes):
    kept.append(functional(shape, classes))
    return kept[0]


class Counting(keras.layers.Layer):
    def build(self, shape):
        import tensorflow as tf

        self.count = tf.Variable(0.0)

    def call(self, inputs):
        self.count.assign_add(1.0)
        return inputs * self.count


def counts(shape, classes):
    return keras.Sequential(
        [keras.Input(shape), layers.Flatten(), Counting(), layers.Dense(classes)]
    )


def draws(shape, classes):
    images = keras.Input(shape)
    noisy = layers.Lambda(lambda x: x + keras.random.normal((64,)))(layers.Flatten()(images))
    return keras.Model(images, layers.Dense(classes)(noisy))


def sigmoid(shape, classes):
    return keras.Sequential(
        [keras.Input(shape), layers.Flatten(), layers.Dense(classes, activation="sigmoid")]
    )


class Idle(keras.layers.Layer):
    def build(self, shape):
        self.idle = self.add_weight(shape=(3,))

    def call(self, inputs):
        return inputs


def idle(shape, classes):
    return keras.Sequential([keras.Input(shape), layers.Flatten(), Idle(), layers.Dense(classes)])


class Unused(Subclassed):
    def __init__(self, classes):
        super().__init__(classes)
        self.never = layers.Dense(3)


def unused(shape, classes):
    return Unused(classes)


def absolute(labels, outputs):
    import tensorflow as tf

    return tf.reduce_sum(tf.abs(tf.one_hot(labels, outputs.shape[1]) - outputs), axis=1)


def one_number(labels, outputs):
    import tensorflow as tf

    return tf.reduce_sum(outputs)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the name of a module of the user's own in the current directory."""
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    updates.kept.cache_clear()
    yield "own_networks"
    updates.kept.cache_clear()


@pytest.fixture(scope="module")
def part() -> Part:
    numbers = np.random.default_rng(0)
    pixels = numbers.integers(0, 256, (60, *SHAPE), np.uint8)
    return Part(pixels, (pixels[:, 0, 0, 0] // 86).astype(np.uint8))


def settings(**changes: Any) -> Training:
    chosen = {
        "label": "own",
        "model": "mlp",
        "optimizer": Optimizer(name="sgd"),
        "learning_rate": LearningRate(policy="constant", base_lr=0.05),
        "batch_sizes": (16,),
        "epochs": 2,
        "seed": 0,
    }
    return Training(**(chosen | changes))


def trained(part: Part, architecture: str = "", **changes: Any) -> training.Outcome:
    return training.train(settings(**changes), part, part, CLASSES, architecture=architecture)


def refusal(part: Part, architecture: str = "", **changes: Any) -> str:
    with pytest.raises(InputError) as refused:
        trials.tried([settings(**changes)], part, CLASSES, architecture)
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


@pytest.mark.parametrize("name", [*networks.NETWORKS, "subclassed", "functional", "unbuilt"])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_every_kind_of_network_is_trained_the_same_twice(
    own: str, part: Part, name: str, precision: str
) -> None:
    if name == "lenet5":
        part = Part(np.pad(part.images, ((0, 0), (4, 4), (4, 4), (0, 0))), part.labels)
    model = name if name in networks.NETWORKS else f"{own}:{name}"
    first = trained(part, model=model, precision=precision)
    updates.kept.cache_clear()
    again = trained(part, model=model, precision=precision)
    assert first.iterations.equals(again.iterations)
    assert first.history.equals(again.history)
    other = trained(part, model=model, precision=precision, seed=1)
    assert not first.iterations["loss"].equals(other.iterations["loss"])
    assert np.isfinite(first.history["train_loss"]).all()


def test_the_names_are_those_that_can_be_set() -> None:
    assert tuple(networks.NETWORKS) == values.MODEL_NAMES
    assert set(values.OPTIMIZERS) == optimizers.CLASSES.keys() - {
        *("optimizer", "lossscaleoptimizer", "multioptimizer", "schedulefreeadamw")
    }


@pytest.mark.parametrize(
    ("name", "logits"), [("subclassed", True), ("functional", False), ("unbuilt", False)]
)
def test_logits_and_probabilities_are_told_apart(own: str, name: str, logits: bool) -> None:
    model = models.build(f"{own}:{name}", SHAPE, CLASSES, seed=0)
    assert models.gives_logits(model, name, SHAPE, CLASSES) is logits


def test_a_network_without_softmax_learns_as_the_same_with_one(
    own: str, part: Part, tmp_path: Path
) -> None:
    texts = []
    for activation in (None, "softmax"):
        model = keras.Sequential(
            [keras.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES, activation=activation)]
        )
        model.save(tmp_path / "saved.keras")
        texts.append(saved_models.architecture(tmp_path / "saved.keras"))
    bare, ended = (trained(part, text, model=values.SAVED_MODEL) for text in texts)
    np.testing.assert_allclose(bare.iterations["loss"], ended.iterations["loss"], rtol=1e-5)
    np.testing.assert_array_equal(bare.iterations["accuracy"], ended.iterations["accuracy"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("two_outputs", "gives outputs of shape list for 4 images"),
        ("too_many", "gives outputs of shape (4, 4) for 4 images, not (4, 3): one number for each"),
        ("other_images", "doesn't take images of 8x8x1"),
        ("frozen", "has no weights that can be trained"),
        ("no_model", "gives no Keras model, but str"),
        ("fails", "can't be built for images of 8x8x1 (RuntimeError: no luck)"),
        ("untrained", "can't be trained with sgd ("),
        ("the_same", "has the same weights each time"),
        ("counts", "gives other numbers the second time"),
        ("draws", "gives other numbers the second time"),
        ("sigmoid", "ends with a sigmoid"),
        ("missing", "own_networks holds nothing of that name"),
    ],
)
def test_what_is_wrong_with_a_network_is_said_in_a_line(
    own: str, part: Part, name: str, said: str
) -> None:
    told = refusal(part, model=f"{own}:{name}")
    assert told.startswith(f"model {own}:{name}")
    assert said in told


def test_a_network_by_name_that_does_not_fit_the_images_says_so(part: Part) -> None:
    updates.kept.cache_clear()
    assert refusal(part, model="lenet5").startswith(
        "model lenet5 can't be built for images of 8x8x1"
    )


def test_a_saved_models_weights_and_training_settings_do_not_matter(
    part: Part, tmp_path: Path
) -> None:
    model = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES)])
    model.compile("adam", "mse")
    model.save(tmp_path / "one.keras")
    model.set_weights([weights + 1 for weights in model.get_weights()])
    model.save(tmp_path / "two.keras")
    first, again = (
        trained(part, saved_models.architecture(tmp_path / name), model=values.SAVED_MODEL)
        for name in ("one.keras", "two.keras")
    )
    assert first.iterations.equals(again.iterations)


def test_a_saved_model_that_would_run_code_is_refused(part: Part, tmp_path: Path) -> None:
    code = layers.Lambda(lambda images: images * 2)
    model = keras.Sequential([keras.Input(SHAPE), code, layers.Flatten(), layers.Dense(CLASSES)])
    model.save(tmp_path / "code.keras")
    text = saved_models.architecture(tmp_path / "code.keras")
    assert "can't be built" in refusal(part, text, model=values.SAVED_MODEL)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is not there"), (b"", "is no file that Keras saved"), (b"x", "is no file that Keras")],
)
def test_what_is_no_saved_model_gets_a_line(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "x.keras").write_bytes(content)
    with pytest.raises(InputError, match=said):
        saved_models.architecture(tmp_path / "x.keras")


def test_a_zip_file_without_an_architecture_is_no_saved_model(tmp_path: Path) -> None:
    for content in ({}, {"config.json": "no JSON"}):
        with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
            for name, text in content.items():
                archive.writestr(name, text)
        with pytest.raises(InputError, match="is no file that Keras saved"):
            saved_models.architecture(tmp_path / "x.keras")


def logits_and_labels() -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    numbers = np.random.default_rng(0)
    return numbers.normal(size=(7, CLASSES)).astype(np.float32), np.arange(7, dtype=np.int32) % 3


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize(
    ("measure", "reference"),
    [
        ({"name": "sparse_categorical_crossentropy"}, lambda hot, p: -np.log((hot * p).sum(1))),
        (
            {"name": "categorical_crossentropy", "label_smoothing": 0.1},
            lambda hot, p: -((0.9 * hot + 0.1 / CLASSES) * np.log(p)).sum(1),
        ),
        ({"name": "mean_squared_error"}, lambda hot, p: ((hot - p) ** 2).mean(1)),
        (
            {"name": "sparse_top_k_categorical_accuracy", "k": 2},
            lambda hot, p: (p > (hot * p).sum(1, keepdims=True)).sum(1) < 2,
        ),
    ],
)
def test_losses_and_metrics_are_keras_s_of_logits_and_of_probabilities(
    measure: dict[str, Any], reference: Any, logits: bool
) -> None:
    outputs, labels = logits_and_labels()
    probabilities = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    function = measures.function_of(Measure(**measure), CLASSES, logits=logits)
    given = function(tf.constant(labels), tf.constant(outputs if logits else probabilities))
    expected = reference(np.eye(CLASSES)[labels], probabilities.astype(np.float64))
    np.testing.assert_allclose(given, expected, rtol=1e-5)


@pytest.mark.parametrize("logits", [False, True])
def test_the_cross_entropy_of_labels_is_the_same_without_a_gather(logits: bool) -> None:
    outputs, labels = logits_and_labels()
    seen = tf.constant(outputs if logits else np.exp(outputs) / np.exp(outputs).sum(1)[:, None])
    loss, gradient = {}, {}
    for gathers in (True, False):
        measure = Measure(name="sparse_categorical_crossentropy")
        function = measures.function_of(measure, CLASSES, logits=logits, gathers=gathers)
        with tf.GradientTape() as tape:
            tape.watch(seen)
            loss[gathers] = function(tf.constant(labels), seen)
        gradient[gathers] = tape.gradient(loss[gathers], seen)
    np.testing.assert_allclose(loss[False], loss[True], rtol=1e-6)
    np.testing.assert_allclose(gradient[False], gradient[True], rtol=1e-5, atol=1e-6)


def test_without_a_gather_the_labels_loss_takes_the_same_arguments() -> None:
    name = "sparse_categorical_crossentropy"
    ignoring = measures.function_of(
        Measure(name=name, ignore_class=1), CLASSES, logits=True, gathers=False
    )
    outputs = tf.zeros([2, CLASSES])
    np.testing.assert_allclose(ignoring(tf.constant([0, 1]), outputs), [np.log(CLASSES), 0])
    with pytest.raises(InputError, match="takes no label_smoothing"):
        measures.function_of(
            Measure(name=name, label_smoothing=0.1), CLASSES, logits=True, gathers=False
        )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("categorical_crosentropy", "Keras has no such loss or metric"),
        ("deserialize", "Keras has no such loss or metric"),
        ("ctc", "ctc fails"),
        ("own_networks:one_number", "must give one number an example, but gives () for two"),
        ("own_networks:none", "holds nothing of that name"),
    ],
)
def test_what_is_no_loss_or_metric_gets_a_line(own: str, part: Part, name: str, said: str) -> None:
    assert said in refusal(part, loss=Measure(name=name))
    assert said in refusal(part, metrics=(Measure(name=name),))


def test_an_argument_that_a_loss_does_not_take_is_named(part: Part) -> None:
    loss = Measure(name="categorical_crossentropy", smoothing=0.1)
    assert "takes no smoothing: it takes y_true, y_pred, from_logits, label_" in refusal(
        part, loss=loss
    )


def test_metrics_and_losses_of_ones_own_stand_in_the_history(own: str, part: Part) -> None:
    metrics = (
        Measure(name="sparse_top_k_categorical_accuracy", k=2),
        Measure(name=f"{own}:absolute"),
    )
    chosen = settings(loss=Measure(name=f"{own}:absolute"), metrics=metrics)
    outcome = training.train(chosen, part, part, CLASSES, test=part)
    last = outcome.history.iloc[-1]
    assert last["val_accuracy"] <= last["val_sparse_top_k_categorical_accuracy_k_2"] <= 1
    assert last[f"val_{own}.absolute"] == pytest.approx(last["val_loss"], rel=1e-6)
    assert outcome.test is not None
    tested = outcome.test.iloc[0]
    assert [name.replace("val_", "test_") for name in last.index[5:]] == list(tested.index)
    np.testing.assert_array_equal(last.iloc[5:], tested)


@pytest.mark.parametrize("name", values.OPTIMIZERS)
def test_every_optimizer_starts_anew_and_goes_on_from_a_checkpoint(
    part: Part, tmp_path: Path, name: str
) -> None:
    chosen = settings(optimizer=Optimizer(name=name), epochs=3)
    file = tmp_path / "checkpoint"

    class KilledError(Exception):
        pass

    def kill(progress: training.Progress) -> None:
        if progress.epoch == 3:
            raise KilledError

    whole = training.train(chosen, part, part, CLASSES)
    with pytest.raises(KilledError):
        training.train(chosen, part, part, CLASSES, kill, checkpoint=File(file))
    resumed = training.train(chosen, part, part, CLASSES, checkpoint=File(file))
    assert whole.iterations.equals(resumed.iterations)
    assert whole.history.equals(resumed.history)
    assert whole.iterations["loss"].nunique() > 3


def test_an_optimizers_arguments_reach_it(part: Part) -> None:
    plain, decayed = (
        trained(part, optimizer=Optimizer(name="adam", **arguments)).iterations["loss"]
        for arguments in ({}, {"beta_1": 0.5})
    )
    assert plain[0] == decayed[0]
    assert not plain.equals(decayed)


def test_what_an_optimizer_does_not_take_is_said_before_anything_is_trained(part: Part) -> None:
    wrong = Optimizer(name="adam", beta=0.5)
    with pytest.raises(InputError, match=r"the optimizer adam beta 0\.5: ValueError: Argument"):
        trials.tried([settings(), settings(optimizer=wrong)], part, CLASSES)


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
@pytest.mark.filterwarnings("ignore:`build:UserWarning")
def test_weights_and_layers_that_are_not_used_do_no_harm(own: str, part: Part) -> None:
    for changes in ({}, {"accumulate": (2,)}):
        outcome = trained(part, model=f"{own}:idle", **changes)
        assert np.isfinite(outcome.history["train_loss"]).all()
    trials.tried([settings(model=f"{own}:unused")], part, CLASSES)
    assert len(models.summary(f"{own}:unused", SHAPE, CLASSES)) == 4


@pytest.mark.parametrize("arguments", [{"beta_1": "x"}, {"epsilon": None}, {"clipnorm": "a"}])
def test_an_argument_that_no_update_can_take_is_found_before_the_sweeps(
    part: Part, arguments: dict[str, Any]
) -> None:
    wrong = settings(optimizer=Optimizer(name="adam", **arguments))
    with pytest.raises(InputError) as refused:
        trials.tried([settings(), wrong], part, CLASSES)
    assert "adam" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_regulariser_is_part_of_the_loss_in_bfloat16_too(part: Part, tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        dense = layers.Dense(CLASSES, activity_regularizer="l2")
        model = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), dense])
    finally:
        keras.config.set_dtype_policy("float32")
    model.save(tmp_path / "x.keras")
    text = saved_models.architecture(tmp_path / "x.keras")
    outcome = trained(part, text, model=values.SAVED_MODEL, precision="mixed_bfloat16")
    assert np.isfinite(outcome.history["train_loss"]).all()
    assert "computes in mixed_bfloat16, not in float32" in refusal(
        part, text, model=values.SAVED_MODEL
    )


def test_a_summary_lists_the_layers(own: str) -> None:
    summary = models.summary("mlp", SHAPE, CLASSES)
    assert summary["type"].tolist() == ["Flatten", "Dense", "Dense", "Dense"]
    assert summary["output_shape"].tolist() == ["64", "256", "128", "3"]
    unknown = models.summary(f"{own}:subclassed", SHAPE, CLASSES)
    assert unknown["parameters"].sum() == (64 + 1) * CLASSES


@pytest.mark.parametrize(
    ("changes", "ways"),
    [
        ({}, []),
        ({"model": "resnet", "micro_batch": 8}, []),
        ({"model": "mine:net"}, ["rmsprop", "sgd", "sgd momentum 0.9, averaged"]),
        (
            {"clr.optimizer": "adam"},
            ["adam", "sgd", "sgd momentum 0.9, averaged"],
        ),
        (
            {"model": "mine:net", "micro_batch": 8, "effective_batch.optimizer": "sgd"},
            ["rmsprop, averaged", "sgd, averaged"],
        ),
    ],
)
def test_what_is_not_shipped_is_tried_in_every_way_that_it_will_be_trained(
    changes: dict[str, Any], ways: list[str]
) -> None:
    probes = precautions.probes(resolve("quick", changes))
    told = [
        f"{naming.described(each.optimizer)}{', averaged' * each.accumulating}" for each in probes
    ]
    assert told == ways


def test_floats_reach_the_network_as_they_are(part: Part) -> None:
    floats = Part(part.images.astype(np.float32) / 255, part.labels)
    of_bytes, of_floats = (trained(each).iterations["loss"] for each in (part, floats))
    np.testing.assert_allclose(of_bytes, of_floats, rtol=1e-5)


def test_a_residual_network_has_the_layers_that_its_paper_gives_it() -> None:
    model = models.build("resnet", (32, 32, 3), 10, seed=0)
    convolutions = [each for each in model.layers if isinstance(each, layers.Conv2D)]
    assert [each.filters for each in convolutions] == [16, 16, 16, 32, 32, 32, 64, 64, 64]
    assert model.count_params() == 78_330
    assert json.loads(model.to_json())["class_name"] == "Functional"


@pytest.mark.parametrize(
    ("changes", "images", "said"),
    [
        ({}, 5_000, []),
        (
            {},
            1_500,
            ["168 updates make no whole cycle of 2 x 158: clr.step_size=42 would make two"],
        ),
        ({"model": "mlp", "clr.optimizer": "sgd"}, 5_000, []),
        ({"model": "mlp"}, 5_000, ["the bounds come from a sweep with sgd, and rmsprop cycles"]),
    ],
)
def test_settings_that_may_not_mean_what_they_seem_to_are_told(
    changes: dict[str, Any], images: int, said: list[str]
) -> None:
    told = list(precautions.doubtful(resolve("quick", changes), images))
    assert len(told) == len(said)
    assert all(one.startswith(other) for one, other in zip(told, said, strict=True))


def test_the_default_network_takes_images_of_15_pixels_and_no_smaller() -> None:
    models.build("lenet5", (15, 15, 1), 10, seed=0)
    with pytest.raises(InputError, match="can't be built for images of 14x14x1"):
        models.build("lenet5", (14, 14, 1), 10, seed=0)
