"""The only writer of artifacts: atomic, content-checked, told by a manifest.

Layout: `<root>/<step>/<label>-<key>/` with `manifest.json`, `*.parquet` and `*.png`. A folder is
an artifact once its manifest stands in it, which is written last; every file is written under a
temporary name and moved into place, so a reader never sees half of one.
"""

import hashlib
import io
import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
from pydantic import Field, ValidationError

from cyclical.errors import InputError
from cyclical.files import write_atomically
from cyclical.steps import NEEDS
from cyclical.values import Frozen

MANIFEST = "manifest.json"
RECORDS, CHECKPOINTS, RUNS = ".records", ".checkpoints", ".runs"
SCHEMA: Literal[3] = 3
KEY_CHARACTERS = 12
log = logging.getLogger(__name__)

Table: TypeAlias = "pd.DataFrame | pa.Table"  # PEP 695 aliases need Python 3.12
Sha256 = str
FileName = Annotated[str, Field(pattern=r"^\w[\w.=+,-]*\.(parquet|png)$")]


class Artifact(Frozen):
    """A reference to a stored result: small, comparable, and enough to find and check it.

    `path` is relative to the store's root; `files` maps every Parquet file's name to the SHA-256
    of its content; `rows` to its number of rows. Pictures are not named: they never enter the key
    of a later step.
    """

    path: str
    files: dict[FileName, Sha256]
    rows: dict[FileName, int]


class Slot(Frozen):
    """Where a result goes and all that it follows from."""

    root: Path
    step: str = Field(pattern=r"^[a-z_]+$")
    label: str = Field(pattern=r"^[\w.=+,-]+$")
    recipe: dict[str, Any]

    @cached_property
    def key(self) -> Sha256:
        """The hash of all that the result follows from."""
        return recipe_key(self.step, self.label, self.recipe)

    @property
    def path(self) -> str:
        """The artifact's folder, relative to the root."""
        return _path(self.step, self.label, self.key)

    @property
    def checkpoint(self) -> Path:
        """The file that keeps the state of a training until its result is stored."""
        return self.root / CHECKPOINTS / self.key


class _File(Frozen):
    sha256: Sha256
    bytes: int
    rows: int | None = None


class Manifest(Frozen):
    """What stands in `manifest.json`: where an artifact came from and what belongs to it."""

    schema_version: Literal[3] = SCHEMA
    step: str
    label: str
    key: str
    recipe: dict[str, Any]
    written: str
    duration_seconds: float
    epoch_seconds: tuple[float, ...] = ()
    files: dict[FileName, _File]
    digest: Sha256

    @classmethod
    def sealed(cls, **fields: Any) -> Self:
        """Make a manifest whose `digest` is the hash of all the rest."""
        open_ = cls.model_construct(**fields)
        return cls(**fields, digest=open_._hash())

    @pydantic.model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.digest != self._hash():
            raise ValueError("the digest is not the content's")
        return self

    def _hash(self) -> Sha256:
        return _sha256(self.model_dump_json(exclude={"digest"}).encode())


class DamagedError(Exception):
    """An artifact's file is missing or differs from what the manifest says."""


class OtherVersionError(DamagedError):
    """An artifact was written by another version of this package: of no use, but not damaged."""


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
        try:
            return self.whole(slot)
        except DamagedError as damage:
            log.warning("%s: it is computed again", damage)
            return None

    def whole(self, slot: Slot) -> Artifact | None:
        """Return the slot's artifact, or None; raise DamagedError if one is damaged."""
        folder = self.root / slot.path
        if not (folder / MANIFEST).exists():
            return None
        manifest = self.manifest(slot.path)
        if manifest.key != slot.key:
            raise DamagedError(f"{folder / MANIFEST} is of another key")
        self.check_files(slot.path, manifest)
        return _reference(slot.path, manifest)

    def earlier(self, step: str, label: str) -> list[tuple[Artifact, Manifest]]:
        """List the readable artifacts of a step and label, whatever their key, the newest first."""
        found = []
        for folder in (self.root / step).glob(f"{label}-{'[0-9a-f]' * KEY_CHARACTERS}"):
            path = str(folder.relative_to(self.root))
            with suppress(DamagedError):  # of no use here; `find` says so where it matters
                manifest = self.manifest(path)
                found.append((_reference(path, manifest), manifest))
        return sorted(found, key=lambda each: each[1].written, reverse=True)

    def check(self, artifact: Artifact) -> None:
        """Raise DamagedError unless all of the artifact's files are there and unchanged."""
        manifest = self.manifest(artifact.path)
        if _reference(artifact.path, manifest) != artifact:
            raise DamagedError(f"{artifact.path} was computed again with another content")
        self.check_files(artifact.path, manifest)

    def check_files(self, path: str, manifest: Manifest) -> None:
        """Raise DamagedError unless the files at `path` are those that the manifest names."""
        folder = self._inside(path)
        for name, file in manifest.files.items():
            try:
                content = (folder / name).read_bytes()
            except OSError as error:
                raise DamagedError(f"{folder / name} can't be read ({error.strerror})") from error
            if _sha256(content) != file.sha256:
                raise DamagedError(f"{folder / name} differs from its manifest")

    def holds(self, artifact: Artifact) -> bool:
        """Tell whether the artifact is whole."""
        try:
            self.check(artifact)
        except DamagedError:
            return False
        return True

    def manifest(self, path: str) -> Manifest:
        """Read the manifest of the artifact at `path`; raise DamagedError if it is unreadable."""
        file = self._inside(path) / MANIFEST
        try:
            content = file.read_bytes()
            manifest = Manifest.model_validate_json(content)
        except (OSError, ValidationError) as error:
            if isinstance(error, ValidationError) and _version(content):
                raise OtherVersionError(f"{file} is of another version") from error
            raise DamagedError(f"{file} can't be read ({type(error).__name__})") from error
        if _path(manifest.step, manifest.label, manifest.key) != path:
            raise DamagedError(f"{file} is of another key")
        return manifest

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
        epoch_seconds: Sequence[float] = (),
    ) -> Artifact:
        """Store a result in its slot and return the reference to it.

        Args:
            slot: Where it goes.
            tables: File name ending in .parquet -> table.
            pictures: File name ending in .png -> content.
            duration_seconds: What it took to compute, for the manifest.
            epoch_seconds: Of a training, what it had taken at the end of every epoch.
        """
        folder = self.root / slot.path
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for name, table in tables.items():
            arrow = _arrow(table)
            content = _parquet(arrow)
            write_atomically(folder / name, content)
            files[name] = _File(sha256=_sha256(content), bytes=len(content), rows=arrow.num_rows)
        for name, picture in (pictures or {}).items():
            write_atomically(folder / name, picture)
            files[name] = _File(sha256=_sha256(picture), bytes=len(picture))
        manifest = Manifest.sealed(
            step=slot.step,
            label=slot.label,
            key=slot.key,
            recipe=slot.recipe,
            written=datetime.now(UTC).isoformat(timespec="seconds"),
            duration_seconds=round(duration_seconds, 3),
            epoch_seconds=tuple(round(seconds, 3) for seconds in epoch_seconds),
            files=files,
        )
        write_atomically(folder / MANIFEST, manifest.model_dump_json(indent=1).encode())
        return _reference(slot.path, manifest)

    def folders(self) -> list[Path]:
        """List the folders in which files of the store are written, and no others."""
        own = [self.root, *(self.root / name for name in (RECORDS, CHECKPOINTS, RUNS))]
        steps = [self.root / step for step in NEEDS]
        return own + steps + [path for step in steps for path in step.glob("*/")]

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


def artifact_paths(value: Any) -> list[str]:
    """List the paths of all artifacts in a value, however deep in mappings and sequences."""
    if isinstance(value, Artifact):
        return [value.path]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [path for item in value for path in artifact_paths(item)]
    return []


def recipe_key(step: str, label: str, recipe: Mapping[str, Any]) -> Sha256:
    """Hash all that a result follows from; equal recipes give equal keys in every process."""
    text = json.dumps([step, label, recipe], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return _sha256(text.encode())


def _version(content: bytes) -> int | None:
    """Return the version of a manifest that can't be read; None where it has none."""
    try:
        version = json.loads(content)["schema_version"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return version if isinstance(version, int) and 0 < version < SCHEMA else None


def _path(step: str, label: str, key: Sha256) -> str:
    return f"{step}/{label}-{key[:KEY_CHARACTERS]}"


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


def _parquet(table: pa.Table) -> memoryview:
    """Write a table into memory; Arrow's own sink would double, and so take twice as much."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getbuffer()


def _sha256(content: bytes | memoryview) -> Sha256:
    hasher: Callable[[bytes | memoryview], Any] = hashlib.sha256
    return str(hasher(content).hexdigest())
