"""Pictures: what stands on their axes, and the bytes that they become."""

import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.axes import Axes
from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from cyclical import plots, schedules
from cyclical.sweeps import with_status

ToPng = Callable[..., bytes]
ToFigure = Callable[..., Figure]
Content = tuple[Any, ...]

# The published run's sweeps: final training loss, training and validation accuracy.
RATES = [1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]
SIZES = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
METRICS = ["train_loss", "train_accuracy", "val_accuracy"]
LR_SWEEP = [
    [3.4313, 2.9314, 2.7868, 2.0063, 0.8887, 0.5392, 0.3823, 0.2698, 0.2629, 2.3065, np.nan],
    [0.0566, 0.1021, 0.1362, 0.3301, 0.7082, 0.8145, 0.8675, 0.9040, 0.9030, 0.0979, 0.1000],
    [0.0610, 0.0996, 0.1400, 0.3484, 0.7069, 0.8092, 0.8411, 0.8849, 0.8965, 0.1000, np.nan],
]
BATCH_SWEEP = [
    [0.4796, 0.5028, 0.5454, 0.6236, 0.7042, 0.8025, 0.9304, 1.2009, 1.7183, 2.1132],
    [0.8361, 0.8277, 0.8159, 0.7914, 0.7651, 0.7358, 0.6873, 0.5938, 0.4340, 0.2561],
    [0.8370, 0.8248, 0.8042, 0.7872, 0.7618, 0.7267, 0.6813, 0.3968, 0.2705, 0.1399],
]
ARMS = {
    "clr-derived": 0.907,
    "clr-paper": 0.878,
    "effective-constant": 0.797,
    "effective-cyclic": 0.813,
    "cyclic-batch-derived": 0.911,
    "cyclic-batch-reference": 0.9111,
    "combined": 0.912,
    "fixed-sgd": 0.906,
    "fixed-rmsprop": 0.9061,
    "reference cyclic batch": 0.911,
}


def sweep_table(value: str) -> pd.DataFrame:
    swept, points = (RATES, LR_SWEEP) if value == "learning_rate" else (SIZES, BATCH_SWEEP)
    table = pd.DataFrame({value: swept, **dict(zip(METRICS, points, strict=True))})
    return with_status(table, value, classes=10)


def trace(sizes: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Make up a training with the noise of batches of these sizes."""
    random, update = np.random.default_rng(seed), np.arange(len(sizes))
    loss = 0.15 + 2.0 * np.exp(-np.cumsum(sizes) / sizes.sum() * 9)
    return pd.DataFrame(
        {
            "iteration": update,
            "learning_rate": schedules.triangular(1e-4, 1e-3, 2000)(update),
            "batch_size": sizes,
            "loss": loss * random.gamma(sizes * 0.4, 2.5 / sizes),
            "accuracy": random.binomial(sizes, np.exp(-loss)) / sizes,
        }
    )


def epochs_of(size: int, examples: int = 60_000, epochs: int = 20) -> np.ndarray:
    plan = schedules.epoch_plan(examples, epochs, [size], [1])
    return np.concatenate([np.diff(boundaries) for _, boundaries in plan])


def histories(finals: dict[str, float], seeds: int = 1, epochs: int = 20) -> pd.DataFrame:
    """Make up arms that rise to a final value from 0.6 below it (but from 0.05 at least)."""
    rise = np.exp(-np.arange(epochs) / 2.0)
    rise[-1] = 0
    return pd.concat(
        pd.DataFrame(
            {
                "arm": arm,
                "seed": seed,
                "epoch": np.arange(1, epochs + 1),
                "val_accuracy": final - min(0.6, final - 0.05) * rise + 0.01 * seed,
            }
        )
        for arm, final in finals.items()
        for seed in range(seeds)
    ).reset_index(drop=True)


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
CYCLE = np.concatenate([epochs_of(size, epochs=1) for size in [16, 32, 64, 128, 256] * 4])
PICTURES: dict[str, tuple[ToPng, ToFigure, Content]] = {
    "samples": (plots.samples, plots.samples_figure, (IMAGES, ["Ankle boot", "Top", "Dress"])),
    "lr sweep": (
        plots.sweep,
        plots.sweep_figure,
        (sweep_table("learning_rate"), "learning_rate", (1e-4, 1e-3)),
    ),
    "batch sweep": (
        plots.sweep,
        plots.sweep_figure,
        (sweep_table("batch_size"), "batch_size", (16, 256)),
    ),
    "triangular": (plots.training, plots.training_figure, (trace(epochs_of(64)), "clr-derived")),
    "batch cycle": (plots.training, plots.training_figure, (trace(CYCLE), "cyclic-batch")),
    "comparison": (plots.comparison, plots.comparison_figure, (histories(ARMS),)),
    "seeds": (plots.comparison, plots.comparison_figure, (histories(ARMS, seeds=3),)),
}
every_picture = pytest.mark.parametrize("name", PICTURES)


@cache
def png(name: str) -> bytes:
    to_png, _, content = PICTURES[name]
    return to_png(*content)


def drawn(to_figure: ToFigure, *content: object) -> Figure:
    with plots.style():
        figure = to_figure(*content)
        FigureCanvasAgg(figure).draw()
    return figure


def sweep_axes(value: str, bounds: tuple[float, float]) -> list[Axes]:
    return drawn(plots.sweep_figure, sweep_table(value), value, bounds).axes


def labelled(axis: Axes, label: str) -> Line2D:
    (line,) = [line for line in axis.lines if line.get_label() == label]
    return line


def xy(line: Line2D) -> list[list[float]]:
    return np.asarray(line.get_xydata()).tolist()


def texts(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


def tick_labels(axis: Axes) -> list[str]:
    ticks = axis.yaxis if axis.get_xlabel() == "" else axis.xaxis
    low, high = sorted(ticks.get_view_interval())
    shown = [tick for tick in ticks.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1.get_text() for tick in shown if tick.label1.get_text()]


def height(text: Text) -> float:
    return text.get_window_extent().y0


def text_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return every text that a reader sees, with the pixels that it covers."""
    hidden = {id(tick.label1) for axis in figure.axes for tick in out_of_view(axis)}
    seen = [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden
    ]
    return [(text.get_text(), text.get_window_extent()) for text in seen]


def out_of_view(axis: Axes) -> list[Tick]:
    """Return the ticks beyond the axis, which are kept but never drawn."""
    return [
        tick
        for ticks in (axis.xaxis, axis.yaxis)
        for tick in ticks.get_major_ticks()
        if not ticks.get_view_interval().min() <= tick.get_loc() <= ticks.get_view_interval().max()
        or not axis.axison
    ]


def within(box: Bbox, page: Bbox) -> bool:
    return page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1


@every_picture
def test_picture_is_a_small_png_without_varying_metadata(name: str) -> None:
    image = Image.open(io.BytesIO(png(name)))
    assert image.format == "PNG"
    assert image.width == 1800
    assert 600 <= image.height <= 1800
    assert len(png(name)) < 200_000
    assert not {"Software", "Creation Time", "Date"} & image.info.keys()
    assert image.convert("L").getextrema() == (0, 255)


@every_picture
def test_same_content_gives_the_same_bytes_whatever_the_users_settings(name: str) -> None:
    first = png(name)
    to_png, _, content = PICTURES[name]
    with matplotlib.rc_context({"font.size": 25, "lines.linewidth": 9, "figure.dpi": 50}):
        assert to_png(*content) == first
        assert matplotlib.rcParams["font.size"] == 25


@every_picture
def test_texts_neither_overlap_nor_leave_the_picture(name: str) -> None:
    _, to_figure, content = PICTURES[name]
    figure = drawn(to_figure, *content)
    boxes = text_boxes(figure)
    assert len(boxes) >= 3
    touching = [
        (one, other)
        for (one, box), (other, second) in combinations(boxes, 2)
        if box.overlaps(second)
    ]
    outside = [text for text, box in boxes if not within(box, figure.bbox)]
    assert (touching, outside) == ([], [])


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "samples"])
def test_outer_axes_are_labelled(name: str) -> None:
    _, to_figure, content = PICTURES[name]
    axes = drawn(to_figure, *content).axes
    assert all(axis.get_ylabel() for axis in axes)
    assert axes[-1].get_xlabel()


def test_thread_that_draws_waits_until_another_has_put_the_settings_back() -> None:
    to_png, _, content = PICTURES["samples"]
    with ThreadPoolExecutor(1) as pool:
        with plots.style():
            other = pool.submit(to_png, *content)
            with pytest.raises(TimeoutError):
                other.result(timeout=2)
        assert other.result() == png("samples")


def test_pyplot_with_its_global_figures_is_never_imported() -> None:
    program = "import sys, cyclical.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_samples_show_every_pixel_in_grey_below_its_title() -> None:
    axes = drawn(plots.samples_figure, IMAGES, ["Ankle boot", "Top", "Dress"]).axes
    assert [axis.get_title() for axis in axes] == ["Ankle boot", "Top", "Dress"]
    for axis, image in zip(axes, IMAGES, strict=True):
        (shown,) = axis.images
        np.testing.assert_array_equal(shown.get_array(), image[..., 0])
        assert (shown.get_clim(), shown.get_cmap().name) == ((0, 255), "gray")


def test_samples_without_a_title_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        plots.samples(IMAGES, ["Ankle boot", "Top"])


def test_learning_rate_axis_is_labelled_at_every_power_of_ten() -> None:
    axis = sweep_axes("learning_rate", (1e-4, 1e-3))[1]
    assert axis.get_xscale() == "log"
    assert tick_labels(axis) == [f"$10^{{{power}}}$" for power in range(-9, 2)]


def test_batch_size_axis_is_labelled_at_every_size() -> None:
    axis = sweep_axes("batch_size", (16, 256))[1]
    assert axis.get_xscale() == "log"
    assert tick_labels(axis) == [str(size) for size in SIZES]


@pytest.mark.parametrize(
    ("value", "bounds", "names"),
    [
        ("learning_rate", (1e-4, 1e-3), ["lr_min = $10^{-4}$", "lr_max = $10^{-3}$"]),
        (
            "learning_rate",
            (3e-4, 6e-3),
            [r"lr_min = $3\times10^{-4}$", r"lr_max = $6\times10^{-3}$"],
        ),
        ("batch_size", (16, 256), ["bmin = 16", "bmax = 256"]),
    ],
)
def test_bounds_are_lines_with_their_values_and_the_range_is_shaded(
    value: str, bounds: tuple[float, float], names: list[str]
) -> None:
    above, below = sweep_axes(value, bounds)
    assert texts(above) == names
    for axis in (above, below):
        (lines,) = axis.collections
        assert [segment[0][0] for segment in lines.get_segments()] == list(bounds)
        (shade,) = axis.patches
        assert (shade.get_x(), shade.get_width()) == (bounds[0], bounds[1] - bounds[0])


def test_a_changed_bound_changes_the_picture() -> None:
    table = sweep_table("learning_rate")
    assert plots.sweep(table, "learning_rate", (1e-4, 1e-2)) != png("lr sweep")


def test_sweep_is_drawn_in_the_order_of_the_values_and_left_as_it_was() -> None:
    shuffled = sweep_table("learning_rate").sample(frac=1, random_state=0)
    before = shuffled.copy()
    assert plots.sweep(shuffled, "learning_rate", (1e-4, 1e-3)) == png("lr sweep")
    pd.testing.assert_frame_equal(shuffled, before)


def test_training_and_validation_accuracy_are_told_apart() -> None:
    above, _ = sweep_axes("learning_rate", (1e-4, 1e-3))
    training, validation = labelled(above, "training"), labelled(above, "validation")
    np.testing.assert_array_equal([training.get_ydata(), validation.get_ydata()], LR_SWEEP[1:])
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert (training.get_marker(), validation.get_markerfacecolor()) == ("o", "none")
    assert list(training.get_markevery()) == [rate < 1 for rate in RATES]
    assert validation.get_linewidth() < training.get_linewidth()


def test_diverged_points_are_crosses_at_their_accuracy_and_loss_or_the_upper_edge() -> None:
    above, below = sweep_axes("learning_rate", (1e-4, 1e-3))
    assert xy(labelled(above, "diverged")) == [[1, 0.0979], [10, 0.1]]
    assert xy(labelled(below, "diverged")) == [[1, 2.3065], [10, below.get_ylim()[1]]]
    assert texts(below) == ["nan"]
    legend = [text.get_text() for text in above.figure.legends[0].get_texts()]
    assert legend == ["training", "validation", "diverged"]


def test_sweep_without_divergence_does_not_name_it() -> None:
    above, _ = sweep_axes("batch_size", (16, 256))
    legend = [text.get_text() for text in above.figure.legends[0].get_texts()]
    assert legend == ["training", "validation"]


@pytest.mark.parametrize("rate", [1e-9, 1.0])
def test_one_huge_loss_stands_at_the_edge_and_does_not_flatten_the_others(rate: float) -> None:
    table = sweep_table("learning_rate")
    table.loc[table["learning_rate"] == rate, "train_loss"] = 4.2e9
    _, below = drawn(plots.sweep_figure, table, "learning_rate", (1e-4, 1e-3)).axes
    low, high = below.get_ylim()
    assert 0 < low < 0.2629
    assert 3.4313 * (rate != 1e-9) < high < 10
    assert sorted(texts(below)) == [r"$4.2\times10^{9}$", "nan"]
    edge = [x for line in below.lines for x, y in xy(line) if y == high]
    assert rate in edge


@pytest.mark.parametrize("loss", [np.nan, np.inf, 0.0])
def test_sweep_is_drawn_even_if_no_loss_can_be(loss: float) -> None:
    table = sweep_table("learning_rate").assign(train_loss=loss, status="diverged")
    assert plots.sweep(table, "learning_rate", (1e-4, 1e-3))


def test_single_swept_value_is_drawn() -> None:
    assert plots.sweep(sweep_table("batch_size").head(1), "batch_size", (16, 32))


def test_training_shows_its_four_quantities_over_one_axis() -> None:
    frame = trace(epochs_of(64))
    axes = drawn(plots.training_figure, frame, "clr-derived").axes
    assert [axis.get_ylabel().split("\n")[0] for axis in axes] == [
        "learning rate",
        "batch size",
        "loss",
        "accuracy",
    ]
    assert axes[0].get_title(loc="left") == "clr-derived"
    assert len({axis.get_xlim() for axis in axes}) == 1
    names = ["learning_rate", "batch_size", "loss", "accuracy"]
    for axis, name in zip(axes, names, strict=True):
        assert xy(axis.lines[0]) == frame[["iteration", name]].to_numpy(dtype=float).tolist()


def test_longest_training_stays_small() -> None:
    sizes = epochs_of(16)
    assert len(sizes) == 75_000
    assert len(plots.training(trace(sizes), "fixed")) < 200_000


def test_short_last_batch_of_an_epoch_is_faint_only() -> None:
    axis = drawn(plots.training_figure, trace(epochs_of(64)), "fixed").axes[1]
    every, usual = axis.lines
    assert set(every.get_ydata()) == {32, 64}
    assert set(usual.get_ydata()) == {64}


def test_sizes_that_cycle_with_every_update_are_drawn_as_they_are() -> None:
    sizes = np.tile(np.arange(256, 4097, 256), 5)
    axis = drawn(plots.training_figure, trace(sizes), "effective-cyclic").axes[1]
    for line in axis.lines:
        np.testing.assert_array_equal(line.get_ydata(), sizes)


def test_training_that_explodes_keeps_the_rest_of_its_loss_readable() -> None:
    frame = trace(epochs_of(64))
    frame.loc[15_000:15_100, "loss"] = 1e8
    frame.loc[15_101:, "loss"] = np.nan
    axis = drawn(plots.training_figure, frame, "fixed").axes[2]
    assert axis.get_ylim()[1] < 1000
    assert len(tick_labels(axis)) >= 3


@pytest.mark.parametrize("loss", [np.nan, np.inf, 0.0])
def test_training_is_drawn_even_if_no_loss_can_be(loss: float) -> None:
    assert plots.training(trace(epochs_of(64, epochs=1)).assign(loss=loss), "fixed")


def test_training_of_one_update_is_drawn() -> None:
    assert plots.training(trace(np.array([48])), "fixed")


def test_moving_average_weighs_batches_by_their_examples() -> None:
    # Ends at 0, 4, 12, 16; a window of 8 reaches from -2 to 6, from 4 to 12, from 10 to 18.
    average = plots.moving_average(np.array([1.0, 2.0, 5.0]), np.array([4.0, 8.0, 4.0]), window=8)
    np.testing.assert_allclose(average, [(4 * 1 + 2 * 2) / 6, 2, (2 * 2 + 4 * 5) / 6])


def test_moving_average_leaves_out_what_is_not_finite() -> None:
    losses, examples = np.array([1.0, np.inf, 3.0, np.nan]), np.full(4, 10.0)
    average = plots.moving_average(losses, examples, window=60)
    # From -25 to 35 and from -5 to 55: both see the batches 0 and 2 whole.
    np.testing.assert_allclose(average, [2, np.nan, 2, np.nan])


@given(
    hnp.arrays(float, st.integers(1, 50), elements=st.floats(0, 10)),
    st.integers(1, 64),
    st.floats(0.01, 2),
)
def test_moving_average_stays_within_its_values(
    values: plots.Float64, size: int, share: float
) -> None:
    examples = np.full(len(values), float(size))
    average = plots.moving_average(values, examples, share * examples.sum())
    assert (average >= values.min() - 1e-9).all()
    assert (average <= values.max() + 1e-9).all()


def test_moving_average_over_everything_is_the_mean() -> None:
    random = np.random.default_rng(0)
    values, examples = random.random(100), random.integers(1, 65, 100).astype(float)
    average = plots.moving_average(values, examples, 2 * examples.sum())
    np.testing.assert_allclose(average, np.average(values, weights=examples))


def test_comparison_shows_the_mean_of_the_seeds_over_faint_single_seeds() -> None:
    axis = drawn(plots.comparison_figure, histories({"fixed-sgd": 0.9}, seeds=3)).axes[0]
    *seeds, mean = [line for line in axis.lines if len(line.get_xdata()) == 20]
    assert [line.get_ydata()[-1] for line in seeds] == pytest.approx([0.90, 0.91, 0.92])
    assert mean.get_ydata()[-1] == pytest.approx(0.91)
    assert all(line.get_linewidth() < mean.get_linewidth() for line in seeds)
    assert texts(axis) == ["", "0.9100  fixed-sgd"]
    assert "mean of 3 seeds" in axis.get_ylabel()


def test_comparison_ranks_the_names_by_final_value() -> None:
    axis = drawn(plots.comparison_figure, histories(ARMS)).axes[0]
    named = [text for text in axis.texts if text.get_text()]
    ranked = [text.get_text().split("  ")[1] for text in sorted(named, key=height)]
    assert ranked == sorted(ARMS, key=lambda arm: ARMS[arm])


def test_arms_that_end_far_apart_are_named_at_their_ends() -> None:
    axis = drawn(plots.comparison_figure, histories({"clr-paper": 0.8, "fixed-sgd": 0.9})).axes[0]
    low, high = axis.get_ylim()
    heights = [text.get_position()[1] for text in axis.texts if text.get_text()]
    assert heights == pytest.approx([(0.8 - low) / (high - low), (0.9 - low) / (high - low)])


def test_each_arm_has_a_look_of_its_own_even_in_grey() -> None:
    axis = drawn(plots.comparison_figure, histories(ARMS)).axes[0]
    lines = [line for line in axis.lines if len(line.get_xdata()) == 20]
    assert len(lines) == len(ARMS)
    assert len({line.get_marker() for line in lines}) == len(ARMS)
    assert len({(to_hex(line.get_color()), line.get_linestyle()) for line in lines}) == len(ARMS)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.05, 1), min_size=1, max_size=12), st.integers(1, 3))
def test_comparison_never_hides_a_final_value(finals: list[float], seeds: int) -> None:
    frame = histories({f"arm {number}": 0.9 for number in range(len(finals))}, seeds)
    frame.loc[frame["epoch"] == 20, "val_accuracy"] = np.repeat(finals, seeds)
    with plots.style():
        low, high = plots.comparison_figure(frame).axes[0].get_ylim()
    assert low <= min(finals) <= max(finals) <= high


def test_comparison_cuts_low_early_epochs_so_that_differences_are_seen() -> None:
    frame = histories({"clr-derived": 0.91, "fixed-sgd": 0.90})
    low, high = drawn(plots.comparison_figure, frame).axes[0].get_ylim()
    assert frame["val_accuracy"].min() < 0.32
    assert 0.6 < low < 0.9 < high < 0.96


def test_arm_that_diverged_is_named_so() -> None:
    frame = histories({"clr-paper": 0.8, "fixed-sgd": 0.9})
    diverged = (frame["arm"] == "clr-paper") & (frame["epoch"] == 8)
    later = (frame["arm"] == "clr-paper") & (frame["epoch"] > 8)
    frame["val_accuracy"] = frame["val_accuracy"].mask(diverged)
    axis = drawn(plots.comparison_figure, frame[~later]).axes[0]
    assert "not finite  clr-paper" in texts(axis)


def test_arm_with_one_diverged_seed_has_no_mean_from_there_on() -> None:
    frame = histories({"clr-paper": 0.8}, seeds=2)
    frame = frame[(frame["seed"] == 0) | (frame["epoch"] <= 7)]
    axis = drawn(plots.comparison_figure, frame).axes[0]
    *_, mean = [line for line in axis.lines if len(line.get_xdata()) == 20]
    assert np.isfinite(mean.get_ydata()).tolist() == [True] * 7 + [False] * 13


def test_comparison_after_one_epoch_is_drawn() -> None:
    assert plots.comparison(histories(ARMS).query("epoch == 1"))
