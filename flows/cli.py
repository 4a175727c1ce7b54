"""The `cyclical` command: a thin shell over the flow and the store."""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from cyclical import arms, config, results, steps
from cyclical.errors import InputError, RunError
from cyclical.store import Store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Between which learning rates and batch sizes should training cycle, and is it worth it?",
)
console = Console(width=None if sys.stdout.isatty() else 120)
INTERRUPTED = 130
PATIENCE_SECONDS = 3


@app.command()
def run(
    profile: Annotated[str, typer.Option(help="quick or notebook.")] = "quick",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field; may be repeated."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Run for the seeds 0 to N - 1.")] = None,
    refresh: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP", help="Compute a step again; may be repeated."),
    ] = None,
    from_step: Annotated[
        str | None, typer.Option(metavar="STEP", help="This step and what follows from it.")
    ] = None,
    until_step: Annotated[
        str | None, typer.Option(metavar="STEP", help="This step and what it needs.")
    ] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="The artifacts folder: --set artifacts=FOLDER.")
    ] = None,
) -> None:
    """Run the experiment; what is cached is not computed again."""
    with _one_line_errors():
        settings = config.parse_settings(set_ or [])
        if artifacts:
            settings["artifacts"] = str(artifacts)
        chosen = config.resolve(profile, settings, seeds)
        selection = steps.select(refresh or [], from_step, until_step)
        store = Store(root=chosen.artifacts.absolute())
        store.ensure_writable()
        console.print(f"The {profile} experiment, with its results in {store.root}", soft_wrap=True)
        with _interruptible():
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
        _show(store)
        if profile == "quick" and not (settings or until_step):
            console.print("At full size: cyclical run --profile notebook", highlight=False)


@app.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print what --json prints means.")
    ] = False,
    artifacts: Annotated[Path, typer.Option(help="The artifacts folder.")] = Path("artifacts"),
) -> None:
    """Show the latest run's bounds, comparison and pictures."""
    if schema:
        typer.echo(json.dumps(results.Summary.model_json_schema(), indent=1))
        return
    with _one_line_errors():
        store = Store(root=artifacts.absolute())
        if as_json:
            typer.echo(results.summary(store, results.latest(store)).model_dump_json(indent=1))
        else:
            _show(store)


@app.command()
def ui(
    artifacts: Annotated[Path, typer.Option(help="The artifacts folder.")] = Path("artifacts"),
) -> None:
    """Open the latest run's page in Prefect's UI."""
    from flows import server

    configured = bool(os.environ.get("PREFECT_API_URL"))
    with _one_line_errors():
        run = results.latest(Store(root=artifacts.absolute()))
        with server.running():
            page = server.page(run.flow_run_id)
            console.print(page, soft_wrap=True)
            typer.launch(page)
            if not configured:
                console.print("Ctrl-C ends the server")
                with suppress(KeyboardInterrupt):
                    signal.pause()


@app.command()
def data(
    target: Annotated[Path, typer.Argument(help="Where a download goes.")] = Path(
        "data/fashion-mnist"
    ),
) -> None:
    """Get Fashion-MNIST, from the first source that answers."""
    from cyclical import fetching

    with _one_line_errors():
        typer.echo(f"Fashion-MNIST is in {fetching.fetch(target)}")


def _experiment(chosen: config.Experiment, wanted: Collection[str], **parameters: Any) -> None:
    """Run the flow with a server and a display; Prefect is imported only now."""
    from flows import server

    with server.running():
        from prefect.logging.handlers import APILogHandler

        from flows.display import Display
        from flows.experiment import experiment
        from tasks.progress import observed_by

        images = (chosen.data.train_images or 60_000) * (1 - chosen.data.validation_split)
        work = arms.workload(chosen, round(images))
        display = Display(console, {step: work[step] for step in work if step in wanted})
        with display.live(), observed_by(display), _told_on(console):
            try:
                experiment(**parameters)
            finally:
                APILogHandler().flush()  # while there is a server to take the rest of the log


def _show(store: Store) -> None:
    from flows import display

    display.show(console, results.summary(store, results.latest(store)))


@contextmanager
def _told_on(console: Console) -> Iterator[None]:
    """Print our own warnings, such as why a result is computed again; Prefect's stay in its log."""
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False)
    loggers = [logging.getLogger(name) for name in ("cyclical", "tasks")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn the user's mistakes into one line and exit status 2."""
    try:
        yield
    except InputError as error:
        typer.echo(f"cyclical: {error}", err=True)
        raise typer.Exit(2) from None
    except RunError as error:
        typer.echo(f"cyclical: {error}", err=True)
        raise typer.Exit(1) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """End within seconds, with all children, on Ctrl-C and SIGTERM: what is finished is stored."""

    def interrupt(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        threading.Timer(PATIENCE_SECONDS, _end_at_once).start()
        raise KeyboardInterrupt  # lets Prefect mark the flow run as crashed

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    except KeyboardInterrupt:
        _end_at_once()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_at_once() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        child.kill()
    console.show_cursor()
    sys.stderr.write("\ncyclical: interrupted; the next run goes on with what was finished\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    app()
