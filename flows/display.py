"""What the terminal shows while a run goes on, and at its end."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from cyclical.reference import ALL_IMAGES
from cyclical.results import ArmResult, Summary
from tasks.progress import Event

TRACE = "iterations.png"
WIDE = 100  # columns, from which on the whole comparison fits


class Display:
    """Live progress: every step's points, the running trainings, the time left.

    Events come from several threads. Where the output is no terminal, one line is printed for
    every training that ends.
    """

    def __init__(self, console: Console, workload: Mapping[str, tuple[int, int]]) -> None:
        self._console = console
        self._workload = workload
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
        if event.step not in self._workload:
            return
        with self._lock:
            if event.kind == "cached":
                self._cached[event.step] += 1
                self._done[event.step] += 1
            if event.kind == "running" and event.progress:
                self._began = self._began or time.monotonic()
                self._running[event.step, event.label] = event.progress
            if event.kind == "failed":
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


def show(console: Console, summary: Summary) -> None:
    """Print a run's answers on one screen: the comparison, the bounds, the findings, the pictures.

    Only the latest run's main pictures are named one by one; of the trainings' there is one each.
    """
    seeds = f"seed{'s' * (len(summary.seeds) > 1)} {', '.join(map(str, summary.seeds))}"
    console.print(f"{summary.profile}, {seeds}, finished {summary.finished}", highlight=False)
    if summary.until_step:
        console.print(f"Only until {summary.until_step}: `cyclical run` goes on to the comparison")
    if summary.arms:
        console.print(_comparison(summary.arms, summary.goal, wide=console.width >= WIDE))
        console.print(_legend(summary.arms, summary.goal), highlight=False)
    if summary.lr_min is not None:
        rates = f"{summary.lr_min:g} and {summary.lr_max:g}"
        console.print(f"Learning rate: cycle between {rates} (rule {summary.lr_rule})")
    if summary.bmin is not None:
        console.print(f"Batch size: cycle between {summary.bmin} and {summary.bmax}")
    for finding in summary.findings:
        console.print(finding, soft_wrap=True)
    console.print("Pictures:")
    traces = [picture for picture in summary.pictures if picture.endswith(TRACE)]
    for picture in summary.pictures:
        if picture not in traces:
            console.print(f"  {picture}", soft_wrap=True, highlight=False)
    if traces:
        root = Path(traces[0]).parents[2]
        console.print(f"  {root}/*_training/*/{TRACE} ({len(traces)})", soft_wrap=True)


def _legend(arms: list[ArmResult], goal: float) -> str:
    several = any(arm.seeds > 1 for arm in arms)
    held_out = any(arm.held_out for arm in arms)
    interval = ", mean ± 95 % interval" if several else ""
    picked = "on the held-out images" if held_out else "on the test images: optimistic"
    return (
        f"final: test accuracy after the last epoch{interval}\n"
        f"best*: accuracy of the best epoch {picked}\n"
        "vs fixed: points (hundredths) above the fixed arm of the same optimizer\n"
        f"to {goal:g}: the first epoch at that accuracy\n"
        "published: the published run's final, on 60,000 images for 20 epochs (n: of n test images)"
    )


def _comparison(arms: list[ArmResult], goal: float, *, wide: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("arm", no_wrap=True)
    columns = ["final", "best*", "vs fixed", f"to {goal:g}", "published"]
    for name in [*columns, "updates", "seconds"] if wide else columns:
        table.add_column(name, justify="right", no_wrap=True)
    for arm in arms:
        final = arm.test_accuracy, arm.test_accuracy_high
        difference = _points(arm.difference), _points(arm.difference_high)
        cells = [
            arm.arm,
            "diverged" if arm.test_accuracy is None else _with_interval(*final, "{:.4f}", "{:.4f}"),
            _number(arm.best_val_accuracy, "{:.4f}"),
            _with_interval(*difference, "{:+.1f}", "{:.1f}") if arm.baseline else "",
            _number(arm.epochs_to_goal, "{:.3g}"),
            _published(arm),
            f"{arm.updates:,.0f}",
            _number(arm.seconds, "{:.0f}"),
        ]
        table.add_row(*cells if wide else cells[: len(columns) + 1])
    return table


def _published(arm: ArmResult) -> str:
    of_few = arm.published_images is not None and arm.published_images < ALL_IMAGES
    few = f" ({arm.published_images:.0f})" if of_few else ""
    return _number(arm.published_final, "{:.4f}", none="") + few


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _number(number: float | None, form: str, none: str = "-") -> str:
    return none if number is None else form.format(number)


def _with_interval(mean: float | None, high: float | None, form: str, half: str) -> str:
    if mean is None:
        return "-"
    return form.format(mean) + ("" if high is None else f" ± {half.format(high - mean)}")
