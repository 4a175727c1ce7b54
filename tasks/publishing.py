"""What Prefect's UI shows of a run: pages with pictures and tables, published by the flow.

A task that is a cache hit publishes nothing, so the flow's own process does, for every step of
every run. A server that does not answer costs a page and never a result.
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import UUID

import httpx
import pandas as pd
from prefect import get_run_logger
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from cyclical import markdown, overview, report, results
from cyclical.answers import answers, named
from cyclical.errors import InputError, one_line
from cyclical.manifests import Artifact
from cyclical.store import Store

if TYPE_CHECKING:
    from cyclical.training import Progress

POINT_COLUMNS = ("seed", "train_accuracy", "train_loss", "val_accuracy", "status")
CURVE_COLUMNS = ("train_accuracy", "train_loss", "val_accuracy")
ARM_COLUMNS = ("arm", "test_accuracy", "difference", "baseline", "updates")
MAIN_PICTURES = ("lr_bounds", "batch_bounds", "comparison")
RENEWED_SECONDS = 5
LAST_SECONDS = 2  # that the end of a training waits for its progress to be told
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Section:
    """A part of a page: text, the pictures of one artifact, a table of another one."""

    text: str = ""
    pictures: Artifact | None = None
    table: tuple[Artifact, str] | None = None
    columns: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """What a step shows: a title, and sections that are read when it is published."""

    title: str
    sections: Sequence[Section]


def curve_columns(seeds: int) -> tuple[str, ...]:
    """Name the columns of a sweep's means that are shown: of several seeds with an interval.

    >>> curve_columns(1)
    ('train_accuracy', 'train_loss', 'val_accuracy', 'status')
    """
    interval = [f"train_accuracy_{end}" for end in ("low", "high")] if seeds > 1 else []
    accuracy, *others = CURVE_COLUMNS
    return (accuracy, *interval, *others, "status")


def publish(store: Store, step: str, page: Page) -> None:
    """Publish a step's page."""
    text = "\n\n".join([f"# {page.title}", *_blocks(store, page.sections)])
    _tell(create_markdown_artifact, key=_key(step), markdown=text, description=page.title)


def publish_table(store: Store, step: str, title: str, artifact: Artifact, name: str) -> None:
    """Publish a table on a page of its own, which can be sorted and read by programs."""
    rows = [
        {str(column): _plain(value) for column, value in row.items()}
        for row in store.frame(artifact, name).to_dict("records")
    ]
    _tell(create_table_artifact, key=f"{_key(step)}-table", table=rows, description=title)


def publish_report(store: Store, run: results.RunRecord) -> None:
    """Publish a run's answers on one page."""
    summary = results.summary(store, run)
    artifacts = {(point.step, point.label): point.artifact for point in run.points}
    pictures = [artifacts.get((step, "pictures")) for step in MAIN_PICTURES]
    lines = [*answers(summary), f"Of {named(summary)}, seeds {summary.seeds}"]
    for line in lines:
        get_run_logger().info(line)
    sections = [Section("\n".join(f"- {line}" for line in lines))]
    if summary.arms:
        sections += [Section(_overview(summary))]
    sections += [Section(pictures=shown) for shown in pictures if shown]
    steps = dict.fromkeys(point.step for point in run.points)
    links = ", ".join(f"[{step}](../key/{_key(step)})" for step in steps)
    sections.append(Section(f"Step by step: {links}"))
    where = "Files" if store.address else "Files, on the machine that ran it"
    sections.append(Section(f"{where}: `{store.name}`"))
    publish(store, "report", Page(f"{run.profile}: the answers", sections))


def keep_report(store: Store, run: results.RunRecord) -> None:
    """Write a run's page into its store; what prevents that is told and costs the page alone."""
    try:
        report.write(store, run)
    except InputError as error:
        log.warning("the report is not written: %s", error)
    except Exception:
        log.exception("the report is not written, which `cyclical report` tries again")


class ProgressBar:
    """A training's progress in Prefect's UI, renewed every few seconds while the block runs.

    It is sent by a thread of its own: a server that is slow or away keeps no training waiting.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._latest: Progress | None = None
        self._ended = Event()
        self._artifact: UUID | None = None

    def __enter__(self) -> Self:
        run_here = copy_context().run  # where Prefect knows which task run it is
        self._thread = Thread(target=run_here, args=(self._renew,), name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(LAST_SECONDS)

    def __call__(self, progress: "Progress") -> None:
        """Take in how far the training is."""
        self._latest = progress

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_SECONDS):
            self._show()
        self._show()

    def _show(self) -> None:
        if self._latest is None:
            return
        share = 100 * self._latest.examples / self._latest.examples_of_all
        told = f"{self._name}: epoch {self._latest.epoch} of {self._latest.epochs}"
        if self._ended.is_set() and share < 100:
            share, told = 100.0, f"{told}, where it ended"
        try:
            if self._artifact is None:
                made = create_progress_artifact(share, description=told)
                self._artifact = cast(UUID, made)  # no coroutine, as this is no async code
            else:
                update_progress_artifact(self._artifact, share, description=told)
        except httpx.HTTPError as error:
            log.warning("the progress of %s is not shown: %s", self._name, one_line(error))


def _overview(summary: results.Summary) -> str:
    meanings = overview.legend(summary.arms, summary.goal)
    rows = pd.DataFrame(overview.overview(summary.arms, summary.goal)).iloc[:, :-2]
    explained = "; ".join(f"{column}: {meaning}" for column, meaning in meanings.items())
    return f"{markdown.table(rows)}\n\n{explained}".replace("*", "\\*")


def _blocks(store: Store, sections: Sequence[Section]) -> Iterable[str]:
    for section in sections:
        if section.text:
            yield section.text
        for picture in store.pictures(section.pictures) if section.pictures else ():
            yield markdown.picture(picture.read_bytes(), picture.stem.replace("_", " "))
        if section.table:
            frame = store.frame(*section.table)
            yield markdown.table(frame[list(section.columns or frame.columns)])


def _tell(create: Callable[..., Any], **artifact: Any) -> None:
    try:
        create(**artifact)
    except httpx.HTTPError as error:
        log.warning("%s is not shown in Prefect's UI: %s", artifact["key"], one_line(error))


def _key(step: str) -> str:
    return step.replace("_", "-")


def _plain(value: Any) -> Any:
    """Say what JSON can't hold as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
