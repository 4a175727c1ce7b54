"""The pictures of the range test and of the clock: what stands on their axes."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D

from cyclical import clock, range_plots, range_test
from tests.drawing import drawn, labelled, legend, texts, tick_labels, unreadable

RATES = np.geomspace(1e-6, 10, 200)
BOUNDS = (1e-4, 1e-3)
PUBLISHED = [
    {"learning_rate": 1e-3, "train_accuracy": 0.86, "train_loss": 0.38},
    {"learning_rate": 0.5, "train_accuracy": 0.1, "train_loss": None},
]


def data(line: Line2D) -> list[list[float]]:
    """Return what a line was drawn from: its x, and its y."""
    return [np.asarray(values).tolist() for values in line.get_data()]


def run(rates: np.ndarray = RATES) -> pd.DataFrame:
    x = np.log10(rates)
    accuracy = np.clip((x + 6) / 5, 0.1, 0.9)
    loss = 3 - 2.5 * accuracy + np.where(x > 0, 40 * x, 0)
    return pd.DataFrame({"learning_rate": rates, "loss": loss, "accuracy": accuracy})


def test_the_range_test_shows_every_update_the_smoothed_curve_and_where_it_diverged() -> None:
    curve = range_test.curve([run(), run()])
    figure = drawn(range_plots.range_test_figure, curve, BOUNDS)
    above, below = figure.axes
    for axis, name in ((above, "accuracy"), (below, "loss")):
        for label, column in (("each update", name), ("smoothed", f"smoothed_{name}")):
            assert data(labelled(axis, label)) == [
                curve["learning_rate"].tolist(),
                pytest.approx(curve[column].tolist()),
            ]
        [[rate], [height]] = data(labelled(axis, "diverged"))
        assert rate == curve["learning_rate"].iloc[-1]
        assert axis.get_ylim()[0] <= height <= axis.get_ylim()[1]
        assert axis.get_xscale() == "log"
    assert legend(figure) == ["each update", "smoothed", "diverged"]
    assert {"lr_min = $10^{-4}$", "lr_max = $10^{-3}$"} <= set(texts(above))
    assert "$10^{-6}$" in tick_labels(below)
    assert "mean of 2 seeds" in above.get_ylabel()
    assert not unreadable(figure)


def test_a_range_test_that_ended_as_planned_has_no_cross() -> None:
    curve = range_test.curve([run(RATES[RATES < 0.5])])
    assert not curve["diverged"].any()
    figure = drawn(range_plots.range_test_figure, curve, BOUNDS)
    assert legend(figure) == ["each update", "smoothed"]


def test_the_clock_shows_its_predictions_and_hollow_those_beyond_the_run() -> None:
    ramp = 0.05 * np.arange(1, 301) / 300
    made = run(ramp)
    predicted = clock.predict(made, [10, 0.1, 1e-3, 1e-4], 1000, 5, 5.0)
    curve = clock.curve([made], 1000)
    figure = drawn(range_plots.clock_figure, curve, predicted, BOUNDS, PUBLISHED)
    above, below = figure.axes
    for axis, name in ((above, "train_accuracy"), (below, "train_loss")):
        known = predicted[name].tolist()
        assert data(labelled(axis, "predicted")) == [[1e-4, 1e-3], known[:2]]
        beyond = labelled(axis, "beyond the run: its last value")
        assert beyond.get_markerfacecolor() == "white"
        assert data(beyond)[0] == [0.1, 10]
        assert data(beyond)[1][0] == known[2]
        assert np.isnan(data(beyond)[1][1])
    assert data(labelled(above, "published run")) == [[1e-3], [0.86]]
    assert data(labelled(above, "smoothed"))[0] == pytest.approx(curve["learning_rate"].tolist())
    assert not unreadable(figure)


def test_both_pictures_are_small_pngs() -> None:
    curve = range_test.curve([run()])
    predicted = clock.predict(run(RATES[:100]), [1e-3, 1e-4], 1000, 5, np.inf)
    for picture in (
        range_plots.range_test(curve, BOUNDS),
        range_plots.clock(clock.curve([run(RATES[:100])], 1000), predicted, BOUNDS),
    ):
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 200_000
