"""Trainings wait for memory beside others, and are refused where even one is too many."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest

from cyclical import memory
from cyclical.errors import InputError
from tasks import cluster

GIB = 2**30
HOLDING = """
import sys
from pathlib import Path
from cyclical import memory

plenty = memory.Memory(1 << 41, 1 << 40)
with memory.reserved(int(sys.argv[2]), "none", print, Path(sys.argv[1]), lambda: plenty):
    print("held", flush=True)
    sys.stdin.readline()
print("free", flush=True)
sys.stdin.readline()
"""
MEASURE = """
import sys
import numpy as np
import psutil
from benchmarks import rivals
from benchmarks.processes import peak_mib
from cyclical import examples, memory, training
from cyclical.plans import LearningRate, Training
from cyclical.values import Optimizer

size = int(sys.argv[1])
pixels = np.zeros((2 * size, 28, 28, 1), np.uint8)
part = examples.Part(pixels, np.zeros(2 * size, np.uint8))
settings = Training(
    label="x", model="lenet5", optimizer=Optimizer(name="rmsprop"), batch_sizes=(size,),
    learning_rate=LearningRate(policy="constant", base_lr=0.01), epochs=1, seed=0,
)
held = psutil.Process().memory_info().rss
graph = training.updates_of(settings, part, 10)
peak = memory.peak_bytes(held, graph.state().nbytes, graph.activation_bytes, size)
training.train(settings, part, examples.Part(pixels[:100], part.labels[:100]), 10)
print(peak, peak_mib() * 2**20, held)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process of this machine, whose training is to take 10 GiB."""
    words = [sys.executable, "-c", HOLDING, str(tmp_path), str(10 * GIB)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def held() -> int:
    return int(psutil.Process().memory_info().rss)


def reserved(
    folder: Path, gib: float, free: float, whole: float = 64
) -> AbstractContextManager[None]:
    """Reserve so much more than is held, of so much that is free, as a training would."""
    there_is = memory.Memory(int(whole * GIB), int(free * GIB))
    peak = held() + int(gib * GIB)
    return memory.reserved(peak, "set micro_batch", lambda: None, folder, lambda: there_is)


def holders(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != "lock" and path.read_bytes()]


def test_a_training_begins_at_once_where_there_is_enough(tmp_path: Path) -> None:
    with reserved(tmp_path, 1, free=2):
        assert holders(tmp_path) == [str(os.getpid())]
    assert holders(tmp_path) == []


def test_more_than_the_machine_has_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused, reserved(tmp_path, 3, free=1, whole=2):
        pass
    line = "a training would take 3.0 GiB more, and 1.0 GiB are free: set micro_batch"
    assert str(refused.value) == line


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a training waits, which pass at once."""
    waited: list[float] = []
    monkeypatch.setattr("cyclical.memory.time.sleep", waited.append)
    return waited


def test_what_other_programs_hold_is_waited_for_and_in_the_end_told(
    tmp_path: Path, looks: list[float]
) -> None:
    with pytest.raises(InputError, match=r"3\.0 GiB more"), reserved(tmp_path, 3, free=1):
        pass
    assert sum(looks) == memory.PATIENCE_SECONDS


def test_what_another_will_still_take_is_not_free_until_it_ends(
    tmp_path: Path, other: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def look(seconds: float) -> None:
        """Let the other end its training while this one waits."""
        looks.append(seconds)
        if len(looks) == 2 * memory.PATIENCE_SECONDS:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline() == "free\n"

    monkeypatch.setattr("cyclical.memory.time.sleep", look)
    with reserved(tmp_path, 4, free=12):
        pass
    assert len(looks) == 2 * memory.PATIENCE_SECONDS  # beside another there is no end to patience
    with reserved(tmp_path, 4, free=5):
        pass
    assert len(looks) == 2 * memory.PATIENCE_SECONDS


def test_a_killed_process_holds_nothing(
    tmp_path: Path, other: "subprocess.Popen[str]", looks: list[float]
) -> None:
    other.kill()
    other.wait()
    with reserved(tmp_path, 1, free=2):
        pass
    assert looks == []
    assert not (tmp_path / str(other.pid)).exists()


def test_a_file_of_a_process_id_that_another_has_now_holds_nothing(
    tmp_path: Path, looks: list[float]
) -> None:
    (tmp_path / str(os.getppid())).write_text(str(100 * GIB))
    with reserved(tmp_path, 1, free=2):
        pass
    assert looks == []


@pytest.mark.parametrize("size", [64, 1024, 4096])
def test_the_estimate_is_above_what_a_training_takes_and_below_twice_the_most_of_a_few(
    size: int,
) -> None:
    words = [sys.executable, "-c", MEASURE, str(size)]
    environment = os.environ | cluster.WORKER_ENVIRONMENT
    taken = 0.0
    for _ in range(5):  # by the order of its operations TensorFlow takes a fifth more or less
        ran = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        estimate, peak, before = map(float, ran.stdout.split()[-3:])
        assert peak < estimate
        taken = max(taken, peak - before)
        if estimate - before < 2 * max(taken, memory.GRAPH_BYTES):
            return
    pytest.fail(f"at most {taken / GIB:.2f} GiB of {(estimate - before) / GIB:.2f} were taken")


def v1(folder: Path, limit: str) -> None:
    (folder / "memory").mkdir()
    (folder / "memory" / "memory.limit_in_bytes").write_text(limit)
    (folder / "memory" / "memory.usage_in_bytes").write_text(f"{3 << 20}\n")
    (folder / "memory" / "memory.stat").write_text(
        f"inactive_file 1\ntotal_inactive_file {1 << 20}\n"
    )


def v2(folder: Path, limit: str) -> None:
    (folder / "memory.max").write_text(limit)
    (folder / "memory.current").write_text(f"{3 << 20}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {1 << 20}\n")


@pytest.mark.parametrize(
    ("kind", "unlimited"), [(v1, "9223372036854771712"), (v2, "max"), (None, "")]
)
def test_a_container_has_what_its_limit_leaves_and_its_cache(
    tmp_path: Path, kind: object, unlimited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    if callable(kind):
        (tmp_path / "limited").mkdir()
        kind(tmp_path / "limited", f"{10 << 20}\n")
        assert memory.there_is(tmp_path / "limited") == memory.Memory(10 << 20, 8 << 20)
        kind(tmp_path, f"{unlimited}\n")
    assert memory.there_is(tmp_path) == memory.Memory(machine.total, machine.available)
