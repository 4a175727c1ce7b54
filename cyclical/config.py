"""The experiment as frozen, validated values, and the profiles.

Every number of the experiment is a field here. Field names are what `--set field=value` takes.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from cyclical.clusters import Cluster
from cyclical.values import (
    BatchPair,
    Count,
    DataName,
    Distinct,
    Doublings,
    Epochs,
    FilePath,
    Frozen,
    GradientNoise,
    Measure,
    Measures,
    ModelName,
    Optimizer,
    Place,
    Policy,
    Precision,
    Rate,
    RatePair,
    Seeds,
)

SGD = Optimizer(name="sgd")


class Data(Frozen):
    """Which images are studied; null counts mean all.

    `name`: fashion_mnist, mnist, cifar10, cifar100, or package.module:function, which returns
    ((x_train, y_train), (x_test, y_test)). `path` names files of your own instead: an .npz file, or
    a folder (docs/your-model.md), of which the counts are the most that are taken.
    With `validation_split` > 0 that share of the training images is held out: every epoch is scored
    on it, and the test images are scored once, when a training has ended.
    """

    name: DataName = "fashion_mnist"
    path: FilePath | None = None
    train_images: Count | None = None
    test_images: Count | None = None
    validation_split: float = Field(default=0.0, ge=0, lt=1)

    @property
    def user_code(self) -> tuple[str, ...]:
        """Name the user's own function that the data come from, if one does."""
        return (self.name,) if ":" in self.name and self.path is None else ()

    @property
    def images_trained_on(self) -> int:
        """How many there will be, about, before the data are loaded."""
        return round((self.train_images or 60_000) * (1 - self.validation_split))


LR_RULES = {
    "sweep": ("plateau", "smith", "argmin_tenth"),
    "clock": ("plateau", "smith", "argmin_tenth"),
    "range_test": ("smith", "steepest", "minimum_tenth", "valley"),
}
"""By which rules the result of each method of lr_sweep can be read."""


class LrSweep(Frozen):
    """The learning rates that are tried.

    `method`: `sweep` trains at each rate; `range_test` trains once while the rate rises;
    `clock` does so twice and predicts from it where every rate would end. The last two make
    `range_updates` updates, null for 5 % of the sweep's, and return rates of `learning_rates`.
    `give_up` ends a point of the sweep after an epoch that leaves no hope to learn, which spares
    the least rates most of their epochs.
    """

    method: Literal["sweep", "range_test", "clock"] = "sweep"
    learning_rates: Annotated[tuple[Rate, ...], Distinct] = Field(
        default=tuple(float(f"1e{power}") for power in range(1, -10, -1)),
        min_length=1,
        max_length=1000,
    )
    epochs: Epochs = 5
    batch_size: Count = 64
    optimizer: Optimizer = SGD
    give_up: bool = False
    range_updates: Annotated[int, Field(ge=10, le=10_000_000)] | None = None

    @pydantic.model_validator(mode="after")
    def _options_have_an_effect(self) -> Self:
        if self.give_up and self.method != "sweep":
            raise ValueError("give_up is for the method sweep alone")
        if self.range_updates and self.method == "sweep":
            raise ValueError("range_updates is for the methods range_test and clock alone")
        if len(self.learning_rates) < 2 and self.method != "sweep":
            raise ValueError(f"the method {self.method} needs two learning_rates or more")
        return self


class LrBounds(Frozen):
    """How lr_min and lr_max are read off the sweep, or the `fixed` pair that replaces the sweep.

    `plateau`: the smallest rates that reach `lr_min_share` and `lr_max_share` of the best training
    accuracy. `argmin_tenth`: a hundredth and a tenth of the rate with the least loss. Both take the
    sweep or what the clock predicts. `smith`: where accuracy begins to rise and where its rise
    ends, of any method. Of the range test alone, each an lr_max with a tenth of it as lr_min:
    `steepest`, where the loss falls fastest; `minimum_tenth`, a tenth of the rate with the least
    loss; `valley`, the middle of the longest fall of the loss.
    """

    rule: Literal["plateau", "smith", "argmin_tenth", "steepest", "minimum_tenth", "valley"] = (
        "plateau"
    )
    lr_min_share: float = Field(default=0.85, gt=0, le=1)
    lr_max_share: float = Field(default=0.93, gt=0, le=1)
    fixed: RatePair | None = None

    @pydantic.model_validator(mode="after")
    def _shares_rise(self) -> Self:
        if self.lr_min_share > self.lr_max_share:
            raise ValueError("lr_min_share must not be above lr_max_share")
        return self


class Clr(Frozen):
    """Training with a cyclical learning rate; `step_size` is the half-cycle in updates.

    The amplitude lr_max - lr_min stays what it is (`policy` triangular), is halved after every
    cycle (triangular2), or is multiplied by `gamma` at every update (exp_range): to a third after
    18,000 updates by 0.99994. `paper` is the pair of `clr-paper`.

    Keras's RMSprop has its `epsilon` inside the root, lr g / sqrt(v + epsilon); an older Keras's
    was outside, which {"name": "rmsprop", "epsilon": 1e-14} comes close to. The published run's
    figures speak for inside.

    `policy` may name a function of your own, package.module:function, that scales the amplitude: it
    is called with the number of the cycle (from 1) or of the update (from 0), as `scale_of` says,
    and returns a factor of lr_max - lr_min, such as 1 / 2 ** (cycle - 1); above 1 the rate leaves
    the bounds.
    """

    policy: Policy = "exp_range"
    scale_of: Literal["cycle", "iteration"] = "cycle"
    gamma: float = Field(default=0.99994, gt=0, le=1)
    step_size: Count = 2000
    batch_size: Count = 64
    optimizer: Optimizer = Optimizer(name="rmsprop")
    paper: RatePair = (0.001, 0.006)


class BatchSweep(Frozen):
    """The batch sizes that are tried, at lr_min.

    `budget`: each size makes the same `epochs`, or as many updates as lr_sweep.batch_size makes in
    them, so that the large sizes see more examples; each is then judged by the updates of its last
    such epoch. `noise` tells how the gradient noise scale is measured, on the swept size nearest to
    its batch_size, after every epoch; null for not at all.
    """

    batch_sizes: Annotated[tuple[Count, ...], Distinct, Doublings] = Field(
        default=tuple(16 << power for power in range(10)), min_length=1
    )
    epochs: Epochs = 5
    budget: Literal["epochs", "updates"] = "epochs"
    optimizer: Optimizer = SGD
    noise: GradientNoise | None = GradientNoise()


class BatchBounds(Frozen):
    """How bmin and bmax are detected, or the `fixed` pair that replaces the sweep.

    A doubling holds where it costs at most `threshold` percent of the training accuracy. bmin is
    the first size from which one holds, bmax where the first unbroken `stretch` of them ends; with
    outer, where the last one that holds ends.
    """

    threshold: float = Field(default=3.5, ge=0)
    stretch: Literal["first", "outer"] = "first"
    fixed: BatchPair | None = None


class CyclicBatch(Frozen):
    """Training with a batch size that cycles from epoch to epoch.

    `spacing` and `order` shape the cycle between bmin and bmax; `reference` is what the published
    run trained.
    """

    learning_rate: Rate = 0.01
    optimizer: Optimizer = SGD
    spacing: Literal["exponential", "linear"] = "exponential"
    order: Literal["ascending", "descending"] = "ascending"
    reference: tuple[Count, ...] = Field(default=(16, 32, 64), min_length=1, max_length=1000)


class EffectiveBatch(Frozen):
    """Training with gradients averaged over micro-batches, at lr_min.

    An update averages `group` micro-batches, or 1, 2, ... `group` of them and round again.
    """

    micro_batch: Count = 256
    group: Annotated[int, Field(ge=1, le=1000)] = 16
    optimizer: Optimizer = Optimizer(name="sgd", momentum=0.9)


class Combined(Frozen):
    """Training with both cycling: the learning rate follows the batch size.

    The rate is `lr_at_bmin` at bmin, and grows with the size (`scaling` linear) or with its root.
    Without `lr_at_bmin` it is cyclic_batch.learning_rate at fixed.batch_size, scaled down linearly
    to bmin: 0.01 bmin / 64.
    """

    scaling: Literal["linear", "sqrt"] = "linear"
    lr_at_bmin: Rate | None = None
    optimizer: Optimizer = SGD


class Fixed(Frozen):
    """The fixed settings that cycling must beat: at this rate, and clr.optimizer at lr_max."""

    learning_rate: Rate = 0.01
    batch_size: Count = 64
    optimizer: Optimizer = SGD


class Comparison(Frozen):
    """How the arms are compared: the validation accuracy to which epochs are counted."""

    goal: float = Field(default=0.90, gt=0, le=1)


class Arms(Frozen):
    """What all full trainings share; `seeds`, null for those of the experiment, are theirs."""

    epochs: Epochs = 20
    seeds: Seeds | None = None


class Experiment(Frozen):
    """The whole experiment, defaults as in the published notebook run.

    `model`: lenet5, resnet, mlp, a saved .keras file (its architecture), or
    package.module:function, which takes the shape of an image and the number of classes and returns
    a Keras model. `loss` and `metrics`: functions of Keras's by name, or package.module:function,
    of targets and outputs; every metric is averaged over the validation images after every epoch.
    An optimizer, a loss or a metric is a name, or {"name": ..., argument: ...}. With `precision`
    mixed_bfloat16 layers compute in 16 bits, and weights, losses and scores stay in 32.
    `gpus` are trained on, null for all there are, 0 for the CPU; as many `workers` train side by
    side, null for one a GPU, or one a processor core: both are of this machine, and say nothing of
    a `cluster` elsewhere. An update on more examples than
    `micro_batch`, if that is set, averages the gradients of parts of that size, each normalised
    (batch normalisation) by itself: less memory, and not quite the same numbers.
    """

    data: Data = Data()
    model: ModelName = "lenet5"
    loss: Measure = Measure(name="sparse_categorical_crossentropy")
    metrics: Measures = ()
    precision: Precision = "float32"
    micro_batch: Count | None = None
    lr_sweep: LrSweep = LrSweep()
    lr_bounds: LrBounds = LrBounds()
    clr: Clr = Clr()
    batch_sweep: BatchSweep = BatchSweep()
    batch_bounds: BatchBounds = BatchBounds()
    cyclic_batch: CyclicBatch = CyclicBatch()
    effective_batch: EffectiveBatch = EffectiveBatch()
    combined: Combined = Combined()
    fixed: Fixed = Fixed()
    training: Arms = Arms()
    comparison: Comparison = Comparison()
    seeds: Seeds = (0,)
    workers: Count | None = None
    gpus: Annotated[int, Field(ge=0)] | None = None
    cluster: Cluster = Cluster()
    artifacts: Place = "artifacts"

    @pydantic.model_validator(mode="after")
    def _rule_fits_method(self) -> Self:
        method, rule = self.lr_sweep.method, self.lr_bounds.rule
        if rule not in LR_RULES[method] and not self.lr_bounds.fixed:
            others = [name for name, rules in LR_RULES.items() if rule in rules]
            raise ValueError(
                f"lr_bounds.rule {rule} does not go with lr_sweep.method {method}: take "
                f"{', '.join(LR_RULES[method])}, or lr_sweep.method {' or '.join(others)}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _trains_in_one_place(self) -> Self:
        here = [name for name in ("workers", "gpus") if getattr(self, name) is not None]
        elsewhere = self.cluster.address or self.cluster.kind
        if elsewhere and here:
            raise ValueError(
                f"{here[0]} is of this machine, and the cluster {elsewhere} has its own: leave one "
                "of them out"
            )
        return self

    @property
    def arm_seeds(self) -> tuple[int, ...]:
        """The seeds of the full trainings."""
        return self.training.seeds or self.seeds

    @property
    def batch_sizes(self) -> dict[str, int]:
        """Name every field that sets a batch size, with its largest value."""
        sizes = {
            "lr_sweep.batch_size": self.lr_sweep.batch_size,
            "clr.batch_size": self.clr.batch_size,
            "cyclic_batch.reference": max(self.cyclic_batch.reference),
            "effective_batch.micro_batch": self.effective_batch.micro_batch,
            "fixed.batch_size": self.fixed.batch_size,
        }
        if self.batch_bounds.fixed:
            return sizes | {"batch_bounds.fixed": self.batch_bounds.fixed[1]}
        return sizes | {"batch_sweep.batch_sizes": max(self.batch_sweep.batch_sizes)}


NOTEBOOK = Experiment()
"""The published experiment at full size.

Command: `cyclical run --profile notebook`. 285 epochs of 60,000 images.
"""

QUICK = Experiment(
    data=Data(train_images=5_000, test_images=1_000),
    lr_sweep=LrSweep(epochs=3),
    clr=Clr(step_size=158),  # two epochs of 79 updates
    batch_sweep=BatchSweep(batch_sizes=tuple(16 << power for power in range(7)), epochs=3),
    effective_batch=EffectiveBatch(micro_batch=32),
    training=Arms(epochs=7),  # one cycle of all seven sizes closes
)
"""The same graph scaled down to minutes on two CPU cores.

Command: `cyclical run`.
"""

PROFILES: Mapping[str, Experiment] = {"quick": QUICK, "notebook": NOTEBOOK}
