"""Waiting for other processes, on machines that may stall."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")
TICK_SECONDS = 0.1


def until(look: Callable[[], T | None], seconds: float, what: str) -> T:
    """Ask again until there is an answer, for so many seconds in which this process ran.

    They are counted in ticks: a machine that stalls for half a minute spends one.
    """
    for _ in range(round(seconds / TICK_SECONDS)):
        if found := look():
            return found
        time.sleep(TICK_SECONDS)
    return pytest.fail(f"{what} within {seconds:g} s")
