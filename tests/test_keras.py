"""The schedules and the callback in Keras's own `fit`: the rates of the training loop here."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from cyclical import keras as ours
from cyclical import schedules
from cyclical.errors import InputError
from cyclical.keras import CyclicLR
from cyclical.plans import LearningRate, Training, lay_out
from cyclical.values import Optimizer

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
BOUNDS = {"base_lr": 0.001, "max_lr": 0.006, "step_size": 7}
MODES: dict[str, dict[str, Any]] = {
    "triangular": {},
    "triangular2": {},
    "exp_range": {"gamma": 0.99},
}
SCHEDULES = {
    "triangular": ours.Triangular,
    "triangular2": ours.Triangular2,
    "exp_range": ours.ExpRange,
}
EXAMPLES, BATCH = 50, 16  # four updates an epoch, the last on two examples


def data() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    numbers = np.random.default_rng(0)
    return numbers.normal(size=(EXAMPLES, 5)).astype(np.float32), np.arange(EXAMPLES) % 3


def compiled(rate: Any = 0.01) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(
        keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def fit(model: keras.Model, epochs: int, *callbacks: keras.callbacks.Callback) -> None:
    model.fit(
        *data(), batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks
    )


def of_the_loop(mode: str, epochs: int) -> NDArray[np.float64]:
    """Return the rates of the training loop's own plan."""
    rate = LearningRate(policy=mode, **BOUNDS, **MODES[mode])
    chosen = Training(
        label="x",
        model="mlp",
        optimizer=Optimizer(name="sgd"),
        learning_rate=rate,
        batch_sizes=(BATCH,),
        epochs=epochs,
        seed=0,
    )
    return np.concatenate([epoch.learning_rates for epoch in lay_out(chosen, EXAMPLES)])


@pytest.mark.parametrize("mode", MODES)
def test_the_callback_gives_the_rates_of_the_training_loop(mode: str) -> None:
    cycle = CyclicLR(**BOUNDS, mode=mode, **MODES[mode])
    seen: list[float] = []
    model = compiled()
    look = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_, **__: seen.append(float(model.optimizer.learning_rate))
    )
    fit(model, 5, cycle, look)
    assert cycle.history["learning_rate"] == of_the_loop(mode, 5).tolist()
    assert seen == of_the_loop(mode, 5).astype(np.float32).tolist()
    assert cycle.history["iteration"] == list(range(20))


@pytest.mark.parametrize("mode", MODES)
def test_a_schedule_gives_the_rates_of_the_training_loop_for_a_whole_training(mode: str) -> None:
    steps = np.arange(60_000)
    settings = BOUNDS | {"step_size": 2000} | MODES[mode]
    wanted = getattr(schedules, mode)(**settings)(steps).astype(np.float32)
    given = np.asarray(SCHEDULES[mode](**settings)(steps))
    np.testing.assert_array_equal(given, wanted, strict=True)


@pytest.mark.parametrize("mode", MODES)
def test_callback_and_schedule_train_to_the_same_weights(mode: str) -> None:
    by_callback, by_schedule = compiled(), compiled(SCHEDULES[mode](**BOUNDS, **MODES[mode]))
    fit(by_callback, 4, CyclicLR(**BOUNDS, mode=mode, **MODES[mode]))
    fit(by_schedule, 4)
    for one, other in zip(by_callback.get_weights(), by_schedule.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("mode", MODES)
def test_a_schedule_is_saved_with_the_model_and_goes_on(mode: str, tmp_path: Path) -> None:
    whole, first = (compiled(SCHEDULES[mode](**BOUNDS, **MODES[mode])) for _ in range(2))
    fit(whole, 4)
    fit(first, 2)
    first.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    fit(loaded, 2)
    for one, other in zip(whole.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_callback_goes_on_with_a_model_that_was_saved_and_loaded(tmp_path: Path) -> None:
    model = compiled()
    fit(model, 2, CyclicLR(**BOUNDS))
    model.save(tmp_path / "model.keras")
    cycle = CyclicLR(**BOUNDS)
    fit(keras.models.load_model(tmp_path / "model.keras"), 3, cycle)
    assert cycle.history["learning_rate"] == of_the_loop("triangular", 5)[8:].tolist()


def test_losses_and_accuracies_are_those_of_each_batch() -> None:
    """With a rate of almost nothing, each batch is scored by the weights at the start."""
    model = compiled()
    images, labels = data()
    cycle = CyclicLR(base_lr=1e-12, max_lr=2e-12, step_size=7)
    fit(model, 2, cycle)
    for update in range(8):
        some = slice(BATCH * (update % 4), BATCH * (update % 4 + 1))
        loss, accuracy = model.evaluate(images[some], labels[some], verbose=0)
        assert cycle.history["loss"][update] == pytest.approx(loss, rel=1e-5)
        assert cycle.history["accuracy"][update] == pytest.approx(accuracy, abs=1e-6)


def test_a_reset_begins_anew_with_what_it_is_given(tmp_path: Path) -> None:
    cycle = CyclicLR(**BOUNDS)
    model = compiled()
    fit(model, 1, cycle)
    cycle.reset(max_lr=0.01, step_size=2)
    fit(model, 1, cycle)
    assert cycle.history["learning_rate"][4:] == pytest.approx([0.001, 0.0055, 0.01, 0.0055])
    assert cycle.first_iteration == 4
    model.save(tmp_path / "model.keras")
    later = CyclicLR(0.001, 0.01, 2, first_iteration=cycle.first_iteration)
    fit(keras.models.load_model(tmp_path / "model.keras"), 1, later)
    assert later.history["learning_rate"] == cycle.history["learning_rate"][4:]


@pytest.mark.parametrize(
    ("scale_mode", "first"),
    [("cycle", [0.001, 0.0035, 0.006]), ("iterations", [0.001, 0.001, 0.006])],
)
def test_a_scale_function_of_ones_own_is_called_with_the_cycle_or_the_iteration(
    scale_mode: str, first: list[float]
) -> None:
    cycle = CyclicLR(
        0.001,
        0.006,
        2,
        scale_fn=lambda number: float(number != 1) if scale_mode == "iterations" else 1 / number,
        scale_mode=scale_mode,
    )
    assert [cycle.rate(update) for update in range(3)] == pytest.approx(first)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_lr": 0.01}, "0.01 >= 0.006: swap them"),
        ({"step_size": 0}, "step_size"),
        ({"mode": "square"}, "mode must be one of triangular, triangular2, exp_range"),
        ({"mode": "exp_range", "gamma": 2}, "gamma must lie in"),
        ({"scale_mode": "epoch"}, "scale_mode must be cycle or iterations"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        CyclicLR(**settings)


def test_a_schedule_with_wrong_bounds_is_refused() -> None:
    with pytest.raises(InputError, match="swap them"):
        ours.Triangular(0.01, 0.001, 5)
    with pytest.raises(InputError, match="gamma must lie in"):
        ours.ExpRange(0.001, 0.01, 5, gamma=0)


def test_an_optimizer_that_has_a_schedule_already_is_refused() -> None:
    with pytest.raises(InputError, match="give the optimizer a number"):
        fit(compiled(ours.Triangular(**BOUNDS)), 1, CyclicLR(**BOUNDS))


def test_several_updates_at_a_call_are_refused() -> None:
    model = compiled()
    model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=2)
    with pytest.raises(InputError, match="steps_per_execution above 1"):
        fit(model, 1, CyclicLR(**BOUNDS))


def test_a_callback_that_was_reset_begins_anew_with_a_fresh_model() -> None:
    cycle = CyclicLR(**BOUNDS)
    fit(compiled(), 2, cycle)
    cycle.reset()
    cycle.history.clear()
    fit(compiled(), 2, cycle)
    assert cycle.history["learning_rate"] == of_the_loop("triangular", 2).tolist()


def test_a_reset_that_is_refused_changes_nothing() -> None:
    cycle = CyclicLR(**BOUNDS)
    with pytest.raises(InputError):
        cycle.reset(max_lr=0.0001)
    assert (cycle.max_lr, cycle.rate(7)) == (0.006, 0.006)


def test_metrics_that_are_no_means_are_left_out_and_those_of_one_name_numbered() -> None:
    images = keras.Input((5,))
    heads = [keras.layers.Dense(3, activation="softmax", name=name)(images) for name in "ab"]
    model = keras.Model(images, heads)
    model.compile(
        "sgd",
        ["categorical_crossentropy"] * 2,
        metrics=[["accuracy", "root_mean_squared_error"], ["accuracy"]],
    )
    cycle = CyclicLR(**BOUNDS)
    x, y = data()
    y = keras.utils.to_categorical(y)
    model.fit(x, [y, y], batch_size=BATCH, epochs=2, verbose=0, callbacks=[cycle])
    assert all(len(values) == 8 for values in cycle.history.values()), cycle.history
    assert "root_mean_squared_error" not in cycle.history
    for name in cycle.history.keys() - {"iteration", "learning_rate"}:
        assert min(cycle.history[name]) >= 0
