"""Experiments on Dask clusters of the run's own, which begin late and never outlive it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from cyclical.clusters import Cluster
from cyclical.errors import InputError, RunError
from cyclical.settings import resolve
from tasks import keeper, places, presence
from tests import running
from tests.running import ROOT, hashes
from tests.waiting import until

MARK = "CYCLICAL_TEST_MARK"
ENDS_WITHIN_SECONDS = 10
UNTIL_BOUNDS = ("--until-step", "lr_bounds")
OF_THIS_MACHINE: dict[str, Any] = {"workers": None, "gpus": None}
LOCAL = {
    "processes": True,
    "threads_per_worker": 1,
    "n_workers": 0,
    "host": "127.0.0.1",
    "dashboard_address": None,
    "name": "found-nowhere-else",
}
MINE = """
import subprocess

import distributed


def no_class():
    pass


class Late(distributed.LocalCluster):
    def scale(self, n):
        "Ask for workers that never come."


class Raises(distributed.LocalCluster):
    def __init__(self, **arguments):
        subprocess.Popen(["sleep", "1000"])
        super().__init__(**arguments)
        super().scale(1)
        raise ValueError("half made,\\nand no more")


class Hangs(distributed.LocalCluster):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        subprocess.run(["sleep", "1000"])


class Elsewhere(distributed.LocalCluster):
    scheduler_address = "tcp://10.0.0.1:8786"


class NoQueue(distributed.LocalCluster):
    def new_worker_spec(self):
        return {"job": {"cls": Job, "options": {}}}


class Job(distributed.deploy.spec.ProcessInterface):
    def __init__(self, scheduler, **options):
        super().__init__()

    async def start(self):
        subprocess.run(["no-sbatch-here"])
"""


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Begin where `mine.py` lies; processes that are started have a mark, and none may be left."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(MARK, str(tmp_path))
    yield str(tmp_path)
    for process in (left := marked(str(tmp_path))):
        process.kill()
    assert not left


def marked(mark: str) -> list[psutil.Process]:
    """List the processes that a test started and that live."""
    return [each for each in psutil.process_iter() if each.pid != os.getpid() and has(each, mark)]


def has(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def refused(kind: str, arguments: dict[str, Any] = LOCAL) -> str:
    """Return in what line it is told that a cluster is of no use."""
    mine = Cluster(kind=kind, arguments=arguments, workers=1, wait_minutes=5)
    with pytest.raises((InputError, RunError)) as caught, places.Place(1, elsewhere=mine).opened():
        pass
    assert "\n" not in str(caught.value)
    return f"{caught.type.__name__}: {caught.value}"


def there(kind: str = "distributed:LocalCluster", **changes: Any) -> dict[str, Any]:
    return OF_THIS_MACHINE | {
        "cluster__kind": kind,
        "cluster__arguments": LOCAL | changes,
        "cluster__workers": 2,
    }


def test_a_cluster_of_the_runs_own_gives_the_bytes_of_this_machine_and_starts_when_needed(
    mark: str, finished: Path, tmp_path: Path
) -> None:
    artifacts = tmp_path / "artifacts"
    ran = running.run(artifacts, *UNTIL_BOUNDS, **there())
    assert ran.status == 0, ran.error
    assert "2 trainings side by side, at tcp://127.0.0.1" in ran.out.replace("\n", " ")
    until(lambda: not marked(mark), ENDS_WITHIN_SECONDS, "something of the cluster was left")
    whole = hashes(finished)
    assert all(whole[name] == of for name, of in hashes(artifacts).items())
    for file in artifacts.rglob("*"):
        assert not file.is_file() or b"found-nowhere-else" not in file.read_bytes()

    again = running.run(artifacts, *UNTIL_BOUNDS, **there("no.such:Cluster"))
    assert again.status == 0, again.error
    assert again.executed == set()


def test_a_run_whose_workers_are_refused_closes_its_cluster(
    mark: str, fashion_mnist: Path, prefect_server: None, tmp_path: Path
) -> None:
    ran = running.run(tmp_path / "artifacts", *UNTIL_BOUNDS, **there(threads_per_worker=2))
    assert ran.status == 1
    [line] = ran.error.splitlines()
    assert "has several threads" in line
    until(lambda: not marked(mark), ENDS_WITHIN_SECONDS, "something of the cluster was left")


@pytest.mark.parametrize(
    ("number", "kind", "at"),
    [
        (signal.SIGINT, "mine:Late", "starting mine:Late"),
        (signal.SIGTERM, "distributed:LocalCluster", "training on"),
        (signal.SIGKILL, "mine:Late", "starting mine:Late"),
    ],
)
def test_a_cluster_ends_with_a_run_that_is_interrupted_or_killed(
    mark: str,
    fashion_mnist: Path,
    prefect_server: None,
    tmp_path: Path,
    number: signal.Signals,
    kind: str,
    at: str,
) -> None:
    options = running.settings(tmp_path / "artifacts", **there(kind))
    command = [sys.executable, "-m", "flows.cli", "run", *options, *UNTIL_BOUNDS]
    log = tmp_path / "log"
    with log.open("wb") as target:
        process = subprocess.Popen(command, stdout=target, stderr=target, start_new_session=True)

    def begun() -> bool:
        assert process.poll() is None, log.read_text()
        return at in log.read_text() and len(marked(mark)) > 1

    until(begun, 240, "the cluster did not start")
    os.killpg(process.pid, number)
    until(lambda: process.poll() is not None, ENDS_WITHIN_SECONDS, "the run did not end")
    assert process.returncode in {130, -signal.SIGKILL}, log.read_text()
    until(lambda: not marked(mark), 120, "the cluster outlived its run")
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("no.such:Cluster", "InputError: cluster.kind no.such:Cluster: no.such can't be imported"),
        ("mine:Missing", "InputError: cluster.kind mine:Missing: mine holds nothing of that name"),
        ("mine:no_class", "InputError: cluster.kind mine:no_class is no class of Dask clusters"),
        ("mine:Raises", "RunError: mine:Raises with these cluster.arguments fails (ValueError: "),
        ("mine:NoQueue", "RunError: mine:NoQueue with these cluster.arguments fails (FileNotFound"),
    ],
)
def test_a_class_that_is_of_no_use_is_told_in_a_line_and_leaves_nothing(
    mark: str, kind: str, line: str
) -> None:
    assert refused(kind).startswith(line)
    until(lambda: not marked(mark), ENDS_WITHIN_SECONDS, "something of the cluster was left")


def test_arguments_that_a_class_does_not_take_are_told(mark: str) -> None:
    assert "unexpected keyword argument 'cores'" in refused("distributed:SpecCluster", {"cores": 1})


def test_workers_that_never_come_are_waited_for_so_long_and_no_longer(mark: str) -> None:
    late = keeper.Wanted("mine:Late", LOCAL, 1, {})
    with (
        keeper.kept(late, 300) as address,
        pytest.raises(RunError, match=r"mine:Late has no worker after 0\.01 minutes: its queue"),
    ):
        presence.await_first(address, 0.01, "mine:Late")


def test_a_class_that_never_returns_is_waited_for_so_long_and_no_longer(
    mark: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "SPARE_SECONDS", 120)
    hangs = keeper.Wanted("mine:Hangs", LOCAL, 1, {}, close_seconds=1)
    with (
        pytest.raises(RunError, match=r"mine:Hangs is not started after 0\.05 minutes"),
        keeper.kept(hangs, 3),
    ):
        pass
    assert "mine:Hangs may not be closed (it took more than 1 s)" in caplog.text


def test_workers_that_would_not_reach_the_server_are_refused(
    mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    assert "do not reach http://127.0.0.1:4200/api" in refused("mine:Elsewhere")


def test_a_gpu_that_is_named_is_in_the_keys_before_there_is_a_worker() -> None:
    own = {"cluster.kind": "no.such:Cluster", "cluster.workers": 3}
    on_cpu, on_gpu = (
        places.chosen(resolve("quick", own | more)) for more in ({}, {"cluster.gpu": "Tesla T4"})
    )
    assert on_cpu.gpu is None
    assert on_gpu.gpu is not None
    assert on_gpu.gpu["gpu"] == "Tesla T4"
    assert not on_gpu.resources
    told = replace(on_gpu, address="tcp://x:1").described()
    assert told == "GPUs (Tesla T4), 3 trainings side by side, at tcp://x:1"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cluster.workers": 2}, "workers is of a cluster that the run starts"),
        ({"cluster.gpu": "T4"}, "gpu is of a cluster that the run starts"),
        ({"cluster.kind": "a:B"}, "say how many workers a:B shall have"),
        ({"cluster.kind": "a:B", "cluster.address": "tcp://x:1"}, "leave one of them out"),
        ({"cluster.kind": "a:B", "cluster.workers": 1, "gpus": 1}, "gpus is of this machine"),
        ({"cluster.arguments": {"asynchronous": True}}, "arguments is of a cluster that the run"),
        ({"cluster.arguments": [1]}, "cluster.arguments: input should be an object"),
        ({"cluster.kind": "SLURMCluster"}, "cluster.kind: string should match"),
        ({"cluster.wait_minutes": 0}, "cluster.wait_minutes: input should be greater than 0"),
    ],
)
def test_what_makes_no_cluster_is_told_in_a_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve("quick", settings)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"password": "x1y2"},
        {"env": {"AWS_SECRET_ACCESS_KEY": "x1y2"}},
        {"env": [{"name": "HF_TOKEN", "value": "x1y2"}]},
        {"job_script_prologue": ["export API_KEY=x1y2"]},
        {"env": {"DATABASE": "postgres://user:x1y2@host/name"}},
    ],
)
def test_arguments_that_name_a_secret_are_refused_without_repeating_it(
    arguments: dict[str, Any],
) -> None:
    own = {"cluster.kind": "a:B", "cluster.workers": 1, "cluster.arguments": arguments}
    with pytest.raises(InputError, match="Prefect's server keeps them") as caught:
        resolve("quick", own)
    assert "x1y2" not in str(caught.value)
    assert json.dumps(arguments) not in str(caught.value)


def test_arguments_may_be_lists_and_objects() -> None:
    arguments = {
        "cores": 1,
        "job_extra_directives": ["--gres=gpu:1"],
        "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "image": "registry/tokenizers",
        "imagePullSecrets": [{"name": "registry"}],
        "scheduler": None,
    }
    own = {"cluster.kind": "a:B", "cluster.workers": 1, "cluster.arguments": arguments}
    assert resolve("quick", own).cluster.arguments == arguments
