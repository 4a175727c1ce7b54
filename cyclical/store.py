"""The only writer of artifacts: atomic, content-checked, told by a manifest.

Layout: `<root>/<step>/<label>-<key>/` with `manifest.json`, `*.parquet` and `*.png`. A folder is
an artifact once its manifest stands in it, which is written last; every file is written under a
temporary name and moved into place, so a reader never sees half of one.

A store may lie elsewhere, in the same layout (`s3://bucket/prefix`). Then what this machine writes
or reads of it is kept in a folder here as well, and a manifest there is what says that there is an
artifact.
"""

import fnmatch
import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from cyclical import parquet
from cyclical.buckets import Bucket, Object, checked, is_address
from cyclical.copies import Copies, folder_for
from cyclical.errors import InputError
from cyclical.files import Blob, write_atomically
from cyclical.files import File as OnDisk
from cyclical.manifests import (
    KEY_CHARACTERS,
    MANIFEST,
    Artifact,
    DamagedError,
    File,
    Manifest,
    Sha256,
    check_files,
    parsed,
    path_of,
    recipe_key,
    reference,
    sha256,
)
from cyclical.parquet import Table
from cyclical.steps import NEEDS
from cyclical.values import Frozen

RECORDS, CHECKPOINTS, RUNS = ".records", ".checkpoints", ".runs"
WRITABLE = ".writable"
log = logging.getLogger(__name__)


class Store(Frozen):
    """A folder of artifacts, or one elsewhere.

    Of a store at an `address`, `root` is the folder of this machine with what was written and read.
    """

    root: Path
    address: str | None = None

    @classmethod
    def at(cls, place: str | Path) -> Self:
        """Return the store in a folder, or at an address.

        Raises:
            InputError: The address is none, or has a password in it.
        """
        if isinstance(place, str) and is_address(place):
            address = checked(place)
            return cls(root=folder_for(address), address=address)
        return cls(root=Path(place).absolute())

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a process on another machine, with another home, have a folder of its own."""
        return type(self).at, (self.name,)

    @property
    def name(self) -> str:
        """The folder, or the address, by which `at` finds it."""
        return self.address or str(self.root)

    def blob(self, name: str) -> Blob:
        """Return a file of the store itself, which lies with the artifacts."""
        return Object(self._bucket, name) if self._bucket else OnDisk(self.root / name)

    def ensure_writable(self) -> None:
        """Make the root; raise InputError where it, or the store elsewhere, can't be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise InputError(
                f"the artifacts folder {self.root} can't be written ({error.strerror}): "
                "mend its permissions, or name another with --set artifacts=FOLDER"
            ) from None
        if self._bucket:
            self._bucket.put(WRITABLE, b"")

    def find(self, slot: "Slot", *, mend: bool = False) -> Artifact | None:
        """Return the slot's artifact if it is whole, else None; say why an existing one is not.

        Of a store elsewhere, what is whole here and gone there is put there again, to `mend` it.
        """
        try:
            return self.whole(slot, mend=mend)
        except DamagedError as damage:
            log.warning("%s: it is computed again", damage)
            return None

    def whole(self, slot: "Slot", *, mend: bool = False) -> Artifact | None:
        """Return the slot's artifact, or None; raise DamagedError if one is damaged."""
        self._fetch(slot.path, mend=mend)
        folder = self.root / slot.path
        if not (folder / MANIFEST).exists():
            return None
        manifest = self.manifest(slot.path)
        if manifest.key != slot.key:
            raise DamagedError(f"{folder / MANIFEST} is of another key")
        self.check_files(slot.path, manifest)
        return reference(slot.path, manifest)

    def earlier(
        self, step: str, label: str, paths: Sequence[str] | None = None
    ) -> list[tuple[Artifact, Manifest]]:
        """List a step's readable artifacts of a label (with wildcards), the newest first.

        `paths` are the step's, where they are known.
        """
        pattern = f"{step}/{label}-{'[0-9a-f]' * KEY_CHARACTERS}"
        read = self._copies.manifest if self._copies else self.manifest
        found = []
        for path in fnmatch.filter(self.paths(step) if paths is None else paths, pattern):
            with suppress(DamagedError):  # of no use here; `find` says so where it matters
                manifest = read(path)
                found.append((reference(path, manifest), manifest))
        return sorted(found, key=lambda each: each[1].written, reverse=True)

    def paths(self, step: str) -> list[str]:
        """List the folders of a step's artifacts, also of those that are damaged."""
        if self._bucket:
            names = list(self._bucket.sizes(step))
        else:
            files = (self.root / step).glob(f"*/{MANIFEST}")
            names = [file.relative_to(self.root).as_posix() for file in files]
        end = f"/{MANIFEST}"
        return sorted(name.removesuffix(end) for name in names if name.endswith(end))

    def check(self, artifact: Artifact) -> None:
        """Raise DamagedError unless all of the artifact's files are there and unchanged."""
        self._fetch(artifact.path)
        manifest = self.manifest(artifact.path)
        _refuse_another(artifact, manifest)
        self.check_files(artifact.path, manifest)

    def check_files(self, path: str, manifest: Manifest) -> None:
        """Raise DamagedError unless the files at `path` are those that the manifest names."""
        check_files(self._inside(path), manifest)

    def manifest(self, path: str) -> Manifest:
        """Read the manifest at `path` on this machine; raise DamagedError if it is unreadable."""
        file = self._inside(path) / MANIFEST
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DamagedError(f"{file} can't be read ({type(error).__name__})") from error
        return parsed(content, path, file)

    def read(self, artifact: Artifact, name: str) -> pa.Table:
        """Read one of the artifact's Parquet files."""
        return pq.read_table(self._here(artifact) / name)

    def frame(self, artifact: Artifact, name: str) -> pd.DataFrame:
        """Read one of the artifact's Parquet files as a frame."""
        frame: pd.DataFrame = self.read(artifact, name).to_pandas()
        return frame

    def pictures(self, artifact: Artifact) -> list[Path]:
        """List the artifact's pictures."""
        return sorted(self._here(artifact).glob("*.png"))

    def manifest_of(self, artifact: Artifact) -> Manifest:
        """Read an artifact's manifest; of a store elsewhere without fetching the rest of it."""
        if not self._copies or self._is_kept(artifact):
            return self.manifest(artifact.path)
        manifest = self._copies.manifest(artifact.path)
        _refuse_another(artifact, manifest)
        return manifest

    def write(
        self,
        slot: "Slot",
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
            arrow = parquet.arrow(table)
            content = parquet.written(arrow)
            write_atomically(folder / name, content)
            files[name] = File(sha256=sha256(content), bytes=len(content), rows=arrow.num_rows)
        for name, picture in (pictures or {}).items():
            write_atomically(folder / name, picture)
            files[name] = File(sha256=sha256(picture), bytes=len(picture))
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
        if self._copies:
            self._copies.send(slot.path, manifest)
        return reference(slot.path, manifest)

    def verify(self, path: str) -> None:
        """Raise DamagedError unless all files of the artifact at a path are whole where it lies."""
        if self._copies:
            self._copies.check(path)
        else:
            self.check_files(path, self.manifest(path))

    def discard(self, path: str) -> None:
        """Take away what says that there is an artifact at a path."""
        self.remove(f"{path}/{MANIFEST}")

    def folders(self) -> list[Path]:
        """List the folders in which files of the store are written, and no others."""
        own = [self.root, *(self.root / name for name in (RECORDS, CHECKPOINTS, RUNS))]
        steps = [self.root / step for step in NEEDS]
        return own + steps + [path for step in steps for path in step.glob("*/")]

    def names(self, folder: str) -> list[str]:
        """List the whole files in a folder of the store itself: others begin with a dot."""
        if self._bucket:
            return list(self._bucket.sizes(folder))
        files = (path for path in (self.root / folder).glob("[!.]*") if path.is_file())
        return sorted(f"{folder}/{file.name}" for file in files)

    def put(self, name: str, content: bytes) -> None:
        """Write a file of the store itself, such as the list of the latest run's artifacts."""
        write_atomically(self.root / name, content)
        if self._bucket:
            self._bucket.put(name, content)

    def get(self, name: str) -> bytes | None:
        """Read a file of the store itself; None if there is none."""
        return self.blob(name).read()

    def copy_of(self, name: str) -> Path | None:
        """Return where a file of the store itself lies on this machine; None if there is none."""
        content = self.get(name)
        if content is None:
            return None
        if self._bucket:
            OnDisk(self.root / name).write(content)
        return self.root / name

    def remove(self, name: str) -> None:
        """Let a file of the store itself be gone."""
        for blob in (self.blob(name), OnDisk(self.root / name)):
            blob.remove()

    @cached_property
    def _bucket(self) -> Bucket | None:
        return Bucket(self.address) if self.address else None

    @property
    def _copies(self) -> Copies | None:
        return Copies(self._bucket, self.root) if self._bucket else None

    def _fetch(self, path: str, *, mend: bool = False) -> None:
        self._inside(path)
        if self._copies:
            self._copies.fetch(path, mend=mend)

    def _here(self, artifact: Artifact) -> Path:
        """Return the folder of an artifact on this machine, once just this one is in it."""
        folder = self._inside(artifact.path)
        if self._copies and not self._is_kept(artifact, whole=True):
            self._copies.fetch(artifact.path)
            _refuse_another(artifact, self.manifest(artifact.path))
        return folder

    def _is_kept(self, artifact: Artifact, *, whole: bool = False) -> bool:
        try:
            manifest = self.manifest(artifact.path)
            if whole:
                self.check_files(artifact.path, manifest)
        except DamagedError:
            return False
        return reference(artifact.path, manifest) == artifact

    def _inside(self, path: str) -> Path:
        folder = (self.root / path).resolve()
        if not folder.is_relative_to(self.root.resolve()):
            raise DamagedError(f"{path} points outside the store")
        return folder


def _refuse_another(artifact: Artifact, manifest: Manifest) -> None:
    if reference(artifact.path, manifest) != artifact:
        raise DamagedError(f"{artifact.path} was computed again with another content")


class Slot(Frozen):
    """Where a result goes and all that it follows from."""

    store: Store
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
        return path_of(self.step, self.label, self.key)

    @property
    def checkpoint(self) -> Blob:
        """What keeps the state of a training until its result is stored."""
        return self.store.blob(f"{CHECKPOINTS}/{self.key}")
