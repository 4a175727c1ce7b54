"""A server for a team: what deploy/team/compose.yaml starts, without its containers."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.e2e.postgres import Database
from tests.e2e.serving import Server
from tests.running import ROOT
from tests.waiting import until

TEAM = ROOT / "deploy" / "team"
GIVEN = {
    "DATABASE_PASSWORD": "a password: of @ the/database?",
    "PREFECT_SERVER_API_AUTH_STRING": "team:another, of the $erver",
}
CREDENTIALS = GIVEN["PREFECT_SERVER_API_AUTH_STRING"]
VARIABLE = re.compile(r"\$\{(\w+):([-?])([^}]*)\}")


class Compose(yaml.SafeLoader):
    """Read YAML with compose's tag for a list that takes the place of another file's."""


Compose.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def filled(node: Any, given: dict[str, str]) -> Any:
    """Put values in the place of `${NAME:-default}` and `${NAME:?message}`, as compose does."""
    if isinstance(node, dict):
        return {name: filled(value, given) for name, value in node.items()}
    if isinstance(node, list):
        return [filled(value, given) for value in node]
    if not isinstance(node, str):
        return node

    def value(found: re.Match[str]) -> str:
        name, kind, otherwise = found.groups()
        if given.get(name):
            return given[name]
        assert kind == "-", otherwise
        return otherwise

    return VARIABLE.sub(value, node)


def services(file: str, given: dict[str, str]) -> dict[str, dict[str, Any]]:
    read = yaml.load((TEAM / file).read_text(), Loader=Compose)
    found: dict[str, dict[str, Any]] = filled(read, given)["services"]
    return found


class Team(Server):
    """The service `server` of the file: its command and environment, elsewhere."""

    def __init__(self, home: Path, database: Database) -> None:
        super().__init__(home)
        service = services("compose.yaml", GIVEN)["server"]
        there = {"prefect": f"{Path(sys.executable).parent}/prefect", "0.0.0.0": "127.0.0.1"}
        there |= {"python": sys.executable, "4200": str(self.port)}
        self.command = [there.get(word, word) for word in service["command"]]
        self.check = [
            there.get(word, word).replace(":4200/", f":{self.port}/")
            for word in service["healthcheck"]["test"][1:]
        ]
        ours = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
        self.of_server = {
            **ours,
            **service["environment"],
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
            "PREFECT_SERVER_DATABASE_PORT": str(database.port),
        }
        self.environment |= {"PREFECT_API_AUTH_STRING": CREDENTIALS}
        self.api.auth = httpx.BasicAuth(*CREDENTIALS.split(":", 1))

    def start(self) -> None:
        """Start the server, and wait until it is ready by the file's own check."""
        with (self.home / "server.log").open("ab") as log:
            process = subprocess.Popen(
                self.command,
                env=self.of_server,
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started["server"] = process

        def ready() -> bool:
            assert process.poll() is None, (self.home / "server.log").read_text()
            checked = subprocess.run(
                self.check, env=self.environment, capture_output=True, timeout=120, check=False
            )
            return checked.returncode == 0

        until(ready, 240, "the server was not ready")

    def kill(self) -> None:
        os.killpg(self.started["server"].pid, signal.SIGKILL)
        self.started["server"].wait()

    def of_client(self) -> dict[str, str]:
        """Return what everyone in the team sets."""
        names = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "NO_PROXY")
        return {name: self.environment[name] for name in names}
