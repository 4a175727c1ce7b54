"""How a task's result is found again: by the hash of all that it follows from.

Prefect's own records only mirror the store: a record holds the reference to an artifact, and is a
hit only while the artifact's files are there and unchanged.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import Task
from prefect.cache_policies import CacheKeyFnPolicy, CachePolicy
from prefect.context import TaskRunContext
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore
from prefect.serializers import Serializer
from pydantic import BaseModel, Field, TypeAdapter

from cyclical import fingerprint
from cyclical.store import Artifact, DamagedError, Slot, Store, Table, recipe_key

RECORDS = ".records"
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
        artifact = Artifact.model_validate_json(blob)
        try:
            Store(root=Path(self.root)).check(artifact)
        except DamagedError as damage:
            log.warning("%s: it is computed again", damage)
            raise
        return artifact


def _slot_key(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    key: str = parameters["slot"].key
    return key


BY_SLOT: CachePolicy = CacheKeyFnPolicy(cache_key_fn=_slot_key)


def slot_for(
    task: Task[..., Artifact],
    store: Store,
    step: str,
    label: str,
    inputs: Mapping[str, Any],
) -> Slot:
    """Work out where a task's result goes: the recipe it follows from, and the recipe's hash.

    The recipe holds the task's inputs (of artifacts the content hashes alone), the fingerprint of
    its code, and the versions that this code depends on.
    """
    code = fingerprint.of_task(task.fn)
    recipe = {
        "inputs": _plain(inputs),
        "code": code,
        "versions": fingerprint.versions(code),
    }
    return Slot(
        root=store.root, step=step, label=label, key=recipe_key(step, label, recipe), recipe=recipe
    )


def bound(task: Task[..., Artifact], slot: Slot, *, refresh: bool = False) -> Task[..., Artifact]:
    """Return the task as it runs for a slot: its name, and where its record lies."""
    return task.with_options(
        task_run_name=slot.label,
        cache_policy=BY_SLOT,
        persist_result=True,
        cache_result_in_memory=False,
        result_storage=slot.root / RECORDS,
        result_serializer=ArtifactSerializer(root=str(slot.root)),
        refresh_cache=refresh,
    )


def recorded(slot: Slot) -> bool:
    """Tell whether the slot's artifact is whole, and bring Prefect's record in line with that.

    A record that outlives its artifact must go: in a store that was copied it still names the
    place that it came from, whose files may well be whole.
    """
    artifact = Store(root=slot.root).find(slot)
    if artifact is None:
        (slot.root / RECORDS / slot.key).unlink(missing_ok=True)
        return False
    records = ResultStore(
        result_storage=LocalFileSystem(basepath=str(slot.root / RECORDS)),
        serializer=ArtifactSerializer(root=str(slot.root)),
        cache_result_in_memory=False,
    )
    if not records.exists(slot.key):
        records.write(artifact, key=slot.key)
    return True


def save(
    slot: Slot, tables: Mapping[str, Table], pictures: Mapping[str, bytes] | None = None
) -> Artifact:
    """Store a task's result, with the time since the task run began."""
    context = TaskRunContext.get()
    began = context.start_time if context else datetime.now(UTC)
    return Store(root=slot.root).write(
        slot,
        tables,
        pictures,
        duration_seconds=(datetime.now(UTC) - began).total_seconds(),
    )


def _plain(inputs: Mapping[str, Any]) -> Any:
    return json.loads(TypeAdapter(dict[str, Any]).dump_json(_without_paths(dict(inputs))))


def _without_paths(value: Any) -> Any:
    """Reduce artifacts to their content: where one lies makes no difference to what follows."""
    if isinstance(value, Artifact):
        return value.files
    if isinstance(value, BaseModel):
        return value
    if isinstance(value, Mapping):
        return {name: _without_paths(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(item) for item in value]
    return value
