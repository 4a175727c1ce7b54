"""The kinds of values that an experiment is made of, each validated where it is made."""

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cyclical import buckets, naming

T = TypeVar("T")
MOST_SEEDS = 100
LONGEST_PATH, LONGEST_NAME = 4000, 255
POLICIES = ("triangular", "triangular2", "exp_range")
REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""Something of the user's own: package.module:name."""
DATA_NAMES = ("fashion_mnist", "mnist", "cifar10", "cifar100")
MODEL_NAMES = ("lenet5", "resnet", "mlp")
SAVED_MODEL = ".keras"
OPTIMIZERS = (
    *("adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl"),
    *("lamb", "lion", "muon", "nadam", "rmsprop", "sgd"),
)
"""Keras's, but for those that score with other weights than they train, or wrap another."""
OURS = {
    "learning_rate": "its schedule is the experiment's",
    "gradient_accumulation_steps": "effective_batch and micro_batch do that",
    "use_ema": "the weights that are trained are those that are scored",
    "loss_scale_factor": "bfloat16 needs none",
}
"""What an optimizer is not told, and why."""


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


def _place(place: str) -> str:
    if buckets.is_address(place):
        return buckets.checked(place)
    return str(_path(Path(place)))


def _policy(name: str) -> str:
    if name not in POLICIES and not REFERENCE.fullmatch(name):
        raise ValueError(
            f"{name!r} is neither {', '.join(POLICIES)} nor your own scale function, "
            "written package.module:function"
        )
    return name


def _data(name: str) -> str:
    if name not in DATA_NAMES and not REFERENCE.fullmatch(name):
        raise ValueError(
            f"{name!r} is neither {', '.join(DATA_NAMES)} nor a function of your own, written "
            "package.module:function (files of your own go into data.path)"
        )
    return name


def _model(name: str) -> str:
    saved = name.endswith(SAVED_MODEL) and bool(_path(Path(name)))
    if not (name in MODEL_NAMES or saved or REFERENCE.fullmatch(name)):
        raise ValueError(
            f"{name!r} is neither {', '.join(MODEL_NAMES)}, nor a saved {SAVED_MODEL} file, nor a "
            "function of your own, written package.module:function"
        )
    return name


def _path(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path has no null character")
    if len(os.fsencode(path)) > LONGEST_PATH or any(
        len(os.fsencode(part)) > LONGEST_NAME for part in path.parts
    ):
        raise ValueError(f"a path of {len(str(path))} characters is too long")
    return path


def _labels_differ(measures: tuple["Measure", ...]) -> tuple["Measure", ...]:
    labels = [naming.column(measure) for measure in measures]
    _distinct(("loss", "accuracy", *labels))
    return measures


Policy = Annotated[str, AfterValidator(_policy)]
DataName = Annotated[str, AfterValidator(_data)]
ModelName = Annotated[str, AfterValidator(_model)]
Rate = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
Precision = Literal["float32", "mixed_bfloat16"]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Distinct = AfterValidator(_distinct)
Doublings = AfterValidator(_each_a_doubling)
RatePair = Annotated[tuple[Rate, Rate], AfterValidator(_rising)]
BatchPair = Annotated[tuple[Count, Count], AfterValidator(_doublings)]
FilePath = Annotated[Path, AfterValidator(_path)]
Place = Annotated[str, AfterValidator(_place)]


class Frozen(BaseModel):
    """A value: immutable, comparable, with no unknown fields, no coercion and no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Named(Frozen):
    """Something of Keras's by its name, with arguments: {"name": "adam", "beta_1": 0.8}.

    A name alone means that all arguments are Keras's defaults.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, bool | int | float | str | None] = Field(init=False)

    name: str

    @pydantic.model_validator(mode="before")
    @classmethod
    def _in_order(cls, value: Any) -> Any:
        """Take a name alone for one without arguments, and arguments in any order for the same."""
        if isinstance(value, str):
            return {"name": value}
        return dict(sorted(value.items())) if isinstance(value, dict) else value

    @property
    def arguments(self) -> dict[str, Any]:
        """What is told beside the name."""
        return dict(self.__pydantic_extra__)

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.arguments.items())))


class Optimizer(Named):
    """A Keras optimizer, at its defaults but for what is named beside it."""

    name: Literal[OPTIMIZERS]  # type: ignore[valid-type]

    @pydantic.model_validator(mode="after")
    def _leaves_ours_alone(self) -> Self:
        for argument in self.arguments.keys() & OURS.keys():
            raise ValueError(f"{argument} can't be set: {OURS[argument]}")
        return self


class GradientNoise(Frozen):
    """How the gradient noise scale is measured after an epoch: over `repeats` groups of batches.

    A group holds `group` batches of `batch_size` examples, drawn without replacement; of few
    examples there are fewer groups, and at last one of fewer batches.
    """

    batch_size: Count = 64
    group: Annotated[int, Field(ge=2, le=1000)] = 16
    repeats: Annotated[int, Field(ge=1, le=1000)] = 16


class Measure(Named):
    """A loss or a metric: a function of Keras's, or of the user's own, of targets and outputs."""

    @pydantic.model_validator(mode="after")
    def _is_a_name(self) -> Self:
        if not (REFERENCE.fullmatch(self.name) or re.fullmatch(r"[a-z0-9_]+", self.name)):
            raise ValueError(
                f"{self.name!r} is neither the name of a function of Keras's, such as "
                "categorical_crossentropy, nor your own, written package.module:function"
            )
        return self


Seeds = Annotated[
    tuple[Seed, ...], AfterValidator(_distinct), Field(min_length=1, max_length=MOST_SEEDS)
]
Measures = Annotated[tuple[Measure, ...], AfterValidator(_labels_differ)]
