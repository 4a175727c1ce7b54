"""What a run tells whoever watches it, from the workers to the process that waits for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import distributed
from prefect import runtime

from cyclical.store import Slot

if TYPE_CHECKING:
    from cyclical.training import Progress


@dataclass(frozen=True)
class Event:
    """Something happened to a training: it was cached, goes on (with `progress`), or ended.

    One that is `waiting` does so for memory. One that `hung` was cut off after `seconds` without
    progress, and is begun again elsewhere. Before all, the data are `loaded`: so many `images` to
    train on.
    """

    kind: Literal["loaded", "cached", "waiting", "running", "hung", "finished", "failed"]
    step: str
    label: str
    progress: "dict[str, Any] | None" = None
    seconds: int = 0
    images: int = 0


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


def topic() -> str:
    """Name what a run and its workers tell one another by: other runs may use the same cluster."""
    return f"cyclical-{runtime.flow_run.id}"


def observer() -> Observer:
    """Return who watches this run."""
    return _observer.get()


def teller() -> Observer:
    """Return a way to tell the process that submitted what runs on this worker."""
    try:
        worker = distributed.get_worker()
    except ValueError:  # not on a cluster: nobody waits elsewhere
        return lambda _: None
    told_by = topic()
    # Dask adds keys of its own beside the event.
    return lambda event: worker.log_event(told_by, {"event": asdict(event)})


def reporter(slot: Slot, shown: "Callable[[Progress], None]") -> "Callable[[Progress], None]":
    """Return a callback that also tells a training's progress to the process that submitted it."""
    tell = teller()

    def report(progress: "Progress") -> None:
        tell(Event("running", slot.step, slot.label, asdict(progress)))
        shown(progress)

    return report
