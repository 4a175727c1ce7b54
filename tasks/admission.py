"""A training begins when there is memory for it: no part of its result, nor of its key."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import psutil

from cyclical import memory
from cyclical.examples import Part
from cyclical.plans import Training
from cyclical.store import Slot
from tasks.cluster import has_gpu
from tasks.progress import Event, teller


def admitted(
    slot: Slot, training: Training, train: Part, classes: int, architecture: str
) -> AbstractContextManager[None]:
    """Wait until there is memory for a training, on the CPU; a GPU's is not this machine's."""
    if has_gpu():
        return nullcontext()
    from cyclical import training as loop
    from cyclical.updates import SCORING_BATCH

    updates = loop.updates_of(training, train, classes, architecture)
    _, _, of_noise = training.noise_shape(len(train.labels))
    seen = max(training.at_once, SCORING_BATCH, of_noise)
    peak = memory.peak_bytes(_held(), updates.state().nbytes, updates.activation_bytes, seen)
    remedy = (
        f"set micro_batch to less than the {seen} examples that the network sees at once, or end "
        "other programs"
    )
    return memory.reserved(peak, remedy, lambda: teller()(Event("waiting", slot.step, slot.label)))


@cache
def _held() -> int:
    """Return the bytes that this worker held before its first training, the data included."""
    return int(psutil.Process().memory_info().rss)
