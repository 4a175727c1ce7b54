"""The `cyclical` command: a thin shell over the flow and the store."""

import json
import os
import signal
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cyclical import arms, experiment_files, forecast, ledger, results, steps, upkeep
from cyclical.config import Experiment
from cyclical.errors import InputError, RunError
from cyclical.settings import changes, parse_settings, resolve, validated
from cyclical.store import Store
from flows.guards import interruptible, lost_server, one_line_errors, told_on
from flows.options import (
    ARTIFACTS,
    Artifacts,
    File,
    Folder,
    FromStep,
    PageFile,
    Profile,
    Refresh,
    Seeds,
    Set,
    UntilStep,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Between which learning rates and batch sizes should training cycle, and is it worth it?",
)
console = Console(width=None if sys.stdout.isatty() else 120)


@app.command()
def run(
    file: File = None,
    profile: Profile = None,
    set_: Set = None,
    seeds: Seeds = None,
    refresh: Refresh = None,
    from_step: FromStep = None,
    until_step: UntilStep = None,
    artifacts: Artifacts = None,
) -> None:
    """Run the experiment; what is cached is not computed again."""
    with one_line_errors():
        described = file.read_bytes() if file and file.is_file() else None  # it may be edited soon
        profile, chosen, settings = _chosen(file, profile, set_, seeds, artifacts)
        selection = steps.select(refresh or [], from_step, until_step)
        store = Store.at(chosen.artifacts)
        store.ensure_writable()
        console.print(f"The {profile} experiment, with its results in {store.name}", soft_wrap=True)
        with interruptible():
            _experiment(
                chosen,
                selection.wanted,
                profile=profile,
                settings=settings,
                seeds=seeds,
                refresh=refresh or [],
                from_step=from_step,
                until_step=until_step,
            )
        if described is not None:
            results.keep_file(store, described)
        _show(store)
        if profile == "quick" and not (settings or until_step):
            console.print("At full size: cyclical run --profile notebook", highlight=False)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="Where it goes.")] = Path("experiment.toml"),
    profile: Annotated[str, typer.Option(help="quick or notebook.")] = "quick",
) -> None:
    """Write an experiment to change: every field explained, and as in the profile."""
    with one_line_errors():
        text = experiment_files.commented(profile)
        try:
            with file.open("x") as target:
                target.write(text)
        except OSError as error:
            told = f"{file} can't be written ({error.strerror})"
            raise InputError(f"{told}: name another file, or remove that one") from None
        console.print(f"{file} is written: cyclical run {file}", soft_wrap=True, highlight=False)


@app.command(name="config")
def configuration(
    file: File = None,
    profile: Profile = None,
    set_: Set = None,
    seeds: Seeds = None,
    artifacts: Artifacts = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of all experiments.")
    ] = False,
) -> None:
    """Print what the experiment comes to, every field of it, as JSON."""
    with one_line_errors():
        _, chosen, _ = _chosen(file, profile, set_, seeds, artifacts)
        if schema:
            typer.echo(json.dumps(Experiment.model_json_schema(), indent=1))
        else:
            typer.echo(chosen.model_dump_json(indent=1))


@app.command()
def plan(
    file: File = None,
    profile: Profile = None,
    set_: Set = None,
    seeds: Seeds = None,
    refresh: Refresh = None,
    from_step: FromStep = None,
    until_step: UntilStep = None,
    artifacts: Artifacts = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
) -> None:
    """Say for every point what a run with the same options would compute, and why."""
    with one_line_errors():
        _, chosen, _ = _chosen(file, profile, set_, seeds, artifacts)
        selection = steps.select(refresh or [], from_step, until_step)
        from flows import server

        server.settle()
        from flows import display, experiment, stages
        from tasks import places, planning

        place = places.chosen(chosen)
        store = Store.at(chosen.artifacts)
        planned = planning.Plan(store, selection, chosen, gpu=place.gpu)
        experiment.wire(stages.Stages(planned, chosen, selection.wanted))
        if as_json:
            typer.echo(json.dumps([asdict(point) for point in planned.points], indent=1))
            return
        display.plan(console, planned.points, forecast.changes(store, chosen), place.workers)


@app.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Say what --json prints.")] = False,
    artifacts: Folder = ARTIFACTS,
) -> None:
    """Show the latest run's bounds, comparison and pictures."""
    if schema:
        typer.echo(json.dumps(results.Summary.model_json_schema(), indent=1))
        return
    with one_line_errors():
        store = Store.at(artifacts)
        if as_json:
            typer.echo(results.summary(store, results.latest(store)).model_dump_json(indent=1))
        else:
            _show(store)


@app.command(name="report")
def report_(file: PageFile = None, artifacts: Folder = ARTIFACTS) -> None:
    """Write the latest run's report anew: one page, to be read without anything beside it."""
    from cyclical import report

    with one_line_errors():
        store = Store.at(artifacts)
        target = report.write(store, results.latest(store), file)
        console.print(str(target), soft_wrap=True, highlight=False, markup=False)


@app.command()
def ui(
    artifacts: Folder = ARTIFACTS,
) -> None:
    """Open the latest run's page in Prefect's UI."""
    from flows import server

    configured = bool(os.environ.get("PREFECT_API_URL"))
    with one_line_errors():
        run = results.latest(Store.at(artifacts))
        with server.running(lost_server):
            page = server.page(run.flow_run_id)
            console.print(page, soft_wrap=True)
            typer.launch(page)
            if not configured:
                console.print("Ctrl-C ends the server")
                with suppress(KeyboardInterrupt):
                    signal.pause()


@app.command()
def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Compute again what is damaged.")
    ] = False,
    artifacts: Folder = ARTIFACTS,
) -> None:
    """Check every result in the artifacts folder; exit status 1 where one is damaged."""
    with one_line_errors():
        store = Store.at(artifacts)
        found = upkeep.verify(store)
        for finding in found:
            console.print(finding.what, soft_wrap=True, highlight=False, markup=False)
        if repair and found:
            store.ensure_writable()
            again = upkeep.to_repeat(store, found)
            upkeep.discard(store, found)
            _repeat(store, again)
            for path in upkeep.not_made_again(store, found):
                console.print(
                    f"{path} is put away and not made again: no finished run of this code used it",
                    soft_wrap=True,
                    highlight=False,
                )
            found = upkeep.verify(store)
        if found:
            remedy = "cyclical run" if repair else "cyclical verify --repair"
            raise RunError(f"{len(found)} damaged: {remedy} computes them again")
        console.print(f"{len(upkeep.results_in(store))} results in {store.name}, all whole")


@app.command()
def gc(
    keep: Annotated[
        int, typer.Option(min=1, help="Runs to keep, besides the latest of every configuration.")
    ] = upkeep.KEPT_RUNS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    artifacts: Folder = ARTIFACTS,
) -> None:
    """Remove results that neither the last runs use, nor the latest of any configuration."""
    with one_line_errors():
        store = Store.at(artifacts)
        gone = (upkeep.unreferenced if dry_run else upkeep.collect)(store, keep)
        for removal in gone:
            console.print(
                f"{removal.path}: {removal.why}", soft_wrap=True, highlight=False, markup=False
            )
        mib = sum(removal.bytes for removal in gone) / 2**20
        told = "would be removed" if dry_run else "removed"
        console.print(f"{len(gone)} {told}, {mib:,.1f} MiB", highlight=False)


@app.command()
def data(
    target: Annotated[Path, typer.Argument(help="Where a download goes.")] = Path(
        "data/fashion-mnist"
    ),
) -> None:
    """Get Fashion-MNIST, from the first source that answers."""
    from cyclical import fetching

    with one_line_errors():
        typer.echo(f"Fashion-MNIST is in {fetching.fetch(target)}")


def _chosen(
    file: Path | None,
    profile: str | None,
    pairs: list[str] | None,
    seeds: int | None,
    artifacts: str | None,
) -> tuple[str, Experiment, dict[str, Any]]:
    """Return the profile, the experiment, and its settings beside the profile.

    The options win over the file; two that name one field are refused.
    """
    in_file, settings = experiment_files.read(file) if file else (None, {})
    named = parse_settings(pairs or [])
    for field, value in (("seeds", seeds), ("artifacts", artifacts)):
        if value is not None and field in named:
            raise InputError(f"--{field} and --set {field}=... name the same: leave one out")
    settings |= named
    if artifacts:
        settings["artifacts"] = artifacts
    name = profile or in_file or "quick"
    return name, resolve(name, settings, seeds), settings


def _experiment(chosen: Experiment, wanted: Collection[str], **parameters: Any) -> None:
    """Run the flow with a server and a display; Prefect is imported only now."""
    from flows import server

    own = not os.environ.get("PREFECT_API_URL")
    with server.running(lost_server):
        from prefect.logging.handlers import APILogHandler

        from flows.display import Display
        from flows.experiment import experiment
        from tasks.progress import observed_by

        def workload(images: int) -> dict[str, tuple[int, int]]:
            work = arms.workload(chosen, images)
            return {step: work[step] for step in work if step in wanted}

        display = Display(console, workload, chosen.data.images_trained_on)
        with display.live(), observed_by(display), told_on(console):
            try:
                experiment(**parameters)
            finally:
                APILogHandler().flush()  # while there is a server to take the rest of the log
        if own:
            run = results.latest(Store.at(chosen.artifacts))
            server.await_records(run.flow_run_id, len(run.points))


def _repeat(store: Store, headers: Collection[ledger.Header]) -> None:
    """Run once more what these runs were, wherever their store lay; go on past one that fails."""
    if not headers:
        return
    from flows import server

    described = store.get(results.LATEST_FILE)
    # One server for all: Prefect keeps to the first that it was given.
    with interruptible(), server.running(lost_server):
        for header in headers:
            try:
                chosen = validated(header.configuration | {"artifacts": store.name})
                _experiment(
                    chosen,
                    steps.select([], None, header.until_step).wanted,
                    profile=header.profile,
                    settings=changes(header.profile, chosen),
                    until_step=header.until_step,
                )
            except (InputError, RunError) as error:
                typer.echo(
                    f"cyclical: a run of {header.profile} can't be repeated: {error}", err=True
                )
    if described is not None:
        results.keep_file(store, described)


def _show(store: Store) -> None:
    from flows import display

    display.show(console, results.summary(store, results.latest(store)))


if __name__ == "__main__":
    app()
