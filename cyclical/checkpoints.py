"""The state of a training between two epochs, kept so that a rerun goes on from there.

A file is the SHA-256 of what follows it, in 32 bytes, and then an archive of NumPy arrays.
"""

import hashlib
import io
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclical.errors import InputError
from cyclical.files import Blob

COST_SHARE = 50  # times as long as it took passes before the next is written
DIGEST_BYTES = hashlib.sha256().digest_size
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training after some of its epochs.

    `variables`: uint8, the bytes of all variables of model and optimizer, one after the other.
    `history`, `iterations`: one row for every epoch and every update so far.
    `seconds`: float64, from the beginning to the end of every epoch.
    """

    variables: NDArray[np.uint8]
    history: pd.DataFrame
    iterations: pd.DataFrame
    seconds: NDArray[np.float64]


class Keeper:
    """Keeps the latest state of one training in a file, at a fiftieth of its time at most."""

    def __init__(self, file: Blob) -> None:
        self._file, self._written, self._cost = file, -math.inf, 0.0

    def read(self) -> Checkpoint | None:
        """Return what was kept, by whatever process."""
        return read(self._file)

    def keep(self, state: Callable[[], Checkpoint]) -> None:
        """Keep a state, unless the last one was so lately that this would cost too much.

        A file that can't be written is told and passed over: the training may end well without it.
        """
        began = time.monotonic()
        if began - self._written < COST_SHARE * self._cost:
            return
        try:
            write(self._file, state())
        except (InputError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            log.warning("%s can't be written (%s)", self._file, why)
        self._written = time.monotonic()
        self._cost = self._written - began


def write(file: Blob, checkpoint: Checkpoint) -> None:
    """Put a checkpoint in the place of an earlier one, or leave that as it is."""
    arrays: dict[str, Any] = {"variables": checkpoint.variables, "seconds": checkpoint.seconds}
    for table in ("history", "iterations"):
        frame: pd.DataFrame = getattr(checkpoint, table)
        arrays |= {f"{table}.{name}": frame[name].to_numpy() for name in frame.columns}
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    content = archive.getvalue()
    file.write(hashlib.sha256(content).digest() + content)


def read(file: Blob) -> Checkpoint | None:
    """Return the checkpoint that was written there; None if there is none, or it is damaged."""
    content = file.read()
    if content is None:
        return None
    if not whole(content):
        log.warning("%s is damaged: the training begins anew", file)
        return None
    with np.load(io.BytesIO(content[DIGEST_BYTES:]), allow_pickle=False) as arrays:
        return Checkpoint(
            variables=arrays["variables"],
            history=_frame(arrays, "history"),
            iterations=_frame(arrays, "iterations"),
            seconds=arrays["seconds"],
        )


def whole(content: bytes) -> bool:
    """Tell whether what a checkpoint's file holds is what was written."""
    return hashlib.sha256(content[DIGEST_BYTES:]).digest() == content[:DIGEST_BYTES]


def _frame(arrays: Any, table: str) -> pd.DataFrame:
    names = [name for name in arrays.files if name.startswith(f"{table}.")]
    return pd.DataFrame({name.partition(".")[2]: arrays[name] for name in names})
