"""Where points run: hits in this process, misses side by side on a Dask cluster.

prefect-dask looks a hit up on the worker, so a fully cached run would start a cluster for nothing.
Here the flow's process looks first, and the cluster starts with the first miss.
"""

import importlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import distributed
from dask import config as dask_config
from prefect import Task
from prefect.futures import PrefectFuture
from prefect_dask import DaskTaskRunner

from cyclical.errors import InputError, RunError, one_line
from cyclical.results import Point
from cyclical.steps import Selection
from cyclical.store import Artifact, Slot, Store
from tasks.caching import ARITHMETIC, bound, recorded, slot_for
from tasks.progress import TOPIC, Event, observer

WORKER_ENVIRONMENT = ARITHMETIC | {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
CLUSTER_SETTINGS = {
    # Dask would pause a worker at 80 % of its memory for ever, and kill it at 95 %.
    **{f"distributed.worker.memory.{step}": False for step in ("target", "spill", "pause")},
    "distributed.worker.memory.terminate": False,
}


class ImportsTensorFlow(distributed.WorkerPlugin):  # type: ignore[misc]
    """Import TensorFlow once a worker, on all of them at once, without its start-up messages.

    A Ctrl-C at the terminal reaches the workers too; it is the command's to end them.
    """

    name = "imports-tensorflow"

    def setup(self, worker: distributed.Worker) -> None:  # noqa: ARG002 (Dask's signature)
        """Import while the worker starts."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with _standard_error_to_null():
            importlib.import_module("tensorflow")


@dataclass
class Run:
    """One run of the experiment: what it takes, where its results go, and its cluster."""

    store: Store
    selection: Selection
    workers: int
    _runner: DaskTaskRunner = field(init=False)
    _stack: ExitStack = field(init=False, default_factory=ExitStack)
    _waiting: list[PrefectFuture[Artifact]] = field(init=False, default_factory=list)
    _points: dict[tuple[str, str], Callable[[], Artifact]] = field(init=False, default_factory=dict)

    def __enter__(self) -> Self:
        self.store.ensure_writable()
        self._stack.enter_context(dask_config.set(CLUSTER_SETTINGS))
        self._runner = DaskTaskRunner(
            cluster_class=distributed.LocalCluster,
            cluster_kwargs={
                "n_workers": self.workers,
                "threads_per_worker": 1,
                "dashboard_address": "127.0.0.1:0",
                "silence_logs": logging.CRITICAL,
                "env": WORKER_ENVIRONMENT,  # wins over the user's own environment
            },
        )
        self._runner.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        """Let running points finish, so that nothing is lost; not when the run is interrupted."""
        if kind is not None and not issubclass(kind, Exception):
            return
        for future in self._waiting:
            future.wait()
        self._runner.__exit__(kind, *rest)
        self._stack.close()

    def here(self, step: str, task: Task[..., Artifact], label: str, **inputs: Any) -> Artifact:
        """Run a task in this process, or take its cached result."""
        slot, _ = self._look_up(step, task, label, inputs)
        return self._here(task, slot, inputs)

    def submit(
        self, step: str, task: Task[..., Artifact], label: str, **inputs: Any
    ) -> Callable[[], Artifact]:
        """Start a task on the cluster, or take its cached result; return how to wait for it."""
        slot, cached = self._look_up(step, task, label, inputs)
        watch = observer()
        if cached and step not in self.selection.refreshed:
            artifact = self._here(task, slot, inputs)
            watch(Event("cached", step, label))
            return lambda: artifact
        self._start_cluster()
        future = self._runner.submit(self._bound(task, slot), parameters={"slot": slot, **inputs})
        future.wrapped_future.add_done_callback(
            lambda done: watch(Event(_how_it_ended(done), step, label))
        )
        self._waiting.append(future)
        self._points[step, label] = lambda: _result(future, slot)
        return self._points[step, label]

    def points(self) -> list[Point]:
        """Wait for all points of the run and list them."""
        return [
            Point(step=step, label=label, artifact=artifact())
            for (step, label), artifact in list(self._points.items())
        ]

    def _here(self, task: Task[..., Artifact], slot: Slot, inputs: Mapping[str, Any]) -> Artifact:
        artifact: Artifact = self._bound(task, slot)(slot=slot, **inputs)
        self._points[slot.step, slot.label] = lambda: artifact
        return artifact

    def _bound(self, task: Task[..., Artifact], slot: Slot) -> Task[..., Artifact]:
        return bound(task, slot, refresh=slot.step in self.selection.refreshed)

    def _look_up(
        self, step: str, task: Task[..., Artifact], label: str, inputs: Mapping[str, Any]
    ) -> tuple[Slot, bool]:
        slot = slot_for(task, self.store, step, label, inputs)
        cached = recorded(slot)
        if not cached and step in self.selection.frozen:
            raise InputError(
                f"--from-step needs {step}, but its point {label} is not cached: "
                "run without --from-step"
            )
        return slot, cached

    def _start_cluster(self) -> None:
        client = self._runner.client
        if TOPIC not in client._event_handlers:
            watch = observer()
            client.subscribe_topic(TOPIC, lambda told: watch(Event(**told[1]["event"])))
            client.register_plugin(ImportsTensorFlow())


def _how_it_ended(done: distributed.Future) -> Literal["finished", "failed"]:
    """Tell from a Dask future that is done, whose result is the task run's state."""
    return "finished" if done.status == "finished" and done.result().is_completed() else "failed"


def cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _result(future: PrefectFuture[Artifact], slot: Slot) -> Artifact:
    try:
        return future.result()
    except InputError:
        raise
    except Exception as error:
        raise RunError(
            f"{slot.step} {slot.label} failed ({one_line(error)}); what was finished "
            "is kept, and the next run goes on from there"
        ) from error


@contextmanager
def _standard_error_to_null() -> Iterator[None]:
    """Silence libraries that write to the file descriptor and can't be told otherwise."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
