"""The training loop against a plain Keras loop, and against its own promises."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers

from cyclical import datasets, models, schedules, training
from cyclical.datasets import Part
from cyclical.plans import LearningRate, Optimizer, Training

CLASSES = 10


@pytest.fixture(scope="module")
def parts(fashion_mnist: Path) -> tuple[Part, Part]:
    data = datasets.load("fashion_mnist", fashion_mnist, 300, 620)
    return data.train, data.test


@pytest.fixture
def plain_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
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

    monkeypatch.setattr(models, "MODELS", {**models.MODELS, "plain": build})
    yield "plain"
    training._loop.cache_clear()


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
    """Train, then take the weights out of the loop that is kept for these settings."""
    chosen = settings(**changes)
    training.train(chosen, *parts, CLASSES)
    loop = training._loop(
        chosen.model,
        (28, 28, 1),
        CLASSES,
        chosen.optimizer,
        accumulating=chosen.accumulate != (1,),
    )
    return [variable.numpy() for variable in loop._model.variables]


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
    loss_of = keras.losses.SparseCategoricalCrossentropy()
    images, labels = train.images.astype("float32") / 255, train.labels.astype("int32")
    order = np.random.default_rng([3, 0]).permutation(len(labels))
    losses, accuracies = [], []
    for start in range(0, len(order), 64):
        batch = order[start : start + 64]
        with tf.GradientTape() as tape:
            predictions = model(images[batch], training=True)
            loss = loss_of(labels[batch], predictions)
        chosen.apply_gradients(
            zip(tape.gradient(loss, model.trainable_weights), model.trainable_weights, strict=True)
        )
        losses.append(float(loss))
        accuracies.append(float(np.mean(np.argmax(predictions, -1) == labels[batch])))

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
    assert len(test.labels) % training.SCORING_BATCH, "the last batch must be a short one"
    history = run(parts, epochs=2).history
    weights = weights_after(parts, epochs=2)
    model = models.build("lenet5", (28, 28, 1), CLASSES, seed=0)
    for variable, value in zip(model.variables, weights, strict=True):
        variable.assign(value)
    predictions = model.predict(test.images.astype("float32") / 255, verbose=0)
    hits = np.argmax(predictions, -1) == test.labels
    loss = -np.log(predictions[np.arange(len(hits)), test.labels]).mean()
    assert history["val_accuracy"].iloc[-1] == pytest.approx(hits.mean(), abs=1e-6)
    assert history["val_loss"].iloc[-1] == pytest.approx(loss, rel=1e-4)


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


@pytest.mark.parametrize("group", [4, 7])
def test_accumulated_micro_batches_equal_one_large_batch(
    parts: tuple[Part, Part], plain_model: str, group: int
) -> None:
    large = {"model": plain_model, "batch_sizes": (16 * group,), "epochs": 2}
    small = {**large, "batch_sizes": (16,), "accumulate": (group,)}
    for one, many in zip(weights_after(parts, **large), weights_after(parts, **small), strict=True):
        np.testing.assert_allclose(one, many, atol=1e-5)
    a, b = run(parts, **large).iterations, run(parts, **small).iterations
    pd.testing.assert_frame_equal(a, b, atol=1e-5)


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


def test_a_result_does_not_depend_on_what_the_worker_did_before(
    parts: tuple[Part, Part],
) -> None:
    first = run(parts)
    run(parts, learning_rate=LearningRate(policy="constant", base_lr=1e30))
    run(parts, optimizer=Optimizer(name="rmsprop"), seed=9)
    again = run(parts)
    pd.testing.assert_frame_equal(first.iterations, again.iterations, check_exact=True)
    pd.testing.assert_frame_equal(first.history, again.history, check_exact=True)


def test_progress_is_told_and_may_end_a_training(parts: tuple[Part, Part]) -> None:
    told: list[training.Progress] = []
    training.train(settings(epochs=2), *parts, CLASSES, on_progress=told.append)
    assert [(step.epoch, step.examples) for step in told] == [(1, 300), (2, 600)]
    assert told[-1].examples_of_all == 600

    def stop(_: training.Progress) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        training.train(settings(), *parts, CLASSES, on_progress=stop)
