"""Processes that are started once, kept, and work at the same time.

A process that waits here sleeps on a semaphore and takes no processor time from one that works.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier
from typing import Any, Literal, TypeVar

T = TypeVar("T")
_all_here: Barrier


@dataclass(frozen=True)
class Team:
    """Processes with an environment of their own."""

    pool: ProcessPoolExecutor
    processes: int

    def together(self, function: Callable[..., T], *arguments: Any) -> list[T]:
        """Call a function once in every process, all at the same time; return what each gave."""
        calls = [
            self.pool.submit(_after_all_are_here, function, *arguments)
            for _ in range(self.processes)
        ]
        return [call.result() for call in calls]

    def share(self, function: Callable[[Any], T], points: Iterable[Any]) -> list[T]:
        """Call a function for every point, each in the first process that is free."""
        return list(self.pool.map(function, points))


@contextmanager
def team(processes: int, environment: Mapping[str, str]) -> Iterator[Team]:
    """Start processes that have `environment` from their first moment; end them afterwards."""
    context = get_context("spawn")
    arguments = (context.Barrier(processes),)
    with ProcessPoolExecutor(processes, context, _join, arguments) as pool:
        started = Team(pool, processes)
        with _environment(environment):
            started.together(os.getpid)
        yield started


def peak_mib(pid: int | Literal["self"] = "self") -> float:
    """Return the most memory that a process ever had (VmHWM), in MiB.

    Raises:
        OSError: There is no such process.
        ValueError: It has ended, though its parent has not heard of that yet.
    """
    _, _, rest = Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")
    return int(rest[: rest.find("kB")]) / 1024


def _join(all_here: Barrier) -> None:
    """Begin in a process; what libraries say at their start is nobody's, errors are raised."""
    global _all_here  # noqa: PLW0603 (a barrier can only be inherited, not sent with a call)
    _all_here = all_here
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _after_all_are_here(function: Callable[..., T], *arguments: Any) -> T:
    _all_here.wait()
    return function(*arguments)


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
