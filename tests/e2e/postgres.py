"""A PostgreSQL of the tests' own, at a free port of the loopback interface: Debian's package."""

import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.server import free_port
from tests.waiting import until


@dataclass(frozen=True)
class Database:
    """A running PostgreSQL: its programs, its port, and its owner with the password."""

    programs: Path
    port: int
    user: str
    password: str

    def tool(self, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run psql, pg_dump and the like as the owner."""
        where = ("--host", "127.0.0.1", "--port", str(self.port), "--username", self.user)
        return subprocess.run(
            [self.programs / name, *where, *arguments],
            env={"PGPASSWORD": self.password, "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def done(self, name: str, *arguments: str) -> str:
        """Run a tool that must succeed; return what it printed."""
        ran = self.tool(name, *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def ask(self, query: str, database: str) -> str:
        return self.done("psql", "--no-psqlrc", "-At", "--dbname", database, "--command", query)


def installed() -> Path:
    """Return the folder of the newest PostgreSQL's programs."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(found, key=lambda file: int(file.parts[-3]), default=None)
    if newest is None:
        pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
    return newest.parent


@contextmanager
def serving(user: str, password: str) -> Iterator[Database]:
    """Start a new PostgreSQL that takes nobody without the password; end it and remove its files.

    It refuses to run as root: there it runs as the user that Debian's package made for it.
    """
    programs, port = installed(), free_port()
    owner: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        secret = folder / "password"
        secret.write_text(password)
        if os.geteuid() == 0:
            postgres = pwd.getpwnam("postgres")
            owner = {"user": postgres.pw_uid, "group": postgres.pw_gid, "extra_groups": []}
            for each in (folder, secret):
                os.chown(each, postgres.pw_uid, postgres.pw_gid)
        data = folder / "data"
        made = subprocess.run(
            [
                *(programs / "initdb", "--pgdata", data, "--username", user, "--pwfile", secret),
                *("--auth", "scram-sha-256", "--locale", "C.UTF-8", "--no-sync"),
            ],
            **owner,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        settings = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *(programs / "postgres", "-D", data),
                    *(word for setting in settings for word in ("-c", setting)),
                ],
                **owner,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        database = Database(programs, port, user, password)

        def ready() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            return database.tool("pg_isready").returncode == 0

        try:
            until(ready, 240, "PostgreSQL did not answer")
            yield database
        finally:
            process.send_signal(signal.SIGINT)  # its "fast" way: connections are broken off
            try:
                process.wait(timeout=120)
            finally:
                process.kill()
                process.wait()
