"""A training that makes no progress is told of once, after as long as its pace allows."""

from threading import Event, Thread

import pytest

from cyclical.training import Progress
from tasks import watching
from tasks.watching import FIRST_SECONDS, LEAST_SECONDS, Watch


class Clock:
    """Seconds that pass when the test says so, in place of an Event that waits for one."""

    def __init__(self) -> None:
        self._ticks, self._asked = 0, Event()

    def wait(self, _: float) -> bool:
        self._ticks -= 1
        return self._ticks < 0

    def pass_(self, watch: Watch, seconds: int) -> None:
        """Let so many seconds pass, and no more."""
        self._ticks = seconds
        watch._count()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(watching, "Signal", lambda: made)
    return made


def progress(examples: int) -> Progress:
    return Progress(
        epoch=1, epochs=2, examples=examples, examples_of_all=10_000, loss=1.0, accuracy=0.5
    )


def test_the_first_progress_may_take_long_and_then_the_pace_sets_the_limit(clock: Clock) -> None:
    cut: list[int] = []
    watch = Watch(5_000, cut.append)
    clock.pass_(watch, FIRST_SECONDS)
    watch(progress(100))
    assert cut == []
    clock.pass_(watch, 9)
    watch(progress(200))  # a tenth of a second each: an epoch takes 500 s
    clock.pass_(watch, 1500)
    assert cut == []
    clock.pass_(watch, 1)
    assert cut == [1501]


def test_a_fast_training_has_a_minute(clock: Clock) -> None:
    cut: list[int] = []
    watch = Watch(5_000, cut.append)
    for examples in (2_000, 4_000):
        watch(progress(examples))
    clock.pass_(watch, LEAST_SECONDS)
    assert cut == []
    clock.pass_(watch, 1)
    assert cut == [LEAST_SECONDS + 1]


def test_the_slowest_pace_counts_and_progress_starts_the_count_again(clock: Clock) -> None:
    cut: list[int] = []
    watch = Watch(1_000, cut.append)
    for seconds, examples in [(1, 100), (9, 200), (0, 300), (200, 400), (250, 500)]:
        clock.pass_(watch, seconds)
        watch(progress(examples))
    assert cut == []


def test_a_training_that_never_begins_is_told_of(clock: Clock) -> None:
    cut: list[int] = []
    clock.pass_(Watch(5_000, cut.append), FIRST_SECONDS + 1)
    assert cut == [FIRST_SECONDS + 1]


def test_the_count_ends_with_the_training() -> None:
    with Watch(100, lambda _: None) as watch:
        thread: Thread = watch._thread
        assert thread.is_alive()
    assert not thread.is_alive()
