"""A Dask cluster that others started: what it offers, and whether it computes as we would."""

import ipaddress
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import distributed

from cyclical import fingerprint, machine, user_code
from cyclical.errors import InputError, RunError, one_line
from cyclical.values import ClusterKind
from tasks import cluster
from tasks.caching import ARITHMETIC

GPU = "GPU"  # the resource, as Dask's users name it
CONNECT_SECONDS = 10


class Offer(NamedTuple):
    """What a cluster has: its workers, the addresses of those that offer a GPU, and its model."""

    workers: int
    on_gpus: tuple[str, ...]
    gpu: str


class Code(NamedTuple):
    """What computes: the fingerprints of modules, and the versions that they depend on."""

    fingerprints: Mapping[str, str]
    versions: Mapping[str, str]


def offered(address: str) -> Offer:
    """Ask a scheduler for its workers.

    Raises:
        InputError: None answers, it has no workers, or they would not reach Prefect's server.
    """
    _refuse_unreachable_server(address)
    try:
        with distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False) as client:
            workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
            on_gpus = tuple(name for name, each in workers.items() if _has_gpu(each))
            found = client.run(machine.gpus, workers=list(on_gpus)) if on_gpus else {}
    except ImportError as error:
        raise InputError(
            f"the workers at {address} lack this project ({one_line(error)}): install it there"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address} ({one_line(error)}): start one with "
            "`dask scheduler`, or leave cluster.address out"
        ) from None
    if not workers:
        raise InputError(
            f"the Dask cluster at {address} has no workers: `dask worker {address} --nthreads 1` "
            "starts one"
        )
    return Offer(len(workers), on_gpus, models(chain(*found.values())) if on_gpus else "")


def models(gpus: Iterable[str]) -> str:
    """Name the models among GPUs: what they compute differs in the last bits.

    >>> models(["Tesla T4", "NVIDIA H200", "Tesla T4"]), models([])
    ('NVIDIA H200, Tesla T4', 'unknown')
    """
    return ", ".join(sorted(set(gpus))) or "unknown"


def start(kind: ClusterKind, workers: int) -> Any:
    """Start a cluster of a class of the user's choice, and ask it for workers.

    Raises:
        InputError: There is no such class, or it can't be made with these arguments.
    """
    made = user_code.load(kind.name)
    try:
        started = made(**kind.arguments)
        started.scale(workers)
    except Exception as error:
        raise InputError(f"cluster.kind {kind.name}: {one_line(error)}") from error
    return started


def described(where: str, workers: int, on_gpus: bool) -> str:
    """Name what a cluster computes on."""
    beside = f"{workers} trainings side by side" if workers > 1 else "1 training at a time"
    return f"{'GPUs' if on_gpus else 'the CPU'}, {beside}, {where}"


def prepare(client: distributed.Client, code: Code, seen: Path) -> None:
    """Let all workers, and those that join later, import TensorFlow, if they compute as we would.

    Args:
        client: Of the cluster.
        code: What computes here, and must there.
        seen: A file in the artifacts folder that all workers must see.

    Raises:
        RunError: A worker would compute otherwise, or can't.
    """
    client.wait_for_workers(1)  # a queue may take its time
    expected = Expected(code, dict(cluster.WORKER_ENVIRONMENT), platform.machine(), seen)
    try:
        client.register_plugin(Joins(expected))
    except (ImportError, distributed.comm.CommClosedError) as error:
        raise RunError(
            f"a worker of the cluster can't be prepared ({one_line(error)}): is this project "
            "installed there, in the same version?"
        ) from error


@dataclass(frozen=True)
class Expected:
    """What a worker must have in common with the process that submits to it."""

    code: Code
    environment: dict[str, str]
    machine: str
    seen: Path

    def refuse_unlike(self, where: str) -> None:
        """Raise RunError where this process, a worker's, would compute otherwise."""
        names = [name for name in self.code.fingerprints if name.startswith("cyclical.")]
        if fingerprint.of_modules(names) != {name: self.code.fingerprints[name] for name in names}:
            raise RunError(f"worker {where} has other code of this project: install the same there")
        versions = fingerprint.versions(names)
        for name, wanted in self.code.versions.items():
            if versions.get(name) != wanted:
                raise RunError(f"worker {where} has {name} {versions.get(name)}, not {wanted}")
        own = machine.instruction_set()
        if platform.machine() != self.machine or self.environment[machine.ISA] not in {own, "AVX2"}:
            raise RunError(
                f"worker {where} has {platform.machine()} with {own}, this machine {self.machine} "
                f"with {self.environment[machine.ISA]}, whose results differ: set "
                f"{machine.ISA}=AVX2 for the run"
            )
        if not self.seen.is_file():
            raise RunError(
                f"worker {where} does not see {self.seen}: name a folder that all machines share "
                "with --set artifacts=FOLDER"
            )
        unlike = [name for name in ARITHMETIC if os.environ.get(name) != self.environment[name]]
        if unlike and "tensorflow" in sys.modules:
            raise RunError(
                f"worker {where} has imported TensorFlow with another {unlike[0]}: start it again"
            )


class Joins(distributed.WorkerPlugin):  # type: ignore[misc]
    """Prepare a worker of a cluster that others started."""

    name = "cyclical"

    def __init__(self, expected: Expected) -> None:
        self.expected = expected

    def setup(self, worker: distributed.Worker) -> None:
        """Compare, take the environment over, and import TensorFlow."""
        if worker.state.nthreads != 1:
            raise RunError(
                f"worker {worker.address} has several threads, and a process trains one network at "
                "a time: start it with --nthreads 1 (threads_per_worker=1)"
            )
        self.expected.refuse_unlike(worker.address)
        given = dict(self.expected.environment)
        if worker.state.total_resources.get(GPU, 0):
            device = os.environ.get(cluster.VISIBLE)
            if device is None:
                raise RunError(
                    f"worker {worker.address} offers a GPU without {cluster.VISIBLE}, which says "
                    "which one: start it with that, or by dask-cuda"
                )
            given = cluster.environment(device) | given
        else:
            given[cluster.VISIBLE] = cluster.NO_GPU
        os.environ.update(given)
        cluster.import_tensorflow()


def _has_gpu(worker: Mapping[str, Any]) -> bool:
    return bool(worker["resources"].get(GPU, 0) >= 1)


def _refuse_unreachable_server(address: str) -> None:
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
