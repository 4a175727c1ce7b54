"""One training a GPU: processes that hold a place, wait for one, or are killed with one."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from flows.server import Patient
from tasks.cluster import GPU_LIMIT, LEASE_SECONDS
from tests.running import ROOT
from tests.waiting import until

HOLD = """
import sys
from tasks import cluster
cluster.LEASE_SECONDS = int(sys.argv[1])
print("starts", flush=True)
with cluster.one_training_a_gpu():
    print("trains", flush=True)
    sys.stdin.readline()
"""
REPOSSESSION_SECONDS = 15  # how often Prefect's server looks for leases that have ended


@pytest.fixture(scope="module")
def api(prefect_server: None) -> Iterator[httpx.Client]:
    """Return the API of a server that lets one training at a time use a GPU."""
    with httpx.Client(
        base_url=os.environ["PREFECT_API_URL"], transport=Patient(), timeout=60
    ) as client:
        body = {"name": GPU_LIMIT, "limit": 1, "active": True}
        client.post("/v2/concurrency_limits/", json=body).raise_for_status()
        yield client
        client.delete(f"/v2/concurrency_limits/{GPU_LIMIT}").raise_for_status()


@contextmanager
def holder(device: str, lease: int = LEASE_SECONDS) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process that trains on a device until it is told to stop, with a lease in seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lease)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": device},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,  # nothing is read ahead
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: "subprocess.Popen[bytes]") -> str:
    """Wait for what a process says next."""
    assert process.stdout
    return process.stdout.readline().decode().strip()


def silent(process: "subprocess.Popen[bytes]") -> bool:
    """Tell whether a process has said nothing more."""
    return select.select([process.stdout], [], [], 0)[0] == []


def stop(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin
    process.stdin.write(b"stop\n")
    assert process.wait(120) == 0


def limit(api: httpx.Client) -> dict[str, float]:
    found: dict[str, float] = api.get(f"/v2/concurrency_limits/{GPU_LIMIT}").json()
    return found


def test_a_training_waits_for_the_gpu_and_one_without_a_gpu_does_not(api: httpx.Client) -> None:
    with holder("0") as first:
        assert [line(first), line(first)] == ["starts", "trains"]
        with holder("1") as second:
            assert line(second) == "starts"
            with holder("-1") as on_the_cpu:  # it takes seconds to start
                assert [line(on_the_cpu), line(on_the_cpu)] == ["starts", "trains"]
            assert silent(second)
            assert limit(api)["active_slots"] == 1
            stop(first)
            assert line(second) == "trains"
            stop(second)
    assert limit(api)["active_slots"] == 0


def test_the_place_of_a_killed_training_comes_free_when_its_lease_ends(api: httpx.Client) -> None:
    with holder("0") as killed:
        assert [line(killed), line(killed)] == ["starts", "trains"]
        assert limit(api)["active_slots"] == 1
        killed.kill()
    began = time.monotonic()
    within = LEASE_SECONDS + 2 * REPOSSESSION_SECONDS
    until(lambda: limit(api)["active_slots"] == 0, within, "the place did not come free")
    took = time.monotonic() - began
    assert took > LEASE_SECONDS / 2  # by the end of the lease, and not by the process itself
