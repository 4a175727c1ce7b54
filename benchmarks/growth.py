"""Measure how the cost of a sweep grows with its images, its points and its workers.

A sweep is a number of trainings of one epoch at batch 64 on random images, which worker processes
with one thread each take one after the other, as on the cluster. Its time begins when every worker
has imported TensorFlow, has the images and traced the graph, and ends with the last training.
Memory is the sum of the workers' high-water marks (VmHWM). Each sweep has workers of its own.

The exponent e is that of the power law cost = a x^e, by least squares in the logarithms: 1 is
linear growth; with the workers -1 of the time is ideal.

Run: `make bench`, or `python -m benchmarks.growth`.
"""

import argparse
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from benchmarks import records, rivals
from benchmarks.processes import peak_mib, team
from cyclical import examples, style
from cyclical.files import write_atomically

BATCH_SIZE = 64
COSTS = {"seconds": "time, s", "mib": "memory of all workers, MiB"}


@dataclass(frozen=True)
class Sweep:
    """A number of trainings, of as many images each, on as many workers."""

    images: int = 6_000
    points: int = 2
    workers: int = 2


GROWTHS = {
    "images": [Sweep(images=images) for images in (6_000, 20_000, 60_000)],
    "points": [Sweep(2_000, points) for points in (5, 11, 22)],
    "workers": [Sweep(points=4, workers=workers) for workers in (1, 2)],
}


@lru_cache(maxsize=1)
def _kept_loop(images: int) -> rivals.Epoch:
    numbers = np.random.default_rng(0)
    pixels = numbers.integers(0, 256, (images, 28, 28, 1), np.uint8)
    part = examples.Part(pixels, numbers.integers(0, 10, images, np.uint8))
    return rivals.ours(part, examples.Part(pixels[:1], part.labels[:1]), BATCH_SIZE)


def warm_up(images: int) -> None:
    """Get the images and trace this process's kept loop, by training one batch."""
    _kept_loop(images)(BATCH_SIZE)


def train(images: int) -> None:
    """Train one epoch in this process's kept loop."""
    _kept_loop(images)(images)


def cost(sweep: Sweep) -> dict[str, float]:
    """Measure a sweep on workers of its own: seconds, mib (of all workers)."""
    from tasks.cluster import WORKER_ENVIRONMENT

    with team(sweep.workers, WORKER_ENVIRONMENT) as workers:
        workers.together(warm_up, sweep.images)
        began = time.monotonic()
        workers.share(train, [sweep.images] * sweep.points)
        seconds = time.monotonic() - began
        return {"seconds": seconds, "mib": sum(workers.together(peak_mib))}


def exponent(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Fit y = a x^e by least squares in the logarithms; return e and a.

    >>> [round(float(value), 9) for value in exponent([1, 2, 4], [3, 12, 48])]
    [2.0, 3.0]
    """
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    return float(slope), float(np.exp(intercept))


def fits(measured: pd.DataFrame) -> pd.DataFrame:
    """Fit every cost of every growth: columns grows, cost, exponent, factor."""
    rows = []
    for grows, sweeps in measured.groupby("grows", sort=False):
        for name in COSTS:
            power, factor = exponent(sweeps[grows], sweeps[name])
            rows.append({"grows": grows, "cost": name, "exponent": power, "factor": factor})
    return pd.DataFrame(rows)


def draw(measured: pd.DataFrame, fitted: pd.DataFrame) -> Figure:
    """Draw every cost over what grows, on logarithmic axes, with the power law."""
    figure = Figure(figsize=(style.INCHES, 5))
    grid = figure.subplots(len(COSTS), len(GROWTHS), sharex="col", sharey="row")
    for axes, (_, fit) in zip(grid.T.flat, fitted.iterrows(), strict=True):
        sweeps = measured[measured["grows"] == fit["grows"]]
        x, y = sweeps[fit["grows"]], sweeps[fit["cost"]]
        axes.set(xscale="log", yscale="log")
        axes.plot(x, y, "o", color=style.BLUE)
        axes.plot(x, fit["factor"] * x ** fit["exponent"], color=style.GREY)
        axes.set_title(f"exponent {fit['exponent']:z.2f}", fontsize="medium")
        axes.margins(x=0.1)
        style.ticks(axes.xaxis, ticker.FixedLocator(list(x)), "{:,.0f}".format)
    for axes, unit in zip(grid[:, 0], COSTS.values(), strict=True):
        axes.set_ylabel(unit)
        style.ticks(axes.yaxis, ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)), "{:,g}".format)
    for axes, grows in zip(grid[-1], GROWTHS, strict=True):
        axes.set_xlabel(grows)
    return figure


def main() -> None:
    """Print what every sweep cost and the fitted exponents."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--save", type=Path, metavar="FOLDER", help="keep table and picture there")
    folder = options.parse_args().save
    rows: list[dict[str, Any]] = [
        {"grows": grows, **asdict(sweep), **cost(sweep)}
        for grows, sweeps in GROWTHS.items()
        for sweep in sweeps
    ]
    measured = pd.DataFrame(rows)
    fitted = fits(measured)
    records.show(measured.round(1))
    print()
    records.show(fitted.round(2))
    records.save(folder, "growth", measured, fits=fitted.to_dict("records"))
    if folder:
        write_atomically(folder / "growth.png", style.png(draw, measured, fitted))


if __name__ == "__main__":
    main()
