"""The only writer of artifacts: atomic, content-checked, told by a manifest.

Layout: `<root>/<step>/<label>-<key>/` with `manifest.json`, `*.parquet` and `*.png`. A folder is
an artifact once its manifest stands in it, which is written last; every file is written under a
temporary name and moved into place, so a reader never sees half of one.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from cyclical.config import Frozen
from cyclical.errors import InputError

MANIFEST = "manifest.json"
KEY_CHARACTERS = 12
log = logging.getLogger(__name__)

Table: TypeAlias = "pd.DataFrame | pa.Table"  # PEP 695 aliases need Python 3.12
Sha256 = str


class Artifact(Frozen):
    """A reference to a stored result: small, comparable, and enough to find and check it.

    `path` is relative to the store's root; `files` maps every Parquet file's name to the SHA-256
    of its content; `rows` to its number of rows. Pictures are not named: they never enter the key
    of a later step.
    """

    path: str
    files: dict[str, Sha256]
    rows: dict[str, int]


class Slot(Frozen):
    """Where a result goes and all that it follows from; `key` is the recipe's hash."""

    root: Path
    step: str = Field(pattern=r"^[a-z_]+$")
    label: str = Field(pattern=r"^[\w.=+,-]+$")
    key: str
    recipe: dict[str, Any]

    @property
    def path(self) -> str:
        """The artifact's folder, relative to the root."""
        return f"{self.step}/{self.label}-{self.key[:KEY_CHARACTERS]}"


class _File(Frozen):
    sha256: Sha256
    bytes: int
    rows: int | None = None


class Manifest(Frozen):
    """What stands in `manifest.json`: where an artifact came from and what belongs to it."""

    schema_version: int = 1
    step: str
    label: str
    key: str
    recipe: dict[str, Any]
    written: str
    duration_seconds: float
    files: dict[str, _File]


class DamagedError(Exception):
    """An artifact's file is missing or differs from what the manifest says."""


class Store(Frozen):
    """A folder of artifacts."""

    root: Path

    def ensure_writable(self) -> None:
        """Make the root; raise InputError where it can't be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise InputError(
                f"the artifacts folder {self.root} can't be written ({error.strerror}): "
                "mend its permissions, or name another with --set artifacts=FOLDER"
            ) from None

    def find(self, slot: Slot) -> Artifact | None:
        """Return the slot's artifact if it is whole, else None; say why an existing one is not."""
        folder = self.root / slot.path
        if not (folder / MANIFEST).exists():
            return None
        try:
            manifest = self.manifest(slot.path)
            if manifest.key != slot.key:
                raise DamagedError(f"{folder / MANIFEST} is of another key")
            self._check_files(folder, manifest)
        except DamagedError as damage:
            log.warning("%s: it is computed again", damage)
            return None
        return _reference(slot.path, manifest)

    def check(self, artifact: Artifact) -> None:
        """Raise DamagedError unless all of the artifact's files are there and unchanged."""
        manifest = self.manifest(artifact.path)
        if _reference(artifact.path, manifest) != artifact:
            raise DamagedError(f"{artifact.path} was computed again with another content")
        self._check_files(self._inside(artifact.path), manifest)

    def manifest(self, path: str) -> Manifest:
        """Read the manifest of the artifact at `path`; raise DamagedError if it is unreadable."""
        file = self._inside(path) / MANIFEST
        try:
            return Manifest.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise DamagedError(f"{file} can't be read ({type(error).__name__})") from error

    def read(self, artifact: Artifact, name: str) -> pa.Table:
        """Read one of the artifact's Parquet files."""
        return pq.read_table(self._inside(artifact.path) / name)

    def frame(self, artifact: Artifact, name: str) -> pd.DataFrame:
        """Read one of the artifact's Parquet files as a frame."""
        frame: pd.DataFrame = self.read(artifact, name).to_pandas()
        return frame

    def pictures(self, artifact: Artifact) -> list[Path]:
        """List the artifact's pictures."""
        return sorted(self._inside(artifact.path).glob("*.png"))

    def write(
        self,
        slot: Slot,
        tables: Mapping[str, Table],
        pictures: Mapping[str, bytes] | None = None,
        *,
        duration_seconds: float,
    ) -> Artifact:
        """Store a result in its slot and return the reference to it.

        Args:
            slot: Where it goes.
            tables: File name ending in .parquet -> table.
            pictures: File name ending in .png -> content.
            duration_seconds: What it took to compute, for the manifest.
        """
        folder = self.root / slot.path
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for name, table in tables.items():
            arrow = _arrow(table)
            content = _parquet(arrow)
            write_atomically(folder / name, content)
            files[name] = _File(sha256=_sha256(content), bytes=len(content), rows=arrow.num_rows)
        for name, content in (pictures or {}).items():
            write_atomically(folder / name, content)
            files[name] = _File(sha256=_sha256(content), bytes=len(content))
        manifest = Manifest(
            step=slot.step,
            label=slot.label,
            key=slot.key,
            recipe=slot.recipe,
            written=datetime.now(UTC).isoformat(timespec="seconds"),
            duration_seconds=round(duration_seconds, 3),
            files=files,
        )
        write_atomically(folder / MANIFEST, manifest.model_dump_json(indent=1).encode())
        return _reference(slot.path, manifest)

    def put(self, name: str, content: bytes) -> None:
        """Write a file of the store itself, such as the list of the latest run's artifacts."""
        write_atomically(self.root / name, content)

    def get(self, name: str) -> bytes | None:
        """Read a file of the store itself; None if there is none."""
        file = self.root / name
        return file.read_bytes() if file.is_file() else None

    def _inside(self, path: str) -> Path:
        folder = (self.root / path).resolve()
        if not folder.is_relative_to(self.root.resolve()):
            raise DamagedError(f"{path} points outside the store")
        return folder

    def _check_files(self, folder: Path, manifest: Manifest) -> None:
        for name, file in manifest.files.items():
            try:
                content = (folder / name).read_bytes()
            except OSError as error:
                raise DamagedError(f"{folder / name} can't be read ({error.strerror})") from error
            if _sha256(content) != file.sha256:
                raise DamagedError(f"{folder / name} differs from its manifest")


def recipe_key(step: str, label: str, recipe: Mapping[str, Any]) -> Sha256:
    """Hash all that a result follows from; equal recipes give equal keys in every process."""
    text = json.dumps([step, label, recipe], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return _sha256(text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either as before or whole, also after a power cut."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _reference(path: str, manifest: Manifest) -> Artifact:
    tables = {name: file for name, file in manifest.files.items() if file.rows is not None}
    return Artifact(
        path=path,
        files={name: file.sha256 for name, file in tables.items()},
        rows={name: file.rows or 0 for name, file in tables.items()},
    )


def _arrow(table: Table) -> pa.Table:
    """Keep NaN as NaN (not null) and leave pandas' own metadata out."""
    if isinstance(table, pa.Table):
        return table
    columns: dict[str, Any] = {
        name: pa.array(table[name].to_numpy(), from_pandas=False) for name in table.columns
    }
    return pa.table(columns)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _sha256(content: bytes) -> Sha256:
    hasher: Callable[[bytes], Any] = hashlib.sha256
    return str(hasher(content).hexdigest())
