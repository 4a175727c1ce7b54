"""Images and what they show, in memory and as a table."""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cyclical.errors import InputError

Pixels = NDArray[np.uint8] | NDArray[np.float32]
PIXEL_TYPES = ("uint8", "float32")
IMAGE_SHAPE = b"image_shape"
LABEL_TYPES = ("uint8", "uint16", "uint32")


@dataclass(frozen=True, eq=False)
class Part:
    """Images of shape (n, height, width, channels), and what they show: of shape (n,).

    Pixels are uint8, which networks see divided by 255, or float32, which they see as they are.
    Labels count from 0; they are uint8, or as much longer as the number of classes needs.
    """

    images: Pixels
    labels: NDArray[Any]


def normalised(images: Pixels) -> NDArray[np.float32]:
    """Return what networks see: of bytes x / 255, float32 in [0, 1]; the same shape.

    >>> normalised(np.array([0, 51, 255], dtype=np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    if images.dtype == np.uint8:
        return np.divide(images, 255, dtype=np.float32)
    return images.astype(np.float32, copy=False)


def to_table(part: Part) -> pa.Table:
    """Lay images out as a table, one row an image; `from_table` is the exact inverse.

    Returns:
        Columns `pixels` (as many bytes as an image has, row by row) and `label`. The shape of one
        image stands in the schema's metadata as `image_shape` (JSON), and where pixels are no
        bytes their type as `pixel_type`. Parquet would keep a list of numbers in four bytes each,
        and say of each where it stands.
    """
    count, *shape = part.images.shape
    values = pa.py_buffer(np.ascontiguousarray(part.images).reshape(-1))
    width = pa.binary(math.prod(shape) * part.images.dtype.itemsize)
    pixels = pa.FixedSizeBinaryArray.from_buffers(width, count, [None, values])
    metadata = {"image_shape": json.dumps(shape)}
    if part.images.dtype != np.uint8:
        metadata["pixel_type"] = str(part.images.dtype)
    labels = pa.array(part.labels)
    schema = pa.schema([("pixels", pixels.type), ("label", labels.type)], metadata=metadata)
    return pa.Table.from_arrays([pixels, labels], schema=schema)


def from_table(table: pa.Table) -> Part:
    """Read images back from a table that `to_table` made, also one that was sliced or chunked.

    Raises:
        InputError: The columns, their types or the metadata are not those of `to_table`.
    """
    shape, kind = _images_of(table)
    pixels = table["pixels"].combine_chunks()
    size = math.prod(shape)
    values = np.frombuffer(pixels.buffers()[1] or b"", kind)
    images = values[pixels.offset * size :][: table.num_rows * size]
    return Part(images.reshape(table.num_rows, *shape), table["label"].combine_chunks().to_numpy())


def _images_of(table: pa.Table) -> tuple[tuple[int, ...], str]:
    """Return the shape of an image and the type of its pixels."""
    metadata = table.schema.metadata or {}
    shape = _numbers(metadata.get(IMAGE_SHAPE, b""))
    kind = metadata.get(b"pixel_type", b"uint8").decode(errors="replace")
    found = dict(zip(table.column_names, table.schema.types, strict=True))
    known = kind in PIXEL_TYPES and str(found.get("label")) in LABEL_TYPES
    width = math.prod(shape) * np.dtype(kind).itemsize if known else 0
    nulls = sum(column.null_count for column in table.columns)
    as_expected = shape and known and found.get("pixels") == pa.binary(width) and len(found) == 2
    if nulls or not as_expected:
        raise InputError(
            "the table of images needs the columns pixels and label without nulls and image_shape "
            f"in its metadata, but has {found} with {nulls} nulls and image_shape {shape}: make "
            "it with to_table"
        )
    return shape, kind


def _numbers(text: bytes) -> tuple[int, ...]:
    """Read a list of whole numbers above 0; what is none gives nothing."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    whole = isinstance(told, list) and all(type(each) is int and each > 0 for each in told)
    return tuple(told) if whole else ()
