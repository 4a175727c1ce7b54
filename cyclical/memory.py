"""Memory that a training will need, and that its machine has: waiting rather than being killed.

The trainings of a user on one machine tell each other what they will need: each has a file in
a folder for temporary ones, locked for as long as the training lives, with the bytes of its peak.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from typing import NamedTuple

import psutil

from cyclical.errors import InputError

GRAPH_BYTES = 128 << 20
LOOK_SECONDS = 1
PATIENCE_SECONDS = 600
GIB = 2**30
CGROUP_FILES = (  # the limit, the usage, and where and under which name the cache is told
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


class Memory(NamedTuple):
    """Bytes: what a machine has altogether, and what of it is free."""

    whole: int
    free: int


def peak_bytes(held: int, variables: int, outputs: int, examples: int) -> int:
    """Return how much memory a process will hold at most while it trains.

    held + 128 MiB + 6 variables + 2 outputs examples: the graph and what oneDNN keeps; of every
    variable its weight, gradient, slots and sums; of every layer's output, itself and its gradient.

    Args:
        held: Bytes before the first training, the data included.
        variables: Bytes of the model's and the optimizer's variables.
        outputs: Bytes of all layers' outputs for one example.
        examples: How many the network sees at once.
    """
    return held + GRAPH_BYTES + 6 * variables + 2 * outputs * examples


@contextmanager
def reserved(
    peak: int,
    remedy: str,
    on_wait: Callable[[], None],
    folder: Path | None = None,
    memory: Callable[[], Memory] | None = None,
) -> Iterator[None]:
    """Wait until this process can grow to `peak` bytes, and keep others from what it will take.

    What is free is what the machine has available, less what other trainings will still take: their
    peaks, less what they hold already.

    Args:
        peak: The most memory that this process will hold, in bytes.
        remedy: What to do where even one training is too many.
        on_wait: Called once where it has to wait.
        folder: Where the trainings of this user and machine tell each other.
        memory: Returns what the machine has.

    Raises:
        InputError: The machine has less altogether, or there is too little for ten minutes in which
            no other training goes on.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"cyclical-memory-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lonely = 0
    waiting = False
    while True:
        with _alone(folder):
            others = _others(folder)
            needed = _growth(os.getpid(), peak)
            whole, can_be_had = (memory or there_is)()
            can_be_had -= sum(others)
            if needed <= can_be_had:
                file = (folder / str(os.getpid())).open("w+b")
                flock(file, LOCK_EX)
                file.write(str(peak).encode())
                file.flush()
                break
        lonely = 0 if others else lonely + LOOK_SECONDS
        if peak > whole or lonely > PATIENCE_SECONDS:
            raise InputError(
                f"a training would take {needed / GIB:.1f} GiB more, and "
                f"{can_be_had / GIB:.1f} GiB are free: {remedy}"
            )
        if not waiting:
            on_wait()
            waiting = True
        time.sleep(LOOK_SECONDS)
    with file:
        yield
        file.truncate(0)


def there_is(cgroups: Path = Path("/sys/fs/cgroup")) -> Memory:
    """Return how much this machine, or the container, has.

    What files hold in memory counts as free: it goes when it is needed.
    """
    machine = psutil.virtual_memory()
    whole, free = int(machine.total), int(machine.available)
    for limit, used, stat, cached in CGROUP_FILES:
        try:
            told = (cgroups / limit).read_text().strip()
            usage = int((cgroups / used).read_text())
            words = dict(line.split() for line in (cgroups / stat).read_text().splitlines())
        except FileNotFoundError:  # no container, or one of the other kind
            continue
        if told != "max":
            whole = min(whole, int(told))
            free = min(free, int(told) - usage + int(words.get(cached, 0)))
    return Memory(whole, free)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("ab") as file:
        flock(file, LOCK_EX)
        yield


def _others(folder: Path) -> list[int]:
    """List how much every other training has still to grow; forget those that have ended."""
    growths = []
    for path in folder.iterdir():
        if not path.name.isdecimal() or path.name == str(os.getpid()):
            continue
        with path.open("rb") as file:
            try:
                flock(file, LOCK_SH | LOCK_NB)
            except BlockingIOError:  # its holder lives
                growths.append(_growth(int(path.name), int(file.read() or b"0")))
            else:
                path.unlink()
    return growths


def _growth(pid: int, peak: int) -> int:
    """Return how much a process has still to grow to its peak; nothing where it has ended."""
    try:
        return max(0, peak - int(psutil.Process(pid).memory_info().rss))
    except psutil.NoSuchProcess:
        return 0
