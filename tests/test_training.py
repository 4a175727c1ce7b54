"""The training loop against a plain Keras loop, and against its own promises."""

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from textwrap import dedent

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers

from cyclical import arms, chunks, datasets, models, networks, schedules, training, updates
from cyclical.examples import Part
from cyclical.plans import LearningRate, Training
from cyclical.settings import resolve
from cyclical.values import GradientNoise, Optimizer

CLASSES = 10
PRECISIONS = ("float32", "mixed_bfloat16")


@pytest.fixture(scope="module")
def parts(fashion_mnist: Path) -> tuple[Part, Part]:
    data = datasets.load("fashion_mnist", fashion_mnist, 300, 620)
    return data.train, data.test


@pytest.fixture(scope="module")
def many(fashion_mnist: Path) -> tuple[Part, Part]:
    """More training images than one chunk takes."""
    data = datasets.load("fashion_mnist", fashion_mnist, 5_000, 10)
    return data.train, data.test


@pytest.fixture(scope="module")
def plain_model() -> Iterator[str]:
    """A model without batch normalisation, whose batches do not see each other."""

    def build(shape: tuple[int, int, int], classes: int) -> keras.Model:
        return keras.Sequential(
            [
                keras.Input(shape),
                layers.AveragePooling2D(4),
                layers.Flatten(),
                layers.Dense(32, activation="tanh"),
                layers.Dense(classes, activation="softmax"),
            ]
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "NETWORKS", {**networks.NETWORKS, "plain": build})
        yield "plain"
    updates.kept.cache_clear()


def settings(**changes: object) -> Training:
    values: dict[str, object] = {
        "label": "test",
        "model": "lenet5",
        "optimizer": Optimizer(name="sgd"),
        "learning_rate": LearningRate(policy="constant", base_lr=0.01),
        "batch_sizes": (64,),
        "epochs": 1,
        "seed": 3,
    }
    return Training(**(values | changes))


def run(parts: tuple[Part, Part], **changes: object) -> training.Outcome:
    return training.train(settings(**changes), *parts, CLASSES)


def weights_after(parts: tuple[Part, Part], **changes: object) -> list[np.ndarray]:
    """Train and return the weights."""
    chosen = settings(**changes)
    training.train(chosen, *parts, CLASSES)
    return weights_of(chosen)


def weights_of(chosen: Training) -> list[np.ndarray]:
    """Take the weights out of the loop that is kept for these settings."""
    shaped = Part(np.zeros((1, 28, 28, 1), np.uint8), np.zeros(1, np.uint8))
    loop = training.updates_of(chosen, shaped, CLASSES)
    return [variable.numpy() for variable in loop._model.variables]


def scored_by_keras(chosen: Training, part: Part) -> tuple[float, float]:
    """Return the loss and the accuracy of a training's weights, by Keras alone."""
    model = models.build(chosen.model, (28, 28, 1), CLASSES, seed=0)
    for variable, value in zip(model.variables, weights_of(chosen), strict=True):
        variable.assign(value)
    predictions = model.predict(part.images.astype("float32") / 255, verbose=0)
    loss = -np.log(predictions[np.arange(len(part.labels)), part.labels]).mean()
    return float(loss), float((np.argmax(predictions, -1) == part.labels).mean())


def trained_by_keras(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    train: Part,
    epochs: Sequence[Sequence[int]],
) -> tuple[list[float], list[float]]:
    """Make updates on batches of these sizes, in a plain loop of seed 3; return the trace."""
    loss_of = keras.losses.SparseCategoricalCrossentropy()
    images, labels = train.images.astype("float32") / 255, train.labels.astype("int32")
    losses, accuracies = [], []
    for epoch, batch_sizes in enumerate(epochs):
        order = np.random.default_rng([3, epoch]).permutation(len(labels))
        for start, end in pairwise(np.cumsum([0, *batch_sizes])):
            batch = order[start:end]
            with tf.GradientTape() as tape:
                predictions = model(images[batch], training=True)
                loss = loss_of(labels[batch], predictions)
            gradients = tape.gradient(loss, model.trainable_weights)
            optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
            losses.append(float(loss))
            accuracies.append(float(np.mean(np.argmax(predictions, -1) == labels[batch])))
    return losses, accuracies


def test_lenet5_has_the_published_number_of_parameters() -> None:
    model = models.build("lenet5", (28, 28, 1), CLASSES, seed=0)
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert (model.count_params(), trained) == (546_542, 546_044)


def test_lenet5_has_the_published_output_shapes() -> None:
    summary = models.summary("lenet5", (28, 28, 1), CLASSES)
    kept = summary[~summary["type"].isin(["BatchNormalization"])]["output_shape"].tolist()
    expected = ["28x28x6", "27x27x6", "23x23x16", "11x11x16", "7x7x120", "5880", "84", "10"]
    assert kept == expected
    assert summary["parameters"].sum() == 546_542
    assert summary["trained"].sum() == 546_044


def test_initial_weights_depend_on_the_seed_alone() -> None:
    first = models.build("lenet5", (28, 28, 1), CLASSES, seed=1).get_weights()
    models.build("lenet5", (28, 28, 1), CLASSES, seed=2)
    again = models.build("lenet5", (28, 28, 1), CLASSES, seed=1).get_weights()
    other = models.build("lenet5", (28, 28, 1), CLASSES, seed=2).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_initial_weights_are_the_same_while_another_thread_draws_random_numbers() -> None:
    """A worker's heartbeat and Prefect's client do, from the generator that Keras uses too."""
    quiet = models.build("lenet5", (28, 28, 1), CLASSES, seed=1).get_weights()
    stop = threading.Event()

    def draw() -> None:
        while not stop.is_set():
            random.random()

    other = threading.Thread(target=draw)
    other.start()
    try:
        disturbed = models.build("lenet5", (28, 28, 1), CLASSES, seed=1).get_weights()
    finally:
        stop.set()
        other.join()
    assert all(np.array_equal(a, b) for a, b in zip(quiet, disturbed, strict=True))


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_an_epoch_equals_one_of_a_plain_keras_loop(
    parts: tuple[Part, Part], optimizer: str
) -> None:
    rate = 1e-2 if optimizer == "sgd" else 1e-4
    train, _ = parts
    model = models.build("lenet5", (28, 28, 1), CLASSES, seed=3)
    chosen = {"sgd": keras.optimizers.SGD, "rmsprop": keras.optimizers.RMSprop}[optimizer](rate)
    losses, accuracies = trained_by_keras(model, chosen, train, [[64, 64, 64, 64, 44]])

    changes = {
        "optimizer": Optimizer(name=optimizer),
        "learning_rate": LearningRate(policy="constant", base_lr=rate),
    }
    ours = weights_after(parts, **changes)
    trace = run(parts, **changes).iterations
    np.testing.assert_allclose(trace["loss"], losses, atol=1e-5)
    np.testing.assert_allclose(trace["accuracy"], accuracies, atol=1e-6)
    for mine, theirs in zip(ours, model.variables, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-5)


def test_every_example_is_seen_once_an_epoch_at_every_batch_size(
    parts: tuple[Part, Part],
) -> None:
    for size in (7, 64, 299, 300):
        trace = run(parts, batch_sizes=(size,)).iterations
        assert trace["batch_size"].sum() == 300
        assert trace["batch_size"].iloc[-1] == (300 % size or size)
    order = training.epoch_order(3, 0, 300)
    assert sorted(order) == list(range(300))
    assert not np.array_equal(order, training.epoch_order(3, 1, 300))
    assert not np.array_equal(order, training.epoch_order(4, 0, 300))


def test_the_history_averages_the_true_batch_losses_by_their_examples(
    parts: tuple[Part, Part],
) -> None:
    outcome = run(parts, epochs=2, batch_sizes=(64, 128))
    trace, history = outcome.iterations, outcome.history
    assert trace["batch_size"].tolist() == [64, 64, 64, 64, 44, 128, 128, 44]
    assert history["updates"].tolist() == [5, 8]
    for epoch, rows in ((0, trace[:5]), (1, trace[5:])):
        by_hand = (rows["loss"] * rows["batch_size"]).sum() / 300
        assert history["train_loss"][epoch] == pytest.approx(by_hand, rel=1e-6)
        hits = (rows["accuracy"] * rows["batch_size"]).sum() / 300
        assert history["train_accuracy"][epoch] == pytest.approx(hits, rel=1e-6)


def test_every_test_example_is_scored(parts: tuple[Part, Part]) -> None:
    _, test = parts
    assert len(test.labels) % updates.SCORING_BATCH, "the last batch must be a short one"
    history = run(parts, epochs=2).history
    loss, accuracy = scored_by_keras(settings(epochs=2), test)
    assert history["val_accuracy"].iloc[-1] == pytest.approx(accuracy, abs=1e-6)
    assert history["val_loss"].iloc[-1] == pytest.approx(loss, rel=1e-4)


def test_what_is_held_out_is_scored_every_epoch_and_the_test_set_once_at_the_end(
    parts: tuple[Part, Part],
) -> None:
    given, test = parts
    train, validation = datasets.hold_out(given, 0.2)
    chosen = settings(epochs=2)
    outcome = training.train(chosen, train, validation, CLASSES, test=test)
    assert outcome.history["examples"].tolist() == [len(train.labels), 2 * len(train.labels)]
    last = outcome.history.iloc[-1]
    loss, accuracy = scored_by_keras(chosen, validation)
    assert last["val_loss"] == pytest.approx(loss, rel=1e-4)
    assert last["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)

    assert outcome.test is not None
    assert list(outcome.test.columns) == ["test_loss", "test_accuracy"]
    [scores] = outcome.test.to_dict("records")
    loss, accuracy = scored_by_keras(chosen, test)
    assert scores["test_loss"] == pytest.approx(loss, rel=1e-4)
    assert scores["test_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert scores["test_loss"] != pytest.approx(last["val_loss"], rel=1e-3), "two parts, two losses"


def test_scoring_a_test_set_changes_nothing_else(parts: tuple[Part, Part]) -> None:
    without = run(parts)
    outcome = training.train(settings(), *parts, CLASSES, test=parts[1])
    assert without.test is None
    pd.testing.assert_frame_equal(without.iterations, outcome.iterations, check_exact=True)
    pd.testing.assert_frame_equal(without.history, outcome.history, check_exact=True)


def test_the_learning_rate_of_every_update_is_the_schedules(parts: tuple[Part, Part]) -> None:
    rate = LearningRate(policy="triangular", base_lr=0.001, max_lr=0.009, step_size=4)
    trace = run(parts, epochs=2, learning_rate=rate).iterations
    expected = schedules.triangular(0.001, 0.009, 4)(np.arange(10))
    assert trace["learning_rate"].tolist() == expected.tolist()
    assert trace["iteration"].tolist() == list(range(10))


def test_a_rate_of_almost_nothing_in_the_second_half_stops_the_learning(
    parts: tuple[Part, Part],
) -> None:
    """The rate that is recorded is also the one that is used."""
    rate = LearningRate(policy="exp_range", base_lr=1e-12, max_lr=0.01, step_size=1, gamma=1e-3)
    both = weights_after(parts, epochs=2, learning_rate=rate)
    once = weights_after(parts, epochs=1, learning_rate=rate)
    trained = models.build("lenet5", (28, 28, 1), CLASSES, seed=0)
    moved = [variable.trainable for variable in trained.variables]
    for mine, before, learns in zip(both, once, moved, strict=True):
        if learns:
            np.testing.assert_allclose(mine, before, atol=1e-8)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("group", [4, 7])
def test_accumulated_micro_batches_equal_one_large_batch(
    parts: tuple[Part, Part], plain_model: str, group: int, momentum: float
) -> None:
    assert 300 % (16 * group) % 16, "the last group must be a short one, its last micro-batch too"
    large = {
        "model": plain_model,
        "optimizer": Optimizer(name="sgd", momentum=momentum),
        "learning_rate": LearningRate(policy="constant", base_lr=0.1),
        "batch_sizes": (16 * group,),
        "epochs": 2,
    }
    small = {**large, "batch_sizes": (16,), "accumulate": (group,)}
    one, many = run(parts, **large).iterations, run(parts, **small).iterations
    pd.testing.assert_frame_equal(one, many, atol=1e-5)
    of_one, of_many = weights_of(settings(**large)), weights_of(settings(**small))
    for a, b in zip(of_one, of_many, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_growing_groups_equal_a_plain_keras_loop_over_batches_of_their_sizes(
    parts: tuple[Part, Part], plain_model: str
) -> None:
    # 300 examples in micro-batches of 16, in groups of 1, 2, 3, 1, 2, 3, ...: three rounds of
    # 96 examples leave 12, for a group that is cut short and counts, so each epoch begins one on.
    epochs = [
        [16, 32, 48, 16, 32, 48, 16, 32, 48, 12],
        [32, 48, 16, 32, 48, 16, 32, 48, 16, 12],
        [48, 16, 32, 48, 16, 32, 48, 16, 32, 12],
    ]
    changed = {"effective_batch.micro_batch": 16, "effective_batch.group": 3, "training.epochs": 3}
    _, arm = arms.effective_batch(resolve("quick", {**changed, "seeds": [3]}), 0.1)
    arm = arm.model_copy(update={"model": plain_model})
    outcome = training.train(arm, *parts, CLASSES)
    assert outcome.iterations["batch_size"].tolist() == epochs[0] + epochs[1] + epochs[2]
    assert outcome.history["updates"].tolist() == [10, 20, 30]
    assert outcome.history["examples"].tolist() == [300, 600, 900]

    model = models.build(plain_model, (28, 28, 1), CLASSES, seed=3)
    sgd = keras.optimizers.SGD(0.1, momentum=0.9)
    losses, accuracies = trained_by_keras(model, sgd, parts[0], epochs)
    np.testing.assert_allclose(outcome.iterations["loss"], losses, atol=1e-5)
    np.testing.assert_allclose(outcome.iterations["accuracy"], accuracies, atol=1e-5)
    for ours, theirs in zip(weights_of(arm), model.variables, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_constant_groups_take_their_size_and_what_the_epoch_leaves(
    parts: tuple[Part, Part], plain_model: str
) -> None:
    changed = {"effective_batch.micro_batch": 16, "effective_batch.group": 4, "training.epochs": 2}
    arm, _ = arms.effective_batch(resolve("quick", changed), 0.01)
    arm = arm.model_copy(update={"model": plain_model})
    trace = training.train(arm, *parts, CLASSES).iterations
    assert trace["batch_size"].tolist() == [64, 64, 64, 64, 44] * 2
    assert set(trace["learning_rate"]) == {0.01}


def test_a_group_larger_than_the_data_is_one_update_on_all_of_them(
    parts: tuple[Part, Part], plain_model: str
) -> None:
    changes = {"model": plain_model, "batch_sizes": (64,), "accumulate": (16,), "epochs": 3}
    assert run(parts, **changes).iterations["batch_size"].tolist() == [300, 300, 300]


def test_a_cyclic_accumulation_goes_on_across_epochs(
    parts: tuple[Part, Part], plain_model: str
) -> None:
    trace = run(
        parts, model=plain_model, batch_sizes=(50,), accumulate=(1, 2, 3), epochs=2
    ).iterations
    assert trace["batch_size"].tolist() == [50, 100, 150, 50, 100, 150]
    trace = run(
        parts, model=plain_model, batch_sizes=(80,), accumulate=(1, 2, 3), epochs=2
    ).iterations
    assert trace["batch_size"].tolist() == [80, 160, 60, 80, 160, 60]


@pytest.mark.parametrize("scaling", ["linear", "sqrt"])
def test_both_cycling_trains_every_update_at_the_rate_of_its_epochs_batch_size(
    parts: tuple[Part, Part], plain_model: str, scaling: str
) -> None:
    changed = {"combined.scaling": scaling, "combined.lr_at_bmin": 0.02, "training.epochs": 4}
    [arm] = arms.combined(resolve("quick", {**changed, "seeds": [3]}), 32, 128)
    arm = arm.model_copy(update={"model": plain_model})
    trace = training.train(arm, *parts, CLASSES).iterations
    by_epoch = [[32] * 9 + [12], [64] * 4 + [44], [128] * 2 + [44], [32] * 9 + [12]]
    assert trace["batch_size"].tolist() == list(chain(*by_epoch))
    doubled = 0.04 if scaling == "linear" else 0.02 * 2**0.5
    again = 0.08 if scaling == "linear" else 0.04
    expected = [0.02] * 10 + [doubled] * 5 + [again] * 3 + [0.02] * 10
    assert trace["learning_rate"].tolist() == pytest.approx(expected, rel=1e-12)

    model = models.build(plain_model, (28, 28, 1), CLASSES, seed=3)
    sgd = keras.optimizers.SGD(0.02)
    losses, _ = trained_by_keras(model, sgd, parts[0], by_epoch[:1])
    np.testing.assert_allclose(trace["loss"][:10], losses, atol=1e-5)


@pytest.mark.parametrize("epsilon", [None, 1e-14, 1e-3])
def test_rmsprop_adds_its_epsilon_inside_the_root(
    parts: tuple[Part, Part], plain_model: str, epsilon: float | None
) -> None:
    train, _ = parts
    model = models.build(plain_model, (28, 28, 1), CLASSES, seed=3)
    with tf.GradientTape() as tape:
        predictions = model(train.images.astype("float32") / 255, training=True)
        loss = keras.losses.SparseCategoricalCrossentropy()(train.labels, predictions)
    gradients = tape.gradient(loss, model.trainable_weights)

    after = weights_after(
        parts,
        model=plain_model,
        optimizer=Optimizer(name="rmsprop", **({"epsilon": epsilon} if epsilon else {})),
        learning_rate=LearningRate(policy="constant", base_lr=0.01),
        batch_sizes=(300,),
    )
    for weight, gradient, ours in zip(model.trainable_weights, gradients, after, strict=True):
        g = gradient.numpy().astype(np.float64)
        v = 0.1 * g**2  # 0.9 * 0 + (1 - 0.9) * g^2
        step = 0.01 * g / np.sqrt(v + (epsilon or 1e-7))
        certain = np.abs(g) > 1e-5  # the smallest gradients depend on the order of summation
        np.testing.assert_allclose((weight.numpy() - step)[certain], ours[certain], atol=1e-5)
        assert certain.mean() > 0.5


def test_a_training_that_diverges_ends_at_that_update(parts: tuple[Part, Part]) -> None:
    rate = LearningRate(policy="constant", base_lr=1e30)
    outcome = run(parts, epochs=3, learning_rate=rate)
    assert len(outcome.history) == 1
    row = outcome.history.iloc[0]
    assert np.isnan(row["train_loss"])
    assert 0 <= row["train_accuracy"] <= 1
    assert np.isnan(row["val_loss"])
    assert len(outcome.iterations) < 5
    assert np.isfinite(outcome.iterations["loss"].iloc[:-1]).all()
    assert not np.isfinite(outcome.iterations["loss"].iloc[-1])


@pytest.mark.parametrize(
    ("changes", "batch_sizes"),
    [
        ({"batch_sizes": (16,)}, [16, 16]),
        ({"batch_sizes": (32, 64)}, [32, 32]),
        ({"batch_sizes": (8,), "accumulate": (1, 2, 3)}, [8, 16]),
    ],
    ids=["one size", "cyclic sizes", "groups"],
)
def test_a_training_that_diverged_costs_less_than_one_epoch_however_many_it_has(
    parts: tuple[Part, Part],
    plain_model: str,
    changes: dict[str, object],
    batch_sizes: list[int],
) -> None:
    rate = LearningRate(policy="constant", base_lr=1e38)  # the second loss is infinite
    chosen = settings(model=plain_model, learning_rate=rate, epochs=40, **changes)
    outcome = training.train(chosen, *parts, CLASSES, test=parts[1])
    assert outcome.iterations["batch_size"].tolist() == batch_sizes
    assert np.isfinite(outcome.iterations["loss"]).tolist() == [True, False]
    [row] = outcome.history.to_dict("records")
    assert (row["updates"], row["examples"]) == (2, sum(batch_sizes))
    assert np.isnan([row["train_loss"], row["val_loss"], row["val_accuracy"]]).all()
    assert outcome.test is not None
    assert np.isnan(outcome.test.to_numpy()).tolist() == [[True, True]]


def test_a_training_without_hope_ends_early_and_is_the_same_until_then(
    parts: tuple[Part, Part],
) -> None:
    rate = LearningRate(policy="constant", base_lr=1e-9)
    whole, short = (
        run(parts, learning_rate=rate, epochs=4, give_up=give_up) for give_up in (False, True)
    )
    assert list(short.history["epoch"]) == [1, 2]
    pd.testing.assert_frame_equal(short.history, whole.history.iloc[:2])
    assert len(short.iterations) == 2 * 5


def test_a_training_that_learns_does_not_give_up(parts: tuple[Part, Part]) -> None:
    assert len(run(parts, epochs=3, give_up=True).history) == 3


def test_in_half_precision_weights_stay_single_and_the_network_learns_about_the_same(
    parts: tuple[Part, Part],
) -> None:
    single, half = (run(parts, epochs=3, precision=name) for name in PRECISIONS)
    assert {weight.dtype for weight in weights_after(parts, precision="mixed_bfloat16")} == {
        np.dtype("float32")
    }
    assert list(half.iterations["loss"]) != list(single.iterations["loss"])
    np.testing.assert_allclose(half.iterations["loss"], single.iterations["loss"], atol=0.1)
    pd.testing.assert_frame_equal(
        half.history, run(parts, epochs=3, precision="mixed_bfloat16").history
    )


def test_a_precision_is_left_behind_with_the_model_that_has_it() -> None:
    model = models.build("lenet5", (28, 28, 1), CLASSES, seed=0, precision="mixed_bfloat16")
    computing = [layer.compute_dtype for layer in model.layers]
    assert set(computing[:-1]) == {"bfloat16"}
    assert computing[-1] == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_a_training_that_diverges_later_keeps_the_epochs_before(
    parts: tuple[Part, Part], plain_model: str
) -> None:
    # an update an epoch: the first at 0.001, the second at 1e38, so that the third loss is infinite
    rate = LearningRate(policy="triangular", base_lr=0.001, max_lr=1e38, step_size=1)
    changes = {"model": plain_model, "learning_rate": rate, "batch_sizes": (300,), "epochs": 9}
    history = run(parts, **changes).history
    assert history["epoch"].tolist() == [1, 2, 3]
    assert np.isfinite(history["train_loss"]).tolist() == [True, True, False]
    assert history["examples"].tolist() == [300, 600, 900]
    first = run(parts, **{**changes, "epochs": 1}).history
    pd.testing.assert_frame_equal(history[:1], first, check_exact=True)


def test_a_result_does_not_depend_on_what_the_worker_did_before(
    parts: tuple[Part, Part],
) -> None:
    first = run(parts)
    run(parts, learning_rate=LearningRate(policy="constant", base_lr=1e30))
    run(parts, optimizer=Optimizer(name="rmsprop"), seed=9)
    again = run(parts)
    pd.testing.assert_frame_equal(first.iterations, again.iterations, check_exact=True)
    pd.testing.assert_frame_equal(first.history, again.history, check_exact=True)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Let the updates be made as on a GPU or not; here all compute on the processor."""

    def pretend(there: bool) -> None:
        updates.kept.cache_clear()
        monkeypatch.setattr(updates, "on_gpu", lambda: there)

    yield pretend
    updates.kept.cache_clear()


def is_fused(chosen: Training, part: Part) -> bool:
    loop = training.updates_of(chosen, part, CLASSES)
    parts = (loop._gradients, loop._apply, loop._batch_totals)
    [compiled] = {bool(getattr(part, "_jit_compile", False)) for part in parts}
    assert (loop._loop is not None) == (compiled and not chosen.accumulating)
    return compiled


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_sizes": (64, 128)},
        {"accumulate": (1, 2)},
        {"noise": GradientNoise()},
        {"model": "mlp", "optimizer": Optimizer(name="rmsprop")},
    ],
)
def test_what_xla_fuses_for_a_gpu_computes_the_same(
    parts: tuple[Part, Part],
    changes: dict[str, object],
    on_gpu: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = {"epochs": 2, **changes}
    on_gpu(False)
    plain = run(parts, **chosen)
    assert not is_fused(settings(**chosen), parts[0])
    on_gpu(True)
    monkeypatch.setattr(updates, "SCORING_BATCH_ON_GPU", 250)
    fused = run(parts, **chosen)
    assert is_fused(settings(**chosen), parts[0])
    for ours, theirs in ((fused.iterations, plain.iterations), (fused.history, plain.history)):
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_loop_on_a_gpu_ends_where_a_loss_is_not_finite(
    parts: tuple[Part, Part], plain_model: str, on_gpu: Callable[[bool], None]
) -> None:
    rate = LearningRate(policy="triangular", base_lr=0.001, max_lr=1e38, step_size=1)
    changes = {"model": plain_model, "learning_rate": rate}
    on_gpu(True)
    made = run(parts, **changes).iterations
    assert is_fused(settings(**changes), parts[0])
    assert made["batch_size"].tolist() == [64] * 3  # of four, and one of 44
    assert np.isfinite(made["loss"]).tolist() == [True, True, False]


def test_what_xla_can_not_compile_is_left_to_tensorflow(
    parts: tuple[Part, Part], on_gpu: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class InPython(layers.Layer):  # type: ignore[misc]
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            outputs = tf.numpy_function(lambda values: values, [inputs], tf.float32)
            return tf.ensure_shape(outputs, inputs.shape)

    class Unsupported(layers.Flatten):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.supports_jit = False

    def build(of: type[layers.Layer]) -> Callable[..., keras.Model]:
        return lambda shape, classes: keras.Sequential(
            [keras.Input(shape), layers.Flatten(), of(), layers.Dense(classes)]
        )

    kinds = {"python": build(InPython), "unsupported": build(Unsupported)}
    monkeypatch.setattr(networks, "NETWORKS", {**networks.NETWORKS, **kinds})
    on_gpu(True)
    for kind in kinds:
        assert not is_fused(settings(model=kind), parts[0])
        assert np.isfinite(run(parts, model=kind).history["train_loss"]).all()


def test_what_is_deterministic_on_a_gpu_is_not_slow_there_nor_fails() -> None:
    """XLA can't compile maximum pooling so, and would make a loop over examples of a scatter.

    TensorFlow's determinism can't be turned off again: it is on in a process of its own.
    """
    program = """
        import numpy as np
        import keras, tensorflow as tf
        from keras import layers
        from cyclical import networks, training, updates
        from cyclical.examples import Part
        from tests.test_training import CLASSES, is_fused, run, settings

        tf.config.experimental.enable_op_determinism()
        updates.on_gpu = lambda: True
        networks.NETWORKS["pooling"] = lambda shape, classes: keras.Sequential(
            [
                *(keras.Input(shape), layers.Conv2D(2, 3), layers.MaxPooling2D()),
                *(layers.Flatten(), layers.Dense(classes)),
            ]
        )
        part = Part(np.zeros((64, 28, 28, 1), np.uint8), (np.arange(64) % 10).astype(np.uint8))
        assert not is_fused(settings(model="pooling"), part)
        assert np.isfinite(run((part, part), model="pooling").history["train_loss"]).all()
        assert is_fused(settings(), part)
        compiled = training.updates_of(settings(), part, CLASSES)._loop
        given = (part.images, part.labels.astype(np.int32), np.zeros([2, 32], np.int32))
        one, two = (
            compiled.experimental_get_compiler_ir(*given, np.zeros(2, np.float32), count)()
            for count in (1, 2)
        )
        assert one == two  # however many updates a call makes, XLA compiles but once
        assert " while(" in one  # over the updates
        assert " scatter(" not in one  # of which XLA makes a loop over the examples
    """
    ran = subprocess.run(
        [sys.executable, "-c", dedent(program)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def told_examples(parts: tuple[Part, Part], **changes: object) -> list[int]:
    """Train and return how many examples had been seen whenever progress was told."""
    told: list[int] = []
    training.train(
        settings(**changes), *parts, CLASSES, lambda progress: told.append(progress.examples)
    )
    return told


def test_progress_is_told_at_the_latest_after_the_examples_of_a_chunk(
    many: tuple[Part, Part], plain_model: str
) -> None:
    assert chunks.EXAMPLES["CPU"] == 2048
    # 32 updates on 64; the last 904 of 5,000
    assert told_examples(many, model=plain_model, epochs=2) == [
        *(2048, 4096, 5000),
        *(7048, 9096, 10_000),
    ]
    # updates on 1,500, of which two are too many but one and the last 500 are not; on 2,048 itself
    assert told_examples(many, model=plain_model, batch_sizes=(1500,)) == [1500, 3000, 5000]
    assert told_examples(many, model=plain_model, batch_sizes=(2048,)) == [2048, 4096, 5000]


def test_a_chunk_of_growing_groups_has_as_many_as_fit_into_it(
    many: tuple[Part, Part], plain_model: str
) -> None:
    groups = {"batch_sizes": (256,), "accumulate": tuple(range(1, 17))}
    told = told_examples(many, model=plain_model, **groups, epochs=2)
    # The groups are 256, 512, 768, 1024, 1280 and, cut short, 1160; in the second epoch 1792,
    # 2048 and, cut short, 1160. What is joined stays within 2048.
    assert told == [256 + 512 + 768, 2560, 3840, 5000, 6792, 8840, 10_000]


def test_an_update_larger_than_a_chunk_is_one_of_its_own(
    many: tuple[Part, Part], plain_model: str
) -> None:
    groups = {"batch_sizes": (256,), "accumulate": (16,)}
    assert told_examples(many, model=plain_model, **groups) == [4096, 5000]


def test_where_an_epoch_is_cut_into_chunks_changes_no_result(
    parts: tuple[Part, Part], plain_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"model": plain_model, "batch_sizes": (16,), "accumulate": (1, 2, 3), "epochs": 2}
    whole = run(parts, **changes)
    monkeypatch.setattr(chunks, "EXAMPLES", {"CPU": 50})
    cut = run(parts, **changes)
    assert len(told_examples(parts, **changes)) > 2
    pd.testing.assert_frame_equal(whole.iterations, cut.iterations, check_exact=True)
    pd.testing.assert_frame_equal(whole.history, cut.history, check_exact=True)


def test_progress_is_told_and_may_end_a_training(parts: tuple[Part, Part]) -> None:
    told: list[training.Progress] = []
    training.train(settings(epochs=2), *parts, CLASSES, on_progress=told.append)
    assert [(step.epoch, step.examples) for step in told] == [(1, 300), (2, 600)]
    assert told[-1].examples_of_all == 600

    def stop(_: training.Progress) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        training.train(settings(), *parts, CLASSES, on_progress=stop)


def test_an_update_in_parts_is_that_on_the_whole_batch(
    parts: tuple[Part, Part], plain_model: str
) -> None:
    """For a model without batch normalisation, but for rounding."""
    whole = run(parts, model=plain_model, batch_sizes=(96,), epochs=2)
    parted = run(parts, model=plain_model, batch_sizes=(96,), epochs=2, micro_batch=20)
    pd.testing.assert_frame_equal(whole.history, parted.history, rtol=1e-5)
    same = ["iteration", "learning_rate", "batch_size"]
    pd.testing.assert_frame_equal(whole.iterations[same], parted.iterations[same])
    np.testing.assert_allclose(whole.iterations["loss"], parted.iterations["loss"], rtol=1e-5)
    assert not whole.iterations["loss"].equals(parted.iterations["loss"])


def test_the_gradients_lengths_are_those_of_a_plain_tape(
    parts: tuple[Part, Part], plain_model: str
) -> None:
    noise = GradientNoise(batch_size=20, group=3, repeats=2)
    chosen = settings(model=plain_model, noise=noise)
    outcome = training.train(chosen, *parts, CLASSES)
    train, _ = parts
    loop = training.updates_of(chosen, train, CLASSES)
    batches = training.noise_batches(chosen, 0, len(train.labels))
    assert batches.shape == (2, 3, 20)
    assert len(np.unique(batches)) == batches.size

    def gradient(examples: np.ndarray) -> np.ndarray:
        images = tf.constant(train.images[examples].astype(np.float32) / 255)
        targets = tf.constant(train.labels[examples].astype(np.int32))
        with tf.GradientTape() as tape:
            outputs = loop._model(images, training=True)
            losses = keras.losses.sparse_categorical_crossentropy(targets, outputs)
            loss = tf.reduce_mean(losses)
        weights = [weight.value for weight in loop._model.trainable_variables]
        return np.concatenate([np.ravel(each) for each in tape.gradient(loss, weights)])

    small = np.mean([np.sum(gradient(batch) ** 2) for group in batches for batch in group])
    big = np.mean([np.sum(gradient(group.ravel()) ** 2) for group in batches])
    [row] = outcome.history.to_dict("records")
    assert row["small_gradient"] == pytest.approx(small, rel=1e-4)
    assert row["big_gradient"] == pytest.approx(big, rel=1e-4)
    assert small > big


def test_measuring_the_noise_changes_nothing_else(parts: tuple[Part, Part]) -> None:
    usual = run(parts, epochs=2)
    measured = run(parts, epochs=2, noise=GradientNoise(batch_size=30, group=2, repeats=1))
    lengths = ["small_gradient", "big_gradient"]
    pd.testing.assert_frame_equal(measured.history.drop(columns=lengths), usual.history)
    pd.testing.assert_frame_equal(measured.iterations, usual.iterations)
    assert (measured.history[lengths] > 0).all(axis=None)
    assert measured.history["small_gradient"].is_unique


def test_the_noise_of_a_training_that_diverged_is_unknown(parts: tuple[Part, Part]) -> None:
    rate = LearningRate(policy="constant", base_lr=1e30)
    outcome = run(parts, learning_rate=rate, noise=GradientNoise())
    assert outcome.history[["small_gradient", "big_gradient"]].isna().all(axis=None)


def test_every_epoch_tells_its_seconds(parts: tuple[Part, Part]) -> None:
    seconds = run(parts, epochs=3).seconds
    assert len(seconds) == 3
    assert 0 < seconds[0] < seconds[1] < seconds[2]
