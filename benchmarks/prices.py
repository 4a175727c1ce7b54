"""What each task costs a core and a GPU, worked out from what was measured.

Trainings on a core are priced by those of the quick run, on a GPU by the table of milliseconds an
update in docs/performance.md: no times of single trainings are kept from there.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks import measured
from benchmarks.measured import NOTEBOOK, QUICK, Graph, Ran, Sizes, epochs_of, graph_of
from benchmarks.programs import Here, recorded, table_of
from cyclical import results
from cyclical.config import Experiment
from cyclical.plans import Training
from cyclical.store import Store

QUICK_WORKERS = 2  # of the quick run, on as many cores
PLAIN: Graph = ("sgd", False)
POINT_SECONDS = 4.7 / 50  # performance.md: a run with all of its 50 results cached, start and all
GPU_SIZES, GPU_SECONDS = (64, 512, 4096), (2.1e-3, 9.6e-3, 83e-3)  # two processes sharing
COMPILE_SECONDS = 7.5  # performance.md: 6 to 10 for every size of batch in every worker
Once = tuple[Graph, int]
TRIAL = 2  # examples on which `updates` tries whether XLA compiles a graph


@dataclass(frozen=True)
class Cost:
    """The seconds that a training takes of a worker.

    `before` and in each of its `epochs`, scoring included; `once` what the worker has not done yet:
    a graph that it builds, or a size of batch that it compiles.
    """

    before: float
    epochs: tuple[float, ...]
    once: Mapping[Once, float]

    @property
    def warm(self) -> float:
        """The seconds on a worker that has done all this before."""
        return self.before + sum(self.epochs)


@dataclass(frozen=True)
class Prices:
    """What a device's tasks cost; `start` lasts until the first sweep can begin."""

    start: float
    train: Callable[[Training], Cost]
    here: Callable[[Here], float]
    point: float = POINT_SECONDS


@dataclass(frozen=True)
class Pace:
    """How fast a core trains.

    Seconds an `example`, by the size of its batch; what a `part` of a batch costs more in another
    graph than SGD's; and an example on which gradient noise is measured.
    """

    example: Mapping[int, float]
    part: Mapping[Graph, float]
    noise: float

    def epoch(self, training: Training, sizes: Sizes, images: int) -> float:
        """Return the seconds of an epoch; between the sizes measured, by their logarithms."""
        known = np.array(list(self.example.items())).T
        examples = float(np.interp(np.log2(sizes), np.log2(known[0]), known[1]) @ sizes)
        noise = self.noise * math.prod(training.noise_shape(images))
        return examples + self.part.get(graph_of(training), 0.0) * len(sizes) + noise


def pace(ran: Iterable[Ran]) -> Pace:
    """Work out how fast a core trains, from the epochs after the first of finished trainings."""
    later = {each: statistics.median(each.seconds[1:]) for each in ran if each.seconds[1:]}
    plain, noisy, others = list[Ran](), list[Ran](), list[Ran]()
    for each in later:
        if graph_of(each.training) != PLAIN:
            others.append(each)
        elif len(each.training.batch_sizes) == 1:
            (noisy if each.training.noise else plain).append(each)
    by_size: dict[int, list[float]] = {}
    for each in sorted(plain, key=lambda each: each.training.batch_sizes):
        by_size.setdefault(each.training.batch_sizes[0], []).append(later[each] / each.images)
    example = {size: statistics.median(seconds) for size, seconds in by_size.items()}
    alone = Pace(example, {}, 0.0)

    def more(each: Ran) -> float:
        without = each.training.model_copy(update={"noise": None})
        return later[each] - alone.epoch(
            without, epochs_of(each.training, each.images)[1], each.images
        )

    part: dict[Graph, list[float]] = {}
    for each in others:
        part.setdefault(graph_of(each.training), []).append(more(each) / len(each.first))
    noise = [more(each) / math.prod(each.training.noise_shape(each.images)) for each in noisy]
    means = {graph: max(0.0, statistics.mean(seconds)) for graph, seconds in part.items()}
    return Pace(example, means, statistics.mean(noise))


@cache
def on_cores(store: Store = QUICK) -> Callable[[Training, int, int | None], Cost]:
    """Return what trainings cost a core of the quick run's machine."""
    ran = measured.trained(store)
    of_machine = pace(ran)

    def begin(each: Ran) -> float:
        return each.seconds[0] - of_machine.epoch(each.training, each.first, each.images)

    by_graph: dict[Graph, list[Ran]] = {}
    for each in ran:
        by_graph.setdefault(graph_of(each.training), []).append(each)
    warm = [begin(each) for of_graph in by_graph.values() for each in of_graph[QUICK_WORKERS:]]
    fresh = statistics.median(warm)
    built = {
        graph: statistics.mean(map(begin, of_graph[:QUICK_WORKERS])) - fresh
        for graph, of_graph in by_graph.items()
    }
    between = measured.seconds_between(ran, QUICK_WORKERS)

    def cost(training: Training, images: int, updates: int | None) -> Cost:
        epochs = _cut(epochs_of(training, images), updates)
        seconds = tuple(of_machine.epoch(training, sizes, images) for sizes in epochs)
        graph = graph_of(training)
        return Cost(between + fresh, seconds, {(graph, 0): built[graph]})

    return cost


def on_gpu(training: Training, images: int, updates: int | None) -> Cost:
    """Return what a training costs an H200; below the least size measured an update costs as much.

    Above the largest an example costs as much as there. What comes before the first epoch is taken
    from the cores.
    """
    epochs = _cut(epochs_of(training, images), updates)

    def update(sizes: Sizes) -> float:
        above = np.maximum(sizes / GPU_SIZES[-1], 1)
        return float((np.interp(sizes, GPU_SIZES, GPU_SECONDS) * above).sum())

    groups, batches, size = training.noise_shape(images)
    noise = groups * batches * update(np.array([size])) if groups else 0.0
    graph = graph_of(training)
    sizes = {TRIAL, *(int(size) for epoch in epochs for size in np.unique(epoch))}
    once = {(graph, size): COMPILE_SECONDS for size in sizes}
    before = on_cores()(training, images, updates).before
    return Cost(before, tuple(update(sizes) + noise for sizes in epochs), once)


def _cut(epochs: list[Sizes], updates: int | None) -> list[Sizes]:
    """Leave out what follows after so many updates of one batch each."""
    if updates is None:
        return epochs
    starts = np.cumsum([0, *map(len, epochs)])
    kept = [sizes[: max(0, updates - start)] for sizes, start in zip(epochs, starts, strict=False)]
    return [sizes for sizes in kept if len(sizes)]


def prices(config: Experiment, device: str) -> Prices:
    """Return what the tasks of an experiment on Fashion-MNIST cost on a device, `core` or `GPU`.

    Where a training of the sweep diverged in the run whose bounds are taken, so it does here.
    """
    store = NOTEBOOK if config.data.train_images is None else QUICK
    images = config.data.images_trained_on
    points = table_of(store, "lr_sweep", "points.parquet")
    ended = points[points["train_loss"].isna()].set_index("learning_rate")["updates"].to_dict()
    price = on_gpu if device == "GPU" else on_cores()

    known: dict[str, Cost] = {}  # labels tell the trainings of an experiment apart, but for seeds

    def train(training: Training) -> Cost:
        if training.label not in known:
            swept = training.label.startswith("lr=")
            last = ended.get(training.learning_rate.base_lr) if swept else None
            known[training.label] = price(training, images, last)
        return known[training.label]

    here = _here(NOTEBOOK if device == "GPU" else QUICK)
    return Prices(measured.started_after(QUICK), train, here)


def _here(store: Store) -> Callable[[Here], float]:
    """Price what the flow's process computes by the run in a store, on its machine.

    What that run has not is taken from the quick run, times the ratio of what both have. What is
    made of many trainings costs in proportion to them; a picture of a training as the mean picture.
    """
    own, quick = measured.manifests(store), measured.manifests(QUICK)
    both = [key for key in own.keys() & quick.keys() if not quick[key].epoch_seconds]
    ratio = sum(own[key].duration_seconds for key in both) / sum(
        quick[key].duration_seconds for key in both
    )
    seconds = {key: ratio * each.duration_seconds for key, each in quick.items()}
    seconds |= {key: each.duration_seconds for key, each in own.items()}
    drawn = [each for key, each in quick.items() if "pictures" in key[1]]
    picture = (
        ratio
        * sum(each.duration_seconds for each in drawn)
        / sum(len(each.files) for each in drawn)
    )
    config = results.latest(QUICK).configuration
    taken = {
        (each.step, each.label): each.inputs
        for each in recorded(config, QUICK)
        if isinstance(each, Here)
    }

    def price(here: Here) -> float:
        key = here.step, here.label
        if here.step == "load_data":
            return 0.0  # within the start
        if "-seed=" in here.label:
            return picture
        return seconds[key] * here.inputs / taken[key] if key in seconds else picture

    return price
