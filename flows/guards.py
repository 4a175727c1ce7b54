"""What stands around a command: its errors in one line, its end at once, its warnings shown."""

import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer
from rich.console import Console

from cyclical.errors import InputError, RunError, one_line

INTERRUPTED = 130
PATIENCE_SECONDS = 3
OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


class _Printed(logging.Handler):
    """Print records as they are, above what is live there."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(self.format(record), soft_wrap=True, markup=False, highlight=False)


@contextmanager
def told_on(console: Console) -> Iterator[None]:
    """Print our own warnings, such as why a result is computed again; Prefect's stay in its log."""
    handler = _Printed(console)
    loggers = [logging.getLogger(name) for name in ("cyclical", "tasks")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the user's mistakes into one line and exit status 2."""
    try:
        yield
    except InputError as error:
        typer.echo(f"cyclical: {error}", err=True)
        raise typer.Exit(2) from None
    except RunError as error:
        typer.echo(f"cyclical: {error}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        told = f"{error.strerror} ({error.filename})" if error.filename else error.strerror
        typer.echo(f"cyclical: {told}: mend that; what was finished is kept", err=True)
        raise typer.Exit(1) from None
    except Exception as error:
        if (cause := _of_the_server(error)) is None:
            raise
        typer.echo(
            f"cyclical: the Prefect server at {os.environ.get('PREFECT_API_URL')} is lost "
            f"({one_line(cause)}): the next run goes on with what was finished",
            err=True,
        )
        raise typer.Exit(1) from None


@contextmanager
def interruptible() -> Iterator[None]:
    """End within seconds, with all children, on Ctrl-C and SIGTERM: what is finished is stored."""

    def interrupt(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        threading.Timer(PATIENCE_SECONDS, _interrupted).start()
        raise KeyboardInterrupt  # lets Prefect mark the flow run as crashed

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    except KeyboardInterrupt:
        _interrupted()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lost_server() -> None:
    """End this process and its children: its own server has ended, and no task can go on."""
    _end_at_once(1, "the Prefect server has ended; the next run goes on with what was finished")


def _interrupted() -> None:
    _end_at_once(INTERRUPTED, "interrupted; the next run goes on with what was finished")


def _end_at_once(status: int, line: str) -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        child.kill()
    Console().show_cursor()
    sys.stderr.write(f"\ncyclical: {line}\n")
    sys.stderr.flush()
    os._exit(status)


def _of_the_server(error: BaseException) -> BaseException | None:
    """Return what went wrong between Prefect and its server, if that caused an error."""
    import httpx

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, httpx.HTTPError):
        cause = cause.__cause__
    return cause
