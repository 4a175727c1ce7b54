"""Experiments on a real Dask scheduler and workers that others started, as processes."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import distributed
import psutil
import pytest

from cyclical import updates
from cyclical.errors import InputError, RunError
from cyclical.files import File
from cyclical.settings import resolve
from cyclical.store import Store
from tasks import places, presence, remote
from tasks.caching import refuse_other_arithmetic, slot_for
from tasks.cluster import patiently
from tasks.training import train
from tests import running
from tests.running import ROOT, hashes
from tests.waiting import until

SECONDS = 240


class Cluster:
    """A scheduler, and workers that may be started and killed."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack, self._workers = folder, stack, 0
        told = folder / "scheduler.json"
        self._start("scheduler", "--port", "0", "--scheduler-file", str(told))
        self.client = stack.enter_context(
            patiently(
                lambda: distributed.Client(
                    scheduler_file=str(told), timeout=SECONDS, set_as_default=False
                )
            )
        )
        self.address: str = self.client.scheduler.address

    def worker(self, *options: str, threads: int = 1, **environment: str) -> psutil.Process:
        """Start a worker without a nanny, and wait until it has joined."""
        self._workers += 1
        name = f"worker-{self._workers}"
        arguments = ("--no-nanny", "--name", name, "--nthreads", str(threads), *options)
        process = self._start("worker", *arguments, self.address, **environment)
        until(lambda: name in self._names(), SECONDS, f"{name} did not join")
        return process

    def _names(self) -> set[str]:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return {worker["name"] for worker in workers.values()}

    def _start(self, role: str, *options: str, **environment: str) -> psutil.Process:
        log = self._stack.enter_context((self._folder / f"{role}.log").open("ab"))
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", role, "--host", "127.0.0.1", "--no-dashboard", *options],
            cwd=self._folder,
            env=running.without_our_settings() | {"PYTHONPATH": str(ROOT)} | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return psutil.Process(process.pid)


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without workers."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    with ExitStack() as stack:
        yield Cluster(folder, stack)


def swept(artifacts: Path) -> dict[str, str]:
    """Return the hashes of what a run until the learning rate's bounds leaves."""
    steps = ("load_data/", "lr_sweep/", "lr_bounds/")
    return {name: of for name, of in hashes(artifacts).items() if name.startswith(steps)}


def test_a_cluster_gives_the_bytes_of_this_machine_though_a_worker_dies_and_one_comes_late(
    others: Cluster, finished: Path, tmp_path: Path
) -> None:
    artifacts = tmp_path / "artifacts"
    victim = others.worker()
    with ThreadPoolExecutor() as pool:
        options = ("--until-step", "lr_bounds")
        there = {"cluster__address": others.address, "workers": None, "gpus": None}
        ran = pool.submit(running.run, artifacts, *options, **there)
        until(
            lambda: list(artifacts.glob("lr_sweep/lr=*/manifest.json")),
            SECONDS,
            "no point was finished",
        )
        victim.kill()
        others.worker()
        assert ran.result().status == 0, ran.result().error
    assert f"at {others.address}" in ran.result().out.replace("\n", " ")
    assert swept(artifacts) == hashes(artifacts) == swept(finished)

    again = running.run(artifacts, *options, **there)
    assert again.status == 0
    assert again.executed == set()
    [late] = others.client.run(lambda: "tensorflow" in sys.modules).values()
    assert late


def test_what_is_wrong_with_a_cluster_is_told_in_a_line(
    others: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(address: str = others.address) -> str:
        with pytest.raises(InputError) as caught:
            remote.offered(address)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "has no workers" in refused()
    monkeypatch.setattr(presence, "CONNECT_SECONDS", 3)
    for address in ("tcp://127.0.0.1:1", "tls://127.0.0.1:1", "x://127.0.0.1:1"):
        assert f"no Dask scheduler is of use at {address} (" in refused(address)


def test_a_worker_that_joins_late_and_would_compute_otherwise_leaves_again(
    others: Cluster, tmp_path: Path
) -> None:
    others.worker()
    (tmp_path / "seen").touch()
    with presence.connected(others.address) as run:
        remote.prepare(run, None, File(tmp_path / "seen"))
        (tmp_path / "seen").unlink()
        late = others.worker()
        late.wait(SECONDS)
        assert len(others.client.scheduler_info(n_workers=-1)["workers"]) == 1
    others.worker()
    prepared = others.client.run(lambda: "tensorflow" in sys.modules)
    assert sorted(prepared.values()) == [False, True]


def test_runs_that_share_a_cluster_prepare_and_leave_its_workers_each_for_itself(
    others: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seen").touch()
    clients = {}
    for run in ("one", "other"):
        monkeypatch.setenv("PREFECT__FLOW_RUN_ID", run)
        clients[run] = presence.connected(others.address)
        remote.prepare(clients[run], None, File(tmp_path / "seen"))
    clients["other"].close()
    (tmp_path / "seen").unlink()
    others.worker().wait(SECONDS)  # the first run still refuses it
    clients["one"].close()
    others.worker()
    until(lambda: others.client.run_on_scheduler(left) == [], SECONDS, "a plugin was left")


def left(dask_scheduler: distributed.Scheduler) -> list[str]:
    """List what runs left on a scheduler: what prepares workers, and what ends that."""
    names = [*dask_scheduler.worker_plugins, *dask_scheduler.plugins]
    return [name for name in names if "cyclical-" in name]


def test_a_run_that_is_killed_leaves_no_one_who_refuses_workers(
    others: Cluster, fashion_mnist: Path, prefect_server: None, tmp_path: Path
) -> None:
    others.worker()
    artifacts = tmp_path / "artifacts"
    there = {"cluster__address": others.address, "workers": None, "gpus": None}
    endless = running.settings(artifacts, lr_sweep__epochs=10_000, **there)
    with subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", *endless, "--until-step", "lr_bounds"],
        cwd=ROOT,
        env=running.without_our_settings(),
        stdout=subprocess.DEVNULL,
    ) as run:
        until(lambda: list(artifacts.glob(".checkpoints/*")), SECONDS, "no training made progress")
        run.kill()
    until(lambda: others.client.run_on_scheduler(left) == [], SECONDS, "a plugin was left")
    until(lambda: not any(others.client.run(busy).values()), SECONDS, "the training runs on")


def busy(dask_worker: distributed.Worker) -> bool:
    """Tell whether a thread of a worker computes."""
    return bool(dask_worker.active_threads)


def test_a_run_ends_when_no_worker_has_been_there_for_so_long(
    others: Cluster, fashion_mnist: Path, prefect_server: None, tmp_path: Path
) -> None:
    victim = others.worker()
    there = {"cluster__address": others.address, "cluster__wait_minutes": 0.05}
    with ThreadPoolExecutor() as pool:
        options = ("--until-step", "lr_bounds")
        ran = pool.submit(
            running.run, tmp_path / "artifacts", *options, **there, workers=None, gpus=None
        )
        until(lambda: any(others.client.processing().values()), SECONDS, "no training began")
        victim.kill()
    assert ran.result().status == 1
    [line] = ran.result().error.splitlines()
    assert "failed (the cluster has had no worker for 0.05 minutes); what was finished" in line


def test_a_worker_without_the_gpu_that_trainings_ask_for_does_not_count(others: Cluster) -> None:
    others.worker()
    told: list[str] = []
    with presence.attended(others.client, {"GPU": 1}, 0.01, told.append):
        until(lambda: told, SECONDS, "nobody gave up")
    assert told[0] == "the cluster has had no worker that offers a GPU for 0.01 minutes"


def test_a_worker_with_several_threads_is_refused(others: Cluster, tmp_path: Path) -> None:
    others.worker(threads=2)
    with pytest.raises(RunError, match=r"has several threads, .* --nthreads 1"):
        remote.prepare(others.client, None, File(tmp_path))


def test_workers_that_report_to_a_server_that_they_do_not_reach_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    with pytest.raises(InputError, match=r"do not reach http://127\.0\.0\.1:4200/api"):
        remote.offered("tcp://10.0.0.1:8786")


def test_a_worker_that_offers_a_gpu_gets_the_trainings_but_must_say_which_it_is(
    others: Cluster, tmp_path: Path
) -> None:
    others.worker()
    others.worker("--resources", "GPU=1")
    offer = remote.offered(others.address)
    assert offer.workers == 2
    [on_gpu] = offer.on_gpus
    place = places.Place(1, offer.on_gpus, offer.gpu, others.address)
    assert place.described() == f"GPUs (unknown), 1 training at a time, at {others.address}"
    asked = others.client.submit(
        lambda: distributed.get_worker().address, resources=place.resources, pure=False
    )
    assert asked.result() == on_gpu
    (tmp_path / "seen").touch()
    with pytest.raises(RunError, match="offers a GPU without CUDA_VISIBLE_DEVICES"):
        remote.prepare(others.client, offer.gpu, File(tmp_path / "seen"))


def test_a_gpu_that_a_workers_tensorflow_can_not_use_ends_the_run(
    others: Cluster, tmp_path: Path
) -> None:
    others.worker("--resources", "GPU=1", CUDA_VISIBLE_DEVICES="0")
    (tmp_path / "seen").touch()
    with pytest.raises(RunError, match="TensorFlow can't use the GPU of worker"):
        remote.prepare(others.client, remote.offered(others.address).gpu, File(tmp_path / "seen"))


def test_of_a_cluster_of_the_runs_own_every_worker_must_have_the_gpu(
    others: Cluster, tmp_path: Path
) -> None:
    others.worker()
    (tmp_path / "seen").touch()
    with pytest.raises(RunError, match=r"GPU of another kind than .*T4.*: .*unknown"):
        remote.prepare(others.client, {"gpu": "T4"}, File(tmp_path / "seen"), all_train=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"code": {"cyclical.errors": "0"}}, "has other code"),
        ({"versions": {"keras": "1.0"}}, "has keras .*, not 1.0"),
        ({"versions": {"pyarrow": "1.0"}}, r"has pyarrow \d.*, not 1.0"),
        ({"machine": "aarch64"}, "whose results differ"),
        ({"gpu": {"gpu": "Tesla T4"}}, "has a GPU of another kind"),
        ({"seen": File(Path("/nowhere"))}, "does not see /nowhere"),
    ],
)
def test_a_worker_that_would_compute_otherwise_is_refused(
    changes: Mapping[str, object], told: str, tmp_path: Path
) -> None:
    (tmp_path / "seen").touch()
    alike = remote.Expected.here(None, File(tmp_path / "seen"))
    alike.refuse_unlike("x")
    with pytest.raises(RunError, match=f"^worker x .*{told}"):
        replace(alike, **changes).refuse_unlike("x")  # type: ignore[arg-type]


def test_a_worker_with_gpus_of_several_kinds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = remote.Expected.here({"gpu": "T4"}, File(tmp_path / "seen"))
    monkeypatch.setattr("cyclical.machine.gpus", lambda: ["T4", "H100"])
    with pytest.raises(RunError, match=r"^worker x is of no use: the GPUs .* of several kinds"):
        wanted.refuse_unlike("x")


@pytest.mark.parametrize(
    ("changed", "on_gpu"),
    [({}, True), ({"OMP_NUM_THREADS": "16"}, False), ({"ONEDNN_MAX_CPU_ISA": None}, False)],
)
def test_an_unprepared_worker_keeps_no_result(
    changed: Mapping[str, str | None], on_gpu: bool, shelf: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = slot_for(train, shelf, "lr_sweep", "x", {})
    refuse_other_arithmetic(slot)
    monkeypatch.setattr(updates, "on_gpu", lambda: on_gpu)
    for name, value in changed.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=f"has another {next(iter(changed), 'device')} than"):
        refuse_other_arithmetic(slot)


def test_what_is_of_this_machine_does_not_go_with_a_cluster_elsewhere() -> None:
    with pytest.raises(InputError, match="workers is of this machine"):
        resolve("quick", {"cluster.address": "tcp://10.0.0.1:8786", "workers": 2})
