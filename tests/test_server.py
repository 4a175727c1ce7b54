"""What the command does at a server that is busy, or fails."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from cyclical.errors import RunError
from flows import server


class Failing(BaseHTTPRequestHandler):
    """Answer with these codes, one after the other."""

    codes: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        body = json.dumps("3.8").encode()
        self.send_response(self.codes.pop(0))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def answering(codes: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    listener = HTTPServer(("127.0.0.1", 0), Failing)
    monkeypatch.setattr(Failing, "codes", codes)
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{listener.server_port}/api")
    monkeypatch.setattr(server, "BUSY_SECONDS", (0, 0))
    thread = Thread(target=listener.serve_forever)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def test_a_busy_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [503, 503, 200, 200]
    with answering(codes, monkeypatch):
        assert server.ask("/admin/version").json() == "3.8"
    assert codes == [200]  # and no more than that


@pytest.mark.parametrize("codes", [[503, 503, 503], [500]])
def test_a_server_that_fails_gets_a_line(codes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    last = codes[-1]
    with (
        answering(codes, monkeypatch),
        pytest.raises(RunError, match=rf"/api fails \({last}\): its log says why"),
    ):
        server.ask("/admin/version")
    assert not codes


def test_a_port_that_is_taken_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given = server.free_port()
    assert given in server.PORTS
    monkeypatch.setattr(server, "PORTS", [given] * 100)
    assert server.free_port() == given
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", given))
        with pytest.raises(RunError, match="are all taken"):
            server.free_port()
