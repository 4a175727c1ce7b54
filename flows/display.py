"""What the terminal shows while a run goes on, and at its end."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cyclical.answers import answers, named
from cyclical.forecast import Forecast, total_seconds
from cyclical.overview import legend, overview
from cyclical.results import ArmResult, Summary
from cyclical.steps import NEEDS
from tasks.progress import Event

TRACE = "iterations.png"
WIDE = 100  # columns, from which on the whole comparison fits


class Display:
    """Live progress: every step's points, the running trainings, the time left.

    Events come from several threads. Where the output is no terminal, one line is printed for
    every training that ends.
    """

    def __init__(
        self,
        console: Console,
        workload: Callable[[int], Mapping[str, tuple[int, int]]],
        images: int,
    ) -> None:
        """Show a run on so many images, as far as that is known before they are loaded.

        `workload` counts, for so many, each step's points and the examples that one trains on.
        """
        self._console = console
        self._workload_of = workload
        self._workload = workload(images)
        self._done: defaultdict[str, int] = defaultdict(int)
        self._cached: defaultdict[str, int] = defaultdict(int)
        self._running: dict[tuple[str, str], dict[str, Any]] = {}
        self._examples = 0
        self._began: float | None = None
        self._lock = Lock()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the progress while the block runs."""
        if not self._console.is_terminal:
            yield
            return
        with Live(
            get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True
        ):
            yield

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        if event.kind == "loaded":
            self._workload = self._workload_of(event.images)
        if event.step not in self._workload:
            return
        with self._lock:
            if event.kind == "cached":
                self._cached[event.step] += 1
                self._done[event.step] += 1
            if event.kind == "running" and event.progress:
                self._began = self._began or time.monotonic()
                self._running[event.step, event.label] = event.progress
            if event.kind == "waiting":
                self._console.print(f"{event.step} {event.label} waits for memory")
            if event.kind in {"failed", "hung"}:
                self._running.pop((event.step, event.label), None)
            if event.kind == "finished":
                self._finish(event)

    def _finish(self, event: Event) -> None:
        last = self._running.pop((event.step, event.label), None)
        self._done[event.step] += 1
        if last is None:
            return
        self._examples += last["examples"]
        if not self._console.is_terminal:
            self._console.print(
                f"{event.step} {event.label}: {_told(last)}; "
                f"{self._done[event.step]} of {self._workload[event.step][0]}, "
                f"{self._time_left()}",
                soft_wrap=True,
            )

    def _render(self) -> RenderableType:
        with self._lock:
            table = Table.grid(padding=(0, 2))
            for step, (points, _) in self._workload.items():
                done, cached = self._done[step], self._cached[step]
                mark = "[green]✓[/]" if done >= points else "[yellow]…[/]" if done else " "
                told = f"{done} of {points}" + (f" ({cached} cached)" if cached else "")
                table.add_row(mark, step, told)
            running = Table.grid(padding=(0, 2))
            for (step, label), progress in sorted(self._running.items()):
                running.add_row("", f"[cyan]{step}[/]", label, _told(progress))
            return Group(table, running, f"   [dim]{self._time_left()}[/]")

    def _time_left(self) -> str:
        now = sum(progress["examples"] for progress in self._running.values())
        made = self._examples + now
        if self._began is None or not made:
            return "starting"
        rate = made / max(time.monotonic() - self._began, 1.0)
        open_ = sum(
            max(points - self._done[step], 0) * examples
            for step, (points, examples) in self._workload.items()
        )
        minutes, seconds = divmod(int(max(open_ - now, 0) / rate), 60)
        return f"about {minutes} min {seconds:02d} s left"


def _told(progress: Mapping[str, Any]) -> str:
    return (
        f"epoch {progress['epoch']} of {progress['epochs']}, "
        f"training loss {progress['loss']:.4f}, accuracy {progress['accuracy']:.4f}"
    )


def plan(
    console: Console, points: Sequence[Forecast], changes: Sequence[str], workers: int
) -> None:
    """Print what a run would do with every point, why, and how long it would take."""
    if changes:
        console.print(Text(f"Since the latest run: {', '.join(changes)}"))
    told = {"cached": "cached", "perhaps": "perhaps", "run": "to run"}
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in ("step", "label", "fate", "seconds", "why"):
        table.add_column(name, overflow="fold", no_wrap=name in {"step", "fate", "seconds"})
    for step in NEEDS:
        for row, point in enumerate(point for point in points if point.step == step):
            took = _duration(point.seconds) if point.fate != "cached" else ""
            why = Text(point.why)  # which may hold brackets of a path
            table.add_row("" if row else step, point.label, told[point.fate], took, why)
    console.print(table, highlight=False)
    if any("->" in point.why for point in points):
        console.print("(a -> b: in the nearest earlier result -> now)", highlight=False)
    fates = Counter(point.fate for point in points)
    maybe = f", {fates['perhaps']} perhaps" if fates["perhaps"] else ""
    console.print(f"{fates['cached']} cached, {fates['run']} to run{maybe}", highlight=False)
    if fates["run"]:
        least = total_seconds([point for point in points if point.fate == "run"], workers)
        most = total_seconds([point for point in points if point.fate != "cached"], workers)
        if least is None or most is None:
            console.print("Time: not known, as no training was timed yet")
        else:
            upto = f", {_duration(most)} with those that are perhaps" if maybe else ""
            console.print(
                f"Time, as last measured: {_duration(least) or 'a second'}{upto}", highlight=False
            )


def _duration(seconds: float | None) -> str:
    """Say a duration as one would; nothing below a second.

    >>> _duration(7.2), _duration(200), _duration(9000)
    ('7 s', '3 min', '2.5 h')
    """
    if seconds is None or seconds < 1:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def show(console: Console, summary: Summary) -> None:
    """Print a run's answers on one screen: the comparison, the bounds, the findings, the pictures.

    Only the latest run's main pictures are named one by one; of the trainings' there is one each.
    """
    seeds = f"seed{'s' * (len(summary.seeds) > 1)} {', '.join(map(str, summary.seeds))}"
    console.print(Text(f"{named(summary)}, {seeds}, finished {summary.finished}"), soft_wrap=True)
    if summary.until_step:
        console.print(f"Only until {summary.until_step}: without --until-step it goes on")
    if summary.arms:
        console.print(_comparison(summary.arms, summary.goal, wide=console.width >= WIDE))
        for column, meaning in legend(summary.arms, summary.goal).items():
            console.print(f"{column}: {meaning}", highlight=False, soft_wrap=True)
    for answer in answers(summary):
        console.print(answer, soft_wrap=True)
    if summary.report:
        console.print(Text(f"Report: {summary.report}"), soft_wrap=True)
    console.print("Pictures:")
    traces = [picture for picture in summary.pictures if picture.endswith(TRACE)]
    for picture in summary.pictures:
        if picture not in traces:
            console.print(f"  {picture}", soft_wrap=True, highlight=False)
    if traces:
        root = Path(traces[0]).parents[2]
        console.print(f"  {root}/*_training/*/{TRACE} ({len(traces)})", soft_wrap=True)


def _comparison(arms: list[ArmResult], goal: float, *, wide: bool) -> Table:
    rows = overview(arms, goal)
    columns = list(rows[0])
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns if wide else columns[:-2]:
        table.add_column(name, justify="left" if name == "arm" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*list(row.values())[: len(table.columns)])
    return table
