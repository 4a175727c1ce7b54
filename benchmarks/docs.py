"""Take finished runs into docs/results, and write what README and docs/results say of them.

`make docs` writes both anew; `make docs STORE=FOLDER NAME=quick` takes the latest run of a store in
first: its report, tables and pictures, what it ran on, and with WHOLE=1 its trainings, from which a
run goes on.
"""

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from benchmarks import records
from cyclical import fingerprint, markdown, report, results
from cyclical.answers import answers
from cyclical.errors import InputError
from cyclical.machine import ISA, instruction_set
from cyclical.report_blocks import Reader
from cyclical.report_provenance import COMPUTING, command, duration, facts
from cyclical.results import LATEST_REPORT, Point, RunRecord
from cyclical.store import Store
from flows import display

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
README = ROOT / "README.md"
MACHINE = "machine.json"
COLUMNS = 118
TOP = "quick"  # the run that README begins with
ALSO = ("notebook", "quick-5-seeds")  # the runs whose answers README gives too
ABOUT = (
    "Written by `make docs` from what lies beside it: every run's report, tables and pictures. "
    "`cyclical show --artifacts docs/results/quick` reads them. Where a run's trainings are there "
    "too, a run of its commit with its instructions, both named under it, goes on from a copy."
)
BLOCK = re.compile(r"(?<=<!-- written by `make docs` -->\n).*?(?=<!-- to here -->)", re.DOTALL)
TITLES = {
    "lr_sweep": "Final accuracy and loss of every swept learning rate, with lr_min and lr_max",
    "batch_sweep": "Final accuracy and loss of every swept batch size, with bmin and bmax",
    "learning_clock": "Every epoch of both sweeps, the first pale, against the sum of the rates",
    "final_accuracy": "Final accuracy of every arm",
    "validation_accuracy": "Validation accuracy by epoch, of every arm",
    "accuracy_by_updates": "The same against the updates",
    "accuracy_by_seconds": "The same against the seconds",
}
"""The pictures that are shown."""


def take(store: Store, folder: Path, *, whole: bool) -> None:
    """Copy the latest run of a store into a folder, which is a store again, without its images.

    Only the `whole` run has its trainings, of which there are many; their pictures it has not.

    Raises:
        InputError: There is no finished run, an artifact of it is gone or damaged, or it was not
            computed by this code and on a machine like this one.
    """
    run = results.latest(store)
    _refuse_foreign(store, run)
    run = run.model_copy(
        update={"configuration": run.configuration.model_copy(update={"artifacts": "artifacts"})}
    )
    with TemporaryDirectory(dir=folder.parent) as place:
        copy = Store(root=Path(place) / "store")
        kept = tuple(point for point in run.points if not _is_left_out(point, whole=whole))
        for point in kept:
            shutil.copytree(store.root / point.artifact.path, copy.root / point.artifact.path)
        results.record(copy, run.model_copy(update={"points": kept}))
        report.write(store, run, copy.root / LATEST_REPORT)
        told = {"commit": _git("rev-parse", "--short", "HEAD")} | records.machine()
        (copy.root / MACHINE).write_text(json.dumps(told, indent=1) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        copy.root.rename(folder)


def _is_left_out(point: Point, *, whole: bool) -> bool:
    is_training = "seed=" in point.label
    is_its_picture = is_training and point.label.endswith("-pictures")
    is_images = (point.step, point.label) == ("load_data", "data")
    return is_images or is_its_picture or (is_training and not whole)


def _refuse_foreign(store: Store, run: RunRecord) -> None:
    """Raise InputError where the commit and the machine of now are not those of a run."""
    if _git("status", "--porcelain", "--", "cyclical", "tasks", "flows"):
        raise InputError("there are changes that are not committed: commit them, and run again")
    for point in run.points:
        recipe = store.manifest(point.artifact.path).recipe
        code = {name: its for name, its in recipe["code"].items() if name.startswith("cyclical.")}
        if fingerprint.of_modules(code) != code:
            raise InputError(f"{point.artifact.path} was computed by other code: run it again")
        if recipe.get("environment", {}).get(ISA, instruction_set()) != instruction_set():
            raise InputError(f"{point.artifact.path} is of a machine with other instructions")


def _refuse_unlike_the_top(store: Store, run: RunRecord) -> None:
    """Raise InputError where a run is not what README says of it, all of it computed at once."""
    if command(run) != f"cyclical run --profile {TOP}":
        raise InputError(f"`{command(run)}` is no plain run of {TOP}: call it by another NAME")
    seconds = sum(
        store.manifest(point.artifact.path).duration_seconds
        for point in run.points
        if point.step.endswith("_training")
    )
    if seconds > run.duration_seconds * records.machine()["cores"]:
        raise InputError("the run found results that were there before: run it from nothing")


def top(folder: Path = RESULTS) -> str:
    """Write what README begins with: what the run prints, and its main pictures."""
    store, run = _latest(folder / TOP)
    machine = _machine(folder / TOP)
    shown = ["lr_sweep", "final_accuracy"]
    pictures = _pictures(store, run, f"docs/{RESULTS.name}/{TOP}")
    others = ", ".join(
        f"[{TITLES[name][0].lower()}{TITLES[name][1:]}]({path})"
        for name, path in pictures.items()
        if name not in shown
    )
    took = (
        f"`make run` runs the {TOP} profile, which took {duration(run.duration_seconds)} on "
        f"{machine['cores']} cores ({machine['processor']}, {_instructions(store, run)}) and "
        "printed:"
    )
    lines = [
        took,
        f"```\n{_printed(store, run)}\n```",
        *(f"![{TITLES[name]}]({pictures[name]})" for name in shown),
        f"More pictures: {others}.",
        *(_elsewhere(folder / each) for each in _runs(folder) if each in ALSO),
        f"All runs with all their pictures and tables: {', '.join(map(_link, _runs(folder)))}.",
    ]
    return "\n" + "\n\n".join(lines) + "\n\n"


def page(folder: Path = RESULTS) -> str:
    """Write docs/results/README.md: every run's facts, answers, figures and pictures."""
    parts = ["# Results", ABOUT]
    for each in _runs(folder):
        parts += _section(folder / each)
    return "\n\n".join(parts) + "\n"


def renewed(readme: str, folder: Path = RESULTS) -> str:
    """Return README's text with the results' part written anew."""
    text, count = BLOCK.subn(lambda _: top(folder), readme)
    if count != 1:
        raise ValueError("README.md must have one part for `make docs` to write")
    return text


def _runs(folder: Path) -> list[str]:
    return sorted(file.parent.name for file in folder.glob(f"*/{MACHINE}"))


def _elsewhere(folder: Path) -> str:
    """Say what another run than README's first one found."""
    store, run = _latest(folder)
    picture = _pictures(store, run, f"docs/{RESULTS.name}/{folder.name}").get("final_accuracy")
    parts = [f"`{command(run)}` ({_link(folder.name)}) found:", _answers(store, run)]
    parts += [f"![{TITLES['final_accuracy']}]({picture})"] if picture else []
    return "\n\n".join(parts)


def _link(name: str) -> str:
    return f"[{name}](docs/results/README.md#{name})"


def _answers(store: Store, run: RunRecord) -> str:
    return "\n".join(f"- {answer}" for answer in answers(results.summary(store, run)))


def _section(folder: Path) -> list[str]:
    store, run = _latest(folder)
    summary = results.summary(store, run)
    machine = _machine(folder)
    trainings = [point for point in run.points if "seed=" in point.label]
    told = [
        *(
            (name, value)
            for name, value in facts(Reader(store, run, summary))
            if trainings or name != COMPUTING  # without them it would say too little
        ),
        ("Processor", f"{machine['processor']}, {machine['cores']} cores"),
        ("Commit", str(machine["commit"])),
    ]
    published = [
        f"### Beside the published run\n\n{markdown.table(store.frame(point.artifact, name))}"
        for point in run.points
        for name in point.artifact.files
        if name == "published.parquet"
    ]
    return [
        f"## {folder.name}",
        f"`{command(run)}`",
        _answers(store, run),
        *(
            f"![{TITLES[name]}]({path})"
            for name, path in _pictures(store, run, folder.name).items()
        ),
        f"[The whole report]({folder.name}/{LATEST_REPORT})",
        *published,
        "### Where it ran",
        "\n".join(["| | |", "|:---|:---|", *(f"| {name} | {value} |" for name, value in told)]),
    ]


def _latest(folder: Path) -> tuple[Store, RunRecord]:
    store = Store(root=folder)
    return store, results.latest(store)


def _machine(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / MACHINE).read_text())
    return told


def _instructions(store: Store, run: RunRecord) -> str:
    return dict(facts(Reader(store, run, results.summary(store, run))))["Instructions"]


def _pictures(store: Store, run: RunRecord, base: str) -> dict[str, str]:
    """Map the name of every picture to be shown to its path, in the order of TITLES."""
    found = {file.stem: file for file in results.pictures(store, run)}
    return {
        name: f"{base}/{found[name].relative_to(store.root).as_posix()}"
        for name in TITLES
        if name in found
    }


def _printed(store: Store, run: RunRecord) -> str:
    """Return what `cyclical show` prints, but for the paths at its end."""
    console = Console(file=io.StringIO(), width=COLUMNS, color_system=None)
    with console.capture() as captured:
        display.show(console, results.summary(store, run))
    text = re.split(r"^(?:Report|Pictures):", captured.get(), flags=re.MULTILINE)[0]
    return "\n".join(line.rstrip() for line in text.splitlines())


def _git(*words: str) -> str:
    """Ask git about this checkout."""
    asked = [shutil.which("git") or "git", "-C", str(ROOT), *words]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603


def main() -> None:
    """Take in a run where one is named, then write the texts."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("store", type=Path, nargs="?", help="a store with a finished run")
    arguments.add_argument("name", nargs="?", default=TOP, help="what the run is to be called")
    arguments.add_argument("--whole", action="store_true", help="with its trainings")
    asked = arguments.parse_args()
    RESULTS.mkdir(exist_ok=True)
    try:
        if asked.store:
            store = Store(root=asked.store.absolute())
            if asked.name == TOP:
                _refuse_unlike_the_top(store, results.latest(store))
            take(store, RESULTS / asked.name, whole=asked.whole)
    except InputError as error:
        sys.exit(f"docs: {error}")
    (RESULTS / "README.md").write_text(page())
    README.write_text(renewed(README.read_text()))


if __name__ == "__main__":
    main()
