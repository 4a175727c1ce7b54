"""Pictures: what stands on their axes, and the bytes that they become."""

import gc
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from cyclical import arms, naming, plots, reference, schedules, style
from cyclical.plans import lay_out
from cyclical.settings import resolve
from cyclical.style import Float64
from cyclical.sweeps import DIVERGED, LEARNED, NOT_LEARNED, with_status
from tests.drawing import (
    Content,
    ToFigure,
    ToPng,
    drawn,
    every_arm,
    labelled,
    legend,
    text_boxes,
    texts,
    tick_labels,
    unreadable,
    xy,
)

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
# A quick run's sweeps: most of their points learned less than the published run's did.
QUICK_LR_SWEEP = [
    [3.2, 3.0, 2.9, 2.75, 2.31, 1.42, 0.83, 0.55, 0.48, 2.4, np.inf],
    [0.08, 0.1, 0.11, 0.14, 0.21, 0.55, 0.72, 0.81, 0.84, 0.1, 0.098],
    [0.07, 0.1, 0.11, 0.15, 0.2, 0.6, 0.73, 0.8, 0.79, 0.1, np.nan],
]
QUICK_BATCH_SWEEP = [
    [1.1, 1.3, 1.6, 1.9, 2.3, 2.6, 2.8],
    [0.62, 0.55, 0.45, 0.35, 0.24, 0.17, 0.12],
    [0.6, 0.53, 0.44, 0.36, 0.22, 0.15, 0.1],
]


def sweep_table(value: str, quick: bool = False) -> pd.DataFrame:
    if value == "learning_rate":
        swept, points = RATES, QUICK_LR_SWEEP if quick else LR_SWEEP
    else:
        swept, points = SIZES, QUICK_BATCH_SWEEP if quick else BATCH_SWEEP
    columns = dict(zip(METRICS, points, strict=True))
    table = pd.DataFrame({value: swept[: len(points[0])], **columns})
    return with_status(table.assign(seeds=1), value, least=0.2)


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


def trained(profile: str, label: str) -> Content:
    """Make up an arm's training with its own batches, title and published epochs."""
    [arm] = [each for each in every_arm(profile) if each.label == label]
    epochs = lay_out(arm, 60_000 if profile == "notebook" else 5_000)
    sizes = np.concatenate([np.diff(epoch.boundaries) for epoch in epochs])
    rates = np.concatenate([epoch.learning_rates for epoch in epochs])
    updates = np.cumsum([len(epoch.learning_rates) for epoch in epochs])
    history = pd.DataFrame({"epoch": range(1, arm.epochs + 1), "updates": updates})
    beside = reference.beside(history, reference.arms().get(label, []))
    title = f"{label}, {naming.described(arm.optimizer)}, {arms.describe(arm)}, seed {arm.seed}"
    return trace(sizes).assign(learning_rate=rates), title, updates, beside


def swept(value: str, bounds: tuple[float, float], quick: bool = False) -> Content:
    """Return a sweep with its bounds and the published one beside it."""
    return sweep_table(value, quick), value, bounds, reference.sweep(value)


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
SAMPLES: tuple[ToPng, ToFigure] = (plots.samples, plots.samples_figure)
SWEEP: tuple[ToPng, ToFigure] = (plots.sweep, plots.sweep_figure)
TRAINING: tuple[ToPng, ToFigure] = (plots.training, plots.training_figure)
PICTURES: dict[str, tuple[tuple[ToPng, ToFigure], Content]] = {
    "samples": (SAMPLES, (IMAGES, ["Ankle boot", "Top", "Dress"])),
    "lr sweep": (SWEEP, (sweep_table("learning_rate"), "learning_rate", (1e-4, 1e-3))),
    "batch sweep": (SWEEP, (sweep_table("batch_size"), "batch_size", (16, 256))),
    "lr sweep beside": (SWEEP, swept("learning_rate", (1e-4, 1e-3))),
    "batch sweep beside": (SWEEP, swept("batch_size", (16, 256))),
    "quick lr sweep": (SWEEP, swept("learning_rate", (1e-3, 1e-2), quick=True)),
    "quick batch sweep": (SWEEP, swept("batch_size", (16, 32), quick=True)),
    "lowest bounds": (SWEEP, swept("learning_rate", (1e-9, 3e-9))),
    "highest bounds": (SWEEP, swept("learning_rate", (2.5, 10))),
    "highest sizes": (SWEEP, swept("batch_size", (4096, 8192))),
    "triangular": (TRAINING, trained("notebook", "clr-derived")),
    "batch cycle": (TRAINING, trained("notebook", "cyclic-batch-reference")),
    "accumulated": (TRAINING, trained("notebook", "effective-batch-constant")),
    "cyclic groups": (TRAINING, trained("notebook", "effective-batch-cyclic")),
    "both": (TRAINING, trained("notebook", "combined")),
    "quick triangular": (TRAINING, trained("quick", "clr-paper")),
    "quick accumulated": (TRAINING, trained("quick", "effective-batch-constant")),
}
every_picture = pytest.mark.parametrize("name", PICTURES)


@cache
def png(name: str) -> bytes:
    (to_png, _), content = PICTURES[name]
    return to_png(*content)


@cache
def figure(name: str) -> Figure:
    (_, to_figure), content = PICTURES[name]
    return drawn(to_figure, *content)


def sweep_axes(value: str, bounds: tuple[float, float]) -> list[Axes]:
    return drawn(plots.sweep_figure, sweep_table(value), value, bounds).axes


@every_picture
def test_picture_is_a_small_png_without_varying_metadata(name: str) -> None:
    image = Image.open(io.BytesIO(png(name)))
    assert image.format == "PNG"
    assert image.width == 1800
    assert 600 <= image.height <= 1800
    assert len(png(name)) < 200_000
    assert not {"Software", "Creation Time", "Date"} & image.info.keys()
    assert image.convert("L").getextrema() == (0, 255)


@pytest.mark.parametrize(
    "name",
    ["samples", "lr sweep", "batch sweep beside", "quick lr sweep", "triangular", "accumulated"],
)
def test_same_content_gives_the_same_bytes_whatever_the_users_settings(name: str) -> None:
    first = png(name)
    (to_png, _), content = PICTURES[name]
    with matplotlib.rc_context({"font.size": 25, "lines.linewidth": 9, "figure.dpi": 50}):
        assert to_png(*content) == first
        assert matplotlib.rcParams["font.size"] == 25


@every_picture
def test_texts_neither_overlap_nor_leave_the_picture(name: str) -> None:
    assert len(text_boxes(figure(name))) >= 3
    assert unreadable(figure(name)) == []


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "samples"])
def test_outer_axes_are_labelled(name: str) -> None:
    axes = figure(name).axes
    assert all(axis.get_ylabel() for axis in axes)
    assert axes[-1].get_xlabel()


def test_thread_that_draws_waits_until_another_has_put_the_settings_back() -> None:
    (to_png, _), content = PICTURES["samples"]
    with ThreadPoolExecutor(1) as pool:
        with style.style():
            other = pool.submit(to_png, *content)
            with pytest.raises(TimeoutError):
                other.result(timeout=2)
        assert other.result() == png("samples")


def test_pyplot_with_its_global_figures_is_never_imported() -> None:
    modules = "cyclical.plots, cyclical.comparison_plots, cyclical.style"
    program = f"import sys, {modules}; sys.exit('matplotlib.pyplot' in sys.modules)"
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


def test_of_rates_that_lie_close_together_those_are_labelled_that_have_room() -> None:
    rates = [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0]
    table = sweep_table("learning_rate").head(len(rates)).assign(learning_rate=rates)
    sweep = drawn(plots.sweep_figure, table, "learning_rate", (0.02, 0.05))
    labels = tick_labels(sweep.axes[1])
    assert r"$3\times10^{-1}$" not in labels
    assert len(labels) == len(rates) - 1
    assert unreadable(sweep) == []


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
    assert legend(figure("lr sweep")) == ["training", "validation", "not learned", "diverged"]


def test_points_that_did_not_learn_are_hollow_at_their_accuracy_and_loss() -> None:
    # 0.2 is needed to have learned
    above, below = sweep_axes("learning_rate", (1e-4, 1e-3))
    accuracies, losses = labelled(above, "not learned"), labelled(below, "not learned")
    assert xy(accuracies) == [[1e-9, 0.0566], [1e-8, 0.1021], [1e-7, 0.1362]]
    assert xy(losses) == [[1e-9, 3.4313], [1e-8, 2.9314], [1e-7, 2.7868]]
    filled = labelled(above, "training")
    for hollow in (accuracies, losses):
        assert (hollow.get_marker(), hollow.get_linestyle()) == ("o", "None")
        assert to_rgb(hollow.get_markerfacecolor()) == (1, 1, 1)
        assert hollow.get_markersize() == filled.get_markersize()
        assert hollow.get_zorder() > filled.get_zorder()
    assert to_rgb(filled.get_markerfacecolor()) == to_rgb(filled.get_color())


def test_a_batch_size_that_did_not_learn_is_hollow_and_is_not_crossed() -> None:
    above, below = figure("quick batch sweep").axes
    assert xy(labelled(above, "not learned")) == [[512, 0.17], [1024, 0.12]]
    assert xy(labelled(below, "not learned")) == [[512, 2.6], [1024, 2.8]]
    assert "diverged" not in legend(figure("quick batch sweep"))


@pytest.mark.parametrize("status", [LEARNED, NOT_LEARNED, DIVERGED])
def test_a_point_has_the_form_of_its_status_and_of_no_other(status: str) -> None:
    table = sweep_table("batch_size").assign(status=status)
    for axis in drawn(plots.sweep_figure, table, "batch_size", (16, 256)).axes:
        marks = {line.get_label(): len(line.get_xdata()) for line in axis.lines}
        told = {LEARNED: None, NOT_LEARNED: "not learned", DIVERGED: "diverged"}
        for judged, label in told.items():
            assert marks.get(label, 0) == (len(SIZES) if status == judged and label else 0)


def test_a_huge_loss_that_did_not_learn_is_a_triangle_at_the_edge_and_no_hollow_point() -> None:
    table = sweep_table("learning_rate")
    table.loc[table["learning_rate"] == 1e-8, "train_loss"] = 4.2e9
    above, below = drawn(plots.sweep_figure, table, "learning_rate", (1e-4, 1e-3)).axes
    assert [x for x, _ in xy(labelled(below, "not learned"))] == [1e-9, 1e-7]
    assert [x for x, _ in xy(labelled(above, "not learned"))] == [1e-9, 1e-8, 1e-7]
    [edge] = [line for line in below.lines if line.get_marker() == "^"]
    assert [xy(edge)[i] for i in np.flatnonzero(edge.get_markevery())] == [
        [1e-8, below.get_ylim()[1]]
    ]


def test_sweep_in_which_all_learned_names_neither_failure() -> None:
    assert legend(figure("batch sweep")) == ["training", "validation"]


@pytest.mark.parametrize("value", ["learning_rate", "batch_size"])
def test_published_figures_are_diamonds_at_exactly_their_values(value: str) -> None:
    rows = reference.sweep(value)
    above, below = drawn(plots.sweep_figure, *swept(value, (16, 256))).axes
    for axis, name in ((above, "train_accuracy"), (below, "train_loss")):
        diamonds = labelled(axis, "published run")
        expected = [[row[value], row[name]] for row in rows if row[name] is not None]
        assert sorted(xy(diamonds)) == sorted(expected)
        assert (diamonds.get_marker(), diamonds.get_linestyle()) == ("D", "None")
        assert diamonds.get_markerfacecolor() == "none"
    assert len(xy(labelled(above, "published run"))) == len(rows)


def test_published_figures_stand_only_at_values_that_were_swept_here() -> None:
    table = sweep_table("learning_rate").query("learning_rate in [1e-6, 0.01, 1, 10]")
    table = pd.concat([table, table.tail(1).assign(learning_rate=0.03)])
    content = table, "learning_rate", (1e-6, 1e-2), reference.sweep("learning_rate")
    above, below = drawn(plots.sweep_figure, *content).axes
    assert sorted(xy(labelled(above, "published run"))) == [
        [1e-6, 0.33008334040641785],
        [0.01, 0.9039666652679443],
        [1, 0.09788333624601364],
        [10, 0.10000000149011612],
    ]
    assert sorted(xy(labelled(below, "published run"))) == [
        [1e-6, 2.006256341934204],
        [0.01, 0.26983168721199036],
        [1, 2.306472063064575],
    ]
    others = table.assign(learning_rate=[3e-6, 0.02, 3, 5, 0.03])
    drawn_alone = drawn(plots.sweep_figure, others, *content[1:])
    assert "published run" not in legend(drawn_alone)


@pytest.mark.parametrize("name", ["lr sweep beside", "quick lr sweep", "quick batch sweep"])
def test_published_figures_never_widen_the_axes_but_for_losses_that_would_not_be_seen(
    name: str,
) -> None:
    _, (table, value, bounds, _) = PICTURES[name]
    alone = drawn(plots.sweep_figure, table, value, bounds).axes
    beside = figure(name).axes
    assert [axis.get_xlim() for axis in beside] == [axis.get_xlim() for axis in alone]
    assert beside[0].get_ylim() == alone[0].get_ylim() == (0, 1.02)
    low, high = beside[1].get_ylim()
    drawn_losses = [y for _, y in xy(labelled(beside[1], "published run"))]
    assert low < min(drawn_losses) < max(drawn_losses) < high
    assert low <= alone[1].get_ylim()[0]
    assert high >= alone[1].get_ylim()[1]


def test_all_kinds_of_points_are_named_once_above_the_sweep() -> None:
    assert legend(figure("quick lr sweep")) == [
        *("training", "validation", "not learned", "diverged", "published run")
    ]


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


def test_published_epochs_are_diamonds_in_the_middle_of_ours() -> None:
    frame = trace(epochs_of(64, epochs=3))
    history = pd.DataFrame({"epoch": [1, 2, 3], "updates": [938, 1876, 2814]})
    beside = reference.beside(history, reference.arms()["clr-derived"])
    *_, loss, accuracy = drawn(plots.training_figure, frame, "clr-derived", (), beside).axes
    # 938 updates an epoch: the middles are 469, 1407 and 2345
    assert xy(labelled(loss, "published run")) == [[469, 0.5103], [1407, 0.4284], [2345, 0.3855]]
    marks = labelled(accuracy, "published run")
    assert xy(marks) == [[469, 0.8198], [1407, 0.8482], [2345, 0.8632]]
    assert (marks.get_marker(), marks.get_linestyle()) == ("D", "None")


def test_a_published_loss_that_is_unknown_has_no_diamond() -> None:
    *_, loss, accuracy = figure("accumulated").axes
    assert "published run" not in [line.get_label() for line in loss.lines]
    assert len(xy(labelled(accuracy, "published run"))) == 20


@pytest.mark.parametrize("name", ["triangular", "batch cycle", "accumulated", "quick triangular"])
def test_every_published_epoch_is_seen_and_named_once(name: str) -> None:
    *_, loss, accuracy = figure(name).axes
    for axis in (loss, accuracy):
        low, high = axis.get_ylim()
        for line in axis.lines:
            if line.get_label() == "published run":
                assert all(low < y < high for _, y in xy(line))
    assert legend(figure(name)).count("published run") == 1
    _, (frame, title, ends, _) = PICTURES[name]
    alone = drawn(plots.training_figure, frame, title, ends)
    assert [axis.get_xlim() for axis in alone.axes] == [a.get_xlim() for a in figure(name).axes]


def test_a_training_that_was_not_published_names_no_published_run() -> None:
    assert legend(figure("both")) == ["each update", "moving average over 24,000 examples"]
    assert legend(drawn(plots.training_figure, trace(epochs_of(64, epochs=1)), "mine")) == [
        *("each update", "moving average over 1,200 examples")
    ]


@pytest.mark.parametrize("bmax", [256, 8192])
@pytest.mark.parametrize("scaling", ["linear", "sqrt"])
def test_the_longest_title_fits_even_where_the_whole_sweep_holds(scaling: str, bmax: int) -> None:
    [arm] = arms.combined(resolve("quick", {"combined.scaling": scaling}), 16, bmax)
    title = f"{arm.label}, {naming.described(arm.optimizer)}, {arms.describe(arm)}, seed 0"
    sizes = np.repeat(arm.batch_sizes, 9)
    assert unreadable(drawn(plots.training_figure, trace(sizes), title)) == []


def test_longest_training_stays_small() -> None:
    sizes = epochs_of(16)
    assert len(sizes) == 75_000
    assert len(plots.training(trace(sizes), "fixed")) < 200_000


def test_of_a_long_training_no_figure_stays_in_memory() -> None:
    gc.collect()
    gc.disable()
    try:
        before = figures_alive()
        plots.training(trace(epochs_of(16, epochs=3)), "fixed")
        assert figures_alive() == before
    finally:
        gc.enable()


def figures_alive() -> int:
    return sum(isinstance(each, Figure) for each in gc.get_objects())


def test_short_last_batch_of_an_epoch_is_faint_only() -> None:
    ends = 938 * np.arange(1, 21)
    axis = drawn(plots.training_figure, trace(epochs_of(64)), "fixed", ends).axes[1]
    every, usual = axis.lines
    assert set(every.get_ydata()) == {32, 64}
    assert set(usual.get_ydata()) == {64}


@pytest.mark.parametrize("cycle", [[16, 32, 64], [64, 32, 16], [128, 91, 53, 16], [64, 64, 16]])
def test_short_last_batches_are_faint_only_where_the_size_changes_too(cycle: list[int]) -> None:
    plan = schedules.epoch_plan(5_000, 7, cycle, [1])
    sizes = np.concatenate([np.diff(boundaries) for _, boundaries in plan])
    ends = np.cumsum([len(boundaries) - 1 for _, boundaries in plan])
    every, usual = drawn(plots.training_figure, trace(sizes), "cyclic", ends).axes[1].lines
    np.testing.assert_array_equal(every.get_ydata(), sizes)
    assert set(usual.get_ydata()) == set(cycle)
    np.testing.assert_array_equal(
        np.delete(usual.get_ydata(), ends - 1), np.delete(sizes, ends - 1)
    )


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
def test_moving_average_stays_within_its_values(values: Float64, size: int, share: float) -> None:
    examples = np.full(len(values), float(size))
    average = plots.moving_average(values, examples, share * examples.sum())
    assert (average >= values.min() - 1e-9).all()
    assert (average <= values.max() + 1e-9).all()


def test_moving_average_over_everything_is_the_mean() -> None:
    random = np.random.default_rng(0)
    values, examples = random.random(100), random.integers(1, 65, 100).astype(float)
    average = plots.moving_average(values, examples, 2 * examples.sum())
    np.testing.assert_allclose(average, np.average(values, weights=examples))
