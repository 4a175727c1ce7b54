"""What the sections of a report are declared with: parts that read a run and give blocks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cyclical import bounds, diagrams, overview, report_chart, report_words
from cyclical.config import Experiment
from cyclical.line_by_line import SLIPS
from cyclical.report_blocks import Block, Grid, Group, Reader, Svg, grid, image, texts

PICTURES = "-pictures"


@dataclass(frozen=True)
class Picture:
    """A part: a picture of an artifact of the section's step."""

    name: str
    caption: str
    words: Callable[[Reader, str], str]
    label: str = "pictures"

    def blocks(self, reader: Reader, step: str) -> Iterator[Block]:
        """Give the picture, if the run has it."""
        file = reader.pictures(step, self.label).get(self.name)
        if file:
            yield image(file.read_bytes(), self.words(reader, self.label), self.caption)


@dataclass(frozen=True)
class Table:
    """A part: a table of the section's step; `columns` that are shown, where they exist.

    Without them all are, but for those without a figure, such as the intervals of one seed.
    """

    label: str
    name: str
    caption: str
    columns: Sequence[str] = ()
    folded: bool = False

    def blocks(self, reader: Reader, step: str) -> Iterator[Block]:
        """Give the table, if the run has it."""
        frame = reader.frame(step, self.label, self.name)
        if frame is not None:
            known = self.columns or frame.columns[frame.notna().any()]
            columns = [name for name in known if name in frame.columns]
            yield grid(frame, self.caption, columns, folded=self.folded)


@dataclass(frozen=True)
class Arms:
    """A part: every arm of a step of trainings, with its picture and its history."""

    def blocks(self, reader: Reader, step: str) -> Iterator[Block]:
        """Give each arm, drawn with the first seed of the arms."""
        seeds = reader.run.configuration.arm_seeds
        ending = f"-seed={seeds[0]}"
        for point in reader.points(step):
            if point.label.endswith(ending):
                arm = point.label.removesuffix(ending)
                blocks = list(self._of(reader, step, point.label, arm))
                note = f"Seed {seeds[0]}, the first of {len(seeds)}" if len(seeds) > 1 else ""
                if blocks:
                    yield Group(arm, blocks, note)

    def _of(self, reader: Reader, step: str, label: str, arm: str) -> Iterator[Block]:
        for file in reader.pictures(step, label + PICTURES).values():
            words = report_words.training(reader, label)
            yield image(file.read_bytes(), words, f"{arm}, update by update")
        history = reader.frame(step, label, "history")
        if history is not None:
            yield grid(history, f"{arm}, epoch by epoch", folded=True)


@dataclass(frozen=True)
class Made:
    """A part that is made from the run: `make` gives blocks, none where the run lacks them."""

    make: Callable[[Reader], Iterator[Block]]

    def blocks(self, reader: Reader, _: str) -> Iterator[Block]:
        """Give what is made."""
        yield from self.make(reader)


@dataclass(frozen=True)
class Section:
    """A section of the page: the step it is of, how it is read, and what stands in it."""

    step: str
    title: str
    how_to_read: str
    parts: Sequence[Picture | Table | Arms | Made]
    when: Callable[[Experiment], bool] = lambda _: True


def compared(reader: Reader) -> Iterator[Block]:
    """Lay all arms out as `cyclical show` does, with what the columns mean."""
    if reader.summary.arms:
        rows = overview.overview(reader.summary.arms, reader.summary.goal)
        laid_out = texts(rows, "All arms")
        notes = overview.legend(reader.summary.arms, reader.summary.goal)
        yield Grid(laid_out.caption, laid_out.columns, laid_out.rows, notes=notes)


def procedure(reader: Reader) -> Iterator[Block]:
    """Draw the steps and what each needs."""
    if reader.run.points:
        yield Svg(diagrams.procedure(identity="steps"), "The steps, and what each needs")


def algorithm(reader: Reader) -> Iterator[Block]:
    """Draw how bmin and bmax are detected, where they were."""
    fixed = reader.run.configuration.batch_bounds.fixed is not None
    if not fixed and reader.frame("batch_bounds", "bounds", "bounds") is not None:
        drawn = diagrams.structogram(bounds.stretch_that_holds)
        yield Svg(drawn, "How bmin and bmax are detected: the code that does it")


def published(reader: Reader) -> Iterator[Block]:
    """Set every figure beside the published one, after what that run did otherwise than meant."""
    table = reader.frame("comparison", "published", "published")
    if table is not None:
        laid_out = grid(table, "Each figure beside the published one", folded=True)
        yield Group("What to know of that run", [laid_out], " ".join(SLIPS))


def by_epoch(reader: Reader) -> Iterator[Block]:
    """Draw validation accuracy by epoch with lines to switch off, and lay its figures out."""
    histories = reader.frame("comparison", "comparison", "accuracy_by_epoch")
    if histories is None:
        return
    caption = "Validation accuracy by epoch: point at a mark for its figure"
    yield report_chart.chart(histories, caption)
    means = report_chart.means(histories).reset_index()
    yield grid(means, "The same in figures, means over the seeds", folded=True)
