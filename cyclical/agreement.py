"""How far the bounds of single seeds agree with those of the mean curve."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from cyclical.errors import InputError

Found = Mapping[str, float]


def by_seed(points: pd.DataFrame, find: Callable[[pd.DataFrame], Found]) -> pd.DataFrame:
    """Derive the bounds from every seed alone.

    Args:
        points: Every training of a sweep, with the column seed.
        find: From a sweep's table to its bounds by name; InputError where there are none.

    Returns:
        One row a seed: seed and the bounds, NaN where that seed alone gives none.
    """
    rows = []
    for seed, of_seed in points.groupby("seed", sort=True):
        try:
            rows.append({"seed": seed, **find(of_seed)})
        except InputError:
            rows.append({"seed": seed})
    return pd.DataFrame(rows)


def agreeing(seeds: pd.DataFrame, found: Found) -> int:
    """Count the seeds that alone give the very bounds that the mean curve gives.

    >>> agreeing(pd.DataFrame({"seed": [0, 1], "bmin": [16, 16], "bmax": [64.0, np.nan]}),
    ...          {"bmin": 16, "bmax": 64})
    1
    """
    same = [
        seeds[name] == bound if name in seeds else seeds["seed"].isna()
        for name, bound in found.items()
    ]
    return int(np.logical_and.reduce(same).sum())
