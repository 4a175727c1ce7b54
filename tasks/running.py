"""Where points run: hits in this process, misses side by side on a Dask cluster.

prefect-dask looks a hit up on the worker, so a fully cached run would start a cluster for nothing.
Here the flow's process looks first, and the cluster starts with the first miss.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

import distributed
import pandas as pd
from dask import config as dask_config
from dask.base import annotate
from prefect import Task, runtime
from prefect.client.schemas.objects import State
from prefect.futures import PrefectWrappedFuture
from prefect_dask import DaskTaskRunner

from cyclical import files, ledger
from cyclical.errors import InputError, RunError, one_line
from cyclical.files import Blob
from cyclical.manifests import Artifact, DamagedError, artifact_paths
from cyclical.results import Point
from cyclical.steps import NEEDS, Selection
from cyclical.store import WRITABLE, Slot, Store
from tasks import publishing
from tasks.caching import bound, slot_for
from tasks.cluster import CLUSTER_SETTINGS, patiently
from tasks.places import Place
from tasks.presence import reached
from tasks.progress import Event, Observer, observer, topic
from tasks.publishing import Page
from tasks.records import recorded

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)  # Prefect gives it handlers, and leaves the root's WARNING


class _OneLine(logging.Filter):
    """Leave out the traceback of an error whose message says all: Prefect logs it with each."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; refuse none."""
        if record.exc_info and isinstance(record.exc_info[1], InputError | RunError):
            record.exc_info = None
        return True


for name in ("flow_runs", "task_runs", "engine"):
    logging.getLogger(f"prefect.{name}").addFilter(_OneLine())


class Points(Protocol):
    """What the stages ask of a run: to compute points, or only to say what it would compute."""

    @property
    def store(self) -> Store:
        """The store that it finds and puts its results in."""

    def here(self, step: str, task: Task[..., Artifact], label: str, **inputs: Any) -> Artifact:
        """Take a point that is computed in this process."""

    def submit(
        self,
        step: str,
        task: Task[..., Artifact],
        label: str,
        *,
        priority: float = 0,
        **inputs: Any,
    ) -> Callable[[], Artifact]:
        """Begin a point that is computed on the cluster; return how to wait for it.

        Of those that wait for a worker the one of the highest priority comes first.
        """

    def table(self, artifact: Artifact, name: str) -> pd.DataFrame:
        """Read one of a point's tables."""

    def epoch_seconds(self, training: Artifact) -> Sequence[float]:
        """Return what a training had taken at the end of every epoch."""

    def tell(self, line: str) -> None:
        """Tell whoever watches what was found, or what to beware of."""

    def show(self, step: str, page: Page) -> None:
        """Show a step's page in Prefect's UI."""

    def show_table(self, step: str, title: str, artifact: Artifact, name: str) -> None:
        """Show a table in Prefect's UI."""


@dataclass
class Run:
    """One run of the experiment: what it takes, where its results go, and its cluster."""

    store: Store
    selection: Selection
    header: ledger.Header
    place: Place
    _claims: ledger.Claims = field(init=False)
    _runner: DaskTaskRunner | None = field(init=False, default=None)
    _stack: ExitStack = field(init=False, default_factory=ExitStack)
    _elsewhere: ExitStack = field(init=False, default_factory=ExitStack)
    _waiting: list[PrefectWrappedFuture[Artifact, distributed.Future]] = field(
        init=False, default_factory=list
    )
    _told: list[threading.Event] = field(init=False, default_factory=list)
    _points: dict[tuple[str, str], Callable[[], Artifact]] = field(init=False, default_factory=dict)
    _states: dict[str, Callable[[], State[Any]]] = field(init=False, default_factory=dict)
    _hung: dict[tuple[str, str], list[int]] = field(init=False, default_factory=dict)
    _gone: str = field(init=False, default="")

    def __enter__(self) -> Self:
        if runtime.deployment.id:
            _end_with_parent()
        self.store.ensure_writable()
        files.remove_abandoned(self.store.folders())
        self._claims = self._stack.enter_context(ledger.opened(self.store.root, self.header))
        self._stack.enter_context(dask_config.set(CLUSTER_SETTINGS))
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        """Let running points finish, so that nothing is lost; not when the run is interrupted.

        Workers of this machine then end with this process; those elsewhere are sent away.
        """
        with self._elsewhere:
            if kind is not None and not issubclass(kind, Exception):
                return
            for told in self._told:  # who asks Dask for a result while it closes may wait for ever
                told.wait()
            if kind is None:
                self._claims.finish()
            self._stack.close()

    def here(self, step: str, task: Task[..., Artifact], label: str, **inputs: Any) -> Artifact:
        """Run a task in this process, or take its cached result."""
        slot, _ = self._look_up(step, task, label, inputs)
        return self._here(task, slot, inputs)

    def submit(
        self,
        step: str,
        task: Task[..., Artifact],
        label: str,
        *,
        priority: float = 0,
        **inputs: Any,
    ) -> Callable[[], Artifact]:
        """Start a task on the cluster, or take its cached result; return how to wait for it."""
        slot, cached = self._look_up(step, task, label, inputs)
        watch = observer()
        if cached and step not in self.selection.refreshed:
            artifact = self._here(task, slot, inputs)
            watch(Event("cached", step, label))
            return lambda: artifact
        with reached(self.place.address):
            runner = self._runner or self._start_cluster()
            with annotate(priority=priority, resources=self.place.resources):
                future = runner.submit(
                    self._bound(task, slot),
                    parameters={"slot": slot, **inputs},
                    wait_for=self._before(step, inputs),
                )
        self._states[slot.path] = lambda: future.state
        told = threading.Event()

        def tell(done: distributed.Future) -> None:
            try:
                watch(Event(_how_it_ended(done), step, label))
            finally:
                told.set()

        future.wrapped_future.add_done_callback(tell)
        self._told.append(told)
        self._waiting.append(future)
        self._points[step, label] = lambda: self._result(future, slot, told)
        return self._points[step, label]

    def table(self, artifact: Artifact, name: str) -> pd.DataFrame:
        """Read one of a point's tables."""
        return self.store.frame(artifact, name)

    def epoch_seconds(self, training: Artifact) -> Sequence[float]:
        """Return what a training had taken at the end of every epoch."""
        return self.store.manifest_of(training).epoch_seconds

    def tell(self, line: str) -> None:
        """Tell whoever watches what was found, or what to beware of."""
        log.info(line)

    def show(self, step: str, page: Page) -> None:
        """Show a step's page in Prefect's UI."""
        publishing.publish(self.store, step, page)

    def show_table(self, step: str, title: str, artifact: Artifact, name: str) -> None:
        """Show a table in Prefect's UI."""
        publishing.publish_table(self.store, step, title, artifact, name)

    def points(self) -> list[Point]:
        """Wait for all points of the run and list them."""
        return [
            Point(step=step, label=label, artifact=artifact())
            for (step, label), artifact in list(self._points.items())
        ]

    def _here(self, task: Task[..., Artifact], slot: Slot, inputs: Mapping[str, Any]) -> Artifact:
        state = self._bound(task, slot)(
            slot=slot, **inputs, wait_for=self._before(slot.step, inputs), return_state=True
        )
        artifact = self._computed(state, slot)
        self._states[slot.path] = lambda: state
        self._points[slot.step, slot.label] = lambda: artifact
        return artifact

    def _computed(self, state: State[Any], slot: Slot) -> Artifact:
        try:
            artifact: Artifact = state.result()
        except DamagedError as error:
            raise RunError(
                f"{slot.step} {slot.label} failed ({error}): cyclical verify --repair mends that"
            ) from error
        return artifact

    def _before(self, step: str, inputs: Mapping[str, Any]) -> list[State[Any]]:
        """Return the states of what a point follows from: the arrows that Prefect's UI draws.

        These are the artifacts that it takes and the bounds that its settings were made of.
        """
        bounds = [path for path in self._states if path.startswith(_bounds_of(step))]
        paths = dict.fromkeys([*artifact_paths(inputs), *bounds])
        return [self._states[path]() for path in paths if path in self._states]

    def _bound(self, task: Task[..., Artifact], slot: Slot) -> Task[..., Artifact]:
        return bound(task, slot, refresh=slot.step in self.selection.refreshed)

    def _look_up(
        self, step: str, task: Task[..., Artifact], label: str, inputs: Mapping[str, Any]
    ) -> tuple[Slot, bool]:
        slot = slot_for(task, self.store, step, label, inputs, gpu=self.place.gpu)
        self._claims.add(slot.path)
        cached = recorded(slot)
        if not cached and step in self.selection.frozen:
            raise not_cached(step, label)
        return slot, cached

    def _result(
        self,
        future: PrefectWrappedFuture[Artifact, distributed.Future],
        slot: Slot,
        told: threading.Event,
    ) -> Artifact:
        try:
            artifact = future.result()
            told.wait()
            future.wrapped_future.release()  # else it is made again where its worker dies
            return artifact
        except InputError:
            raise
        except Exception as error:
            silent = self._hung.get((slot.step, slot.label))
            why = one_line(error)
            if silent and isinstance(error, distributed.KilledWorker):
                why = f"no progress for {silent[-1]} s, at attempt {len(silent)}"
            elif self._gone and isinstance(error, CancelledError):
                why = self._gone
            raise RunError(
                f"{slot.step} {slot.label} failed ({why}); what was finished "
                "is kept, and the next run goes on from there"
            ) from error

    def _hear(self, event: Event, watch: Observer) -> None:
        """Pass on what a worker tells, and remember what hung: its future only knows it died."""
        if event.kind == "hung":
            log.warning("%s %s made no progress for %d s", event.step, event.label, event.seconds)
            self._hung.setdefault((event.step, event.label), []).append(event.seconds)
        watch(event)

    def _seen(self) -> Blob:
        """Return a file of this run's store that whoever computes for it must see."""
        return self.store.blob(WRITABLE) if self.store.address else files.File(self._claims.path)

    def _start_cluster(self) -> DaskTaskRunner:
        self.place = self._elsewhere.enter_context(self.place.opened())
        self._runner = runner = self._stack.enter_context(self.place.runner())
        client = patiently(lambda: runner.client) if self.place.address else runner.client
        watch = observer()
        here = copy_context()  # where Prefect knows which flow run it is
        client.subscribe_topic(
            topic(), lambda told: here.run(self._hear, Event(**told[1]["event"]), watch)
        )
        log.info("training on %s", self.place.described())
        self._stack.enter_context(self.place.prepared(client, self._seen(), self._give_up))
        return runner

    def _give_up(self, why: str) -> None:
        """Wait no longer for what a cluster without workers was to train."""
        self._gone = why
        futures = [point.wrapped_future for point in self._waiting]
        if self._runner:
            self._runner.client.cancel([each for each in futures if not each.done()], force=True)


def _bounds_of(step: str) -> tuple[str, ...]:
    return tuple(f"{needed}/bounds-" for needed in NEEDS[step])


def _end_with_parent() -> None:
    """End this process as soon as the worker that started it is gone, however that ended.

    Nobody could cancel it any more. SIGTERM lets Prefect report the run as crashed; its Dask
    workers end by themselves when this process does.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        null = os.open(os.devnull, os.O_WRONLY)
        for broken_pipe in (1, 2):  # the worker read them: a line of log would end this process
            os.dup2(null, broken_pipe)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def not_cached(step: str, label: str) -> InputError:
    """Say that a point is missing before the step that --from-step names."""
    return InputError(
        f"--from-step needs {step}, but its point {label} is not cached: run that first, without it"
    )


def _how_it_ended(done: distributed.Future) -> Literal["finished", "failed"]:
    """Tell from a Dask future that is done, whose result is the task run's state."""
    return "finished" if done.status == "finished" and done.result().is_completed() else "failed"
