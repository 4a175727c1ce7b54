"""Files that are written whole or not at all, whatever ends the process that writes them."""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SUFFIX = ".partial"
TEMPORARY = re.compile(rf"\..+-[a-z0-9_]{{8}}{re.escape(SUFFIX)}")


class Blob(Protocol):
    """Something that is read whole, replaced whole, and removed; `str` says where it lies."""

    def read(self) -> bytes | None:
        """Return its content; None if it is not there."""

    def write(self, content: bytes) -> None:
        """Put a content in the place of the one before."""

    def remove(self) -> None:
        """Let it be gone."""


@dataclass(frozen=True)
class File:
    """A blob on this machine's disk."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> bytes | None:
        """Return its content; None if it is not there."""
        try:
            return self.path.read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def write(self, content: bytes) -> None:
        """Replace it atomically; its folder is made where it is missing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, content)

    def remove(self) -> None:
        """Let it be gone."""
        self.path.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that it is either as before or whole, also after a power cut.

    The new content grows in `.NAME-????????.partial` beside it, locked while its writer lives.
    """
    handle, temporary = locked_beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def locked_beside(path: Path) -> tuple[int, Path]:
    """Make a temporary file beside a path, and lock it; return its handle and its own path.

    It is made again where it was taken for abandoned between the two.
    """
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=SUFFIX)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


def remove_abandoned(folders: Iterable[Path]) -> list[Path]:
    """Remove temporary files in these folders whose writers were killed; return their paths.

    A file that is being written is locked, and stays; so does one that may not be opened.
    """
    found = (path for folder in folders for path in folder.glob(f".*{SUFFIX}"))
    return [path for path in found if TEMPORARY.fullmatch(path.name) and _remove_unlocked(path)]


def _remove_unlocked(path: Path) -> bool:
    try:
        with path.open("r+b") as file:  # an exclusive lock needs that on NFS
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:  # locked, another user's, or moved into place by its writer
        return False
    return True
