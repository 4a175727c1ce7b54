"""Fashion-MNIST: found on this machine, checked to the bit, and turned into tables and back.

The data are four IDX files (see `IDX_FILES`), each gzipped or raw: a header of big-endian 32-bit
numbers (a magic number, then the length of each dimension) and one byte for each value.
"""

import gzip
import hashlib
import json
import math
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from cyclical.errors import InputError

UInt8 = NDArray[np.uint8]

NAME = "fashion_mnist"
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
MD5: Mapping[str, str] = MappingProxyType(
    {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }
)
"""MD5 of each decompressed IDX file."""
IDX_FILES = tuple(MD5)
"""Names of the IDX files, without `.gz`: train images and labels, test images and labels."""
REMEDY = "run `cyclical data`, or name a folder with the four IDX files: `--set data.path=FOLDER`"
"""How to mend data that are missing or damaged; every such error ends with it."""

_IMAGE_SHAPE = (28, 28, 1)
_UINT8_MAGIC = 0x0800
_LARGEST_BODY_BYTES = 1 << 26  # the training images have 47 MB; a header may promise no more


@dataclass(frozen=True, eq=False)
class Part:
    """Images and what they show: uint8 of shape (n, 28, 28, 1), and uint8 of shape (n,)."""

    images: UInt8
    labels: UInt8


@dataclass(frozen=True, eq=False)
class Dataset:
    """What is trained on, what is tested on, and the name of each label.

    `validation` is what was held out of the training images, if anything.
    """

    train: Part
    test: Part
    class_names: tuple[str, ...]
    validation: Part | None = None


@dataclass(frozen=True, eq=False)
class _Idx:
    path: Path
    values: UInt8
    md5: str


def load(
    name: str,
    path: Path | None,
    train_images: int | None,
    test_images: int | None,
    validation_split: float = 0.0,
) -> Dataset:
    """Read a data set and check it: structure, counts, and the MD5 of every file.

    Args:
        name: The data set; `fashion_mnist` is the one there is.
        path: The folder of the four IDX files; None looks where `find_source` does.
        train_images: How many training images, the first n; None for all 60,000.
        test_images: How many test images, the first n; None for all 10,000.
        validation_split: The share of these training images that is held out, see `hold_out`.

    Raises:
        InputError: The name is unknown, no source is found, a file is missing or damaged, a
            count is below 1 or above the number of images there are, or the split leaves a part
            empty.
    """
    if name != NAME:
        raise InputError(f"data.name must be {NAME}, but is {name!r}: no other data set is known")
    _check_at_least_one("data.train_images", train_images)
    _check_at_least_one("data.test_images", test_images)
    folder = find_source(path)
    train = _first("data.train_images", _read_part(folder, *IDX_FILES[:2]), train_images)
    test = _first("data.test_images", _read_part(folder, *IDX_FILES[2:]), test_images)
    if not validation_split:
        return Dataset(train, test, CLASS_NAMES)
    kept, held_out = hold_out(train, validation_split)
    return Dataset(kept, test, CLASS_NAMES, held_out)


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


def find_source(path: Path | None) -> Path:
    """Return the absolute path of the first folder that holds all four IDX files.

    A folder that is named is the only one looked at. Else, in this order: `data/fashion-mnist`
    in the current directory, the folder of Debian's package `dataset-fashion-mnist`, Keras's
    cache (below `KERAS_HOME` or `~/.keras`). The files' contents are not looked at here.

    Raises:
        InputError: The named folder, or every one of the others, lacks a file.
    """
    folders = [_expanded(path)] if path is not None else _usual_folders()
    tried = []
    for folder in map(Path.absolute, folders):
        lacking = [name for name in IDX_FILES if _file_of(folder, name) is None]
        if not lacking:
            return folder
        some = lacking if len(lacking) < len(IDX_FILES) else []
        tried.append(f"{folder} (no readable {', '.join(some)})" if some else str(folder))
    what = "data.path: " if path is not None else ""
    what += f"the four files of Fashion-MNIST, .gz or raw, are not in {' or '.join(tried)}"
    raise InputError(f"{what}: {REMEDY}")


def normalised(images: UInt8) -> NDArray[np.float32]:
    """Scale pixels to float32 in [0, 1], x / 255, same shape.

    >>> normalised(np.array([0, 51, 255], dtype=np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    return np.divide(images, 255, dtype=np.float32)


def to_table(part: Part) -> pa.Table:
    """Lay images out as a table, one row an image; `from_table` is the exact inverse.

    Returns:
        Columns `pixels` (a list of uint8 of fixed length, row by row of the image) and `label`
        (uint8); the shape of one image stands in the schema's metadata as `image_shape` (JSON).
    """
    shape = part.images.shape[1:]
    values = pa.array(part.images.reshape(-1))
    pixels = pa.FixedSizeListArray.from_arrays(values, math.prod(shape))
    metadata = {"image_shape": json.dumps(shape)}
    schema = pa.schema([("pixels", pixels.type), ("label", pa.uint8())], metadata=metadata)
    return pa.Table.from_arrays([pixels, pa.array(part.labels)], schema=schema)


def from_table(table: pa.Table) -> Part:
    """Read images back from a table that `to_table` made, also one that was sliced or chunked.

    Raises:
        InputError: The columns, their types or the metadata are not those of `to_table`.
    """
    shape = _table_image_shape(table)
    pixels = table["pixels"].combine_chunks().flatten()
    images = pixels.to_numpy().reshape(table.num_rows, *shape)
    return Part(images, table["label"].combine_chunks().to_numpy())


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


def to_idx(values: UInt8) -> bytes:
    """Write uint8 values of any shape as the bytes of an IDX file.

    >>> to_idx(np.array([7, 9], dtype=np.uint8)).hex(" ", 4)
    '0000 08010000 00020709'
    """
    header = (_UINT8_MAGIC + values.ndim, *values.shape)
    return struct.pack(f">{len(header)}I", *header) + values.tobytes()


def _usual_folders() -> list[Path]:
    return [
        Path("data/fashion-mnist"),
        Path("/usr/share/datasets/fashion-mnist"),
        _expanded(os.environ.get("KERAS_HOME") or "~/.keras") / "datasets/fashion-mnist",
    ]


def _expanded(path: str | Path) -> Path:
    # Path.expanduser raises where there is no home; this leaves "~", where nothing is found.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _file_of(folder: Path, name: str) -> Path | None:
    # os.access, because Path.is_file raises in a folder that may not be searched.
    paths = (folder / f"{name}.gz", folder / name)
    return next((path for path in paths if os.access(path, os.R_OK)), None)


def _check_at_least_one(field: str, count: int | None) -> None:
    if count is not None and count < 1:
        raise InputError(f"{field} must be at least 1, but is {count}: null takes all")


def _first(field: str, part: Part, count: int | None) -> Part:
    """Return the first `count` images of a part, or all."""
    there = len(part.images)
    if count is not None and count > there:
        raise InputError(f"{field} is {count}, but there are {there} images: null takes all")
    return Part(part.images[:count], part.labels[:count])


def _read_part(folder: Path, images_name: str, labels_name: str) -> Part:
    """Read and check one part: structure before counts before MD5, so the clearest is told."""
    images = _read_idx(folder, images_name, dimensions=3)
    labels = _read_idx(folder, labels_name, dimensions=1)
    _check_shapes(images, labels)
    _check_md5(images, MD5[images_name])
    _check_md5(labels, MD5[labels_name])
    return Part(images.values.reshape(-1, *_IMAGE_SHAPE), labels.values)


def _check_shapes(images: _Idx, labels: _Idx) -> None:
    count, height, width = images.values.shape
    if (height, width) != _IMAGE_SHAPE[:2]:
        raise _damaged(images.path, f"holds images of {height}x{width} pixels, not 28x28")
    if count != len(labels.values):
        what = f"holds {len(labels.values)} labels for the {count} images of {images.path.name}"
        raise _damaged(labels.path, what)


def _check_md5(idx: _Idx, md5: str) -> None:
    if idx.md5 != md5:
        what = f"is not Fashion-MNIST's (MD5 of the decompressed bytes {idx.md5}, not {md5})"
        raise _damaged(idx.path, what)


def _read_idx(folder: Path, name: str, dimensions: int) -> _Idx:
    """Read one file, .gz before raw, into uint8 of the shape its header states.

    Raises:
        InputError: The file is missing or unreadable, or is no whole IDX file of `dimensions`.
    """
    path = _file_of(folder, name)
    if path is None:
        raise _damaged(folder / name, "is missing or unreadable, .gz or raw,")
    try:
        with _opened(path) as stream:
            return _parse_idx(path, stream, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, f"can't be read ({error})") from error


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _parse_idx(path: Path, stream: BinaryIO, dimensions: int) -> _Idx:
    header = _exactly(path, "header", stream.read(4 + 4 * dimensions), 4 + 4 * dimensions)
    magic, *shape = struct.unpack(f">{1 + dimensions}I", header)
    if magic != _UINT8_MAGIC + dimensions:
        expected = f"0x{_UINT8_MAGIC + dimensions:08x}"
        raise _damaged(path, f"starts with the magic number 0x{magic:08x}, not {expected},")
    promised = math.prod(shape)
    if promised > _LARGEST_BODY_BYTES:
        what = f"promises {promised} bytes, more than the {_LARGEST_BODY_BYTES} that are read,"
        raise _damaged(path, what)
    # One byte more than promised tells a file that is too long, and no more is ever unpacked.
    body = _exactly(path, "body", stream.read(promised + 1), promised)
    md5 = hashlib.md5(header + body, usedforsecurity=False).hexdigest()
    return _Idx(path, np.frombuffer(body, np.uint8).reshape(shape), md5)


def _exactly(path: Path, what: str, got: bytes, expected: int) -> bytes:
    if len(got) < expected:
        raise _damaged(path, f"is truncated (its {what} has {len(got)} of {expected} bytes)")
    if len(got) > expected:
        raise _damaged(path, f"is too long (its header promises a {what} of {expected} bytes)")
    return got


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} {what} and must be replaced: {REMEDY}")


def _table_image_shape(table: pa.Table) -> tuple[int, ...]:
    shape = tuple(json.loads((table.schema.metadata or {}).get(b"image_shape", b"[]")))
    expected = {"pixels": pa.list_(pa.uint8(), math.prod(shape)), "label": pa.uint8()}
    found = dict(zip(table.column_names, table.schema.types, strict=True))
    nulls = sum(column.null_count for column in table.columns)
    if not shape or found != expected or nulls:
        raise InputError(
            "the table of images needs the columns pixels and label without nulls and image_shape "
            f"in its metadata, but has {found} with {nulls} nulls and image_shape {shape}: make "
            "it with to_table"
        )
    return shape
