"""What the tests of pictures and of printed tables share: made-up arms, and what a reader sees."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from cyclical import arms, comparison, reference, style
from cyclical.comparison import Trained
from cyclical.plans import Training
from cyclical.settings import resolve

ToPng = Callable[..., bytes]
ToFigure = Callable[..., Figure]
Content = tuple[Any, ...]

# Every arm of the experiment, with a final validation accuracy as either profile gives it.
FINALS = {
    "clr-derived": (0.9072, 0.8210),
    "clr-paper": (0.8784, 0.7013),
    "cyclic-batch-derived": (0.9112, 0.8291),
    "cyclic-batch-reference": (0.9110, 0.8435),
    "effective-batch-constant": (0.7971, 0.6020),
    "effective-batch-cyclic": (0.8127, 0.6390),
    "combined": (0.9119, 0.8301),
    "fixed-sgd": (0.9061, 0.8190),
    "fixed-rmsprop": (0.9060, 0.8012),
}
PROFILES = ("notebook", "quick")


@dataclass(frozen=True)
class Compared:
    """What the comparison of a run holds: a row an arm, a row a training, a row an epoch."""

    summary: pd.DataFrame
    trainings: pd.DataFrame
    histories: pd.DataFrame


def every_arm(
    profile: str = "notebook", seeds: int = 1, settings: Mapping[str, Any] | None = None
) -> list[Training]:
    """Return all arms of a profile in the order in which they are compared."""
    config = resolve(profile, settings, seeds=seeds)
    sizes = config.batch_bounds.fixed or (16, 256 if profile == "notebook" else 1024)
    return [
        *arms.clr(config, 1e-4, 1e-3),
        *arms.cyclic_batch(config, *sizes),
        *arms.effective_batch(config, 1e-4),
        *arms.combined(config, *sizes),
        *arms.fixed(config, 1e-3),
    ]


def rising(training: Training, final: float) -> pd.DataFrame:
    """Make a history up that rises raggedly from half of `final`, at which seed 0 ends."""
    random = np.random.default_rng((training.seed, len(training.label)))
    epochs = np.arange(1, training.epochs + 1)
    accuracy = final * (1 - 0.5 * np.exp(-(epochs - 1) / 2.5))
    accuracy[:-1] += random.normal(0, 0.008, training.epochs - 1)
    accuracy[-1] = final + 0.002 * (training.seed - 2) * (training.seed > 0)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "updates": epochs * 938,
            "examples": epochs * 60_000,
            "val_accuracy": accuracy.round(4),
            "val_loss": 1.2 * (1 - accuracy),
        }
    )


def compared(
    profile: str = "notebook", seeds: int = 1, diverged: Iterable[str] = (), published: bool = True
) -> Compared:
    """Compare all arms of a profile; the `diverged` ones broke off in their fourth epoch."""
    of_profile = PROFILES.index(profile)
    trained = []
    for training in every_arm(profile, seeds):
        history = rising(training, FINALS[training.label][of_profile])
        if training.label in diverged and training.seed == 0:
            history = history.head(4).copy()
            history.loc[3, ["val_accuracy", "val_loss"]] = np.nan
        trained.append(Trained(training, history))
    table = comparison.compare(trained)
    beside = reference.arms() if published else {}
    summary = comparison.summarise(table, arms.baselines(resolve(profile)), beside)
    return Compared(summary, table, comparison.accuracy_by_epoch(trained))


def drawn(to_figure: ToFigure, *content: object) -> Figure:
    """Draw a figure as it is drawn for its PNG."""
    with style.style():
        figure = to_figure(*content)
        FigureCanvasAgg(figure).draw()
    return figure


def labelled(axis: Axes, label: str) -> Line2D:
    (line,) = [line for line in axis.lines if line.get_label() == label]
    return line


def xy(line: Line2D) -> list[list[float]]:
    return np.asarray(line.get_xydata()).tolist()


def texts(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def tick_labels(axis: Axes) -> list[str]:
    """Return the labels that are seen on the x axis, or on the y axis of an upper panel."""
    ticks = axis.yaxis if axis.get_xlabel() == "" else axis.xaxis
    low, high = sorted(ticks.get_view_interval())
    shown = [tick for tick in ticks.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1.get_text() for tick in shown if tick.label1.get_text()]


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


def unreadable(figure: Figure) -> list[tuple[str, ...]]:
    """Return every pair of texts that overlap, and every text that leaves the picture."""
    boxes = text_boxes(figure)
    touching = [
        (one, other)
        for (one, box), (other, second) in combinations(boxes, 2)
        if box.overlaps(second)
    ]
    return [*touching, *((text,) for text, box in boxes if not _within(box, figure.bbox))]


def _within(box: Bbox, page: Bbox) -> bool:
    return page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
