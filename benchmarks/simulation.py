"""A run on so many workers, simulated: who trains what and when, and what the flow waits for.

The flow's process goes through its program one operation after the other. Of the trainings that it
has submitted a free worker begins the one of the highest priority, of equals the one that was
submitted first, and ends it before it begins another; of several free workers the one that has been
free longest. No time is random.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.prices import Cost, Once, Prices
from benchmarks.programs import Here, Operation, Submit, Wait
from cyclical.plans import Training


@dataclass(frozen=True)
class Placed:
    """A training as it went: when it was submitted and begun, where, and when its epochs ended."""

    submit: Submit
    training: Training
    worker: int
    submitted: float
    began: float
    epochs: tuple[float, ...]
    once: float

    @property
    def ended(self) -> float:
        """When it ended."""
        return self.epochs[-1]


@dataclass(frozen=True)
class Schedule:
    """A simulated run; seconds since the flow's begin.

    `own`: what the flow's process was busy itself. `waited`: the seconds that it waited for a
    task, by the number of the operation that submitted it.
    """

    workers: int
    makespan: float
    own: float
    placed: Mapping[int, Placed]
    waited: Mapping[int, float]
    at: Sequence[float]

    @property
    def busy(self) -> float:
        """The workers' seconds of training."""
        return sum(each.ended - each.began for each in self.placed.values())

    @property
    def utilisation(self) -> float:
        """The share of the workers' time in which they train."""
        return self.busy / (self.workers * self.makespan)


@dataclass
class _Pool:
    """The workers, and the trainings that wait for one."""

    free: list[tuple[float, int]]
    price: Callable[[Training], Cost]
    cold: bool
    waiting: list[tuple[float, int, float, Submit, Training]] = field(default_factory=list)
    done: set[tuple[int, Once]] = field(default_factory=set)
    placed: dict[int, Placed] = field(default_factory=dict)

    def submit(self, number: int, now: float, submit: Submit, training: Training) -> None:
        self.until(now)
        heapq.heappush(self.waiting, (-submit.priority, number, now, submit, training))
        self.until(now)

    def until(self, now: float) -> None:
        """Begin what can be begun by now."""
        while self.waiting and self.free[0][0] <= now:
            self._begin_one()

    def end_of(self, number: int) -> float:
        """Go on until a training is begun; return when it ends."""
        while number not in self.placed:
            self._begin_one()
        return self.placed[number].ended

    def _begin_one(self) -> None:
        free, worker = heapq.heappop(self.free)
        _, number, submitted, submit, training = heapq.heappop(self.waiting)
        began, cost = max(free, submitted), self.price(training)
        new = [each for each in cost.once if self.cold and (worker, each) not in self.done]
        self.done.update((worker, each) for each in new)
        once = sum(cost.once[each] for each in new)
        at = began + cost.before + once
        ends = [at := at + seconds for seconds in cost.epochs]
        self.placed[number] = Placed(submit, training, worker, submitted, began, tuple(ends), once)
        heapq.heappush(self.free, (ends[-1], worker))


def simulate(
    program: Sequence[Operation], prices: Prices, workers: int, *, cold: bool = True
) -> Schedule:
    """Simulate a run; where not `cold`, workers have built and compiled all before.

    The trial of the model is within the start.
    """
    pool = _Pool([(prices.start, worker) for worker in range(workers)], prices.train, cold)
    now = own = prices.start
    waited, at = dict[int, float](), list[float]()
    for number, operation in enumerate(program):
        at.append(now)
        match operation:
            case Submit(training=Training() as training):
                now += prices.point
                own += prices.point
                pool.submit(number, now, operation, training)
            case Here(step=step) if step != "load_data":
                seconds = prices.point + prices.here(operation)
                now += seconds
                own += seconds
            case Wait(submitted=task) if _is_training(program[task]):
                waited[task] = max(0.0, pool.end_of(task) - now)
                now += waited[task]
    return Schedule(workers, now, own, pool.placed, waited, at)


def critical(program: Sequence[Operation], prices: Prices) -> tuple[Schedule, list[Placed]]:
    """Simulate a run that never waits for a worker, and whose workers have done all before.

    Returns:
        The run, which no other can beat, and the trainings on its critical path, the first first.
    """
    tasks = sum(map(_is_training, program))
    run = simulate(program, prices, tasks, cold=False)
    chain = []
    number = len(program) - 1
    while number > 0:
        match program[number]:
            case Wait(submitted=task) if run.waited.get(task):
                chain.append(run.placed[task])
                number = task
            case _:
                number -= 1
    return run, chain[::-1]


def _is_training(operation: Operation) -> bool:
    return isinstance(operation, Submit) and operation.training is not None
