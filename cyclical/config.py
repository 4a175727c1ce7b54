"""The experiment as frozen, validated values, and the profiles.

Every number of the experiment is a field here. Field names are what `--set field=value` takes.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from cyclical.errors import InputError

T = TypeVar("T")


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise ValueError(f"{twice} is named twice")
    return values


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] >= pair[1]:
        raise ValueError(f"lr_min must be below lr_max, not {pair[0]:g} and {pair[1]:g}")
    return pair


def _doublings(pair: tuple[int, int]) -> tuple[int, int]:
    bmin, bmax = pair
    ratio = bmax // bmin
    if bmax % bmin or ratio & (ratio - 1) or ratio < 1:
        raise ValueError(f"bmax must be bmin times a power of two, not {bmin} and {bmax}")
    return pair


def _each_a_doubling(sizes: tuple[int, ...]) -> tuple[int, ...]:
    for low, high in pairwise(sorted(sizes)):
        ratio, rest = divmod(high, low)
        if rest or ratio & (ratio - 1):
            raise ValueError(
                "each size must be the one before times a power of two, so that a cycle reaches "
                f"it by doubling, unlike {low} and {high}"
            )
    return sizes


POLICIES = ("triangular", "triangular2", "exp_range")
REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _policy(name: str) -> str:
    if name not in POLICIES and not REFERENCE.fullmatch(name):
        raise ValueError(
            f"{name!r} is neither {', '.join(POLICIES)} nor your own scale function, "
            "written package.module:function"
        )
    return name


Policy = Annotated[str, AfterValidator(_policy)]
Rate = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Distinct = AfterValidator(_distinct)
Doublings = AfterValidator(_each_a_doubling)
RatePair = Annotated[tuple[Rate, Rate], AfterValidator(_rising)]
BatchPair = Annotated[tuple[Count, Count], AfterValidator(_doublings)]


class Frozen(BaseModel):
    """A value: immutable, comparable, with no unknown fields, no coercion and no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(Frozen):
    """Which images are studied; null counts mean all.

    With `validation_split` > 0 that share of the training images is held out: every epoch is scored
    on it, and the test images are scored once, when a training has ended.
    """

    name: Literal["fashion_mnist"] = "fashion_mnist"
    path: Path | None = None
    train_images: Count | None = None
    test_images: Count | None = None
    validation_split: float = Field(default=0.0, ge=0, lt=1)


class LrSweep(Frozen):
    """The learning rates that are tried, with SGD without momentum."""

    learning_rates: Annotated[tuple[Rate, ...], Distinct] = Field(
        default=tuple(float(f"1e{power}") for power in range(1, -10, -1)), min_length=1
    )
    epochs: Count = 5
    batch_size: Count = 64


class LrBounds(Frozen):
    """How lr_min and lr_max are read off the sweep, or the pair that replaces the sweep."""

    rule: Literal["plateau", "smith", "argmin_tenth"] = "plateau"
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
    paper: RatePair = (0.001, 0.006)


class BatchSweep(Frozen):
    """The batch sizes that are tried, with SGD at lr_min."""

    batch_sizes: Annotated[tuple[Count, ...], Distinct, Doublings] = Field(
        default=tuple(16 << power for power in range(10)), min_length=1
    )
    epochs: Count = 5


class BatchBounds(Frozen):
    """How bmin and bmax are detected, or the pair that replaces the sweep.

    `threshold` is in percent of accuracy lost per doubling.
    """

    threshold: float = Field(default=3.5, ge=0)
    stretch: Literal["first", "outer"] = "first"
    fixed: BatchPair | None = None


class CyclicBatch(Frozen):
    """Training with a batch size that cycles from epoch to epoch, with SGD.

    `spacing` and `order` shape the cycle between bmin and bmax; `reference` is what the published
    run trained.
    """

    learning_rate: Rate = 0.01
    spacing: Literal["exponential", "linear"] = "exponential"
    order: Literal["ascending", "descending"] = "ascending"
    reference: tuple[Count, ...] = Field(default=(16, 32, 64), min_length=1)


class EffectiveBatch(Frozen):
    """Training with gradients averaged over micro-batches, with SGD at lr_min.

    An update averages `group` micro-batches, or 1, 2, ... `group` of them and round again.
    """

    micro_batch: Count = 256
    group: Count = 16
    momentum: float = Field(default=0.9, ge=0, lt=1)


class Combined(Frozen):
    """Training with both cycling, with SGD: the learning rate follows the batch size.

    Without `lr_at_bmin` the rate is cyclic_batch.learning_rate at fixed.batch_size, scaled down
    linearly to bmin: 0.01 bmin / 64.
    """

    scaling: Literal["linear", "sqrt"] = "linear"
    lr_at_bmin: Rate | None = None


class Fixed(Frozen):
    """The fixed settings that cycling must beat: SGD at this rate, RMSprop at lr_max."""

    learning_rate: Rate = 0.01
    batch_size: Count = 64


class Comparison(Frozen):
    """How the arms are compared: the validation accuracy to which epochs are counted."""

    goal: float = Field(default=0.90, gt=0, le=1)


class Arms(Frozen):
    """What all full trainings share.

    `rmsprop_epsilon` stands inside RMSprop's root, lr g / sqrt(v + epsilon); null is Keras's 1e-7.
    The published run's Keras added 1e-7 outside the root, which 1e-14 comes closest to.
    """

    epochs: Count = 20
    rmsprop_epsilon: Rate | None = None


class Experiment(Frozen):
    """The whole experiment, defaults as in the published notebook run."""

    data: Data = Data()
    model: Literal["lenet5"] = "lenet5"
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
    seeds: Annotated[tuple[Seed, ...], Distinct] = Field(default=(0,), min_length=1)
    workers: Count | None = None
    artifacts: Path = Path("artifacts")

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


def resolve(
    profile: str, settings: Mapping[str, Any] | None = None, seeds: int | None = None
) -> Experiment:
    """Build the experiment: a profile, changed by `settings` (dotted field -> value).

    Args:
        profile: A name of PROFILES.
        settings: Dotted field name -> value of the JSON type that the field takes.
        seeds: Shorthand for seeds 0 to seeds - 1.

    Raises:
        InputError: Unknown profile or field (with the nearest known name), or a value that the
            field does not take.
    """
    if profile not in PROFILES:
        raise InputError(f"unknown profile {profile!r}: known are {', '.join(PROFILES)}")
    if seeds is not None and seeds < 1:
        raise InputError(f"--seeds must be at least 1, but is {seeds}")
    values = json.loads(PROFILES[profile].model_dump_json())
    for field, value in (settings or {}).items():
        _put(values, field, value)
    if seeds is not None:
        values["seeds"] = list(range(seeds))
    try:
        return Experiment.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise InputError(_one_line(error)) from None


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Read `field=value` pairs: the value as JSON, else as text.

    >>> parse_settings(["lr_sweep.epochs=2", "data.path=/tmp/x"])
    {'lr_sweep.epochs': 2, 'data.path': '/tmp/x'}
    """
    settings = {}
    for pair in pairs:
        field, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--set takes field=value, but got {pair!r}")
        settings[field.strip()] = _json_or_text(text)
    return settings


def fields(model: type[BaseModel] = Experiment, prefix: str = "") -> list[str]:
    """List the dotted names of all settable fields."""
    names = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += fields(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _put(values: dict[str, Any], field: str, value: Any) -> None:
    known = fields()
    if field not in known:
        near = difflib.get_close_matches(field, known, n=1, cutoff=0.0)[0]
        raise InputError(f"unknown field {field!r}: did you mean {near!r}?")
    *parents, name = field.split(".")
    for parent in parents:
        values = values[parent]
    values[name] = value


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # JSONDecodeError, or an integer of more digits than Python reads
        return text


def _one_line(error: ValidationError) -> str:
    """Name the first wrong field, its value and what is wanted."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "experiment"
    message = first["msg"].removeprefix("Value error, ")
    got = (
        "" if first["type"] == "value_error" else f", not {json.dumps(first['input'], default=str)}"
    )
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{field}: {message[0].lower()}{message[1:]}{got}{more}"
