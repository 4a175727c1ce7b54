"""Compare this project's training loop with Keras `fit`, in turn, on the same images.

Two workers with one thread each, side by side, against `fit` with all cores, as the published
notebook run used it: one-hot labels, arrays in memory, SGD, accuracy as a metric. Every round of
every rival trains on the same 10,000 images of Fashion-MNIST, after a warm-up; medians are shown.

Run: `make bench`, or `python benchmarks/throughput.py [--rounds N]`.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

IMAGES = 10_000
SIZES = (16, 64, 512)
WORKERS = 2


def parts() -> tuple[Any, Any]:
    """Load the images that all rivals train on, and a single one to score."""
    from cyclical import datasets

    data = datasets.load("fashion_mnist", None, IMAGES, 1)
    return data.train, data.test


def notebook_fit() -> Callable[[int], float]:
    """Return batch size -> seconds for an epoch of Keras `fit` with all cores."""
    import keras

    from cyclical import datasets, models

    train, _ = parts()
    images = datasets.normalised(train.images)
    labels = keras.utils.to_categorical(train.labels, 10)

    def epoch(size: int) -> float:
        model = models.build("lenet5", (28, 28, 1), 10, seed=0)
        model.compile(
            optimizer=keras.optimizers.SGD(0.01),
            loss="categorical_crossentropy",
            metrics=["accuracy"],
        )
        model.fit(images[: 2 * size], labels[: 2 * size], batch_size=size, verbose=0)
        began = time.perf_counter()
        model.fit(images, labels, batch_size=size, verbose=0)
        return time.perf_counter() - began

    return epoch


def loop_epoch(size: int) -> float:
    """Train one epoch in this process's kept loop; return the seconds."""
    from cyclical import training
    from cyclical.plans import LearningRate, Optimizer, Training

    settings = Training(
        label="benchmark",
        model="lenet5",
        optimizer=Optimizer(name="sgd"),
        learning_rate=LearningRate(policy="constant", base_lr=0.01),
        batch_sizes=(size,),
        epochs=1,
        seed=0,
    )
    train, test = parts()
    began = time.perf_counter()
    training.train(settings, train, test, 10)
    return time.perf_counter() - began


def become_a_worker() -> None:
    """Take on the environment that this project's workers have."""
    from tasks.running import WORKER_ENVIRONMENT

    os.environ.update(WORKER_ENVIRONMENT)


def side_by_side(pool: ProcessPoolExecutor, size: int) -> float:
    """Train one epoch in every worker at once; return the seconds until the last is done."""
    return max(pool.map(loop_epoch, [size] * WORKERS))


def main() -> None:
    """Print examples a second and the ratio for every batch size."""
    from tasks.running import WORKER_ENVIRONMENT

    if clash := WORKER_ENVIRONMENT.keys() & os.environ.keys():
        raise SystemExit(f"unset {', '.join(sorted(clash))}: `fit` is to run as it is installed")
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3, help="rounds of every rival")
    rounds = options.parse_args().rounds
    fit = notebook_fit()
    print(f"{'batch':>6} {'fit, ex/s':>12} {'ours, ex/s':>12} {'ratio':>6}")
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), become_a_worker) as pool:
        side_by_side(pool, 512)
        for size in SIZES:
            theirs, ours = [], []
            for _ in range(rounds):
                theirs.append(IMAGES / fit(size))
                ours.append(WORKERS * IMAGES / side_by_side(pool, size))
            ratio = statistics.median(b / a for a, b in zip(theirs, ours, strict=True))
            print(
                f"{size:6} {statistics.median(theirs):12,.0f} {statistics.median(ours):12,.0f} "
                f"{ratio:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
