"""The Dask cluster on this machine: one single-threaded worker a core, or a GPU."""

import importlib
import logging
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

import distributed
from dask.system import CPU_COUNT
from prefect.concurrency.sync import concurrency
from prefect_dask import DaskTaskRunner

from cyclical.errors import InputError, RunError, one_line
from tasks.caching import ARITHMETIC, ARITHMETIC_ON_GPU, CUDA_FOLDER

WORKER_ENVIRONMENT = ARITHMETIC | {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
CLUSTER_SETTINGS = {
    # Dask would pause a worker at 80 % of its memory for ever, and kill it at 95 %.
    **{f"distributed.worker.memory.{step}": False for step in ("target", "spill", "pause")},
    "distributed.worker.memory.terminate": False,
    # Where more than two trainings a worker wait, one is given away when a worker is free, and not
    # before, so that priorities hold for all.
    "distributed.scheduler.worker-saturation": 1.0,
    # Nobody looks at what Dask samples of a worker a hundred times a second, and up to Python 3.11
    # a sample can lock the worker up for ever (python/cpython#106883).
    "distributed.worker.profile.enabled": False,
    # Nor at its own health, for which each of its processes wakes up 50 times a second.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}
VISIBLE = "CUDA_VISIBLE_DEVICES"
NO_GPU = "-1"
GPU_LIMIT = "cyclical-gpu"
START_ATTEMPTS = 3
LEASE_SECONDS = 60  # the least that Prefect takes
T = TypeVar("T")
log = logging.getLogger(__name__)


class ImportsTensorFlow(distributed.WorkerPlugin):  # type: ignore[misc]
    """Import TensorFlow once a worker, on all of them at once, without its start-up messages.

    The task comes along: a worker that first imports it after an edit of the code can fail to, and
    Dask never tells. A Ctrl-C at the terminal reaches the workers too; it is the command's to end
    them.
    """

    name = "imports-tensorflow"

    def setup(self, worker: distributed.Worker) -> None:  # noqa: ARG002 (Dask's signature)
        """Import while the worker starts."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        import_tensorflow()


def import_tensorflow() -> None:
    """Import it, and what trains with it, in a worker that has its environment."""
    with _standard_error_to_null():
        importlib.import_module("tensorflow")
    importlib.import_module("tasks.training")
    if has_gpu():
        repeatable()


def repeatable() -> None:
    """Let TensorFlow compute deterministically on a GPU, and in whole float32."""
    experimental = importlib.import_module("tensorflow").config.experimental
    experimental.enable_op_determinism()
    experimental.enable_tensor_float_32_execution(False)


def gpus(wanted: int | None, devices: Path = Path("/dev")) -> tuple[str, ...]:
    """Choose the GPUs to train on, as CUDA names them; none means the CPU.

    Those that CUDA_VISIBLE_DEVICES names are there, or without it all that have a device node.

    Args:
        wanted: How many; None for all.
        devices: Where the device nodes lie.

    Raises:
        InputError: More are wanted than there are.
    """
    named = os.environ.get(VISIBLE)
    if named is None:
        nodes = [node for node in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", node.name)]
        there = tuple(map(str, range(len(nodes))))
        told = f"{len(there)} of this machine"
    else:
        there = tuple(name.strip() for name in named.split(",") if name.strip() not in {"", NO_GPU})
        told = f"{len(there)} that {VISIBLE}={named} leaves"
    if wanted is not None and wanted > len(there):
        raise InputError(
            f"gpus asks for {wanted}, more than the {told}: ask for fewer, or for gpus=0 to "
            "compute on the CPU"
        )
    return there[:wanted]


def cores() -> int:
    """Count the processor cores that this process may use, also in a container."""
    return min(len(os.sched_getaffinity(0)), CPU_COUNT)


def described(workers: int, on_gpus: Sequence[str]) -> str:
    """Name what a run computes on.

    >>> described(2, []), described(1, ["0"])
    ('the CPU, 2 trainings side by side (no GPU is used)', 'GPU 0, 1 training at a time')
    """
    beside = f"{workers} trainings side by side" if workers > 1 else "1 training at a time"
    if not on_gpus:
        return f"the CPU, {beside} (no GPU is used)"
    return f"GPU {', '.join(on_gpus)}, {beside}"


def has_gpu() -> bool:
    """Tell whether this worker was given a GPU."""
    return os.environ.get(VISIBLE, NO_GPU) != NO_GPU


@contextmanager
def one_training_a_gpu() -> Iterator[None]:
    """Wait, where this worker has a GPU, until a place on one is free among all flows."""
    if not has_gpu():
        yield
        return
    with gpu_slot():
        yield


@contextmanager
def gpu_slot() -> Iterator[None]:
    """Hold one of the places of the limit that `make deploy` sets; without it there is no wait.

    The place of a holder that was killed comes free when its lease ends. A server that does not
    answer in the meantime ends the lease, but no training.
    """
    with concurrency(GPU_LIMIT, lease_duration=LEASE_SECONDS):
        yield


def start(workers: int, on_gpus: Sequence[str]) -> distributed.SpecCluster:
    """Start workers, each with one thread and one GPU, shared where there are fewer, or none.

    A worker that dies while it starts takes all with it: they are started again.

    Raises:
        RunError: Workers die again and again.
    """
    for _ in range(START_ATTEMPTS):
        try:
            return patiently(lambda: _started(workers, on_gpus))
        except RuntimeError as error:
            log.warning("a worker died while it started (%s)", one_line(error))
    raise RunError("workers die while they start: the kernel's log may say why (dmesg)")


def patiently(make: Callable[[], T], attempts: int = START_ATTEMPTS) -> T:
    """Make a cluster or a client, again where Dask's own thread does not run within ten seconds.

    Where a machine stalls for so long, as virtual ones do, Dask fails with an AssertionError.

    Raises:
        RunError: It fails so again and again.
    """
    try:
        return make()
    except AssertionError as error:
        if attempts == 1:
            raise RunError(
                "Dask does not start within 10 s: is this machine overloaded?"
            ) from error
    log.warning("Dask did not start, as where a machine stalls: it is tried again")
    return patiently(make, attempts - 1)


def _started(workers: int, on_gpus: Sequence[str]) -> distributed.SpecCluster:
    devices = islice(cycle(on_gpus or [NO_GPU]), workers)
    quiet = {"host": "127.0.0.1", "silence_logs": logging.CRITICAL}
    return distributed.SpecCluster(
        scheduler={
            "cls": distributed.Scheduler,
            "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
        },
        workers={
            number: {
                "cls": distributed.Nanny,
                "options": quiet
                | {
                    "nthreads": 1,
                    "env": environment(device),  # wins over the user's own
                },
            }
            for number, device in enumerate(devices)
        },
        silence_logs=logging.CRITICAL,
        shutdown_on_close=False,  # a process that is ended does not first ask its workers to stop
    )


def environment(device: str) -> dict[str, str]:
    """Return what a worker's process is given, for a GPU or NO_GPU.

    Of the user's own flags for XLA only where CUDA lies is kept: others may change results.
    """
    given = WORKER_ENVIRONMENT | {VISIBLE: device}
    if device == NO_GPU:
        return given
    theirs = os.environ.get("XLA_FLAGS", "").split()
    where = [flag for flag in theirs if flag.startswith(CUDA_FOLDER)]
    flags = " ".join([*where, ARITHMETIC_ON_GPU["XLA_FLAGS"]])
    return given | ARITHMETIC_ON_GPU | {"XLA_FLAGS": flags}


def runner(workers: int, on_gpus: Sequence[str]) -> DaskTaskRunner:
    """Return a task runner whose cluster starts with the first task."""
    return DaskTaskRunner(
        cluster_class=start, cluster_kwargs={"workers": workers, "on_gpus": on_gpus}
    )


def prepare(client: distributed.Client, on_gpus: Sequence[str]) -> None:
    """Let all workers import TensorFlow, on the GPUs that were promised.

    A worker that dies while it imports takes the call with it; the one in its place imports too.

    Raises:
        RunError: Workers die again and again, or TensorFlow can't use a GPU that is there.
    """
    for _ in range(START_ATTEMPTS):
        try:
            client.register_plugin(ImportsTensorFlow())
            break
        except distributed.comm.CommClosedError:
            log.warning("a worker died while it started")
    else:
        raise RunError("workers die while they import TensorFlow: `import tensorflow` says why")
    if on_gpus and not all(client.run(finds_a_gpu).values()):
        raise RunError(
            f"TensorFlow can't use the GPU {', '.join(on_gpus)}: install its CUDA libraries "
            "(.venv/bin/pip install -c constraints.txt -e '.[gpu]'), or compute on the CPU with "
            "--set gpus=0"
        )


def finds_a_gpu() -> bool:
    """Tell whether TensorFlow can use a GPU in this process."""
    with _standard_error_to_null():
        return bool(importlib.import_module("tensorflow").config.list_physical_devices("GPU"))


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
