"""Fashion-MNIST: where it is found on this machine, and by what it is known.

Xiao, Rasul and Vollgraf, "Fashion-MNIST" (arXiv 1708.07747).
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from cyclical import idx
from cyclical.errors import InputError
from cyclical.idx import REMEDY

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


def find_source(path: Path | None) -> Path:
    """Return the absolute path of the first folder that holds all four IDX files.

    A folder that is named is the only one looked at. Else, in this order: `data/fashion-mnist`
    in the current directory, the folder of Debian's package `dataset-fashion-mnist`, Keras's
    cache (below `KERAS_HOME` or `~/.keras`). The files' contents are not looked at here.

    Raises:
        InputError: The named folder, or every one of the others, lacks a file.
    """
    folders = [path] if path is not None else _usual_folders()
    tried = []
    for folder in map(Path.absolute, folders):
        lacking = [name for name in idx.FILES if idx.file_of(folder, name) is None]
        if not lacking:
            return folder
        some = lacking if len(lacking) < len(idx.FILES) else []
        tried.append(f"{folder} (no readable {', '.join(some)})" if some else str(folder))
    what = "data.path: " if path is not None else ""
    what += f"the four files of Fashion-MNIST, .gz or raw, are not in {' or '.join(tried)}"
    raise InputError(f"{what}: {REMEDY}")


def check(files: Sequence[idx.Idx], *, wanted: bool) -> bool:
    """Tell whether four IDX files are Fashion-MNIST's to the bit.

    Args:
        files: In the order of `idx.FILES`.
        wanted: Whether they must be.

    Raises:
        InputError: A file differs, though others are Fashion-MNIST's or all must be.
    """
    differing = [
        (file, MD5[name])
        for file, name in zip(files, idx.FILES, strict=True)
        if file.md5 != MD5[name]
    ]
    if differing and (wanted or len(differing) < len(files)):
        file, md5 = differing[0]
        what = f"is not Fashion-MNIST's (MD5 of the decompressed bytes {file.md5}, not {md5})"
        raise idx.damaged(file.path, what)
    return not differing


def _usual_folders() -> list[Path]:
    keras = os.environ.get("KERAS_HOME") or "~/.keras"
    return [
        Path("data/fashion-mnist"),
        Path("/usr/share/datasets/fashion-mnist"),
        Path(os.path.expanduser(keras)) / "datasets/fashion-mnist",  # noqa: PTH111 (raises nothing)
    ]
