"""How the updates of an epoch are parted into calls of the graph."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EXAMPLES = {"CPU": 2048, "GPU": 1 << 16}
"""The most in one call, but for a larger update: half a second's on a core, an epoch's on a GPU."""


class Stretch(NamedTuple):
    """Updates of one batch size, and room for as many as a call makes of them, in zeros.

    XLA compiles for shapes, and a size's are always the same. The fields are, in this order,
    arguments of the graph.
    """

    batches: NDArray[np.int32]
    """The examples of every update, by number: (room, batch size)."""
    rates: NDArray[np.float32]
    """The learning rate of every update: (room,)."""
    updates: np.int32


def calls(cuts: NDArray[np.int32], most: int) -> Iterator[tuple[int, int]]:
    """Part updates into calls of at most so many examples, or one update.

    Args:
        cuts: Where each update's examples begin, and where the last one's end.
        most: The examples of a call.

    Yields:
        The first update of a call, and the one after its last.

    >>> list(calls(np.array([0, 30, 60, 90, 290]), 64))
    [(0, 2), (2, 3), (3, 4)]
    """
    begin = 0
    while begin < len(cuts) - 1:
        fitting = int(np.searchsorted(cuts, cuts[begin] + most, side="right")) - 1
        end = max(begin + 1, fitting)
        yield begin, end
        begin = end


def stretches(
    order: NDArray[np.int32], cuts: NDArray[np.int32], rates: NDArray[np.float32], most: int
) -> Iterator[Stretch]:
    """Part the updates of a call where their batch size changes.

    Args:
        order: Examples by number.
        cuts: Where in `order` each update's examples begin, and where the last one's end.
        rates: The learning rate of every update.
        most: The examples that a call may have, see `calls`.
    """
    sizes = np.diff(cuts)
    changes = np.flatnonzero(np.diff(sizes)) + 1
    for begin, end in zip([0, *changes], [*changes, len(sizes)], strict=True):
        size, updates = sizes[begin], end - begin
        room = max(1, most // size)
        batches, padded = np.zeros([room, size], np.int32), np.zeros(room, np.float32)
        batches[:updates] = order[cuts[begin] : cuts[end]].reshape(updates, size)
        padded[:updates] = rates[begin:end]
        yield Stretch(batches, padded, np.int32(updates))
