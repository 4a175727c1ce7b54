"""Artifacts of a store elsewhere, and the copies of them that one machine keeps."""

from dataclasses import dataclass
from pathlib import Path

from cyclical.buckets import Bucket, Object
from cyclical.files import File
from cyclical.manifests import MANIFEST, DamagedError, Manifest, Sha256, check_files, parsed, sha256


@dataclass(frozen=True)
class Copies:
    """The folder `root` of this machine, in the layout of the store that lies in a bucket."""

    bucket: Bucket
    root: Path

    def fetch(self, path: str) -> None:
        """Bring the copy of an artifact in line with what is there.

        One that is whole here and gone there is put there again.

        Raises:
            DamagedError: It is damaged there; or gone there, and damaged here.
        """
        here, there = self._pair(f"{path}/{MANIFEST}")
        content, kept = there.read(), here.read()
        if content is None and kept is not None:
            manifest = parsed(kept, path, here)
            check_files(self.root / path, manifest)
            self.send(path, manifest)
        elif content is not None:
            for name, file in parsed(content, path, there).files.items():
                self._fetch_file(f"{path}/{name}", file.sha256)
            if kept != content:
                here.write(content)

    def send(self, path: str, manifest: Manifest) -> None:
        """Put an artifact that is whole here where the store is; its manifest last."""
        for name in (*manifest.files, MANIFEST):
            self.bucket.put(f"{path}/{name}", (self.root / path / name).read_bytes())

    def _fetch_file(self, name: str, wanted: Sha256) -> None:
        here, there = self._pair(name)
        kept = here.read()
        if kept is not None and sha256(kept) == wanted:
            return
        content = there.read()
        if content is None:
            raise DamagedError(f"{there} can't be read (it is not there)")
        if sha256(content) != wanted:
            raise DamagedError(f"{there} differs from its manifest")
        here.write(content)

    def _pair(self, name: str) -> tuple[File, Object]:
        return File(self.root / name), Object(self.bucket, name)
