"""Waiting for other processes, on machines that may stall."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
TICK_SECONDS = 0.1
LONGEST_SECONDS = 1  # that a tick counts, with its question: more is a stall of the machine


def until(look: Callable[[], T | None], seconds: float, what: str | Callable[[], str]) -> T:
    """Ask again until the answer is true; return it.

    Raises:
        AssertionError: It is not within so many seconds, of which those are not counted in which
            this machine stalled; `what` says what was waited for.
    """
    spent = 0.0
    while True:
        began = time.monotonic()
        if answer := look():
            return answer
        if spent >= seconds:
            raise AssertionError(f"{what if isinstance(what, str) else what()} ({seconds:g} s)")
        time.sleep(TICK_SECONDS)
        spent += min(time.monotonic() - began, LONGEST_SECONDS)
