"""Artifacts of a store elsewhere, and the copies of them that one machine keeps."""

import os
from dataclasses import dataclass
from pathlib import Path

from cyclical.buckets import Bucket, Object
from cyclical.errors import InputError
from cyclical.files import File
from cyclical.manifests import (
    KEY_CHARACTERS,
    MANIFEST,
    DamagedError,
    Manifest,
    Sha256,
    check_files,
    parsed,
    sha256,
)


def folder_for(address: str) -> Path:
    """Return the folder of this machine for what it keeps of a store elsewhere.

    Raises:
        InputError: The user has no home, and CYCLICAL_CACHE names no folder.
    """
    name = f"{address.rpartition('/')[2]}-{sha256(address.encode())[:KEY_CHARACTERS]}"
    return _caches() / name


@dataclass(frozen=True)
class Copies:
    """The folder `root` of this machine, in the layout of the store that lies in a bucket."""

    bucket: Bucket
    root: Path

    def fetch(self, path: str, *, mend: bool = False) -> None:
        """Bring the copy of an artifact in line with what is there.

        One that is whole here and gone there is put there again where it is to be mended.

        Raises:
            DamagedError: It is damaged there; or gone there, and damaged here.
        """
        here, there = self._pair(f"{path}/{MANIFEST}")
        content, kept = there.read(), here.read()
        if content is None:
            if kept is not None and mend:
                manifest = parsed(kept, path, here)
                check_files(self.root / path, manifest)
                self.send(path, manifest)
            return
        manifest = parsed(content, path, there)
        for name, file in manifest.files.items():
            self._fetch_file(f"{path}/{name}", file.sha256)
        if kept != content:
            here.write(content)
        if mend:
            self._mend(path, manifest)

    def check(self, path: str) -> None:
        """Read an artifact whole where it is, whatever is here; raise DamagedError if it is not."""
        for name, file in self.manifest(path).files.items():
            _, there = self._pair(f"{path}/{name}")
            _whole(there, file.sha256)

    def manifest(self, path: str) -> Manifest:
        """Read a manifest where it is; raise DamagedError if it can't be read."""
        _, there = self._pair(f"{path}/{MANIFEST}")
        return parsed(there.read() or b"", path, there)

    def _mend(self, path: str, manifest: Manifest) -> None:
        """Put those files there again that are gone there, or cut off."""
        sizes = self.bucket.sizes(path)
        for name, file in manifest.files.items():
            if sizes.get(f"{path}/{name}") != file.bytes:
                here, there = self._pair(f"{path}/{name}")
                there.write(here.path.read_bytes())

    def send(self, path: str, manifest: Manifest) -> None:
        """Put an artifact that is whole here where the store is; its manifest last."""
        for name in (*manifest.files, MANIFEST):
            self.bucket.put(f"{path}/{name}", (self.root / path / name).read_bytes())

    def _fetch_file(self, name: str, wanted: Sha256) -> None:
        here, there = self._pair(name)
        kept = here.read()
        if kept is not None and sha256(kept) == wanted:
            return
        here.write(_whole(there, wanted))

    def _pair(self, name: str) -> tuple[File, Object]:
        return File(self.root / name), Object(self.bucket, name)


def _whole(there: Object, wanted: Sha256) -> bytes:
    content = there.read()
    if content is None:
        raise DamagedError(f"{there} can't be read (it is not there)")
    if sha256(content) != wanted:
        raise DamagedError(f"{there} differs from its manifest")
    return content


def _caches() -> Path:
    """Return the folder for what is kept here of stores elsewhere."""
    if own := os.environ.get("CYCLICAL_CACHE"):
        return Path(own).absolute()
    home = Path(os.environ.get("XDG_CACHE_HOME") or "")
    try:
        return (home if home.is_absolute() else Path.home() / ".cache") / "cyclical"
    except RuntimeError:  # a user without a home, as in a container
        raise InputError(
            "there is no home for copies of what lies elsewhere: set CYCLICAL_CACHE to a folder"
        ) from None
