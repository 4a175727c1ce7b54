"""The learning clock: from one training to what every learning rate of a sweep would reach.

Below the rate at which training becomes unstable, SGD follows the flow of the gradient: where it is
depends on S, the sum of the rates of all updates so far, and hardly on which rates these were. The
same limit is why the linear scaling rule holds (Goyal et al., arXiv 1706.02677, section 2.1; Smith
and Le, arXiv 1710.06451, section 5). So a training whose rate rises passes, at the right S, every
state in which the trainings of a sweep end.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclical.errors import InputError
from cyclical.rounding import exp, log10, power
from cyclical.sweeps import METRICS, with_status

Float64 = NDArray[np.float64]
BANDWIDTH = 0.2
"""Standard deviation of the smoothing window, in decades of the clock."""
MOST_AT_ONCE = 1_000_000
"""How many weights are held at a time: more updates at fewer clocks."""
MOST_READ = 2_000
"""At how many clocks a curve is smoothed; between them it is a straight line over log10 S."""
POINTS = 9
"""How many times of the last epoch are averaged."""
MEASURED = ("train_loss", "train_accuracy")


def clock(rates: Float64) -> Float64:
    """Return S before each update: the sum of the rates of all updates before it.

    >>> clock(np.array([0.1, 0.2, 0.4])).round(1)
    array([0. , 0.1, 0.3])
    """
    return np.cumsum(rates) - rates


def smoothed_at(clocks: Float64, values: Float64, wanted: Float64) -> Float64:
    """Smooth values over log10 of the clock, and read them at the wanted clocks.

    A weighted line a + b (x - x0) is fitted around each wanted x0 = log10 S, with the weights
    exp(-((x - x0) / 0.2)^2 / 2), and a is its value: a rise is not flattened, also not at the ends
    (Fan and Gijbels, "Local Polynomial Modelling", 1996). Beyond the first and the last clock the
    value there is held.

    Args:
        clocks: S of every update, > 0, rising; shape (n,).
        values: Its loss or accuracy; shape (n,).
        wanted: Clocks; shape (m,).

    Returns:
        Shape (m,).
    """
    x = log10(clocks)
    at = np.clip(log10(np.maximum(wanted, clocks[0])), x[0], x[-1])
    rows = max(1, MOST_AT_ONCE // len(x))
    blocks = [_smoothed(x, values, at[i : i + rows]) for i in range(0, len(at), rows)]
    return np.concatenate([np.empty(0), *blocks])


def _smoothed(x: Float64, values: Float64, at: Float64) -> Float64:
    apart = x[np.newaxis, :] - at[:, np.newaxis]
    weights = exp(-0.5 * (apart / BANDWIDTH) ** 2)
    zeroth, first, second = (np.sum(weights * apart**power, axis=1) for power in (0, 1, 2))
    level, slope = (np.sum(weights * apart**power * values, axis=1) for power in (0, 1))
    spread = zeroth * second - first**2
    line = (second * level - first * slope) / np.where(spread > 0, spread, 1.0)
    alone = spread <= 1e-9 * zeroth**2  # so few updates are near that they fix no slope
    return np.asarray(np.where(alone, level / zeroth, line))


def finite(run: pd.DataFrame) -> pd.DataFrame:
    """Return the rows before the first loss that is not finite.

    Raises:
        InputError: There are none.
    """
    kept = run[np.logical_and.accumulate(np.isfinite(run["loss"].to_numpy(dtype=float)))]
    if kept.empty:
        raise InputError(
            "the clock's first loss is not finite: leave the greatest rates out of "
            "lr_sweep.learning_rates"
        )
    return kept


def predict(
    run: pd.DataFrame, swept: Sequence[float], updates: int, epochs: int, diverging: float
) -> pd.DataFrame:
    """Predict the last epoch of every training of a sweep from a single training.

    The training at rate r makes n = `updates` updates in E = `epochs`, so in its last epoch S runs
    from r n (E - 1) / E to r n. The prediction is the mean over that stretch of the run's loss and
    accuracy, which `smoothed_at` reads. Where the run's own clock S_end ended before, it is that
    over S_end (E - 1) / E to S_end, held for all rates beyond. A rate at which a range test or the
    run itself diverged is predicted to diverge: loss and accuracy are NaN.

    Args:
        run: One row an update: learning_rate, loss, accuracy. Rows from the first loss that is not
            finite on are left out.
        swept: The rates of the sweep.
        updates: How many updates each of its trainings makes.
        epochs: In how many epochs.
        diverging: The least rate that is known to diverge; infinity where none is.

    Returns:
        One row a rate, rising: learning_rate, train_loss, train_accuracy.
    """
    kept = finite(run)
    if len(kept) < len(run):
        diverging = min(diverging, float(run["learning_rate"].iloc[len(kept)]))
    rates, loss, accuracy = kept[["learning_rate", "loss", "accuracy"]].to_numpy().T
    clocks = np.maximum(clock(rates), rates[0] / 2)  # the first update is at S = 0
    last_epoch = np.linspace((epochs - 1) / epochs, 1, POINTS)
    rows = []
    for rate in sorted(swept):
        wanted = min(rate * updates, clocks[-1]) * last_epoch
        read = [float(smoothed_at(clocks, of, wanted).mean()) for of in (loss, accuracy)]
        figures = dict(zip(MEASURED, read if rate < diverging else [np.nan] * 2, strict=True))
        rows.append({"learning_rate": rate, **figures})
    return pd.DataFrame(rows)


def finals(
    runs: Mapping[int, pd.DataFrame],
    swept: Sequence[float],
    updates: int,
    epochs: int,
    diverging: float,
    least: float,
) -> pd.DataFrame:
    """Predict every training of a sweep of several seeds, from one run a seed.

    Args:
        runs: Seed -> its run; for the rest see `predict`.
        swept: The rates of the sweep.
        updates: How many updates each of its trainings makes.
        epochs: In how many epochs.
        diverging: The least rate that is known to diverge.
        least: The training accuracy from which one learned, see `learning.least_learned`.

    Returns:
        What `sweeps.final_metrics` returns; val_loss and val_accuracy are NaN, as nothing was
        validated.
    """
    judged = [
        with_status(
            predict(run, swept, updates, epochs, diverging).assign(seed=seed),
            "learning_rate",
            least,
        )
        for seed, run in runs.items()
    ]
    table = pd.concat(judged).sort_values(["learning_rate", "seed"], ignore_index=True)
    told = {"epochs": epochs, "updates": updates, "val_loss": np.nan, "val_accuracy": np.nan}
    columns = ["learning_rate", "seed", "epochs", "updates", *METRICS, "status"]
    return table.assign(**told)[columns]


def curve(runs: Sequence[pd.DataFrame], updates: int) -> pd.DataFrame:
    """Average the runs of all seeds, update by update, and smooth them over the clock.

    Args:
        runs: One a seed: one row an update, with learning_rate, loss, accuracy. Rows from the first
            loss that is not finite on are left out.
        updates: How many updates each training of the sweep makes.

    Returns:
        One row an update: learning_rate (the swept rate whose training ends at this clock:
        S / updates), present_rate (of this update), seeds, loss, accuracy (means), smoothed_loss,
        smoothed_accuracy.
    """
    runs = [finite(run) for run in runs]
    length = min(map(len, runs))
    rates = runs[0]["learning_rate"].to_numpy(dtype=float)[:length]
    clocks = np.maximum(clock(rates), rates[0] / 2)
    table = pd.DataFrame({"learning_rate": clocks / updates, "present_rate": rates})
    table["seeds"] = len(runs)
    for name in ("loss", "accuracy"):
        mean = np.mean([run[name].to_numpy(dtype=float)[:length] for run in runs], axis=0)
        table[name] = mean
        table[f"smoothed_{name}"] = _smooth_curve(clocks, mean)
    return table


def _smooth_curve(clocks: Float64, values: Float64) -> Float64:
    """Smooth at every clock, or where there are many, at some, evenly spaced over log10 S."""
    if len(clocks) <= MOST_READ:
        return smoothed_at(clocks, values, clocks)
    x = log10(clocks)
    evenly = np.linspace(x[0], x[-1], MOST_READ)
    return np.interp(x, evenly, smoothed_at(clocks, values, power(10.0, evenly)))
