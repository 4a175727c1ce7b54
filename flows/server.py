"""A Prefect server for the length of a command, unless one is configured already."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from cyclical.errors import InputError, RunError, one_line

PROJECT = Path(__file__).resolve().parents[1]
START = ("server", "start", "--host", "127.0.0.1")
START_SECONDS = 90
STOP_SECONDS = 5
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "cyclical,tasks",
    "PREFECT_HOME": str(PROJECT / ".prefect"),
}


@contextmanager
def running() -> Iterator[None]:
    """Set PREFECT_API_URL to a server that answers; call it before Prefect is imported.

    A server that is named by PREFECT_API_URL is used as it is. Else one is started on a free port
    of the loopback interface, with its data in the project's `.prefect/`, and ended afterwards; it
    dies with this process even if that is killed.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    _go_round_proxies()
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    home = Path(os.environ["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("ab") as log:
        server = subprocess.Popen(  # noqa: S603 (our own interpreter)
            [sys.executable, "-m", "prefect", *START, "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PREFECT_SERVER_UI_API_URL": url},
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 (no thread runs yet)
        )
    try:
        _wait_until_healthy(server, url, home / "server.log")
        os.environ["PREFECT_API_URL"] = url
        yield
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        _stop(server)


def page(flow_run_id: str) -> str:
    """Return the address of a flow run's page.

    Raises:
        InputError: The server does not know the run.
    """
    api = os.environ["PREFECT_API_URL"]
    try:
        answer = httpx.get(f"{api}/flow_runs/{flow_run_id}", trust_env=False)
    except httpx.TransportError as error:
        raise InputError(f"PREFECT_API_URL {api} does not answer ({one_line(error)})") from None
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise InputError(
            f"the Prefect server at {api} does not know the latest run: set PREFECT_API_URL to the "
            "server, or PREFECT_HOME to the folder, that it ran with"
        )
    answer.raise_for_status()
    return f"{api.removesuffix('/api')}/runs/flow-run/{flow_run_id}"


def _go_round_proxies() -> None:
    """Keep the loopback interface out of a proxy that the environment names."""
    for name in ("NO_PROXY", "no_proxy"):
        named = [os.environ[name]] if os.environ.get(name) else []
        os.environ[name] = ",".join([*named, "127.0.0.1", "localhost"])


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_until_healthy(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/health", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RunError(f"the Prefect server did not start: see {log}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _die_with_parent() -> None:
    """Ask Linux to kill this child when its parent ends, however that ends."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
