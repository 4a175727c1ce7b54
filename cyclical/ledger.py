"""Which run uses which artifacts, so that none of them is cleared away.

Every run, also one that fails or is killed, has a file of its own in `<root>/.runs/`: a line that
says what it is, then the path of each artifact, written before the artifact is looked for, and a
last line when the run is finished. The file is locked for as long as the run lives.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from cyclical.files import locked_beside
from cyclical.store import RUNS
from cyclical.values import Frozen

LOCK = ".lock"
FINISHED = b"true\n"


class Header(Frozen):
    """What a run is; `configuration` is its experiment's, as this version or another had it."""

    flow_run_id: str
    profile: str
    until_step: str | None = None
    configuration: dict[str, Any]

    @property
    def question(self) -> str:
        """What the run asks, wherever and with however many workers it is computed."""
        elsewhere = {"artifacts", "workers", "gpus", "cluster"}
        asked = {name: self.configuration[name] for name in self.configuration.keys() - elsewhere}
        return json.dumps([self.until_step, asked], sort_keys=True)


@dataclass(frozen=True)
class Entry:
    """A run as its file tells it; `header` is None where the file is damaged."""

    file: Path
    header: Header | None
    paths: frozenset[str]
    finished: bool
    live: bool


class Claims:
    """The artifacts of one run that goes on."""

    def __init__(self, root: Path, file: BinaryIO, path: Path) -> None:
        self._root, self._file, self.path = root, file, path

    def add(self, path: str) -> None:
        """Write down that the run is about to use an artifact; wait while a clearing goes on."""
        with locked(self._root, fcntl.LOCK_SH):
            self._write(json.dumps(path).encode() + b"\n")

    def finish(self) -> None:
        """Write down that the run has all that it asked for."""
        self._write(FINISHED)

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()


@contextmanager
def opened(root: Path, header: Header) -> Iterator[Claims]:
    """Begin the file of a run, which counts as going on until it is left, or the process ends."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = root / RUNS / f"{now}-{header.flow_run_id}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = locked_beside(path)
    with os.fdopen(handle, "wb") as file:
        file.write(header.model_dump_json().encode() + b"\n")
        file.flush()
        temporary.chmod(0o644)
        temporary.rename(path)  # nobody sees it without its first line and its lock
        yield Claims(root, file, path)


@contextmanager
def locked(root: Path, how: int) -> Iterator[None]:
    """Hold the store's lock, shared or exclusive (LOCK_SH, LOCK_EX); wait for it.

    On a disk that can't be written nothing can be cleared away: there it needs no lock to share.
    """
    with ExitStack() as stack:
        if file := _lock_file(root, how):
            fcntl.flock(stack.enter_context(file), how)
        yield


def _lock_file(root: Path, how: int) -> BinaryIO | None:
    try:
        return (root / LOCK).open("a+b")
    except PermissionError:
        if how == fcntl.LOCK_EX:
            raise
        return (root / LOCK).open("rb")  # the store is another user's, who may clear it
    except OSError as error:
        if how == fcntl.LOCK_EX or error.errno != errno.EROFS:
            raise
        return None


def entries(root: Path) -> list[Entry]:
    """Read all runs' files, the latest first."""
    return [_entry(file) for file in sorted((root / RUNS).glob("[!.]*.jsonl"), reverse=True)]


def kept(runs: Sequence[Entry], last: int) -> list[Entry]:
    """Choose, of runs of which the latest is the first, those whose artifacts are to stay.

    They are the `last`; of every question the latest run, and the latest that finished; and those
    that go on or can't be read.
    """
    asked, answered = set[str](), set[str]()
    chosen = []
    for number, run in enumerate(runs):
        question = run.header.question if run.header else ""
        latest = question not in asked or (run.finished and question not in answered)
        if number < last or latest or run.live or not run.header:
            chosen.append(run)
        asked.add(question)
        if run.finished:
            answered.add(question)
    return chosen


def _entry(file: Path) -> Entry:
    with file.open("rb") as content:
        first, *rest = content.read().splitlines(keepends=True) or [b""]
        live = _is_locked(content)
    try:
        header = Header.model_validate_json(first)
    except ValidationError:
        header = None
    paths = frozenset(filter(None, map(_path, rest)))
    return Entry(file, header, paths, finished=FINISHED in rest, live=live)


def _is_locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _path(line: bytes) -> str | None:
    """Read a line; one that was cut off by a kill names nothing."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, str) else None
