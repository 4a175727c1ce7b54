"""A Prefect server for the length of a command, unless one is configured already."""

import ctypes
import errno
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import httpx

from cyclical.errors import InputError, RunError, one_line

PROJECT = Path(__file__).resolve().parents[1]
START = ("server", "start", "--host", "127.0.0.1")
START_SECONDS = 180
CONNECT_SECONDS = 5
ANSWER_SECONDS = 30  # a machine may stall
STOP_SECONDS = 5
RECORD_SECONDS = 60
PORTS = range(16_384, 30_000)  # below those of Kubernetes' services, and those that Linux gives
BUSY_SECONDS = (0.5, 1, 2, 4, 8)
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "cyclical,tasks",
    "PREFECT_HOME": str(PROJECT / ".prefect"),
}


class Patient(httpx.HTTPTransport):
    """Ask again where a server is too busy (503: its database is locked), as Prefect's clients."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:  # noqa: D102 (as inherited)
        for seconds in BUSY_SECONDS:
            answer = super().handle_request(request)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return answer
            answer.close()
            time.sleep(seconds)
        return super().handle_request(request)


@contextmanager
def running(when_lost: Callable[[], object]) -> Iterator[None]:
    """Set PREFECT_API_URL to a server that answers; call it before Prefect is imported.

    A server that is named by PREFECT_API_URL is used, once it answered. Else one is started on a
    free port of the loopback interface, with its data in the project's `.prefect/`, and ended
    afterwards; it dies with this process even if that is killed. If it ends by itself,
    `when_lost()` is called at once, in a thread: Prefect would go on asking it for minutes.
    """
    settle()
    if os.environ.get("PREFECT_API_URL"):
        ask("/admin/version")
        yield
        return
    _go_round_proxies()
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    home = Path(os.environ["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("ab") as log:
        server = subprocess.Popen(  # noqa: S603 (our own interpreter)
            [sys.executable, "-m", "prefect", *START, "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**_without_password(os.environ), "PREFECT_SERVER_UI_API_URL": url},
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 (no thread runs yet)
        )
    leaving = Event()
    try:
        _wait_until_healthy(server, url, home / "server.log")
        os.environ["PREFECT_API_URL"] = url
        Thread(target=_watch, args=(server, leaving, when_lost), daemon=True).start()
        yield
    finally:
        leaving.set()
        os.environ.pop("PREFECT_API_URL", None)
        _stop(server)


def settle() -> None:
    """Give Prefect our settings, where the user has none; call it before Prefect is imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def page(flow_run_id: str) -> str:
    """Return the address of a flow run's page.

    Raises:
        InputError: The server does not answer, asks for another password or does not know the run.
    """
    api = os.environ["PREFECT_API_URL"]
    if ask(f"/flow_runs/{flow_run_id}").status_code == httpx.codes.NOT_FOUND:
        raise InputError(
            f"the Prefect server at {api} does not know the latest run: set PREFECT_API_URL to the "
            "server, or PREFECT_HOME to the folder, that it ran with"
        )
    return f"{api.removesuffix('/api')}/runs/flow-run/{flow_run_id}"


def ask(path: str) -> httpx.Response:
    """Ask the server that PREFECT_API_URL names for something that may be not found.

    Raises:
        InputError: The server does not answer, or asks for another password.
        RunError: The server fails.
    """
    api = os.environ["PREFECT_API_URL"]
    try:
        with _client() as client:
            answer = client.get(f"{api}{path}")
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise InputError(
            f"PREFECT_API_URL {api} does not answer ({one_line(error)}): start that server, or "
            "unset it for one of the command's own"
        ) from None
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise InputError(
            f"the Prefect server at {api} asks for a password: set PREFECT_API_AUTH_STRING to it "
            "(name:password)"
        )
    if answer.is_server_error:
        raise RunError(
            f"the Prefect server at {api} fails ({answer.status_code}): its log says why"
        )
    if answer.status_code != httpx.codes.NOT_FOUND:
        answer.raise_for_status()
    return answer


def await_records(flow_run_id: str, task_runs: int) -> None:
    """Wait until the server has recorded a run's task runs, which it does a little later."""
    api = os.environ["PREFECT_API_URL"]
    of_run = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
    deadline = time.monotonic() + RECORD_SECONDS
    with _client() as client:
        while time.monotonic() < deadline:
            answer = client.post(f"{api}/task_runs/count", json=of_run)
            if answer.raise_for_status().json() >= task_runs:
                return
            time.sleep(0.1)


def _client() -> httpx.Client:
    """Return a client that sends the name and the password that one of Prefect's would send."""
    name, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return httpx.Client(
        auth=(name, password) if name else None,
        transport=Patient(),
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
    )


def _without_password(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out the password that a server for others would ask for: this one is our own."""
    ours = dict(environment)
    ours.pop("PREFECT_SERVER_API_AUTH_STRING", None)
    return ours


def _go_round_proxies() -> None:
    """Keep the loopback interface out of a proxy that the environment names."""
    for name in ("NO_PROXY", "no_proxy"):
        named = [os.environ[name]] if os.environ.get(name) else []
        os.environ[name] = ",".join([*named, "127.0.0.1", "localhost"])


def _watch(
    server: "subprocess.Popen[bytes]", leaving: Event, when_lost: Callable[[], object]
) -> None:
    server.wait()
    if not leaving.is_set():
        when_lost()


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_until_healthy(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < deadline and server.poll() is None:
            try:
                if client.get(f"{url}/health").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
    raise RunError(f"the Prefect server did not start: see {log}")


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens at.

    It is none that Linux by default gives to whoever asks for any: that might soon be another's.

    Raises:
        RunError: A hundred that were tried are all taken.
    """
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port
    raise RunError("a hundred ports of 127.0.0.1 that were tried are all taken")


def _die_with_parent() -> None:
    """Ask Linux to kill this child when its parent ends, however that ends."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
