"""A training that hangs is cut off with its worker: nothing else ends a call that never returns."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from threading import Event as Signal
from threading import Thread
from typing import TYPE_CHECKING, Self

import distributed
from distributed.utils import sync

from cyclical.errors import RunError
from cyclical.store import Slot
from tasks.progress import Event, topic

if TYPE_CHECKING:
    from cyclical.training import Progress

FIRST_SECONDS = 3600  # until the pace is known, by the second sign of progress
LEAST_SECONDS = 300  # a disk or a server may be away for minutes
TIMES_AS_LONG = 3
TELL_SECONDS = 5
HUNG_STATUS = 70


class Watch:
    """Count the seconds since a training last made progress; call `cut_off` when they are too many.

    Between two signs of progress there may be as long as three times an epoch would take at the
    slowest pace so far, in which time all scored examples are seen as well, but five minutes at
    least, and an hour before there is a pace.
    The seconds are counted while this process runs: one that was stopped for an hour goes on.
    """

    def __init__(self, examples: int, cut_off: Callable[[int], None]) -> None:
        """Watch over a training whose epoch, scored examples included, has so many examples."""
        self._examples, self._cut_off = examples, cut_off
        self._silent, self._limit, self._slowest = 0, float(FIRST_SECONDS), 0.0
        self._done: int | None = None
        self._ended = Signal()

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._count, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def __call__(self, progress: "Progress") -> None:
        """Take in that a training made progress."""
        if self._done is not None and progress.examples > self._done:
            pace = (self._silent + 1) / (progress.examples - self._done)
            self._slowest = max(self._slowest, pace)
            expected = self._examples * self._slowest
            self._limit = max(LEAST_SECONDS, TIMES_AS_LONG * expected)
        self._silent, self._done = 0, progress.examples

    def _count(self) -> None:
        while not self._ended.wait(1):
            self._silent += 1
            if self._silent > self._limit:
                self._cut_off(self._silent)
                return


@contextmanager
def watched(slot: Slot, examples: int) -> Iterator["Callable[[Progress], None]"]:
    """Watch over a training on this worker: its process ends where the training hangs.

    What is yielded raises RunError once the run that submitted it is gone, or cancelled.
    """
    try:
        worker = distributed.get_worker()
    except ValueError:  # not on a cluster: it is the user's to end
        yield lambda _: None
        return
    told_by, key = topic(), worker.get_current_task()

    def cut_off(seconds: int) -> None:
        event = Event("hung", slot.step, slot.label, seconds=seconds)
        try:
            sync(
                worker.loop,
                worker.scheduler.log_event,
                topic=told_by,
                msg={"event": asdict(event)},
                callback_timeout=TELL_SECONDS,
            )
        finally:
            os._exit(HUNG_STATUS)

    with Watch(examples, cut_off) as watch:

        def alive(progress: "Progress") -> None:
            task = worker.state.tasks.get(key)
            if task is None or task.state == "cancelled":  # Dask itself lets it run on
                raise RunError("nobody waits for it any more")
            watch(progress)

        yield alive
