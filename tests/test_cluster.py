"""Which GPUs a run takes, and what each worker is told of them; no GPU is needed for that."""

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import distributed
import psutil
import pytest
from prefect import Task

from cyclical.errors import InputError, RunError
from cyclical.manifests import Artifact
from cyclical.store import Store
from tasks import cluster
from tasks.caching import slot_for
from tasks.data import load_data
from tasks.training import train
from tests import running


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of device nodes as a machine with two GPUs has them."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    return tmp_path


def test_all_gpus_with_a_device_node_are_taken_or_as_many_as_asked_for(devices: Path) -> None:
    assert cluster.gpus(None, devices) == ("0", "1")
    assert cluster.gpus(1, devices) == ("0",)
    assert cluster.gpus(0, devices) == ()
    assert cluster.gpus(None, devices / "none") == ()


@pytest.mark.parametrize(
    ("named", "left"),
    [("3", ("3",)), ("GPU-a, GPU-b", ("GPU-a", "GPU-b")), ("", ()), ("-1", ())],
)
def test_the_users_own_choice_of_gpus_is_kept(
    devices: Path, monkeypatch: pytest.MonkeyPatch, named: str, left: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert cluster.gpus(None, devices) == left


def test_asking_for_more_gpus_than_there_are_says_so(
    devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"asks for 3, more than the 2 of this machine"):
        cluster.gpus(3, devices)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(InputError, match=r"more than the 1 that CUDA_VISIBLE_DEVICES=1 leaves"):
        cluster.gpus(2, devices)


def test_a_run_that_asks_for_more_gpus_than_there_are_ends_with_one_line(tmp_path: Path) -> None:
    ran = running.run(tmp_path / "artifacts", environment={"CUDA_VISIBLE_DEVICES": ""}, gpus=2)
    assert ran.status == 2
    assert len(ran.error.strip().splitlines()) == 1
    assert "gpus asks for 2" in ran.error
    assert "gpus=0" in ran.error


@pytest.mark.parametrize(
    ("on_gpus", "seen"),
    [((), ["-1", "-1", "-1"]), (("5",), ["5", "5", "5"]), (("0", "1"), ["0", "1", "0"])],
)
def test_every_worker_sees_one_gpu_in_turn_or_none(
    on_gpus: tuple[str, ...], seen: list[str]
) -> None:
    with (
        dask.config.set(cluster.CLUSTER_SETTINGS),
        cluster.start(3, on_gpus) as started,
        started.get_client() as client,
    ):
        client.wait_for_workers(3)
        told = list(client.run(lambda: dict(os.environ)).values())
        assert sorted(each["CUDA_VISIBLE_DEVICES"] for each in told) == sorted(seen)
        for each in told:
            assert each.items() >= cluster.WORKER_ENVIRONMENT.items()
            on_gpu = each["CUDA_VISIBLE_DEVICES"] != "-1"
            assert ("xla_gpu_deterministic_ops=true" in each.get("XLA_FLAGS", "")) == on_gpu
            assert ("NVIDIA_TF32_OVERRIDE" in each) == on_gpu
        assert set(client.nthreads().values()) == {1}
        sampled = client.run(lambda: dask.config.get("distributed.worker.profile.enabled"))
        assert set(sampled.values()) == {False}
        rests = client.run(lambda: dask.config.get("distributed.admin.tick.interval"))
        assert set(rests.values()) == {"1s"}


def test_of_the_users_flags_for_xla_a_worker_on_a_gpu_keeps_where_cuda_lies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_cuda_data_dir=/opt/cuda --xla_gpu_autotune_level=0")
    assert cluster.environment("0")["XLA_FLAGS"] == (
        "--xla_gpu_cuda_data_dir=/opt/cuda --xla_gpu_deterministic_ops=true"
    )
    assert "XLA_FLAGS" not in cluster.environment(cluster.NO_GPU)


def test_a_gpu_that_tensorflow_cannot_use_ends_the_run_with_the_remedy() -> None:
    none_of_this_number = ["99"]
    with (
        cluster.start(1, none_of_this_number) as started,
        started.get_client() as client,
        pytest.raises(RunError, match=r"GPU 99: install its CUDA libraries .* gpus=0"),
    ):
        cluster.prepare(client, none_of_this_number)


def test_what_a_gpu_trained_is_kept_apart_and_nothing_else(shelf: Store) -> None:
    def keys(task: Task[..., Artifact]) -> set[str]:
        slots = (
            slot_for(task, shelf, "step", "x", {}, gpu=gpu)
            for gpu in (None, {"gpu": "T4"}, {"gpu": "H200"})
        )
        return {slot.key for slot in slots}

    assert len(keys(train)) == 3
    assert len(keys(load_data)) == 1


def test_a_run_on_the_cpu_says_so(finished: Path, tmp_path: Path) -> None:
    ran = running.run(tmp_path / "artifacts", "--until-step", "load_data")
    assert "training on the CPU" in ran.out.replace("\n", " ")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the half-made
def test_a_machine_that_stalls_while_a_cluster_starts_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = distributed.utils._CollectErrorThread
    stalls = iter([True])  # the first of Dask's threads does not begin

    def thread(**options: Any) -> object:
        return object() if next(stalls, False) else begun(**options)

    monkeypatch.setattr(distributed.utils, "_CollectErrorThread", thread)
    with cluster.start(0, []) as started:
        assert next(stalls, "none is left") == "none is left"
        assert started.scheduler_address.startswith("tcp://127.0.0.1:")
    gc.collect()  # here, and not in another test, the half-made one goes


def test_a_worker_that_is_killed_while_it_starts_is_started_again() -> None:
    before = set(psutil.Process().children(recursive=True))
    with ThreadPoolExecutor() as pool:
        starting = pool.submit(cluster.start, 1, [])
        victims: list[psutil.Process] = []
        while not victims:
            new = set(psutil.Process().children(recursive=True)) - before
            victims = [child for child in new if "spawn_main" in " ".join(child.cmdline())]
        victims[0].kill()
        with starting.result() as started:
            started.wait_for_workers(1)
            workers = set(psutil.Process().children(recursive=True)) - before
            assert victims[0] not in workers


def test_a_machine_that_stalls_for_ever_is_told_in_a_line() -> None:
    def stalled() -> None:
        raise AssertionError

    with pytest.raises(RunError, match="does not start within 10 s: is this machine overloaded"):
        cluster.patiently(stalled)
