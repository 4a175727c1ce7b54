"""How the updates of an epoch are parted into calls of the graph."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EXAMPLES = {"CPU": 2048, "GPU": 1 << 16}
"""In one call, but for a larger update: half a second of one core; an epoch."""


class Stretch(NamedTuple):
    """Updates of one batch size, with room for as many as a call on a GPU makes.

    XLA compiles for shapes, so a size's are always the same; what is beyond `updates` is 0.
    """

    batches: NDArray[np.int32]
    """The examples of every update, by number: (room, batch size)."""
    rates: NDArray[np.float32]
    """The learning rate of every update: (room,)."""
    updates: np.int32


def stretches(
    order: NDArray[np.int32], cuts: NDArray[np.int32], rates: NDArray[np.float32]
) -> Iterator[Stretch]:
    """Part updates where their batch size changes, or a call is full.

    Args:
        order: Examples by number.
        cuts: Where in `order` each update's examples begin, and where the last one's end.
        rates: The learning rate of every update.
    """
    sizes = np.diff(cuts)
    changes = np.flatnonzero(np.diff(sizes)) + 1
    for begin, end in zip([0, *changes], [*changes, len(sizes)], strict=True):
        size = sizes[begin]
        room = max(1, EXAMPLES["GPU"] // size)
        for start in range(begin, end, room):
            updates = min(room, end - start)
            batches, padded = np.zeros([room, size], np.int32), np.zeros(room, np.float32)
            examples = order[cuts[start] : cuts[start + updates]]
            batches[:updates] = examples.reshape(updates, size)
            padded[:updates] = rates[start : start + updates]
            yield Stretch(batches, padded, np.int32(updates))
