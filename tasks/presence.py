"""Whether a cluster elsewhere has workers: the first is waited for, and without any a run ends."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import distributed
from distributed.exceptions import WorkerStartTimeoutError

from cyclical.errors import RunError, one_line
from tasks.cluster import patiently

CONNECT_SECONDS = 30
ASK_SECONDS = 5


@contextmanager
def reached(address: str | None) -> Iterator[None]:
    """Raise RunError where the cluster at an address elsewhere is gone."""
    try:
        yield
    except (distributed.client.ClosedClientError, OSError) as error:
        if address is None:
            raise
        raise RunError(
            f"the Dask cluster at {address} is gone ({one_line(error)}): what was finished is "
            "kept, and the next run goes on from there"
        ) from error


def connected(address: str) -> distributed.Client:
    """Return a client of the scheduler at an address, which has half a minute to answer."""
    return patiently(
        lambda: distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    )


def await_first(address: str, minutes: float, kind: str) -> tuple[str, ...]:
    """Wait until a cluster that was just started has a worker; return the addresses of all.

    Raises:
        RunError: None joins within so many minutes, or the scheduler is of no use.
    """
    try:
        with connected(address) as client:
            client.wait_for_workers(1, timeout=60 * minutes)
            return tuple(client.nthreads())
    except WorkerStartTimeoutError as error:
        raise RunError(
            f"{kind} has no worker after {minutes:g} minutes: its queue (squeue, kubectl get pods) "
            "or a worker's log says why; where they only wait longer, set cluster.wait_minutes"
        ) from error
    except Exception as error:  # of whatever kind its network, or its security, gives
        raise RunError(
            f"the scheduler of {kind} at {address} is of no use ({one_line(error)})"
        ) from error


def _has_workers(client: distributed.Client, resources: Mapping[str, float]) -> bool:
    """Tell whether there is a worker that offers what a training asks for."""
    try:
        told = client.sync(client.scheduler.identity, n_workers=-1)
    except Exception:  # noqa: BLE001 (of whatever kind: it may be back when it is asked again)
        return False
    offers = (worker["resources"] for worker in told["workers"].values())
    return any(
        all(offer.get(name, 0) >= count for name, count in resources.items()) for offer in offers
    )


@contextmanager
def attended(
    client: distributed.Client,
    resources: Mapping[str, float],
    minutes: float,
    give_up: Callable[[str], object],
) -> Iterator[None]:
    """Call `give_up`, again and again, once no worker has offered these for so many minutes."""
    lacking = "worker" if not resources else f"worker that offers a {' and a '.join(resources)}"
    left = threading.Event()

    def attend() -> None:
        seen = time.monotonic()
        while not left.wait(ASK_SECONDS):
            if client.status == "closed":  # the scheduler is gone, which Dask tells
                return
            if _has_workers(client, resources):
                seen = time.monotonic()
            elif time.monotonic() - seen > 60 * minutes:
                give_up(f"the cluster has had no {lacking} for {minutes:g} minutes")

    threading.Thread(target=attend, name="attend", daemon=True).start()
    try:
        yield
    finally:
        left.set()
