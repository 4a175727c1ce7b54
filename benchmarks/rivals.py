"""Training loops of the same network on the same images, each as fast as its library allows.

Each takes a way (a variant of itself) and a batch size, and returns a function that trains one
epoch on the first n images, a whole number of batches, with SGD at 0.01. All have Fashion-MNIST in
memory, of the GPU where there is one. They run in processes of their own: libraries are imported
only where they are used.
"""

import gc
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import networks
from cyclical import datasets
from cyclical.examples import Part, normalised
from cyclical.plans import LearningRate, Training
from cyclical.values import Optimizer

Epoch = Callable[[int], object]
Loop = Callable[[str, int], Epoch]
RATE = 0.01
XLA, NO_XLA = "XLA", "no XLA"
TORCH_WAYS = tuple(
    f"{how}, channels {where}" for how in ("eager", "compiled") for where in ("first", "last")
)
EXECUTION_EXAMPLES = 2048  # between two returns to Python: about a second
SIDES = (512, 1024, 2048, 4096)
PRODUCTS = 8  # of each size, the fastest of which counts


def warm_up(loop: Loop, way: str, size: int) -> None:
    """Build a loop in this process and keep it, traced and compiled by training one batch."""
    _kept(loop, way, size)(size)


def train(loop: Loop, way: str, size: int, examples: int) -> tuple[float, float]:
    """Train one epoch in this process's kept loop; return when it began and ended, in seconds.

    The clock is the machine's: times of several processes can be compared.
    """
    epoch = _kept(loop, way, size)
    began = time.monotonic()
    epoch(examples)
    return began, time.monotonic()


@lru_cache(maxsize=len(TORCH_WAYS))
def _kept(loop: Loop, way: str, size: int) -> Epoch:
    return loop(way, size)


def forget() -> None:
    """Drop this process's kept loops: those of a batch size that is done with hold memory."""
    _kept.cache_clear()
    gc.collect()


@lru_cache(maxsize=1)
def _dataset() -> datasets.Dataset:
    return datasets.load("fashion_mnist", None, None, 1)


@lru_cache(maxsize=1)
def _pixels() -> NDArray[np.float32]:
    return normalised(_dataset().train.images)


def notebook_fit(way: str, size: int) -> Epoch:
    """Train with Keras `fit` as the published notebook does: one-hot labels, arrays, accuracy."""
    import keras

    images, labels = _pixels(), keras.utils.to_categorical(_dataset().train.labels, 10)
    model = _compiled(loss="categorical_crossentropy", jit_compile=way == XLA)

    def epoch(examples: int) -> object:
        return model.fit(images[:examples], labels[:examples], batch_size=size, verbose=0)

    return epoch


def pipeline_fit(way: str, size: int) -> Epoch:
    """Train with Keras `fit` on a tuned tf.data pipeline and several updates a call of the graph.

    Tensors in memory, shuffled by index, gathered a batch at a time, prefetched; sparse labels.
    """
    import tensorflow as tf

    images, labels = tf.constant(_pixels()), tf.constant(_dataset().train.labels.astype(np.int32))
    model = _compiled(
        loss="sparse_categorical_crossentropy",
        jit_compile=way == XLA,
        steps_per_execution=max(1, EXECUTION_EXAMPLES // size),
    )

    def gathered(indices: Any) -> tuple[Any, Any]:
        return tf.gather(images, indices), tf.gather(labels, indices)

    def epoch(examples: int) -> object:
        order = tf.data.Dataset.range(examples).shuffle(examples)
        batches = order.batch(size, drop_remainder=True).map(gathered, tf.data.AUTOTUNE)
        return model.fit(batches.prefetch(tf.data.AUTOTUNE), verbose=0)

    return epoch


def _compiled(**options: Any) -> Any:
    import keras

    from cyclical import models

    model = models.build("lenet5", (28, 28, 1), 10, seed=0)
    model.compile(optimizer=keras.optimizers.SGD(RATE), metrics=["accuracy"], **options)
    return model


def torch_loop(way: str, size: int) -> Epoch:
    """Train in PyTorch: indexed tensors in memory, no DataLoader, no metric, a fused SGD.

    Compiled for a GPU, it runs from CUDA graphs.
    """
    import torch

    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    images = torch.from_numpy(_pixels().reshape(-1, 1, 28, 28)).to(device)
    labels = torch.from_numpy(_dataset().train.labels.astype(np.int64)).to(device)
    layout = torch.channels_last if way.endswith("last") else torch.contiguous_format
    network = networks.lenet5().to(device, memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), RATE, fused=True)

    def mean_loss(images: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(network(images), labels)

    mode = "reduce-overhead" if on_gpu else "default"
    compiled = way.startswith("compiled")
    loss = torch.compile(mean_loss, dynamic=False, mode=mode) if compiled else mean_loss

    def epoch(examples: int) -> object:
        for batch in torch.randperm(examples, device=device).split(size):
            optimizer.zero_grad(set_to_none=True)
            loss(images[batch], labels[batch]).backward()
            optimizer.step()
        return next(network.parameters()).sum().item()  # waits for the GPU

    return epoch


def our_loop(_: str, size: int) -> Epoch:
    """Train in this project's loop: weights made afresh, each update's loss and accuracy kept.

    On a GPU its operations are the deterministic ones, as in a run.
    """
    import tensorflow as tf

    from tasks.cluster import repeatable

    if tf.config.list_physical_devices("GPU"):
        repeatable()
    return ours(_dataset().train, _dataset().test, size)


def settings_of(size: int) -> Training:
    """Return a training of one epoch at a batch size, with SGD."""
    return Training(
        label="benchmark",
        model="lenet5",
        optimizer=Optimizer(name="sgd"),
        learning_rate=LearningRate(policy="constant", base_lr=RATE),
        batch_sizes=(size,),
        epochs=1,
        seed=0,
    )


def ours(images: Part, one: Part, size: int) -> Epoch:
    """Train in this project's loop on these images, and score the `one`."""
    from cyclical import training

    def epoch(examples: int) -> object:
        part = Part(images.images[:examples], images.labels[:examples])
        return training.train(settings_of(size), part, one, 10)

    return epoch


def limit(library: str) -> tuple[float, float]:
    """Return the fastest float32 matrix product's FLOP a second, and the examples that it allows.

    An m x m product takes 2 m^3; an example's count is `networks.training_flop`.
    """
    from cyclical import models

    rate = max(_product_rate(library, side) for side in SIDES)
    flop = networks.training_flop(models.build("lenet5", (28, 28, 1), 10, seed=0))
    return rate, rate / flop


def _product_rate(library: str, side: int) -> float:
    product = _product(library, np.random.default_rng(0).random((side, side), np.float32))
    seconds = []
    for _ in range(PRODUCTS):
        began = time.monotonic()
        product()
        seconds.append(time.monotonic() - began)
    return 2 * side**3 / min(seconds)


def _product(library: str, matrix: Any) -> Callable[[], object]:
    if library == "numpy":
        return lambda: np.matmul(matrix, matrix)
    if library == "torch":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        tensor = torch.from_numpy(matrix).to(device)
        return lambda: float(torch.matmul(tensor, tensor)[0, 0])  # waits for the GPU
    import tensorflow as tf

    constant = tf.constant(matrix)
    return lambda: float(tf.matmul(constant, constant)[0, 0])
