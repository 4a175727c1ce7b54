"""Kill a run's processes at random moments, run it again, and compare with an undisturbed run.

After every kill the command ends, with one line where it fails; within 10 s no process of it is
left. The next run goes on: what was finished is not touched, what was not becomes the same bytes as
without a kill, and no temporary file, checkpoint or damage is left.

Run: `make faults`, or `python -m tests.faults.campaign [--count 50] [--seed 0]`.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from cyclical import upkeep
from cyclical.files import TEMPORARY
from cyclical.store import Store
from tests import running
from tests.waiting import until

VICTIMS = ("command", "worker", "server")
LEFT_SECONDS = 10
END_SECONDS = 240
# Longer than the other tests', so that many kills meet a training between two epochs.
SETTINGS = {
    "lr_sweep__epochs": 8,
    "batch_sweep__epochs": 6,
    "data__train_images": 500,
    "workers": 2,
}
UNTIL = ("--until-step", "batch_bounds")


@dataclass(frozen=True)
class Kill:
    """Who is killed, and when: `at` is a share of an undisturbed run's time.

    Of several, `nth` draws which: it is a share of their number.
    """

    victim: str
    at: float
    nth: float


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing happened to: its files' hashes, and how long it took."""

    hashes: dict[str, str]
    seconds: float


class Place:
    """A folder with a store and a Prefect home of its own, in which the experiment is run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.artifacts = folder / "artifacts"
        self._log = folder / "log"
        self._environment = running.without_our_settings() | {"PREFECT_HOME": str(folder / "home")}
        self._environment.pop("PREFECT_API_URL", None)

    @contextmanager
    def running(
        self, words: Sequence[str] = ("run",), before: Sequence[str] = ()
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Start the command, behind the words of another one; kill what is left at the end.

        A word alone is given the settings or the store that it needs.
        """
        settings = running.settings(self.artifacts, **SETTINGS)
        options = ["--artifacts", str(self.artifacts)]
        if words[0] in {"run", "plan"}:
            options = [*settings, *UNTIL] if len(words) == 1 else []
        command = [str(Path(sys.executable).with_name("cyclical")), *words, *options]
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [*before, *command],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def status(self, words: Sequence[str] = ("run",), before: Sequence[str] = ()) -> int:
        """Run the command to its end; return its status."""
        with self.running(words, before) as process:
            return process.wait(END_SECONDS)

    def run(self, before: Sequence[str] = ()) -> None:
        """Run the experiment to its end, which must be a good one."""
        assert self.status(before=before) == 0, self.said()

    def said(self) -> str:
        """Return what the latest command printed."""
        return self._log.read_text(errors="replace")


def undisturbed(folder: Path) -> Undisturbed:
    """Run the experiment without a fault."""
    place = Place(folder)
    began = time.monotonic()
    place.run()
    return Undisturbed(running.hashes(place.artifacts), time.monotonic() - began)


def campaign(kill: Kill, place: Place, expected: Undisturbed) -> str:
    """Kill, run again, and compare; return in a few words what the kill met."""
    with place.running() as process:
        met = _kill(kill, process, expected.seconds)
    if process.returncode > 0:  # it failed for what was killed
        assert "Traceback" not in place.said(), place.said()
        assert place.said().splitlines()[-1].startswith("cyclical: "), place.said()
    before = _finished(place.artifacts)
    place.run()
    after = _finished(place.artifacts)
    touched = {name for name in before if after[name] != before[name]}
    assert not touched, f"computed again though finished: {touched}"
    assert running.hashes(place.artifacts) == expected.hashes
    left = [path for path in place.artifacts.rglob("*") if TEMPORARY.fullmatch(path.name)]
    left += (place.artifacts / ".checkpoints").glob("*")
    assert not left, f"left behind: {left}"
    assert upkeep.verify(Store(root=place.artifacts)) == []
    return f"{met}, {len(before)} of {len(after)} results were there"


def plan(seed: int, count: int) -> list[Kill]:
    """Draw kills, every victim as often as the others."""
    draw = random.Random(seed)
    return [
        Kill(VICTIMS[number % len(VICTIMS)], draw.uniform(0.02, 1), draw.random())
        for number in range(count)
    ]


def _kill(kill: Kill, process: "subprocess.Popen[bytes]", seconds: float) -> str:
    """Wait for the moment, and send SIGKILL; the run may have ended, or not have begun that far."""
    try:
        process.wait(kill.at * seconds)
    except subprocess.TimeoutExpired:
        pass
    else:
        return "it had ended"
    command = psutil.Process(process.pid)
    family = [command, *command.children(recursive=True)]
    victim = _victim(kill, family)
    if victim is None:
        process.wait(END_SECONDS)
        return f"no {kill.victim} there"
    with suppress(psutil.NoSuchProcess):  # it ended this very moment
        victim.kill()
    process.wait(END_SECONDS)
    until(lambda: not _left(family), LEFT_SECONDS, lambda: f"still there: {_left(family)}")
    return f"{kill.victim} killed at {kill.at * seconds:.1f} s, status {process.returncode}"


def _left(family: Sequence[psutil.Process]) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(family, timeout=0)
    return alive


def _victim(kill: Kill, family: list[psutil.Process]) -> psutil.Process | None:
    words = {"command": "bin/cyclical", "worker": "spawn_main", "server": "server start"}
    found = [process for process in family if words[kill.victim] in _told(process)]
    return found[int(kill.nth * len(found))] if found else None


def _told(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _finished(artifacts: Path) -> dict[str, tuple[int, str]]:
    """Return when each manifest was written, and its digest."""
    return {
        str(file.parent.relative_to(artifacts)): (
            file.stat().st_mtime_ns,
            json.loads(file.read_bytes())["digest"],
        )
        for file in artifacts.glob("*/*/manifest.json")
    }


def main() -> None:
    """Kill so many runs; end with an error at the first that does not come out right."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--count", type=int, default=50, help="how many kills")
    options.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = options.parse_args()
    with TemporaryDirectory() as folder:
        expected = undisturbed(Path(folder) / "undisturbed")
        print(f"undisturbed: {expected.seconds:.1f} s, {len(expected.hashes)} tables", flush=True)
        for number, kill in enumerate(plan(asked.seed, asked.count), 1):
            here = Path(folder) / str(number)
            met = campaign(kill, Place(here), expected)
            print(f"{number}: {met}; went on to the same bytes", flush=True)
            shutil.rmtree(here)


if __name__ == "__main__":
    main()
