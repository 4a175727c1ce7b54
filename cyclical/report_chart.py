"""Validation accuracy by epoch as a drawing within the page, whose lines can be switched off."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from cyclical.style import ARM_COLOURS, ARM_LINES, ARM_MARKS, quantile

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 76, 16, 16, 64
MOST_TICKS = 8
DASHES = dict(zip(ARM_LINES, ("none", "8 4", "9 3 2 3", "2 4"), strict=True))
MARKS = dict(
    zip(
        ARM_MARKS,
        (
            "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
            "M-4,-4h8v8h-8z",
            "M0,-5L5,4H-5z",
            "M0,-5L5,0L0,5L-5,0z",
            "M0,5L5,-4H-5z",
            "M-2,-5h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
            "M-5,-3L-3,-5L0,-2L3,-5L5,-3L2,0L5,3L3,5L0,2L-3,5L-5,3L-2,0z",
            "M-5,0L4,-5V5z",
            "M5,0L-4,-5V5z",
            "M0,-6L2,-2L6,-2L3,1L4,5L0,3L-4,5L-3,1L-6,-2L-2,-2z",
        ),
        strict=True,
    )
)
"""The marks of `style` as paths around (0, 0)."""


@dataclass(frozen=True)
class Dot:
    """A figure of an arm: its place, and what it says when it is pointed at."""

    x: str
    y: str
    words: str


@dataclass(frozen=True)
class Line:
    """An arm's line: the mean of its seeds, and a faint one for each of several."""

    name: str
    colour: int
    dash: str
    mark: str
    final: str
    path: str
    seeds: Sequence[str]
    dots: Sequence[Dot]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place, and its number."""

    at: str
    text: str


@dataclass(frozen=True)
class Chart:
    """The drawing: its lines, its axes, and its words for those who can't see it."""

    kind: ClassVar[str] = "chart"
    caption: str
    words: str
    lines: Sequence[Line]
    epochs: Sequence[Tick]
    accuracies: Sequence[Tick]
    measure: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class _Scale:
    """Where figures lie: epochs from the left to the right, accuracies from below."""

    epochs: tuple[int, int]
    accuracies: tuple[float, float]

    def x(self, epoch: float) -> str:
        first, last = self.epochs
        share = (epoch - first) / (last - first) if last > first else 0.5
        return f"{LEFT + 12 + share * (WIDTH - LEFT - RIGHT - 24):.1f}"

    def y(self, accuracy: float) -> str:
        low, high = self.accuracies
        return f"{HEIGHT - BOTTOM - (accuracy - low) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}"

    def path(self, accuracies: "pd.Series[float]") -> str:
        """Draw through the figures; what is not finite is a gap."""
        steps, pen = [], "M"
        for epoch, accuracy in accuracies.items():
            if math.isfinite(accuracy):
                steps.append(f"{pen}{self.x(float(str(epoch)))},{self.y(accuracy)}")
            pen = "L" if math.isfinite(accuracy) else "M"
        return "".join(steps)


def chart(histories: pd.DataFrame, caption: str) -> Chart:
    """Draw every arm's validation accuracy by epoch: the mean of its seeds, and each seed.

    The lowest tenth of the figures may lie below the axis, final ones never.

    Args:
        histories: One row an arm, seed and epoch: arm, seed, epoch, val_accuracy.
        caption: What stands below it.
    """
    by_arm = _by_arm(histories)
    first, last = int(histories["epoch"].min()), int(histories["epoch"].max())
    scale = _Scale((first, last), _limits(histories, by_arm))
    lines = [_line(number, arm, seeds, scale) for number, (arm, seeds) in enumerate(by_arm.items())]
    several = histories["seed"].nunique()
    mean = f", mean of {several} seeds" if several > 1 else ""
    finals = ", ".join(f"{line.name} {line.final}" for line in lines)
    return Chart(
        caption=caption,
        words=f"Lines of the validation accuracy of {len(lines)} arms from epoch {first} to "
        f"{last}{mean}. At the end: {finals}.",
        lines=lines,
        epochs=[Tick(scale.x(epoch), f"{epoch}") for epoch in _epochs(first, last)],
        accuracies=[Tick(scale.y(at), f"{at:.{digits}f}") for at, digits in _round(scale)],
        measure=f"validation accuracy{mean}",
    )


def means(histories: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over the seeds, a row an epoch, a column an arm.

    A mean is NaN where a seed's figure is missing.
    """
    by_arm = _by_arm(histories).items()
    table = pd.DataFrame({arm: seeds.mean(axis=1, skipna=False) for arm, seeds in by_arm})
    return table.sort_index().rename_axis("epoch")


def _by_arm(histories: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {
        str(arm): rows.pivot(index="epoch", columns="seed", values="val_accuracy")
        for arm, rows in histories.groupby("arm", sort=False)
    }


def _line(number: int, arm: str, by_seed: pd.DataFrame, scale: _Scale) -> Line:
    means = by_seed.mean(axis=1, skipna=False)
    several = by_seed.shape[1] > 1
    dots = [
        Dot(scale.x(float(str(epoch))), scale.y(mean), _told(arm, epoch, seeds))
        for (epoch, seeds), mean in zip(by_seed.iterrows(), means, strict=True)
        if math.isfinite(mean)
    ]
    final = float(means.iloc[-1])
    return Line(
        name=arm,
        colour=number % len(ARM_COLOURS),
        dash=DASHES[ARM_LINES[number % len(ARM_LINES)]],
        mark=MARKS[ARM_MARKS[number % len(ARM_MARKS)]],
        final=f"{final:.4f}" if math.isfinite(final) else "diverged",
        path=scale.path(means),
        seeds=[scale.path(by_seed[seed]) for seed in by_seed.columns] if several else [],
        dots=dots,
    )


def _told(arm: str, epoch: object, seeds: "pd.Series[float]") -> str:
    told = f"{arm}, epoch {epoch}: {seeds.mean():.4f}"
    if len(seeds) == 1:
        return told
    return f"{told} (mean of {len(seeds)} seeds, {seeds.min():.4f} to {seeds.max():.4f})"


def _limits(histories: pd.DataFrame, by_arm: dict[str, pd.DataFrame]) -> tuple[float, float]:
    every = histories["val_accuracy"].to_numpy(dtype=float)
    finals = np.concatenate([seeds.iloc[-1].to_numpy(dtype=float) for seeds in by_arm.values()])
    low = min(quantile(every, 0.1, default=0.0), quantile(finals, 0, default=0.0))
    high = quantile(every, 1, default=1.0)
    pad = max(0.06 * (high - low), 0.002)
    return max(0.0, low - pad), min(1.0, high + pad)


def _epochs(first: int, last: int) -> list[int]:
    step = math.ceil((last - first + 1) / MOST_TICKS)
    return list(range(first, last + 1, step))


def _round(scale: _Scale) -> list[tuple[float, int]]:
    """Return round accuracies within the limits, four to nine of them, with their digits."""
    low, high = scale.accuracies
    rough = (high - low) / 5
    digits = max(1, math.ceil(-math.log10(rough)))
    unit = 10.0**-digits
    step = unit * next(times for times in (1, 2, 5, 10) if unit * times >= rough)
    ticks = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [(tick * step, digits) for tick in ticks]
