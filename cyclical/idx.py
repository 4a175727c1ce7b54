"""IDX files, gzipped or raw: what Fashion-MNIST, MNIST and their like are kept in.

A header of big-endian 32-bit numbers (a magic number, then the length of each dimension) and one
byte for each value. Source: LeCun, Cortes and Burges, "The MNIST database", at its end.
"""

import gzip
import hashlib
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from cyclical.errors import InputError

UInt8 = NDArray[np.uint8]
MAGIC = 0x0800
MOST_BYTES = 1 << 26  # Fashion-MNIST's training images have 47 MB; a header may promise so much,
MOST_TIMES = 32  # or so many times the file's own length
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""Names without `.gz`: training images and labels, test images and labels."""
REMEDY = "run `cyclical data`, or name a folder with the four IDX files: `--set data.path=FOLDER`"
"""How to mend data that are missing or damaged; every such error ends with it."""


@dataclass(frozen=True, eq=False)
class Idx:
    """A file's values, of the shape that its header states, and the MD5 of its raw bytes."""

    path: Path
    values: UInt8
    md5: str


def read(folder: Path, name: str, dimensions: int) -> Idx:
    """Read one file, .gz before raw, into uint8 of the shape its header states.

    Raises:
        InputError: The file is missing or unreadable, or is no whole IDX file of `dimensions`.
    """
    path = file_of(folder, name)
    if path is None:
        raise damaged(folder / name, "is missing or unreadable, .gz or raw,")
    try:
        with _opened(path) as stream:
            return _parse(path, stream, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, f"can't be read ({error})") from error


def read_all(folder: Path) -> list[Idx]:
    """Read the four files of a data set, in the order of FILES; see `read`."""
    return [read(folder, name, dimensions=3 if "images" in name else 1) for name in FILES]


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _parse(path: Path, stream: BinaryIO, dimensions: int) -> Idx:
    header = _exactly(path, "header", stream.read(4 + 4 * dimensions), 4 + 4 * dimensions)
    magic, *shape = struct.unpack(f">{1 + dimensions}I", header)
    if magic != MAGIC + dimensions:
        expected = f"0x{MAGIC + dimensions:08x}"
        raise damaged(path, f"starts with the magic number 0x{magic:08x}, not {expected},")
    promised = math.prod(shape)
    most = max(MOST_BYTES, MOST_TIMES * path.stat().st_size)
    if promised > most:
        what = f"promises {promised} bytes, more than the {most} that are read,"
        raise damaged(path, what)
    # One byte more than promised tells a file that is too long, and no more is ever unpacked.
    body = _exactly(path, "body", stream.read(promised + 1), promised)
    md5 = hashlib.md5(header, usedforsecurity=False)
    md5.update(body)
    return Idx(path, np.frombuffer(body, np.uint8).reshape(shape), md5.hexdigest())


def _exactly(path: Path, what: str, got: bytes, expected: int) -> bytes:
    if len(got) < expected:
        raise damaged(path, f"is truncated (its {what} has {len(got)} of {expected} bytes)")
    if len(got) > expected:
        raise damaged(path, f"is too long (its header promises a {what} of {expected} bytes)")
    return got


def damaged(path: Path, what: str) -> InputError:
    """Say what is wrong with a file, and how to mend it."""
    return InputError(f"{path} {what} and must be replaced: {REMEDY}")


def to_idx(values: UInt8) -> bytes:
    """Write uint8 values of any shape as the bytes of an IDX file.

    >>> to_idx(np.array([7, 9], dtype=np.uint8)).hex(" ", 4)
    '0000 08010000 00020709'
    """
    header = (MAGIC + values.ndim, *values.shape)
    return struct.pack(f">{len(header)}I", *header) + values.tobytes()


def file_of(folder: Path, name: str) -> Path | None:
    """Return the readable file of that name, .gz before raw, or None."""
    # os.access, because Path.is_file raises in a folder that may not be searched.
    paths = (folder / f"{name}.gz", folder / name)
    return next((path for path in paths if os.access(path, os.R_OK)), None)
