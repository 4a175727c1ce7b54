"""A Dask cluster that others started: what it offers, and whether it computes as we would."""

import ipaddress
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import distributed

from cyclical import machine
from cyclical.errors import InputError, RunError, one_line
from cyclical.files import Blob
from tasks import cluster
from tasks.caching import code_and_versions, gpu_here
from tasks.presence import connected
from tasks.progress import topic

GPU = "GPU"  # the resource, as Dask's users name it


class Offer(NamedTuple):
    """What a cluster has: its workers, the addresses of those that offer a GPU, and its kind."""

    workers: int
    on_gpus: tuple[str, ...]
    gpu: Mapping[str, str] | None


def offered(address: str) -> Offer:
    """Ask a scheduler for its workers.

    Raises:
        InputError: None answers, it has no workers or GPUs of several kinds, or they would not
            reach Prefect's server.
    """
    refuse_unreachable_server(address)
    try:
        with connected(address) as client:
            workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
            on_gpus = tuple(name for name, each in workers.items() if each["resources"].get(GPU, 0))
            kinds = client.run(gpu_here, workers=list(on_gpus)) if on_gpus else {}
    except InputError as error:
        raise InputError(
            f"a worker of the Dask cluster at {address} is of no use: {error}"
        ) from error
    except Exception as error:  # of whatever kind its network, or its security, gives
        raise InputError(
            f"no Dask scheduler is of use at {address} ({one_line(error)}): start one with "
            "`dask scheduler`, and workers that have this project, or leave cluster.address out"
        ) from error
    if not workers:
        raise InputError(
            f"the Dask cluster at {address} has no workers: `dask worker {address} --nthreads 1` "
            "starts one"
        )
    first, *others = kinds.values() or [None]
    if any(other != first for other in others):
        raise InputError(
            f"the Dask cluster at {address} has GPUs of several kinds, whose results differ: let "
            f"workers of one kind alone offer {GPU}"
        )
    return Offer(len(workers), on_gpus, first)


def described(address: str, workers: int, gpu: Mapping[str, str] | None) -> str:
    """Name what a cluster computes on."""
    beside = f"{workers} trainings side by side" if workers > 1 else "1 training at a time"
    return f"{f'GPUs ({gpu[GPU.lower()]})' if gpu else 'the CPU'}, {beside}, at {address}"


def prepare(
    client: distributed.Client,
    gpu: Mapping[str, str] | None,
    seen: Blob,
    *,
    all_train: bool = False,
) -> None:
    """Let all workers, and those that join later, import TensorFlow, if they compute as we would.

    Args:
        client: Of the cluster.
        gpu: The kind of GPU that is to train; None for the CPU.
        seen: A file beside the artifacts that all workers must see.
        all_train: Of a cluster with GPUs all workers do, not only those that offer one.

    Raises:
        RunError: A worker would compute otherwise, or can't.
    """
    expected = Expected.here(gpu, seen)
    client.register_plugin(_forgets(topic(), client.id))
    for attempt in range(1, cluster.START_ATTEMPTS + 1):
        known = frozenset(client.scheduler_info(n_workers=-1)["workers"])
        try:
            client.register_plugin(Joins(topic(), expected, known, all_train))
            return
        except RunError:
            raise
        except Exception as error:  # of whatever kind an older version of this project gives
            died = isinstance(error, distributed.comm.CommClosedError)
            if died and attempt < cluster.START_ATTEMPTS:
                continue  # of those that were asked one died
            raise RunError(
                f"a worker of the cluster can't be prepared ({one_line(error)}): is this project "
                "installed there, in the same version?"
            ) from error


def _forgets(name: str, owner: str) -> distributed.SchedulerPlugin:
    """Let a scheduler prepare no more workers for a run once its client is gone, however it went.

    The class is made here, so that it travels as code: a scheduler need not have this project.
    """

    class Forgets(distributed.SchedulerPlugin):  # type: ignore[misc]
        def remove_client(self, scheduler: distributed.Scheduler, client: str) -> None:
            if client == owner and scheduler.worker_plugins.pop(name, None):
                told = {"op": "plugin-remove", "name": name}
                scheduler.loop.add_callback(
                    partial(scheduler.broadcast, msg=told, on_error="ignore")
                )
                scheduler.remove_plugin(name=self.name)

    plugin = Forgets()
    plugin.name = f"forgets-{name}"
    return plugin


@dataclass(frozen=True)
class Expected:
    """What a worker must have in common with the process that submits to it."""

    code: Mapping[str, str]
    versions: Mapping[str, str]
    environment: Mapping[str, str]
    machine: str
    gpu: Mapping[str, str] | None
    seen: Blob

    @classmethod
    def here(cls, gpu: Mapping[str, str] | None, seen: Blob) -> "Expected":
        """Tell what this process has."""
        code, versions = _code_and_versions()
        environment = dict(cluster.WORKER_ENVIRONMENT)
        return cls(code, versions, environment, platform.machine(), gpu, seen)

    def refuse_unlike(self, where: str) -> None:
        """Raise RunError where this process, a worker's, would compute otherwise.

        Its code is what it was when a run first asked: later edits have no effect on it.
        """
        code, versions = _code_and_versions()
        if code != self.code:
            raise RunError(
                f"worker {where} has other code of this project: install the same, start it again"
            )
        for name, wanted in self.versions.items():
            if versions.get(name) != wanted:
                raise RunError(f"worker {where} has {name} {versions.get(name)}, not {wanted}")
        own = machine.instruction_set()
        if platform.machine() != self.machine or self.environment[machine.ISA] not in {own, "AVX2"}:
            raise RunError(
                f"worker {where} has {platform.machine()} with {own}, this machine {self.machine} "
                f"with {self.environment[machine.ISA]}, whose results differ: set "
                f"{machine.ISA}=AVX2 for the run"
            )
        self._refuse_other_gpu(where)
        try:
            seen = self.seen.read()
        except (InputError, OSError) as error:
            raise RunError(
                f"worker {where} can't read {self.seen} ({one_line(error)}): start it with the "
                "environment in which this machine can"
            ) from error
        if seen is None:
            raise RunError(
                f"worker {where} does not see {self.seen}: name a place that all machines share "
                "with --artifacts"
            )

    def _refuse_other_gpu(self, where: str) -> None:
        try:
            own = gpu_here() if self.gpu else None
        except InputError as error:
            raise RunError(f"worker {where} is of no use: {error}") from error
        if own != self.gpu:
            raise RunError(f"worker {where} has a GPU of another kind than {self.gpu}: {own}")


def _code_and_versions() -> tuple[dict[str, str], dict[str, str]]:
    """Tell what trains here, and the versions of all that its results' bytes depend on."""
    from tasks.training import train

    code, versions = code_and_versions(train.fn)
    return code, versions | {"pyarrow": version("pyarrow")}  # it names itself in every file


class Joins(distributed.WorkerPlugin):  # type: ignore[misc]
    """Prepare a worker of a cluster elsewhere, for the run that has this name.

    One that joins later and would compute otherwise leaves again: nobody else would hear of it.
    """

    def __init__(
        self, name: str, expected: Expected, known: frozenset[str], all_train: bool
    ) -> None:
        self.name, self.expected, self.known, self.all_train = name, expected, known, all_train

    def setup(self, worker: distributed.Worker) -> None:
        """Compare, take the environment over, and import TensorFlow."""
        try:
            self._set_up(worker)
        except Exception:
            if worker.address not in self.known:
                # One that only closed would count as a death of the trainings it was just given.
                worker.loop.add_callback(
                    worker.close_gracefully, restart=False, reason="it would compute otherwise"
                )
            raise

    def _set_up(self, worker: distributed.Worker) -> None:
        offers_gpu = worker.state.total_resources.get(GPU, 0) > 0
        if self.expected.gpu and not (offers_gpu or self.all_train):
            return  # it gets no training
        if worker.state.nthreads != 1:
            raise RunError(
                f"worker {worker.address} has several threads, and a process trains one network at "
                "a time: start it with --nthreads 1"
            )
        self.expected.refuse_unlike(worker.address)
        device = cluster.NO_GPU
        if self.expected.gpu:
            device = os.environ.get(cluster.VISIBLE, "").split(",")[0]  # dask-cuda names all
            if device in {"", cluster.NO_GPU}:
                raise RunError(
                    f"worker {worker.address} offers a GPU without {cluster.VISIBLE}, which says "
                    "which one: start it with that, or by dask-cuda"
                )
        given = cluster.environment(device) | dict(self.expected.environment)
        unlike = [name for name, value in given.items() if os.environ.get(name) != value]
        if unlike and "tensorflow" in sys.modules:
            raise RunError(
                f"worker {worker.address} has imported TensorFlow with another {min(unlike)}: "
                "start it again"
            )
        os.environ.update(given)
        cluster.import_tensorflow()
        if self.expected.gpu and not cluster.finds_a_gpu():
            raise RunError(f"TensorFlow can't use the GPU of worker {worker.address}")


def refuse_unreachable_server(address: str) -> None:
    """Raise InputError where who is at an address elsewhere would not reach Prefect's server."""
    api = os.environ.get("PREFECT_API_URL")
    if api and _is_here(api) and not _is_here(address):
        raise InputError(
            f"trainings at {address} report to Prefect's server, and do not reach {api}: set "
            "PREFECT_API_URL to a server that they reach"
        )


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
