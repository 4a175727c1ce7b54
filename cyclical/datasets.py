"""The data that are studied: read from where they lie, checked, cut, and divided."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclical import fashion_mnist, sources
from cyclical.errors import InputError
from cyclical.examples import Part, Pixels
from cyclical.sources import Arrays, Found

KNOWN = {
    fashion_mnist.NAME: (60_000, 10, (28, 28, 1)),
    "mnist": (60_000, 10, (28, 28, 1)),
    "cifar10": (50_000, 10, (32, 32, 3)),
    "cifar100": (50_000, 100, (32, 32, 3)),
}
"""Training images, classes and an image's shape of the data sets that are known by name."""
MOST_CLASSES = 10_000
FARTHEST = 100.0
"""Pixels that are no whole numbers from 0 to 255 may lie so far from 0."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Dataset:
    """What is trained on, what is tested on, and the name of each label.

    `validation` is what was held out of the training images, if anything.
    """

    train: Part
    test: Part
    class_names: tuple[str, ...]
    validation: Part | None = None
    is_fashion: bool = False


@dataclass(frozen=True)
class About:
    """What the trainings and their judgement need to know of the data.

    `most_frequent` is the share of the most frequent class among the training images;
    `is_fashion` says whether they are Fashion-MNIST's.
    """

    height: int
    width: int
    channels: int
    train_images: int
    classes: int
    most_frequent: float
    is_fashion: bool


def load(
    name: str,
    path: Path | None,
    train_images: int | None,
    test_images: int | None,
    validation_split: float = 0.0,
) -> Dataset:
    """Read a data set and check it: types, shapes, ranges, counts, labels.

    It warns, in the log, of test images that are training images too, and of a training part that
    lacks classes.

    Args:
        name: fashion_mnist, mnist, cifar10, cifar100, or package.module:function.
        path: The user's own data, see `sources.FORMS`, or Fashion-MNIST's folder; None goes by
            the name.
        train_images: How many training images, the first n; None for all. Of the user's own data,
            whose number is not known before, at most so many.
        test_images: How many test images, likewise.
        validation_split: The share of these training images that is held out, see `hold_out`.

    Raises:
        InputError: No source is found, it is damaged or too large, what it holds are no images
            with labels, a count is below 1 or above the number of images there are, or the split
            leaves a part empty.
    """
    _check_at_least_one("data.train_images", train_images)
    _check_at_least_one("data.test_images", test_images)
    found = sources.read(name, path)
    images = {part: _images(getattr(found, part)[0], part) for part in sources.PARTS}
    if images["train"].shape[1:] != images["test"].shape[1:] or (
        images["train"].dtype != images["test"].dtype
    ):
        of_train, of_test = (f"{each.shape[1:]} {each.dtype}" for each in images.values())
        raise InputError(f"training images are {of_train}, test images {of_test}: make them equal")
    labels, class_names = _labels(found)
    own = path is not None and not found.is_fashion
    train, test = (
        _first(
            f"data.{part}_images",
            Part(images[part], labels[part]),
            min(count, len(labels[part])) if count and (own or ":" in name) else count,
        )
        for part, count in zip(sources.PARTS, (train_images, test_images), strict=True)
    )
    _warn(train, test, len(class_names))
    if not validation_split:
        return Dataset(train, test, class_names, is_fashion=found.is_fashion)
    kept, held_out = hold_out(train, validation_split)
    return Dataset(kept, test, class_names, held_out, found.is_fashion)


def about(dataset: Dataset) -> About:
    """Describe a data set."""
    count, height, width, channels = dataset.train.images.shape
    most = int(np.bincount(dataset.train.labels).max())
    classes = len(dataset.class_names)
    return About(
        height, width, channels, count, classes, most / count, is_fashion=dataset.is_fashion
    )


def expected(
    name: str, path: Path | None, train_images: int | None, validation_split: float = 0.0
) -> About:
    """Say what `load` will give: from memory where the data are known by name, else by doing it.

    Raises:
        InputError: There are no such data.
    """
    if path is not None or name not in KNOWN:
        return about(load(name, path, train_images, None, validation_split))
    if name == fashion_mnist.NAME:
        fashion_mnist.find_source(None)
    images, classes, (height, width, channels) = KNOWN[name]
    kept = round(min(images, train_images or images) * (1 - validation_split))
    fashion = name == fashion_mnist.NAME
    return About(height, width, channels, kept, classes, 1 / classes, is_fashion=fashion)


def hold_out(part: Part, share: float) -> tuple[Part, Part]:
    """Split a part by class: (what is kept, what is held out), each in the order given.

    Of every class the last images are held out, `share` of them, rounded; so both parts have the
    classes in the same proportions, whatever the order of the images.

    Raises:
        InputError: One of the two would be empty.
    """
    held = np.zeros(len(part.labels), dtype=bool)
    for label in np.unique(part.labels):
        (places,) = np.nonzero(part.labels == label)
        held[places[len(places) - round(share * len(places)) :]] = True
    if held.all() or not held.any():
        raise InputError(
            f"data.validation_split = {share:g} of {len(held)} training images leaves nothing to "
            f"{'train on' if held.all() else 'validate on'}: take more images or another share"
        )
    return (
        Part(part.images[~held], part.labels[~held]),
        Part(part.images[held], part.labels[held]),
    )


def class_counts(dataset: Dataset) -> pd.DataFrame:
    """Count the images of each class.

    Returns:
        One row a class: `label` (0, 1, ...), `name`, `train` and `test` (numbers of images), and
        `validation` where images are held out.
    """
    classes = len(dataset.class_names)
    parts = {"train": dataset.train, "test": dataset.test, "validation": dataset.validation}
    counts = {
        name: np.bincount(part.labels, minlength=classes) for name, part in parts.items() if part
    }
    columns = {"label": np.arange(classes), "name": dataset.class_names, **counts}
    return pd.DataFrame(columns)


def _images(values: NDArray[Any], part: str) -> Pixels:
    """Check images; return them as bytes, or floats, of shape (n, height, width, 1 or 3)."""
    if values.ndim == 3:
        values = values[..., np.newaxis]
    if values.ndim != 4 or values.shape[3] not in {1, 3} or 0 in values.shape:
        channels_first = values.ndim == 4 and values.shape[1] in {1, 3}
        hint = ": channels come last, np.moveaxis(x, 1, -1)" if channels_first else ""
        raise InputError(
            f"{part} images must be of shape (n, height, width) or (n, height, width, 1 or 3), "
            f"but are {values.shape}{hint}"
        )
    if values.dtype.kind not in "uif":
        hint = ": x.astype('float32')" if values.dtype.kind == "b" else ""
        raise InputError(f"{part} images must be numbers, but are {values.dtype}{hint}")
    least, most = values.min(), values.max()
    if values.dtype.kind in "ui":
        if least < 0 or most > 255:
            raise InputError(
                f"{part} images hold whole numbers from {least} to {most}: they must lie between "
                "0 and 255, or be floats"
            )
        return values.astype(np.uint8, copy=False)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any(axis=(1, 2, 3)).sum())
        raise InputError(f"{bad} {part} images hold NaN or infinity: leave them out, or mend them")
    if max(-least, most) > FARTHEST:
        raise InputError(
            f"{part} images hold floats from {least:g} to {most:g}: scale them to about 0 to 1, or "
            "give whole numbers from 0 to 255 (uint8)"
        )
    return values.astype(np.float32, copy=False)


def _labels(found: Found) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Check labels; return them as numbers from 0, by part, and the names of the classes."""
    labels = {part: _flat(getattr(found, part), part) for part in sources.PARTS}
    kinds = {"text" if each.dtype.kind == "U" else each.dtype.kind for each in labels.values()}
    names = found.class_names
    if kinds == {"text"}:
        known = np.unique(labels["train"])
        strange = sorted(set(labels["test"].tolist()) - set(known.tolist()))
        if strange:
            raise InputError(f"test images are of {strange[0]!r}, a class without training images")
        labels = {part: np.searchsorted(known, each) for part, each in labels.items()}
        names = tuple(map(str, known))
    elif not kinds <= {"u", "i"}:
        raise InputError(
            "labels must be whole numbers or names, one an image, but are "
            f"{labels['train'].dtype} and {labels['test'].dtype}: y.astype(int), or astype(str)"
        )
    classes = len(names or ()) or int(labels["train"].max()) + 1
    for part, each in labels.items():
        if each.min() < 0 or each.max() >= classes:
            named = f", as there are {classes} names of classes" if names else ""
            raise InputError(
                f"{part} labels run from {each.min()} to {each.max()}: they must count from 0 to "
                f"{classes - 1}{named}"
            )
    if not 2 <= classes <= MOST_CLASSES:
        raise InputError(f"there are {classes} classes: it takes 2 to {MOST_CLASSES}")
    lacking = np.setdiff1d(np.arange(classes), labels["train"])
    if len(lacking):
        raise InputError(
            f"no training image has the label {lacking[0]}"
            + (f" (nor {len(lacking) - 1} others)" if len(lacking) > 1 else "")
            + ": labels must count from 0 on without gaps"
        )
    kind = np.min_scalar_type(classes - 1)
    return (
        {part: each.astype(kind) for part, each in labels.items()},
        names or tuple(map(str, range(classes))),
    )


def _flat(found: Arrays, part: str) -> NDArray[Any]:
    images, labels = found
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        raise InputError(f"{part} labels have {labels.shape[1]} columns: give y.argmax(axis=1)")
    if labels.shape != images.shape[:1]:
        raise InputError(f"there are {len(images)} {part} images, but labels of {labels.shape}")
    return labels


def _warn(train: Part, test: Part, classes: int) -> None:
    """Warn of what is allowed and seldom wanted."""
    there, tested = (len(np.unique(part.labels)) for part in (train, test))
    if tested < classes:
        log.warning("the test images are of %d of the %d classes", tested, classes)
    if there < classes:
        log.warning(
            "the first %d training images are of %d of the %d classes: shuffle the data, or take "
            "more of them (data.train_images)",
            *(len(train.labels), there, classes),
        )
    known = {hash(image.tobytes()) for image in train.images}
    twice = sum(hash(image.tobytes()) in known for image in test.images)
    if twice:
        log.warning(
            "%d of the %d test images are training images too: test accuracy flatters",
            *(twice, len(test.labels)),
        )


def _check_at_least_one(field: str, count: int | None) -> None:
    if count is not None and count < 1:
        raise InputError(f"{field} must be at least 1, but is {count}: null takes all")


def _first(field: str, part: Part, count: int | None) -> Part:
    """Return the first `count` images of a part, or all."""
    there = len(part.images)
    if count is not None and count > there:
        raise InputError(f"{field} is {count}, but there are {there} images: null takes all")
    return Part(part.images[:count], part.labels[:count])
