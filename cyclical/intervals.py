"""The mean over seeds, and the interval that says how much of it may be chance."""

import numpy as np
import pandas as pd

CONFIDENCE = 0.95


def mean(values: "pd.Series[float]", name: str) -> dict[str, float]:
    """Return the mean of n seeds' figures and the ends of its 95 % interval, by `name`.

    The interval is mean +- t s / sqrt(n), with s the standard deviation (n - 1 in its denominator)
    and t the quantile 0.975 of Student's distribution with n - 1 degrees of freedom. Its ends,
    `name`_low and `name`_high, are NaN for one seed, and all three where a figure is not finite.

    >>> {name: round(end, 2) for name, end in mean(pd.Series([1.0, 2.0, 3.0]), "x").items()}
    {'x': 2.0, 'x_low': -0.48, 'x_high': 4.48}
    """
    values, count = values.where(np.isfinite(values)), len(values)
    centre = float(values.mean(skipna=False))
    half = quantile(count) * float(values.std(skipna=False)) / count**0.5 if count > 1 else np.nan
    return {name: centre, f"{name}_low": centre - half, f"{name}_high": centre + half}


def quantile(count: int) -> float:
    """Return the quantile 0.975 of Student's distribution for `count` values, 2 or more."""
    from scipy.special import stdtrit  # only where something is computed anew

    return float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
