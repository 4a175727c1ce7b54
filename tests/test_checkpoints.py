"""A training that is interrupted goes on from the epoch that it finished, to the same bytes."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from cyclical import checkpoints, datasets, networks, training, updates
from cyclical.checkpoints import Checkpoint
from cyclical.examples import Part
from cyclical.files import File
from cyclical.plans import LearningRate, Training
from cyclical.values import Optimizer

CLASSES, EPOCHS = 10, 4
Parts = tuple[Part, Part]


@pytest.fixture(scope="module")
def parts(fashion_mnist: Path) -> Parts:
    data = datasets.load("fashion_mnist", fashion_mnist, 210, 60)
    return data.train, data.test


@pytest.fixture(scope="module", autouse=True)
def random_model() -> Iterator[None]:
    """A model whose own random numbers and moving averages are part of its state."""

    def build(shape: tuple[int, int, int], classes: int) -> keras.Model:
        return keras.Sequential(
            [
                keras.Input(shape),
                layers.AveragePooling2D(4),
                layers.Flatten(),
                layers.Dense(32, activation="tanh"),
                layers.BatchNormalization(),
                layers.Dropout(0.3, seed=3),
                layers.Dense(classes, activation="softmax"),
            ]
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "NETWORKS", {**networks.NETWORKS, "random": build})
        yield
    updates.kept.cache_clear()


def settings(**changes: Any) -> Training:
    values: dict[str, Any] = {
        "label": "test",
        "model": "random",
        "optimizer": Optimizer(name="sgd"),
        "learning_rate": LearningRate(policy="constant", base_lr=0.05),
        "batch_sizes": (32,),
        "epochs": EPOCHS,
        "seed": 4,
    }
    return Training(**values | changes)


class KilledError(Exception):
    """What ends a training in the middle of an epoch."""


def killed_in(epoch: int, chosen: Training, parts: Parts, file: Path) -> None:
    def kill(progress: training.Progress) -> None:
        if progress.epoch == epoch:
            raise KilledError

    with pytest.raises(KilledError):
        training.train(chosen, *parts, CLASSES, kill, checkpoint=File(file))


def assert_equal(one: training.Outcome, other: training.Outcome) -> None:
    pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)
    pd.testing.assert_frame_equal(one.iterations, other.iterations, check_exact=True)
    if one.test is not None or other.test is not None:
        pd.testing.assert_frame_equal(one.test, other.test, check_exact=True)


CYCLING = LearningRate(policy="exp_range", base_lr=0.001, max_lr=0.1, step_size=9, gamma=0.99)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": "lenet5"},
        {"optimizer": Optimizer(name="sgd", momentum=0.9)},
        {"optimizer": Optimizer(name="rmsprop", momentum=0.5), "learning_rate": CYCLING},
        {"batch_sizes": (16, 32, 64)},
        {"accumulate": (1, 2, 3)},
        {"precision": "mixed_bfloat16"},
        {"updates": 23},  # the last epoch is cut short
    ],
    ids=lambda changes: ", ".join(changes) or "plain",
)
def test_a_training_killed_in_any_epoch_goes_on_to_the_same_bytes(
    parts: Parts, tmp_path: Path, changes: dict[str, Any]
) -> None:
    chosen, file = settings(**changes), tmp_path / "states" / "checkpoint"
    whole = training.train(chosen, *parts, CLASSES, test=parts[1])
    for epoch in range(1, EPOCHS + 1):  # each attempt gets one epoch further than the one before
        killed_in(epoch, chosen, parts, file)
        assert file.exists() == (epoch > 1)
        updates.kept.cache_clear()  # as in a new process
    told: list[int] = []
    resumed = training.train(
        chosen,
        *parts,
        CLASSES,
        lambda progress: told.append(progress.epoch),
        test=parts[1],
        checkpoint=File(file),
    )
    assert set(told) == {EPOCHS}
    assert_equal(resumed, whole)


def test_the_time_before_an_interruption_counts(parts: Parts, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    killed_in(3, settings(), parts, file)
    kept = checkpoints.read(File(file))
    assert kept is not None
    done = len(kept.seconds)
    assert done == len(kept.history)
    assert kept.seconds[0] > 0
    before = 1000.0 - np.arange(done)[::-1]
    checkpoints.write(File(file), Checkpoint(kept.variables, kept.history, kept.iterations, before))
    seconds = training.train(settings(), *parts, CLASSES, checkpoint=File(file)).seconds
    assert seconds[:done] == before.tolist()
    assert seconds == sorted(seconds)
    assert seconds[done] > 1000
    assert len(seconds) == EPOCHS


def test_a_training_that_ends_early_leaves_no_state_of_its_last_epoch(
    parts: Parts, tmp_path: Path
) -> None:
    file = tmp_path / "checkpoint"
    rate = LearningRate(policy="constant", base_lr=1e30)
    training.train(settings(learning_rate=rate), *parts, CLASSES, checkpoint=File(file))
    assert not file.exists()


def damages() -> list[Any]:
    def flip(place: int) -> Any:
        def damage(content: bytes) -> bytes:
            changed = bytearray(content)
            changed[place] ^= 1
            return bytes(changed)

        return damage

    cut = [lambda content: content[:-1], lambda content: content[:20], lambda _: b""]
    return [*map(flip, (0, 31, 32, 40, 2000, -1)), *cut]


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_file_is_told_and_the_training_begins_anew(
    parts: Parts, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    file = tmp_path / "checkpoint"
    killed_in(3, settings(), parts, file)
    file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        resumed = training.train(settings(), *parts, CLASSES, checkpoint=File(file))
    assert [record.getMessage() for record in caplog.records] == [
        f"{file} is damaged: the training begins anew"
    ]
    assert_equal(resumed, training.train(settings(), *parts, CLASSES))


def test_what_is_written_is_read_again_with_its_types(tmp_path: Path) -> None:
    history = pd.DataFrame({"epoch": np.array([1, 2]), "loss": np.array([0.1, np.nan])})
    iterations = pd.DataFrame({"loss": np.array([0.5, np.inf], np.float32)})
    given = Checkpoint(np.arange(7, dtype=np.uint8), history, iterations, np.array([1.25, 2.5]))
    checkpoints.write(File(tmp_path / "checkpoint"), given)
    read = checkpoints.read(File(tmp_path / "checkpoint"))
    assert read is not None
    np.testing.assert_array_equal(read.variables, given.variables)
    pd.testing.assert_frame_equal(read.history, history, check_exact=True)
    pd.testing.assert_frame_equal(read.iterations, iterations, check_exact=True)
    assert read.seconds.tolist() == [1.25, 2.5]
    assert checkpoints.read(File(tmp_path / "none")) is None
