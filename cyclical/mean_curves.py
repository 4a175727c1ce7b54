"""A sweep's means over its seeds, with their intervals: the curve that bounds are read off."""

import pandas as pd

from cyclical import intervals
from cyclical.sweeps import METRICS, with_status


def mean_curve(finals: pd.DataFrame, value: str, least: float) -> pd.DataFrame:
    """Average a sweep over its seeds and judge every swept value.

    A mean is NaN where any seed's figure is. Returns one row a value, in rising order: value,
    seeds, METRICS, each with the ends _low and _high of its 95 % interval (see `intervals.mean`),
    status.
    """
    rows = []
    for swept, of_value in finals.groupby(value, sort=True):
        row = {value: swept, "seeds": len(of_value)}
        for metric in METRICS:
            row |= intervals.mean(of_value[metric], metric)
        rows.append(row)
    return with_status(pd.DataFrame(rows), value, least)
