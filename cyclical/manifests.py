"""What an artifact is: a reference to it, its manifest, its key, and how it can be damaged."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field, ValidationError

from cyclical.values import Frozen

MANIFEST = "manifest.json"
SCHEMA: Literal[3] = 3
KEY_CHARACTERS = 12
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


class File(Frozen):
    """One file of an artifact; only tables have `rows`."""

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
    files: dict[FileName, File]
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
        return sha256(self.model_dump_json(exclude={"digest"}).encode())


class DamagedError(Exception):
    """An artifact's file is missing or differs from what the manifest says."""


class OtherVersionError(DamagedError):
    """An artifact was written by another version of this package: of no use, but not damaged."""


def parsed(content: bytes, path: str, told: object) -> Manifest:
    """Read the manifest of the artifact at `path`; raise DamagedError, of `told`, if it is none."""
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        if _version(content):
            raise OtherVersionError(f"{told} is of another version") from error
        raise DamagedError(f"{told} can't be read ({type(error).__name__})") from error
    if path_of(manifest.step, manifest.label, manifest.key) != path:
        raise DamagedError(f"{told} is of another key")
    return manifest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise DamagedError unless the files in a folder are those that the manifest names."""
    for name, file in manifest.files.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise DamagedError(f"{folder / name} can't be read ({error.strerror})") from error
        if sha256(content) != file.sha256:
            raise DamagedError(f"{folder / name} differs from its manifest")


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
    return sha256(text.encode())


def path_of(step: str, label: str, key: Sha256) -> str:
    """Name the folder of an artifact."""
    return f"{step}/{label}-{key[:KEY_CHARACTERS]}"


def reference(path: str, manifest: Manifest) -> Artifact:
    """Return the reference to the artifact at a path."""
    tables = {name: file for name, file in manifest.files.items() if file.rows is not None}
    return Artifact(
        path=path,
        files={name: file.sha256 for name, file in tables.items()},
        rows={name: file.rows or 0 for name, file in tables.items()},
    )


def sha256(content: bytes | memoryview) -> Sha256:
    """Hash a content."""
    hasher: Callable[[bytes | memoryview], Any] = hashlib.sha256
    return str(hasher(content).hexdigest())


def _version(content: bytes) -> int | None:
    """Return the version of a manifest that can't be read; None where it has none."""
    try:
        version = json.loads(content)["schema_version"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return version if isinstance(version, int) and 0 < version < SCHEMA else None
