"""What a run tells whoever watches it, from the workers to the process that waits for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import distributed

from cyclical.store import Slot

if TYPE_CHECKING:
    from cyclical.training import Progress

TOPIC = "cyclical-progress"


@dataclass(frozen=True)
class Event:
    """Something happened to a training: it was cached, goes on (with `progress`), or ended."""

    kind: Literal["cached", "running", "finished", "failed"]
    step: str
    label: str
    progress: "dict[str, Any] | None" = None


Observer = Callable[[Event], None]
_observer: ContextVar[Observer] = ContextVar("observer", default=lambda _: None)


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Let `observer` see every event of the runs inside."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def observer() -> Observer:
    """Return who watches this run."""
    return _observer.get()


def reporter(slot: Slot) -> "Callable[[Progress], None]":
    """Return a callback that tells a training's progress to the process that submitted it."""
    try:
        worker = distributed.get_worker()
    except ValueError:  # not on a cluster: nobody waits elsewhere
        return lambda _: None

    def report(progress: "Progress") -> None:
        event = Event("running", slot.step, slot.label, asdict(progress))
        worker.log_event(TOPIC, {"event": asdict(event)})  # Dask adds keys of its own beside it

    return report
