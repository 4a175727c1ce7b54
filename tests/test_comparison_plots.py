"""The pictures that compare the arms: by epoch, and at the end with their intervals."""

import io
from collections.abc import Mapping, Sequence
from functools import cache

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from cyclical import comparison_plots, reference, style
from cyclical.comparison import MEASURED
from tests.drawing import (
    FINALS,
    PROFILES,
    Content,
    ToFigure,
    ToPng,
    compared,
    drawn,
    labelled,
    legend,
    text_boxes,
    texts,
    unreadable,
    xy,
)

# Ten arms that end close together in one panel.
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
PUBLISHED_ARMS = {"clr-derived", "clr-paper", "cyclic-batch-reference", "effective-batch-constant"}


def histories(
    finals: Mapping[str, float], seeds: int = 1, epochs: int = 20, optimizer: str = "sgd"
) -> pd.DataFrame:
    """Make up arms that rise to a final value from 0.6 below it (but from 0.05 at least)."""
    rise = np.exp(-np.arange(epochs) / 2.0)
    rise[-1] = 0
    return pd.concat(
        pd.DataFrame(
            {
                "arm": arm,
                "seed": seed,
                "optimizer": optimizer,
                "epoch": np.arange(1, epochs + 1),
                "val_accuracy": final - min(0.6, final - 0.05) * rise + 0.01 * seed,
            }
        )
        for arm, final in finals.items()
        for seed in range(seeds)
    ).reset_index(drop=True)


def epochs_of(*accuracies: float, images: int = 10_000) -> reference.Rows:
    """Make published epochs with these validation accuracies."""
    return [
        {"epoch": epoch, "val_accuracy": accuracy, "val_images": images}
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]


def by_epoch(profile: str, seeds: int, diverged: Sequence[str] = ()) -> Content:
    return compared(profile, seeds, diverged).histories, reference.arms()


def at_the_end(profile: str, seeds: int, diverged: Sequence[str] = ()) -> Content:
    of_run = compared(profile, seeds, diverged)
    return of_run.summary, of_run.trainings


VALIDATION: tuple[ToPng, ToFigure] = (
    comparison_plots.validation,
    comparison_plots.validation_figure,
)
FINAL: tuple[ToPng, ToFigure] = (comparison_plots.finals, comparison_plots.finals_figure)
BROKEN = ("clr-paper", "combined")
PICTURES: dict[str, tuple[tuple[ToPng, ToFigure], Content]] = {
    **{
        f"{profile}, seeds: {seeds}, {kind}": (picture, content(profile, seeds))
        for profile in PROFILES
        for seeds in (1, 5)
        for kind, picture, content in (
            ("by epoch", VALIDATION, by_epoch),
            ("at the end", FINAL, at_the_end),
        )
    },
    "diverged, by epoch": (VALIDATION, by_epoch("notebook", 5, BROKEN)),
    "diverged, at the end": (FINAL, at_the_end("notebook", 5, BROKEN)),
    "quick, diverged, at the end": (FINAL, at_the_end("quick", 1, tuple(FINALS)[:4])),
    "ten in one panel, three seeds": (VALIDATION, (histories(ARMS, seeds=3),)),
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


def panel(frame: pd.DataFrame, published: comparison_plots.Published | None = None) -> Axes:
    """Draw arms of one optimizer; return their panel."""
    (axis,) = drawn(comparison_plots.validation_figure, frame, published or {}).axes
    return axis


def long(axis: Axes, epochs: int = 20) -> list[Line2D]:
    """Return the lines that go through all epochs."""
    return [line for line in axis.lines if len(line.get_xdata()) == epochs]


def named(axis: Axes) -> list[str]:
    """Return the names at the right, from top to bottom."""
    seen = [text for text in axis.texts if text.get_text()]
    return [text.get_text() for text in sorted(seen, key=lambda text: -text.get_position()[1])]


def finals(
    arms: Mapping[str, Sequence[float]],
    best: float = 0.0,
    published: float = np.nan,
    images: int = 10_000,
) -> Axes:
    """Draw arms that ended with these accuracies, one a seed; return their axis."""
    trainings = pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "test_accuracy": accuracy}
            for arm, accuracies in arms.items()
            for seed, accuracy in enumerate(accuracies)
        ]
    )
    means = trainings.groupby("arm", sort=False)["test_accuracy"]
    mean, half = means.mean(), means.std() * 4.302652730 / 3**0.5  # Student's t for three seeds
    summary = pd.DataFrame(
        {
            "arm": list(arms),
            "test_accuracy": mean.to_numpy(),
            "test_accuracy_low": (mean - half).to_numpy(),
            "test_accuracy_high": (mean + half).to_numpy(),
            "best_val_accuracy": best or mean.to_numpy(),
            "published_final": published,
            "published_images": images,
            "held_out": False,
        }
    )
    (axis,) = drawn(comparison_plots.finals_figure, summary, trainings).axes
    return axis


# Both


@every_picture
def test_picture_is_a_small_png_without_varying_metadata(name: str) -> None:
    image = Image.open(io.BytesIO(png(name)))
    assert image.format == "PNG"
    assert image.width == 1800
    assert 600 <= image.height <= 1800
    assert len(png(name)) < 200_000
    assert not {"Software", "Creation Time", "Date"} & image.info.keys()
    assert image.convert("L").getextrema() == (0, 255)


@pytest.mark.parametrize("kind", ["by epoch", "at the end"])
def test_same_content_gives_the_same_bytes_whatever_the_users_settings(kind: str) -> None:
    name = f"quick, seeds: 5, {kind}"
    (to_png, _), content = PICTURES[name]
    first = png(name)
    with matplotlib.rc_context({"font.size": 25, "lines.linewidth": 9, "figure.dpi": 50}):
        assert to_png(*content) == first
        assert matplotlib.rcParams["font.size"] == 25


@every_picture
def test_texts_neither_overlap_nor_leave_the_picture(name: str) -> None:
    assert len(text_boxes(figure(name))) >= 10
    assert unreadable(figure(name)) == []


@every_picture
def test_axes_are_labelled(name: str) -> None:
    axes = figure(name).axes
    assert axes[-1].get_xlabel() in {"epoch", "accuracy (share of the test images)"}
    if axes[-1].get_xlabel() == "epoch":
        assert all("validation accuracy" in axis.get_ylabel() for axis in axes)


@pytest.mark.parametrize("profile", PROFILES)
def test_an_arm_looks_alike_in_both_pictures_and_like_no_other_even_in_grey(profile: str) -> None:
    panels = figure(f"{profile}, seeds: 1, by epoch").axes
    epochs = 20 if profile == "notebook" else 7
    lines = [line for axis in panels for line in long(axis, epochs)]
    ours = [line for line in lines if line.get_markerfacecolor() != "none"]
    theirs = [line for line in lines if line.get_markerfacecolor() == "none"]
    marks = {line.get_marker(): to_hex(line.get_color()) for line in ours}
    assert len(marks) == len(ours) == len(FINALS)
    assert len({(to_hex(line.get_color()), line.get_linestyle()) for line in ours}) == len(FINALS)
    assert len({line.get_marker() for line in theirs}) == len(theirs) == len(PUBLISHED_ARMS)
    (axis,) = figure(f"{profile}, seeds: 1, at the end").axes
    last = [line for line in axis.lines if line.get_markersize() == 8]
    colours = {line.get_ydata()[0]: to_hex(line.get_color()) for line in last}
    in_order = [colours[row] for row in sorted(colours, reverse=True)]
    assert in_order == [to_hex(style.look(number)["color"]) for number in range(len(FINALS))]
    assert sorted(in_order) == sorted(marks.values())
    assert {line.get_marker() for line in last} == {"o"}, "so that none looks like another's mark"


# By epoch


def test_each_optimizer_has_a_panel_with_its_own_arms() -> None:
    axes = figure("notebook, seeds: 1, by epoch").axes
    assert [axis.get_title(loc="left") for axis in axes] == ["rmsprop", "sgd", "sgd momentum 0.9"]
    assert [{name.partition("  ")[2] for name in named(axis)} for axis in axes] == [
        {
            *("clr-derived", "clr-paper", "fixed-rmsprop"),
            *("published clr-derived", "published clr-paper"),
        },
        {
            *("cyclic-batch-derived", "cyclic-batch-reference", "combined", "fixed-sgd"),
            "published run",
        },
        {
            *("effective-batch-constant", "effective-batch-cyclic"),
            "published run (160 images)",
        },
    ]
    assert len({axis.get_xlim() for axis in axes}) == 1


@pytest.mark.parametrize("seeds", [1, 5])
def test_every_arm_is_drawn_from_its_own_histories(seeds: int) -> None:
    frame, _ = by_epoch("notebook", seeds)
    means = frame.groupby(["arm", "epoch"])["val_accuracy"].mean()
    axes = figure(f"notebook, seeds: {seeds}, by epoch").axes
    thick = [
        line
        for axis in axes
        for line in long(axis)
        if line.get_markerfacecolor() != "none" and line.get_linewidth() > 1
    ]
    drawn_ends = {name[8:]: name[:6] for axis in axes for name in named(axis)}
    for arm in FINALS:
        expected = means[arm].to_numpy()
        assert [np.allclose(line.get_ydata(), expected, atol=1e-12) for line in thick].count(True)
        assert drawn_ends[arm] == f"{expected[-1]:.4f}"


def test_comparison_shows_the_mean_of_the_seeds_over_faint_single_seeds() -> None:
    axis = panel(histories({"fixed-sgd": 0.9}, seeds=3))
    *seeds, mean = long(axis)
    assert [line.get_ydata()[-1] for line in seeds] == pytest.approx([0.90, 0.91, 0.92])
    assert mean.get_ydata()[-1] == pytest.approx(0.91)
    assert all(line.get_linewidth() < mean.get_linewidth() for line in seeds)
    assert texts(axis) == ["", "0.9100  fixed-sgd"]
    assert "mean of 3 seeds" in axis.get_ylabel()


def test_comparison_ranks_the_names_by_final_value() -> None:
    ranked = [name.split("  ")[1] for name in named(panel(histories(ARMS)))]
    assert ranked[::-1] == sorted(ARMS, key=lambda arm: ARMS[arm])


def test_arms_that_end_far_apart_are_named_at_their_ends() -> None:
    axis = panel(histories({"clr-paper": 0.8, "fixed-sgd": 0.9}))
    low, high = axis.get_ylim()
    heights = [text.get_position()[1] for text in axis.texts if text.get_text()]
    assert heights == pytest.approx([(0.8 - low) / (high - low), (0.9 - low) / (high - low)])


@pytest.mark.parametrize("arms", [FINALS, ARMS])
def test_each_arm_has_a_look_of_its_own_even_in_grey(arms: Mapping[str, object]) -> None:
    lines = long(panel(histories(dict.fromkeys(arms, 0.9))))
    assert len(lines) == len(arms)
    assert len({line.get_marker() for line in lines}) == len(arms)
    assert len({(to_hex(line.get_color()), line.get_linestyle()) for line in lines}) == len(arms)


@settings(max_examples=30, deadline=None)
@given(
    finals=st.lists(st.floats(0.05, 1), min_size=1, max_size=9),
    seeds=st.integers(1, 3),
    published=st.lists(st.floats(0.05, 1), min_size=1, max_size=30),
)
def test_comparison_never_hides_a_final_value(
    finals: list[float], seeds: int, published: list[float]
) -> None:
    frame = histories({f"arm {number}": 0.9 for number in range(len(finals))}, seeds)
    frame.loc[frame["epoch"] == 20, "val_accuracy"] = np.repeat(finals, seeds)
    beside = {"arm 0": epochs_of(*published), "arm of another run": epochs_of(0.01)}
    with style.style():
        (axis,) = comparison_plots.validation_figure(frame, beside).axes
    low, high = axis.get_ylim()
    ends = [*finals, published[:20][-1]]
    assert low <= min(ends) <= max(ends) <= high


def test_comparison_cuts_low_early_epochs_so_that_differences_are_seen() -> None:
    frame = histories({"clr-derived": 0.91, "fixed-sgd": 0.90})
    low, high = panel(frame).get_ylim()
    assert frame["val_accuracy"].min() < 0.32
    assert 0.6 < low < 0.9 < high < 0.96


def test_each_panel_has_an_axis_of_its_own_so_that_differences_are_seen() -> None:
    upper, _, lower = figure("notebook, seeds: 1, by epoch").axes
    assert upper.get_ylim()[1] > 0.9
    assert lower.get_ylim()[1] < 0.88
    ends = [*FINALS["effective-batch-cyclic"][:1], 0.768750011920929]
    assert lower.get_ylim()[0] < min(ends) < max(ends) < lower.get_ylim()[1]


def test_arm_that_diverged_is_named_so() -> None:
    frame = histories({"clr-paper": 0.8, "fixed-sgd": 0.9})
    diverged = (frame["arm"] == "clr-paper") & (frame["epoch"] == 8)
    later = (frame["arm"] == "clr-paper") & (frame["epoch"] > 8)
    frame["val_accuracy"] = frame["val_accuracy"].mask(diverged)
    assert "not finite  clr-paper" in texts(panel(frame[~later]))


def test_arm_with_one_diverged_seed_has_no_mean_from_there_on() -> None:
    frame = histories({"clr-paper": 0.8}, seeds=2)
    frame = frame[(frame["seed"] == 0) | (frame["epoch"] <= 7)]
    *_, mean = long(panel(frame))
    assert np.isfinite(mean.get_ydata()).tolist() == [True] * 7 + [False] * 13


@pytest.mark.parametrize("published", [{}, reference.arms()])
def test_comparison_after_one_epoch_is_drawn(published: comparison_plots.Published) -> None:
    assert comparison_plots.validation(histories(ARMS).query("epoch == 1"), published)


def test_a_published_arm_is_dotted_and_hollow_in_the_colour_and_with_the_mark_of_ours() -> None:
    accuracies = [0.5 + 0.02 * epoch for epoch in range(20)]
    frame = histories({"fixed-sgd": 0.9, "clr-paper": 0.8})
    axis = panel(frame, {"clr-paper": epochs_of(*accuracies)})
    _, ours, theirs = long(axis)
    assert xy(theirs) == [[epoch, value] for epoch, value in enumerate(accuracies, start=1)]
    assert to_hex(theirs.get_color()) == to_hex(ours.get_color())
    assert theirs.get_marker() == ours.get_marker()
    assert (ours.get_linestyle(), theirs.get_markerfacecolor()) == ("--", "none")
    dotted = Line2D([], [], linestyle=(0, (1, 2)))
    assert theirs._unscaled_dash_pattern == dotted._unscaled_dash_pattern
    assert theirs.get_linewidth() < ours.get_linewidth()
    assert "0.8800  published run" in named(axis)


def test_the_published_run_is_drawn_to_the_last_epoch_that_was_trained_here() -> None:
    names = [named(axis) for axis in figure("quick, seeds: 1, by epoch").axes]
    # the accuracies of the published seventh epoch
    assert {"0.8872  published clr-derived", "0.8156  published clr-paper"} <= {*names[0]}
    assert names[1][0] == "0.8861  published run"
    assert names[2][0] == "0.7500  published run (160 images)"
    for axis in figure("quick, seeds: 1, by epoch").axes:
        assert axis.get_xlim()[1] < 8
        assert {x for line in long(axis, 7) for x, _ in xy(line)} == set(range(1, 8))


def test_a_published_run_that_ended_earlier_ends_there() -> None:
    axis = panel(histories({"clr-paper": 0.8}), {"clr-paper": epochs_of(0.6, 0.7, 0.75)})
    assert "0.7500  published run" in named(axis)
    [theirs] = long(axis, 3)[:1]
    assert xy(theirs) == [[1, 0.6], [2, 0.7], [3, 0.75]]


@pytest.mark.parametrize(
    ("images", "label"),
    [(10_000, "published run"), (160, "published run (160 images)")],
)
def test_a_published_accuracy_of_few_images_says_so(images: int, label: str) -> None:
    axis = panel(histories({"combined": 0.8}), {"combined": epochs_of(0.7, images=images)})
    assert f"0.7000  {label}" in named(axis)


def test_published_arms_that_were_not_trained_here_are_not_drawn() -> None:
    axis = panel(histories({"combined": 0.8}), {"clr-paper": epochs_of(0.7)})
    assert named(axis) == ["0.8000  combined"]


# At the end


def test_each_arm_has_a_row_in_the_order_of_the_summary_from_top_to_bottom() -> None:
    (axis,) = figure("notebook, seeds: 5, at the end").axes
    labels = sorted(axis.get_yticklabels(), key=lambda label: -label.get_position()[1])
    assert [label.get_text() for label in labels] == list(FINALS)
    assert [label.get_position()[1] for label in labels] == list(range(8, -1, -1))


def test_the_last_epoch_stands_within_its_interval_and_among_its_seeds() -> None:
    # 4.3027 / sqrt(3) = 2.4842 times the deviations 0.02 and 0.01
    axis = finals({"combined": [0.90, 0.92, 0.94], "fixed-sgd": [0.80, 0.81, 0.82]})
    (intervals,) = axis.collections
    ends = [[0.92 - 0.0496827, 0.92 + 0.0496827], [0.81 - 0.0248414, 0.81 + 0.0248414]]
    for segment, row, expected in zip(intervals.get_segments(), [1, 0], ends, strict=True):
        assert segment[:, 0].tolist() == pytest.approx(expected, abs=1e-6)
        assert segment[:, 1].tolist() == [row, row]
    last = [line for line in axis.lines if line.get_markersize() == 8]
    assert [place for line in last for place in xy(line)] == [
        [pytest.approx(0.92), 1],
        [pytest.approx(0.81), 0],
    ]
    seeds = [(0.90, 1), (0.92, 1), (0.94, 1), (0.80, 0), (0.81, 0), (0.82, 0)]
    assert xy(labelled(axis, "each seed")) == [[x, row] for x, row in seeds]
    assert texts(axis) == ["0.9200 ± 0.0497", "0.8100 ± 0.0248"]


def test_the_best_epoch_and_the_published_run_stand_beside_the_last_epoch() -> None:
    axis = finals({"combined": [0.90, 0.92, 0.94], "fixed-sgd": [0.8] * 3}, 0.95, 0.7)
    assert xy(labelled(axis, "best epoch (optimistic)")) == [[0.95, 1], [0.95, 0]]
    published = labelled(axis, "published run")
    assert xy(published) == [[0.7, 1], [0.7, 0]]
    assert (published.get_marker(), published.get_markerfacecolor()) == ("D", "none")
    marks = {labelled(axis, name).get_marker() for name in ("best epoch (optimistic)", "each seed")}
    assert len(marks | {"D"}) == 3


@pytest.mark.parametrize("published", [0.7, 0.99])
def test_the_number_of_published_images_stands_within_the_axis(published: float) -> None:
    axis = finals({"combined": [0.90] * 3, "fixed-sgd": [0.8] * 3}, 0.85, published, images=160)
    labels = [text for text in axis.texts if text.get_text() == "160 images"]
    assert [label.xy for label in labels] == [(published, 1), (published, 0)]
    for label in labels:
        assert axis.get_window_extent().x0 <= label.get_window_extent().x0
        assert label.get_window_extent().x1 <= axis.get_window_extent().x1


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("seeds", [1, 5])
def test_finals_show_what_the_comparison_holds(profile: str, seeds: int) -> None:
    summary, trainings = at_the_end(profile, seeds)
    (axis,) = figure(f"{profile}, seeds: {seeds}, at the end").axes
    rows = list(range(8, -1, -1))
    best = labelled(axis, "best epoch (optimistic)")
    assert xy(best) == [list(pair) for pair in zip(summary["best_val_accuracy"], rows, strict=True)]
    finals_of = {arm: rows[-1]["val_accuracy"] for arm, rows in reference.arms().items()}
    published = {row: x for x, row in xy(labelled(axis, "published run")) if np.isfinite(x)}
    assert published == {rows[list(FINALS).index(arm)]: x for arm, x in finals_of.items()}
    last = {row: x for line in axis.lines for x, row in xy(line) if line.get_markersize() == 8}
    assert [last[row] for row in rows] == summary["test_accuracy"].tolist()
    if seeds > 1:
        assert len(xy(labelled(axis, "each seed"))) == len(trainings)


@pytest.mark.parametrize("name", [name for name in PICTURES if name.endswith("at the end")])
def test_every_mark_and_interval_lies_within_the_axis(name: str) -> None:
    (axis,) = figure(name).axes
    low, high = axis.get_xlim()
    assert 0 <= low < high <= 1
    places = [x for line in axis.lines for x, _ in xy(line) if np.isfinite(x)]
    segments = [segment for lines in axis.collections for segment in lines.get_segments()]
    ends = [end[0] for segment in segments for end in segment]
    assert low <= min([*places, *ends])
    assert max([*places, *ends]) <= high


def test_intervals_beyond_zero_and_one_do_not_widen_the_axis_beyond_them() -> None:
    # 2.4842 times the deviations 0.1 and 0.01
    assert finals({"combined": [0.8, 0.9, 1.0]}).get_xlim()[1] == 1
    assert finals({"combined": [0.0, 0.01, 0.02]}).get_xlim()[0] == 0


def test_one_seed_has_neither_interval_nor_seeds_of_its_own() -> None:
    name = "notebook, seeds: 1, at the end"
    assert legend(figure(name)) == ["last epoch", "best epoch (optimistic)", "published run"]
    (axis,) = figure(name).axes
    assert len(axis.collections) == 0
    assert texts(axis) == ["160 images", *(f"{final:.4f}" for final, _ in FINALS.values())]


def test_several_seeds_have_their_marks_explained() -> None:
    assert legend(figure("notebook, seeds: 5, at the end")) == [
        *("last epoch, mean", "each seed", "95 % interval"),
        *("best epoch (optimistic)", "published run"),
    ]


def test_where_nothing_was_published_the_published_run_is_not_named() -> None:
    of_run = compared(published=False)
    alone = drawn(comparison_plots.finals_figure, of_run.summary, of_run.trainings)
    assert "published run" not in legend(alone)


def test_an_arm_that_diverged_says_so_and_keeps_its_row() -> None:
    summary, _ = at_the_end("notebook", 5, BROKEN)
    (axis,) = figure("diverged, at the end").axes
    by_arm = dict(zip(summary["arm"], texts(axis)[1:], strict=True))
    assert {arm for arm, text in by_arm.items() if text == "diverged"} == set(BROKEN)
    assert len(axis.get_yticklabels()) == len(FINALS)
    last = {row for line in axis.lines for x, row in xy(line) if line.get_markersize() == 8}
    assert last == set(range(9))


def test_finals_are_drawn_even_if_every_arm_diverged() -> None:
    of_run = compared("quick", 1, tuple(FINALS))
    nothing = of_run.summary.assign(**dict.fromkeys(MEASURED, np.nan), published_final=np.nan)
    axis = drawn(comparison_plots.finals_figure, nothing, of_run.trainings).axes[0]
    assert texts(axis) == ["diverged"] * 9
    assert comparison_plots.finals(nothing, of_run.trainings)


def test_a_single_arm_is_drawn() -> None:
    of_run = compared("quick", 1)
    assert comparison_plots.finals(of_run.summary.head(1), of_run.trainings.head(1))


@pytest.mark.parametrize("against", ["updates", "seconds"])
def test_accuracy_is_drawn_against_what_it_cost_as_well(against: str) -> None:
    histories = compared(seeds=2).histories
    histories["seconds"] = histories["epoch"] * 7.5 + histories["seed"]
    figure = drawn(comparison_plots.validation_figure, histories, {}, against)
    of_arm = histories[histories["arm"] == "combined"]
    by_epoch = of_arm.groupby("epoch")[[against, "val_accuracy"]].mean()
    panel = next(axis for axis in figure.axes if axis.get_title(loc="left") == "sgd")
    spent = [np.asarray(line.get_xydata()) for line in panel.lines if len(line.get_xdata()) > 3]
    assert any(np.allclose(line, by_epoch) for line in spent if line.shape == by_epoch.shape)
    assert against in figure.axes[-1].get_xlabel()
    assert unreadable(figure) == []
