"""Which seeds alone give the bounds of the mean curve."""

import numpy as np
import pandas as pd

from cyclical.agreement import agreeing, by_seed
from cyclical.bounds import batch_bounds
from cyclical.errors import InputError

ACCURACIES = {0: (0.8, 0.79, 0.5), 1: (0.8, 0.79, 0.78), 3: (0.8, 0.5, 0.3)}


def points() -> pd.DataFrame:
    return pd.DataFrame(
        {"batch_size": size, "seed": seed, "train_loss": 1.0, "train_accuracy": accuracy}
        for seed, accuracies in ACCURACIES.items()
        for size, accuracy in zip((16, 32, 64), accuracies, strict=True)
    )


def find(table: pd.DataFrame) -> dict[str, float]:
    found = batch_bounds(table)
    return {"bmin": found.bmin, "bmax": found.bmax}


def test_every_seed_gives_the_bounds_of_its_own_curve_or_none() -> None:
    alone = by_seed(points(), find)
    assert alone["seed"].tolist() == [0, 1, 3]
    np.testing.assert_array_equal(alone[["bmin", "bmax"]], [[16, 32], [16, 64], [np.nan] * 2])


def test_seeds_agree_where_both_bounds_are_the_same() -> None:
    alone = by_seed(points(), find)
    assert agreeing(alone, {"bmin": 16, "bmax": 32}) == 1
    assert agreeing(alone, {"bmin": 16, "bmax": 128}) == 0


def test_where_no_seed_alone_gives_bounds_none_agrees() -> None:
    def fail(_: pd.DataFrame) -> dict[str, float]:
        raise InputError("nothing")

    assert agreeing(by_seed(points(), fail), {"bmin": 16, "bmax": 32}) == 0
