"""Prefect's own records of results, which only mirror the store.

A record holds the reference to an artifact, and is a hit only while the artifact's files are there
and unchanged.
"""

import json
import logging
from functools import cache
from pathlib import Path

from prefect.exceptions import ObjectAlreadyExists
from prefect.filesystems import LocalFileSystem, WritableFileSystem
from prefect.results import ResultStore
from prefect.serializers import Serializer
from pydantic import Field, ValidationError

from cyclical.buckets import Bucket
from cyclical.files import Blob
from cyclical.manifests import KEY_CHARACTERS, Artifact, DamagedError, sha256
from cyclical.store import RECORDS, Slot, Store

log = logging.getLogger(__name__)


class ArtifactSerializer(Serializer):  # Prefect refuses Serializer[Artifact]
    """Keep the reference as JSON; on reading, refuse it unless its files are whole."""

    type: str = Field(default="cyclical-artifact", frozen=True)
    root: str

    def dumps(self, obj: Artifact) -> bytes:
        """Write the reference."""
        return obj.model_dump_json().encode()

    def loads(self, blob: bytes) -> Artifact:
        """Read the reference and check its files; Prefect takes any exception for a miss."""
        try:
            artifact = Artifact.model_validate_json(blob)
            Store.at(self.root).check(artifact)
        except (DamagedError, ValidationError) as damage:
            log.warning("%s: it is computed again", damage)
            raise
        return artifact


def serializer(store: Store) -> ArtifactSerializer:
    """Return what reads and writes the references to a store's artifacts."""
    return ArtifactSerializer(root=store.name)


class Records(WritableFileSystem):
    """Prefect's records in a bucket: beside the artifacts, and by the same means."""

    _block_type_name = "Cyclical Records"
    _block_type_slug = "cyclical-records"

    address: str

    # Prefect awaits no method that is not async; where it calls from a thread, it says so (_sync).

    def read_path(self, path: str, *, _sync: bool = True) -> bytes:  # type: ignore[override]
        """Return a record; Prefect takes any exception for none."""
        content = Bucket(self.address).get(path)
        if content is None:
            raise ValueError(f"there is no {path}")
        return content

    def write_path(self, path: str, content: bytes, *, _sync: bool = True) -> None:  # type: ignore[override]
        """Keep a record."""
        Bucket(self.address).put(path, content)


@cache
def storage(store: Store) -> Path | Records:
    """Say where Prefect keeps its records: beside the artifacts, so that all machines find them.

    Prefect refuses storage elsewhere that its server does not know.
    """
    if store.address is None:
        return store.root / RECORDS
    records = Records(address=f"{store.address}/{RECORDS}")
    name = f"cyclical-{sha256(store.address.encode())[:KEY_CHARACTERS]}"
    try:
        records.save(name, overwrite=True)
    except ObjectAlreadyExists:  # another machine has just told the server of this kind of block
        records.save(name, overwrite=True)
    return records


def recorded(slot: Slot) -> bool:
    """Tell whether the slot's artifact is whole, and bring Prefect's record in line with that.

    A record that outlives its artifact must go: in a store that was copied it still names the
    place that it came from, whose files may well be whole.
    """
    artifact = slot.store.find(slot, mend=True)
    record = slot.store.blob(f"{RECORDS}/{slot.key}")
    if artifact is None:
        record.remove()
        return False
    slot.checkpoint.remove()  # of a process that was killed when all was stored
    if not _is_of(slot.store, record):
        place = storage(slot.store)
        ResultStore(
            result_storage=LocalFileSystem(basepath=str(place))
            if isinstance(place, Path)
            else place,
            serializer=serializer(slot.store),
            cache_result_in_memory=False,
        ).write(artifact, key=slot.key)
    return True


def _is_of(store: Store, record: Blob) -> bool:
    """Tell whether there is a readable record that was made at the store's present place."""
    try:
        made_at: str = json.loads(record.read() or b"")["metadata"]["serializer"]["root"]
    except (ValueError, LookupError, TypeError):
        return False
    return made_at == store.name
