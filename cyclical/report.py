"""A run as one page that needs nothing beside it: HTML with its style and pictures inside.

What stands on it is declared in `report_sections`. The same run, store
and code give the same bytes: the diagrams are drawn from the code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cyclical import report_provenance, report_words, results
from cyclical.answers import answers, named
from cyclical.config import Experiment
from cyclical.errors import InputError
from cyclical.files import write_atomically
from cyclical.report_blocks import Block, Image, Reader, image
from cyclical.report_sections import SECTIONS
from cyclical.results import LATEST_REPORT, RunRecord
from cyclical.store import Store
from cyclical.style import ARM_COLOURS

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Shown:
    """A section with what a run has of it."""

    step: str
    title: str
    how_to_read: str
    blocks: Sequence[Block]


def render(store: Store, run: RunRecord) -> str:
    """Write a run's report.

    Raises:
        InputError: An artifact of the run is gone or damaged.
    """
    with results.gone_told(store):
        for point in run.points:
            store.check(point.artifact)
        return _render(Reader(store, run, results.summary(store, run)))


def write(store: Store, run: RunRecord, target: Path | None = None) -> Path:
    """Write a run's report to a file, by default into its store; return the file.

    Raises:
        InputError: An artifact of the run is gone or damaged, or the file can't be written.
    """
    content = render(store, run).encode()
    file = target or store.root / LATEST_REPORT
    try:
        if target:
            write_atomically(target, content)
        else:
            store.put(LATEST_REPORT, content)
    except OSError as error:
        told = f"{error.filename or file} can't be written ({error.strerror})"
        raise InputError(f"{told}: mend that, or name another file") from None
    return file


def _render(reader: Reader) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    run, summary = reader.run, reader.summary
    return environment.get_template("report.html").render(
        colours=ARM_COLOURS,
        studied=_studied(run.configuration),
        summary=summary,
        answers=answers(summary),
        named=named(summary),
        best=_best(summary),
        picture=_main_picture(reader),
        sections=_sections(reader),
        finished=report_provenance.moment(run.finished),
        computing=report_provenance.computing(reader),
        provenance={
            "command": report_provenance.command(run),
            "facts": report_provenance.facts(reader),
            "changed": report_provenance.changed(run),
            "configuration": report_provenance.configuration(run),
            "files": report_provenance.files(reader),
            "sums": report_provenance.sums(reader),
        },
    )


def _sections(reader: Reader) -> list[Shown]:
    shown = []
    for section in SECTIONS:
        if section.when(reader.run.configuration):
            blocks = [b for part in section.parts for b in part.blocks(reader, section.step)]
            if blocks:
                shown.append(Shown(section.step, section.title, section.how_to_read, blocks))
    return shown


def _main_picture(reader: Reader) -> Image | None:
    file = reader.pictures("comparison", "pictures").get("final_accuracy")
    if file is None:
        return None
    words = report_words.final_accuracy(reader, "pictures")
    return image(file.read_bytes(), words, "Final accuracy of every arm")


def _studied(config: Experiment) -> tuple[str, str]:
    """Name the model and the data."""
    return config.model, str(config.data.path or config.data.name)


def _best(summary: results.Summary) -> results.ArmResult | None:
    """Return the arm with the best final test accuracy."""
    trained = [arm for arm in summary.arms if arm.test_accuracy is not None]
    return max(trained, key=lambda arm: arm.test_accuracy or 0.0, default=None)
