"""Files in a store elsewhere, such as S3, by fsspec.

What the library of a file system does not mend by asking again, with limits of its own, is told in
a line: InputError where waiting mends nothing (no access, no such bucket), OSError for the rest.
"""

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import fsspec

from cyclical.errors import InputError, one_line

PROTOCOLS = ("s3", "gs", "abfs")
"""Those of fsspec's that put a file in the place of another one whole."""
ADDRESS = re.compile(rf"({'|'.join(PROTOCOLS)})://[^\s?#/]+(/[^\s?#]*)?")
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "s3": {
        "max_concurrency": 1,  # else a file's size is asked for before it is read
        "config_kwargs": {
            "connect_timeout": 10,
            "read_timeout": 20,
            "retries": {"mode": "standard", "max_attempts": 4},
        },
    }
}
"""What a file system is told, by its protocol, where fsspec's own configuration does not."""


S3_RETRIES = 2
"""How often s3fs does what boto has tried by itself: 5, its own choice, take hours in vain."""


def is_address(place: str) -> bool:
    """Tell whether a place is elsewhere, and not a folder of this machine.

    >>> is_address("s3://bucket/prefix"), is_address("artifacts")
    (True, False)
    """
    return "://" in place


def checked(address: str) -> str:
    """Return an address without the slashes at its end.

    Raises:
        InputError: It is none, or has a password in it.
    """
    protocol, _, rest = address.partition("://")
    if "@" in rest or ":" in rest.partition("/")[0]:
        raise InputError(
            f"the {protocol}:// address has a name or a password in it, which would be kept with "
            "every result: give them by the environment (docs/clusters.md)"
        )
    if not ADDRESS.fullmatch(address):
        raise InputError(
            f"{address!r} is no address for results: name one such as s3://bucket/prefix, of "
            f"{', '.join(PROTOCOLS[:-1])} or {PROTOCOLS[-1]}"
        )
    return address.rstrip("/")


@dataclass(frozen=True)
class Bucket:
    """All files whose names begin with one address."""

    address: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Let no password travel: the other process has its own."""
        return type(self), (self.address,)

    def get(self, name: str) -> bytes | None:
        """Return a file's content; None if it is not there."""
        with self._told(name):
            try:
                return cast(bytes, self._files.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def put(self, name: str, content: bytes) -> None:
        """Put a file in the place of the one before: a reader sees the one or the other."""
        with self._told(name):
            self._files.pipe_file(self._path(name), content)

    def remove(self, name: str) -> None:
        """Let a file be gone."""
        with self._told(name):
            try:
                self._files.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the bytes of all files below a folder, in one request for a thousand of them."""
        with self._told(folder):
            root = self._path("")
            found = self._files.find(self._path(folder), detail=True)
        return {path.removeprefix(root): found[path]["size"] for path in sorted(found)}

    @cached_property
    def _files(self) -> fsspec.AbstractFileSystem:
        protocol = self.address.partition("://")[0]
        defaults = fsspec.config.conf.get(protocol, {})
        options = {"use_listings_cache": False, **OPTIONS.get(protocol, {}), **defaults}
        try:
            files = fsspec.filesystem(protocol, **options)
        except ImportError:
            known = ".venv/bin/pip install -c constraints.txt -e '.[s3]'"
            extra = known if protocol == "s3" else "install it"
            raise InputError(f"{self.address} needs a library of fsspec's: {extra}") from None
        if protocol == "s3":
            files.retries = S3_RETRIES
        return files

    def _path(self, name: str) -> str:
        root: str = self._files._strip_protocol(self.address)
        return f"{root}/{name}"

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        where = f"{self.address}/{name}".rstrip("/")
        try:
            yield
        except InputError:
            raise
        except (FileNotFoundError, PermissionError) as error:
            raise InputError(
                f"{where} can't be used ({one_line(error)}): mend its name, or your rights there"
            ) from error
        except Exception as error:
            raise OSError(errno.EIO, f"the store fails ({one_line(error)})", where) from error


@dataclass(frozen=True)
class Object:
    """A blob in a bucket."""

    bucket: Bucket
    name: str

    def __str__(self) -> str:
        return f"{self.bucket.address}/{self.name}"

    def read(self) -> bytes | None:
        """Return its content; None if it is not there."""
        return self.bucket.get(self.name)

    def write(self, content: bytes) -> None:
        """Put a content in the place of the one before."""
        self.bucket.put(self.name, content)

    def remove(self) -> None:
        """Let it be gone."""
        self.bucket.remove(self.name)
