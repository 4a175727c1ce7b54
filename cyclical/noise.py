"""The gradient noise scale: how large a batch may grow before it brings little.

McCandlish et al., "An Empirical Model of Large-Batch Training", arXiv 1812.06162, appendix A.1.
"""

import math
from collections.abc import Mapping

import pandas as pd

COLUMNS = ["epoch", "seeds", "squared_gradient", "variance", "noise_scale", "least", "most"]


def noise_scale(
    histories: Mapping[int, pd.DataFrame], small_batch: int, big_batch: int, examples: int
) -> pd.DataFrame:
    """Estimate the simple noise scale B = tr(Sigma) / |G|^2 after every epoch.

    The gradient of B of N examples, drawn without replacement, has the expected squared length
    |G|^2 + tr(Sigma) (1 / B - 1 / N), with G the gradient of all N and Sigma the covariance of
    single ones. From two batch sizes b < B,

        tr(Sigma) = (|G_b|^2 - |G_B|^2) / (1/b - 1/B),
        |G|^2 = (B |G_B|^2 - b |G_b|^2) / (B - b) + tr(Sigma) / N,

    both without bias (the paper draws from a source without end, where the last term is 0). Their
    ratio is biased where they scatter, so each is averaged over the seeds before the ratio is
    taken. Training with less than B examples a batch wastes few of them; with more, few updates are
    saved. B rises while a training gets better.

    Args:
        histories: Seed -> history, one row an epoch: epoch, small_gradient, big_gradient (mean
            squared lengths at the two batch sizes).
        small_batch: b, in examples.
        big_batch: B, in examples.
        examples: N, the number of training images.

    Returns:
        One row an epoch that all seeds reached: epoch, seeds, squared_gradient, variance (means of
        the two above), noise_scale (their ratio in examples; infinite where noise hides the
        gradient, NaN where a seed diverged), least and most (the ratios of single seeds).
    """
    if not histories:
        return pd.DataFrame(columns=COLUMNS, dtype=float)
    estimates = pd.concat(
        [
            _estimates(history, small_batch, big_batch, examples).assign(seed=seed)
            for seed, history in sorted(histories.items())
        ]
    )
    rows = []
    for epoch, of_epoch in estimates.groupby("epoch", sort=True):
        if len(of_epoch) < len(histories):
            break
        means = of_epoch[["squared_gradient", "variance"]].mean(skipna=False)
        ratios = _ratio(of_epoch)
        rows.append(
            {
                "epoch": epoch,
                "seeds": len(of_epoch),
                **means,
                "noise_scale": float(_ratio(means.to_frame().T).iloc[0]),
                "least": ratios.min(skipna=False),
                "most": ratios.max(skipna=False),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def last_scale(table: pd.DataFrame) -> tuple[float, int] | None:
    """Return the noise scale after the last epoch, and that epoch.

    None where noise hid the gradient, where a seed diverged, or where no epoch was reached by all.
    """
    if not len(table) or not math.isfinite(table["noise_scale"].iloc[-1]):
        return None
    return float(table["noise_scale"].iloc[-1]), int(table["epoch"].iloc[-1])


def _estimates(
    history: pd.DataFrame, small_batch: int, big_batch: int, examples: int
) -> pd.DataFrame:
    small, big = history["small_gradient"], history["big_gradient"]
    variance = (small - big) / (1 / small_batch - 1 / big_batch)
    sampled = (big_batch * big - small_batch * small) / (big_batch - small_batch)
    return pd.DataFrame(
        {
            "epoch": history["epoch"],
            "squared_gradient": sampled + variance / examples,
            "variance": variance,
        }
    )


def _ratio(estimates: pd.DataFrame) -> "pd.Series[float]":
    squared = estimates["squared_gradient"]
    ratio = estimates["variance"].clip(lower=0) / squared
    return ratio.mask(squared <= 0, math.inf)
