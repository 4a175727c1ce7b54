"""Where data come from: by name, or from files of one's own, in whichever form they are.

What is read here is not judged yet: `datasets.load` does that.
"""

import hashlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cyclical import examples, factories, fashion_mnist, idx, memory, pictures
from cyclical.errors import InputError, one_line
from cyclical.values import Frozen

FORMS = (
    "an .npz file with x_train, y_train, x_test and y_test; or a folder with four IDX files, with "
    "train*.parquet and test*.parquet, or with pictures in train/CLASS/ and test/CLASS/"
)
CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}
PARTS = ("train", "test")
SHARE_OF_MEMORY = 0.5
DEEPEST = 20  # folders below the one that is named
UNREADABLE = (
    *(OSError, ValueError, EOFError, NotImplementedError, RuntimeError, TypeError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What Python's zipfile and NumPy raise at a damaged or encrypted file."""
Arrays = tuple[NDArray[Any], NDArray[Any]]


class Source(Frozen):
    """Files of the user's own: where they lie, and the hash of what they hold (see `digest`)."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Found:
    """Images and labels as a source has them; a label is a number, or the name of a class.

    `is_fashion`: whether they are Fashion-MNIST's, to the bit.
    """

    train: Arrays
    test: Arrays
    class_names: tuple[str, ...] | None = None
    is_fashion: bool = False


def read(name: str, path: Path | None) -> Found:
    """Read data by their name, or, where there is a path, what lies there.

    Args:
        name: fashion_mnist, a name of `factories.KERAS`, or package.module:function.
        path: A file or folder in one of FORMS.

    Raises:
        InputError: There is nothing, it can't be read, or it is larger than half of the memory.
    """
    if path is None:
        if name == fashion_mnist.NAME:
            return _of_idx(fashion_mnist.find_source(None), must_be_fashion=True)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "data.npz"
            factories.call(factories.KERAS.get(name, name), file)
            found = _of_npz(file)
        return replace(found, class_names=found.class_names or CLASS_NAMES.get(name))
    path = expanded(path)
    _refuse_too_large(path, sum(file.stat().st_size for file in files_at(path)))
    if path.suffix == ".npz":
        return _of_npz(path)
    if any(idx.file_of(path, name) for name in idx.FILES):
        return _of_idx(fashion_mnist.find_source(path))
    if all(_tables(path, part) for part in PARTS):
        return _of_parquet(path)
    if all((path / part).is_dir() for part in PARTS):
        return _of_pictures(path)
    raise InputError(f"data.path {path} is none of what can be read: {FORMS}")


def expanded(path: Path) -> Path:
    """Return an absolute path; "~" is the home, where there is one."""
    # Path.expanduser raises where there is no home; this leaves "~", where nothing is found.
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111


def files_at(path: Path) -> list[Path]:
    """List the files that lie at a path, hidden ones left out.

    Raises:
        InputError: There are none.
    """
    files = sorted(_walk(path)) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        what = "holds no files" if path.exists() else "is not there"
        raise InputError(f"data.path {path} {what}: give {FORMS}")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    """Find the files in a folder and the folders below it, also where those are links."""

    def refuse(error: OSError) -> None:
        raise InputError(f"data.path: {error.filename} can't be read ({error.strerror})")

    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if len(Path(place).parts) - len(folder.parts) > DEEPEST:
            raise InputError(
                f"data.path: {place} lies too deep: is there a link to a folder above?"
            )
        yield from (Path(place) / name for name in files if not name.startswith("."))


def digest(path: Path) -> str:
    """Hash the names and the contents of the files at a path: SHA-256, in hexadecimal.

    Raises:
        InputError: There is nothing, or it can't be read.
    """
    path = expanded(path)
    told = hashlib.sha256()
    for file in files_at(path):
        try:
            with file.open("rb") as content:
                of_file = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"data.path: {file} can't be read ({error.strerror})") from error
        told.update(f"{file.relative_to(path)}\0{of_file}\n".encode())
    return told.hexdigest()


def _of_idx(folder: Path, *, must_be_fashion: bool = False) -> Found:
    """Read four IDX files; what has a file of Fashion-MNIST's must be it, to the bit."""
    read = idx.read_all(folder)
    for images, labels in (read[:2], read[2:]):
        if len(images.values) != len(labels.values):
            counts = f"{len(labels.values)} labels for the {len(images.values)} images"
            raise idx.damaged(labels.path, f"holds {counts} of {images.path.name}")
    fashion = fashion_mnist.check(read, wanted=must_be_fashion)
    train_images, train_labels, test_images, test_labels = (file.values for file in read)
    return Found(
        (train_images, train_labels),
        (test_images, test_labels),
        fashion_mnist.CLASS_NAMES if fashion else None,
        is_fashion=fashion,
    )


def _of_npz(file: Path) -> Found:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            _refuse_too_large(file, sum(info.file_size for info in members.values()))
            lacking = [each for each in factories.ARRAYS if f"{each}.npy" not in members]
            if lacking:
                raise InputError(f"{file} lacks {', '.join(lacking)}: it must be {FORMS}")
            arrays = [_array(archive, members[f"{each}.npy"]) for each in factories.ARRAYS]
            names = None
            if "class_names.npy" in members:
                named = _array(archive, members["class_names.npy"])
                if named.ndim != 1 or named.dtype.kind != "U":
                    raise InputError(f"{file}: class_names must be text, one for each class")
                names = tuple(named.tolist())
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{file} can't be read as an .npz file ({one_line(error)})") from error
    return Found((arrays[0], arrays[1]), (arrays[2], arrays[3]), names)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Read an array whose header promises no more than the file holds."""
    with archive.open(member) as content:
        version = np.lib.format.read_magic(content)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if header is None:
            raise ValueError(f"{member.filename} is of the version {version}")
        shape, _, kind = header(content)
        if math.prod(shape) * kind.itemsize > member.file_size:
            raise ValueError(f"{member.filename} promises more than it holds")
    with archive.open(member) as content:
        read: NDArray[Any] = np.lib.format.read_array(content, allow_pickle=False)
        return read


def _tables(folder: Path, part: str) -> list[Path]:
    return sorted(folder.glob(f"{part}*.parquet"))


def _of_parquet(folder: Path) -> Found:
    """Read tables of encoded pictures (columns image and label), or of our own making."""
    tables = {}
    for part in PARTS:
        try:
            tables[part] = pa.concat_tables([pq.read_table(each) for each in _tables(folder, part)])
        except (OSError, pa.ArrowException) as error:
            told = f"{folder}/{part}*.parquet can't be read ({one_line(error)})"
            raise InputError(f"data.path: {told}") from error
    train, test = (_of_table(tables[part], f"{folder}/{part}*.parquet") for part in PARTS)
    return Found(train, test, _names_of(tables["train"]))


def _of_table(table: pa.Table, where: str) -> Arrays:
    if examples.IMAGE_SHAPE in (table.schema.metadata or {}):
        part = examples.from_table(table)
        return part.images, part.labels
    column = next((name for name in ("image", "img") if name in table.column_names), None)
    if column is None or "label" not in table.column_names:
        raise InputError(
            f"data.path: {where} needs the columns image (encoded pictures) and label, but has "
            f"{', '.join(table.column_names)}"
        )
    images = table[column].combine_chunks()
    if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
        images = images.field("bytes")
    if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
        what = f"{column} must hold encoded pictures, not {images.type}"
        raise InputError(f"data.path: {where}: {what}")
    labels = table["label"]
    if not (pa.types.is_integer(labels.type) or pa.types.is_string(labels.type)):
        raise InputError(f"data.path: {where}: label must be a number or a text, not {labels.type}")
    if images.null_count or labels.null_count:
        raise InputError(f"data.path: {where} has rows without a picture or a label")
    rows = ((f"{where} row {row}", each.as_py()) for row, each in enumerate(images))
    return _decoded(list(rows)), np.asarray(labels.to_pylist())


def _names_of(table: pa.Table) -> tuple[str, ...] | None:
    """Return the names of the classes where the Hugging Face library wrote them down."""
    try:
        told = json.loads((table.schema.metadata or {})[b"huggingface"])
        return tuple(map(str, told["info"]["features"]["label"]["names"]))
    except (KeyError, TypeError, ValueError):
        return None


def _of_pictures(folder: Path) -> Found:
    """Read a folder of pictures by class, one class after the other and round again."""
    parts: list[Arrays] = []
    for part in PARTS:
        by_class: dict[str, list[Path]] = {}
        for file in files_at(folder / part):
            if pictures.is_one(file) and file.parent.parent == folder / part:
                by_class.setdefault(file.parent.name, []).append(file)
        rows = [file for turn in zip_longest(*by_class.values()) for file in turn if file]
        if not rows:
            raise InputError(f"data.path: {folder / part} holds no pictures in folders by class")
        images = _decoded([(str(file), file) for file in rows])
        parts.append((images, np.asarray([file.parent.name for file in rows])))
    train, test = parts
    return Found(train, test)


def _decoded(encoded: list[tuple[str, bytes | Path]]) -> NDArray[np.uint8]:
    return pictures.decoded(encoded, lambda first, size: _refuse_too_large(Path(first), size))


def _refuse_too_large(path: Path, size: int) -> None:
    whole = memory.there_is().whole
    if size > SHARE_OF_MEMORY * whole:
        raise InputError(
            f"data.path: {path} takes {size / memory.GIB:.1f} GiB in memory, more than half of the "
            f"{whole / memory.GIB:.1f} GiB there are: take fewer or smaller images"
        )
