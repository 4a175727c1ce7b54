"""A Dask cluster that the run starts itself, of a class such as dask-jobqueue's SLURMCluster.

A process of its own keeps it, and closes it when the pipe to the run says so or breaks off: the
kernel breaks it off however the run ends. So no job, pod or process of the cluster outlives a run
that was killed.
"""

import atexit
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

from cyclical import user_code
from cyclical.errors import InputError, RunError, one_line

if TYPE_CHECKING:
    import distributed

SPARE_SECONDS = 5
log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """What is to be kept: a class, its arguments, how many workers, and settings of Dask's.

    It ends `close_seconds` after it was to be closed, be it closed or not.
    """

    kind: str
    arguments: Mapping[str, Any]
    workers: int
    settings: Mapping[str, Any]
    close_seconds: float = 60


@contextmanager
def kept(wanted: Wanted, seconds: float) -> Iterator[str]:
    """Start a cluster within so many seconds; yield its scheduler's address; close it at last.

    Raises:
        InputError: There is no such class of Dask clusters.
        RunError: It can't be started, or takes too long.
    """
    ours, its = multiprocessing.Pipe()
    with ours:
        with its:
            number = its.fileno()
            subprocess.run(  # noqa: S603 (our own interpreter)
                [sys.executable, "-m", __name__, str(number)],
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
            )
        try:
            yield _started(ours, wanted, seconds)
        finally:
            _close(ours, wanted)


def _started(pipe: Connection, wanted: Wanted, seconds: float) -> str:
    try:
        pipe.send(tuple(wanted))  # the other side knows this class by another name
        if not pipe.poll(seconds):
            raise RunError(
                f"{wanted.kind} is not started after {seconds / 60:g} minutes: where that is too "
                "short, set cluster.wait_minutes"
            )
        told: str | Exception = pipe.recv()
    except (EOFError, OSError) as error:
        raise RunError(
            f"the process that started {wanted.kind} died: start the run again"
        ) from error
    if isinstance(told, Exception):
        raise told
    return told


def _close(pipe: Connection, wanted: Wanted) -> None:
    """Wait until the keeper has ended, and say what it could not close."""
    wrong: object = None
    with suppress(EOFError, OSError):
        pipe.send(None)
        while pipe.poll(wanted.close_seconds + SPARE_SECONDS):
            told = pipe.recv()
            wrong = told if isinstance(told, Exception) else wrong
        wrong = f"its keeper did not end within {wanted.close_seconds:g} s"
    if wrong:
        log.warning("%s may not be closed (%s): look what it left", wanted.kind, wrong)


def _keep(pipe: Connection) -> None:
    """Keep a cluster for whoever is at the other end."""
    wanted = Wanted(*pipe.recv())
    leave = threading.Event()
    threading.Thread(
        target=_await_leave, args=(pipe, leave, wanted.close_seconds), daemon=True
    ).start()
    atexit.register(_end_children)  # the last of what is done at exit: Dask's own comes later here
    import dask

    dask.config.set(wanted.settings)
    cluster = None
    try:
        cluster = _made(wanted)
        _scale(cluster, wanted.workers)
        pipe.send(cluster.scheduler_address)
        leave.wait()
    except InputError as error:
        pipe.send(error)
    except Exception as error:
        pipe.send(RunError(f"{wanted.kind} with these cluster.arguments fails ({one_line(error)})"))
        raise  # uncaught, it lasts until Dask has closed, at exit, what it half made
    finally:
        if cluster is not None:
            _shut(cluster, pipe)


def _shut(cluster: "distributed.deploy.Cluster", pipe: Connection) -> None:
    try:
        cluster.close()
    except Exception as error:  # noqa: BLE001 (of whatever kind the class gives)
        pipe.send(RunError(one_line(error)))


def _made(wanted: Wanted) -> "distributed.deploy.Cluster":
    from distributed.deploy import Cluster

    try:
        made = user_code.load(wanted.kind)
    except InputError as error:
        raise InputError(f"cluster.kind {error}") from error
    if not (isinstance(made, type) and issubclass(made, Cluster)):
        raise InputError(
            f"cluster.kind {wanted.kind} is no class of Dask clusters, such as "
            "dask_jobqueue:SLURMCluster"
        )
    return made(**wanted.arguments)


def _scale(cluster: "distributed.deploy.Cluster", workers: int) -> None:
    """Ask for workers; where that fails at once, as without `sbatch`, say so."""
    import distributed

    if not isinstance(cluster, distributed.SpecCluster):
        cluster.scale(workers)
        return

    async def scaled() -> None:
        cluster.scale(workers)  # which begins what is awaited here, and tells of no error
        await cluster._correct_state()

    cluster.sync(scaled)


def _await_leave(pipe: Connection, leave: threading.Event, seconds: float) -> None:
    with suppress(EOFError, OSError):
        pipe.recv()
    leave.set()
    time.sleep(seconds)
    with suppress(OSError):
        pipe.send(RunError(f"it took more than {seconds:g} s"))
    _end_children()
    os._exit(1)


def _end_children() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()


if __name__ == "__main__":
    if os.fork():
        os._exit(0)  # the keeper is nobody's child: a run that is interrupted kills all of its own
    os.setsid()
    _keep(Connection(int(sys.argv[1])))
