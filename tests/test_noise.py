"""The gradient noise scale, from gradients whose noise is known."""

import math

import numpy as np
import pandas as pd
import pytest

from cyclical.noise import last_scale, noise_scale

SMALL, BIG = 64, 1024
ENDLESS = 10**18  # examples, of which a batch is as good as drawn from a source without end


def history(*scales: float, squared: float = 0.25) -> pd.DataFrame:
    """Make the expected squared lengths, one row an epoch, of gradients with these noise scales."""
    variance = squared * np.array(scales)
    return pd.DataFrame(
        {
            "epoch": np.arange(1, len(scales) + 1),
            "small_gradient": squared + variance / SMALL,
            "big_gradient": squared + variance / BIG,
        }
    )


def test_the_expected_lengths_give_the_scale_itself() -> None:
    table = noise_scale({0: history(10, 800, 0)}, SMALL, BIG, ENDLESS)
    assert table["noise_scale"].tolist() == pytest.approx([10, 800, 0], abs=1e-9)
    assert table["squared_gradient"].tolist() == pytest.approx([0.25] * 3)
    assert table["variance"].tolist() == pytest.approx([2.5, 200, 0], abs=1e-9)
    assert table["epoch"].tolist() == [1, 2, 3]
    assert table["least"].tolist() == table["most"].tolist() == table["noise_scale"].tolist()


def test_random_gradients_of_a_known_covariance_give_its_scale() -> None:
    random = np.random.default_rng(0)
    gradient, deviations = random.normal(size=50), random.uniform(1, 3, size=50)
    lengths = {}
    for batch in (SMALL, BIG, ENDLESS):
        draws = gradient + deviations / batch**0.5 * random.normal(size=(20_000, 50))
        lengths[batch] = float((draws**2).sum(axis=1).mean())
    table = pd.DataFrame(
        {"epoch": [1], "small_gradient": [lengths[SMALL]], "big_gradient": [lengths[BIG]]}
    )
    expected = (deviations**2).sum() / (gradient**2).sum()
    [scale] = noise_scale({0: table}, SMALL, BIG, ENDLESS)["noise_scale"]
    assert scale == pytest.approx(expected, rel=0.05)


def test_batches_of_a_few_examples_give_the_scale_of_these() -> None:
    random = np.random.default_rng(1)
    gradients = 0.5 + random.normal(size=(200, 20))
    small, big, lengths = 10, 80, {10: 0.0, 80: 0.0}
    for _ in range(20_000):
        drawn = gradients[random.permutation(200)[:big]]
        lengths[big] += (drawn.mean(axis=0) ** 2).sum() / 20_000
        lengths[small] += (drawn[:small].mean(axis=0) ** 2).sum() / 20_000
    table = pd.DataFrame(
        {"epoch": [1], "small_gradient": [lengths[small]], "big_gradient": [lengths[big]]}
    )
    [row] = noise_scale({0: table}, small, big, examples=200).to_dict("records")
    whole = gradients.mean(axis=0)
    assert row["squared_gradient"] == pytest.approx((whole**2).sum(), rel=0.005)
    assert row["variance"] == pytest.approx(gradients.var(axis=0, ddof=1).sum(), rel=0.005)
    endless = noise_scale({0: table}, small, big, ENDLESS)["squared_gradient"].iloc[0]
    assert endless < 0.99 * (whole**2).sum()


def test_seeds_are_averaged_before_the_ratio_is_taken() -> None:
    # variance 1 and 3, squared gradient 0.1 and 0.3: 2 / 0.2, where the ratios' mean is 10 too;
    # with 0.1 and 0.9 it is 2 / 0.5 = 4, and the ratios' mean 6.67
    apart = {0: history(10, squared=0.1), 1: history(10 / 3, squared=0.9)}
    [row] = noise_scale(apart, SMALL, BIG, ENDLESS).to_dict("records")
    assert row["noise_scale"] == pytest.approx(4)
    assert (row["least"], row["most"]) == pytest.approx((10 / 3, 10))
    assert row["seeds"] == 2


def test_where_noise_hides_the_gradient_there_is_no_scale() -> None:
    hidden = pd.DataFrame({"epoch": [1], "small_gradient": [64.0], "big_gradient": [1.0]})
    table = noise_scale({0: hidden, 1: history(10)}, SMALL, BIG, ENDLESS)
    assert table[["noise_scale", "least", "most"]].iloc[0].tolist() == pytest.approx(
        [math.inf, 10, math.inf]
    )
    assert last_scale(table) is None
    assert last_scale(noise_scale({}, SMALL, BIG, ENDLESS)) is None


def test_lengths_that_grow_with_the_batch_are_no_noise() -> None:
    reversed_ = pd.DataFrame({"epoch": [1], "small_gradient": [1.0], "big_gradient": [1.1]})
    assert last_scale(noise_scale({0: reversed_}, SMALL, BIG, ENDLESS)) == (0, 1)


def test_epochs_that_a_seed_did_not_reach_are_left_out() -> None:
    table = noise_scale({0: history(10, 20), 1: history(10)}, SMALL, BIG, ENDLESS)
    assert table["epoch"].tolist() == [1]
    assert last_scale(table) == (pytest.approx(10), 1)


def test_a_training_that_diverged_has_no_scale() -> None:
    diverged = history(10, math.nan)
    assert last_scale(noise_scale({0: diverged}, SMALL, BIG, ENDLESS)) is None
