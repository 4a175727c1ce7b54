"""When a training counts as one that learned, and when there is no hope left that it will."""

from collections.abc import Sequence


def least_learned(classes: int, most_frequent: float = 0.0) -> float:
    """Return the training accuracy from which a training counts as one that learned.

    With c = 1 / classes, what guessing gives, and m the share of the most frequent class, what
    naming always that one gives: max(min(2 c, c + (1 - c) / 4), m + (1 - m) / 20). So it is
    2 / classes where there are five classes or more, about equally frequent.

    >>> least_learned(10), least_learned(10, 0.12), least_learned(2), least_learned(10, 0.9)
    (0.2, 0.2, 0.625, 0.905)
    """
    guessing = 1 / classes
    return max(
        min(2 * guessing, guessing + (1 - guessing) / 4),
        most_frequent + (1 - most_frequent) / 20,
    )


def hopeless(accuracies: Sequence[float], epochs: int, goal: float) -> bool:
    """Tell whether a training will not reach an accuracy though it learned twice as fast from now.

    With a_e the accuracy of the last epoch e: a_e + 2 (epochs - e) max(0, a_e - a_{e-1}) < goal.
    After a single epoch there is hope, and from three quarters of the goal on: that it fell between
    two epochs may be noise.

    >>> hopeless([0.10, 0.11], 5, 0.2), hopeless([0.10, 0.13], 5, 0.2), hopeless([0.1], 5, 0.2)
    (True, False, False)
    """
    if len(accuracies) < 2:
        return False
    before, now = accuracies[-2:]
    return (
        now < 0.75 * goal and now + 2 * (epochs - len(accuracies)) * max(0.0, now - before) < goal
    )
