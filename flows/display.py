"""What the terminal shows while a run goes on, and at its end."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from tasks.progress import Event


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
        f"loss {progress['loss']:.4f}, accuracy {progress['accuracy']:.4f}"
    )


def show(console: Console, summary: Mapping[str, Any]) -> None:
    """Print a run's answers: the bounds, the comparison, the pictures."""
    if summary["comparison"]:
        console.print(_comparison(summary["comparison"]))
    for name, low, high in (("Learning rate", "lr_min", "lr_max"), ("Batch size", "bmin", "bmax")):
        if summary[low] is not None:
            console.print(f"{name}: cycle between {summary[low]:g} and {summary[high]:g}")
    console.print("Pictures:")
    for picture in summary["pictures"]:
        console.print(f"  {picture}", soft_wrap=True, highlight=False)


def _accuracy(share: float | None) -> str:
    return "diverged" if share is None else f"{share:.4f}"


def _comparison(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        box=None,
        header_style="bold",
        pad_edge=False,
        caption="validation accuracy; * the best epoch is picked on the test set: optimistic",
        caption_justify="left",
    )
    table.add_column("arm", no_wrap=True)
    table.add_column("what cycles", overflow="fold")
    for name in ("seed", "updates", "final", "best*", "to goal", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        goal = row["epochs_to_goal"]
        table.add_row(
            row["arm"],
            f"{row['optimizer']}, {row['schedule']}",
            str(row["seed"]),
            f"{row['updates']:,}",
            _accuracy(row["final_val_accuracy"]),
            _accuracy(row["best_val_accuracy"]),
            "-" if goal is None else f"{goal:.0f}",
            f"{row['seconds']:.0f}",
        )
    return table
