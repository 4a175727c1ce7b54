"""How a task's result is found again: by the hash of all that it follows from."""

import errno
import json
import logging
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import Any, cast

import httpx
from prefect import Task
from prefect.cache_policies import CacheKeyFnPolicy, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.context import TaskRunContext
from pydantic import BaseModel, TypeAdapter

from cyclical import fingerprint, machine
from cyclical.config import Data
from cyclical.errors import InputError, RunError, one_line
from cyclical.manifests import Artifact
from cyclical.parquet import Table
from cyclical.plans import Training
from cyclical.store import Slot, Store
from tasks import records

ARITHMETIC = {
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # oneDNN picks kernels by processor; this holds them to one instruction set.
    "ONEDNN_MAX_CPU_ISA": machine.instruction_set(),
}
"""The environment on which TensorFlow's results depend to the bit: a part of every key of its."""
ARITHMETIC_ON_GPU = ARITHMETIC | {
    "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
    "TF_XLA_FLAGS": "",
    "NVIDIA_TF32_OVERRIDE": "0",  # TF32 would keep 11 of float32's 24 bits
}
"""The same for a worker on a GPU, where `cluster.import_tensorflow` adds what has no variable."""
CUDA_FOLDER = "--xla_gpu_cuda_data_dir="
GPU_LIBRARIES = ("nvidia-cublas-cu12", "nvidia-cudnn-cu12")
RETRY_SECONDS = (2, 15, 60)
PASSING = (OSError, httpx.TransportError, ConcurrencySlotAcquisitionError)
LASTING = (  # waiting mends none of these
    *(FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError),
    PermissionError,
)
LASTING_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # a disk is full, or read-only
log = logging.getLogger(__name__)


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
    *,
    gpu: Mapping[str, str] | None = None,
) -> Slot:
    """Work out where a task's result goes: the recipe it follows from, and the recipe's hash.

    The recipe holds the task's inputs (of artifacts the content hashes alone), the fingerprints of
    its code and of the user's that it calls, the versions that this code depends on, and
    TensorFlow's environment where it is used, with the device: a `gpu` (see `gpu_here`), or else
    the CPU.
    """
    code, versions = code_and_versions(task.fn)
    recipe: dict[str, Any] = {"inputs": _plain(inputs), "code": code, "versions": versions}
    theirs = {
        reference: _user_code(reference)
        for value in inputs.values()
        for each in (value if isinstance(value, list | tuple) else [value])
        if isinstance(each, Training | Data)
        for reference in each.user_code
    }
    if theirs:
        recipe["user_code"] = theirs
    if "tensorflow" in versions:
        recipe["environment"] = (ARITHMETIC_ON_GPU | dict(gpu) if gpu else ARITHMETIC) | {
            "machine": platform.machine(),
            "device": "GPU" if gpu else "CPU",
        }
    return Slot(store=store, step=step, label=label, recipe=recipe)


def gpu_here() -> dict[str, str]:
    """Say what the results of this process's GPUs depend on to the bit: their model, and libraries.

    Raises:
        InputError: They may be of several models.
    """
    models = sorted(set(machine.gpus()))
    if len(models) > 1:
        raise InputError(
            f"the GPUs of this machine are of several kinds ({', '.join(models)}), whose results "
            "differ: name those of one to CUDA by their UUIDs, as `nvidia-smi -L` tells them "
            "(CUDA_VISIBLE_DEVICES=GPU-...)"
        )
    return of_gpu(*models)


def of_gpu(model: str = "unknown") -> dict[str, str]:
    """Say what the results of a GPU of this model depend on, with the libraries installed here."""
    installed = {each.name.lower(): each.version for each in metadata.distributions()}
    libraries = {name: installed[name] for name in GPU_LIBRARIES if name in installed}
    return {"gpu": model, "op_determinism": "on", "tensor_float_32": "off"} | libraries


@cache
def code_and_versions(function: Callable[..., Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Read the sources once a process: it goes on with what it imported, whatever is edited."""
    code = fingerprint.of_task(function)
    return code, fingerprint.versions(code)


@cache
def _user_code(reference: str) -> dict[str, str]:
    """Read the user's sources once a process, as our own."""
    return fingerprint.of_user_code(reference)


@cache
def _modules_now(modules: tuple[str, ...]) -> dict[str, str]:
    return fingerprint.of_modules(modules)


def refuse_edited_code(slot: Slot) -> None:
    """Raise InputError where this process imported other code than the slot's key was made of.

    A worker calls it right after importing the modules, which may be long after the run began.
    """
    keyed = {
        name: code for name, code in slot.recipe["code"].items() if name.startswith("cyclical.")
    }
    theirs: dict[str, dict[str, str]] = slot.recipe.get("user_code", {})
    edited = [reference for reference, code in theirs.items() if _user_code(reference) != code]
    if edited or _modules_now(tuple(keyed)) != keyed:
        raise InputError(
            "this process has imported other code than its results would be kept by, so it was "
            "edited in between: run again, and start a worker of a cluster that lives on again"
        )


def refuse_other_arithmetic(slot: Slot) -> None:
    """Raise RunError on a worker that would compute otherwise than the slot's key says."""
    from cyclical import updates

    wanted: dict[str, str] = slot.recipe["environment"]
    unlike = [
        name
        for name in ARITHMETIC_ON_GPU.keys() & wanted.keys()
        if _flags(os.environ.get(name, "unset")) != _flags(wanted[name])
    ]
    if updates.on_gpu() != (wanted["device"] == "GPU"):
        unlike.append("device")
    if unlike:
        raise RunError(
            f"this worker has another {min(unlike)} than {wanted[min(unlike)]!r}, by which the "
            "result would be kept: start it again"
        )


def _flags(value: str) -> list[str]:
    """Split a variable; where CUDA lies changes no result."""
    return [word for word in value.split() if not word.startswith(CUDA_FOLDER)]


def run_name(step: str, label: str) -> str:
    """Name a task run in Prefect's UI.

    >>> run_name("lr_sweep", "lr=0.001-seed=0"), run_name("lr_bounds", "pictures")
    ('lr=0.001 seed=0', 'lr_bounds pictures')
    """
    told = label.replace("-seed=", " seed=").replace("-pictures", " pictures")
    return told if "seed=" in told else f"{step} {told}"


def passing(
    task: Task[..., Artifact],  # noqa: ARG001 (Prefect's signature)
    run: TaskRun,
    state: State[Any],
) -> bool:
    """Tell whether a failure may pass: a disk or a server that did not answer.

    Wrong input and defects fail again, so they are told at once, a defect with its traceback:
    Prefect logs none for a failure that it was told not to retry.
    """
    error = state.data  # Prefect hands the exception itself, whatever its annotation says
    of_the_disk = getattr(error, "errno", None) in LASTING_NUMBERS
    if isinstance(error, PASSING) and not (isinstance(error, LASTING) or of_the_disk):
        log.warning("%s failed (%s): it is tried again", run.name, one_line(error))
        return True
    if not (isinstance(error, InputError) or of_the_disk):
        log.error("%s failed", run.name, exc_info=cast(Exception, error))
    return False


def bound(task: Task[..., Artifact], slot: Slot, *, refresh: bool = False) -> Task[..., Artifact]:
    """Return the task as it runs for a slot: its name, its retries, where its record lies."""
    return task.with_options(
        task_run_name=run_name(slot.step, slot.label),
        cache_policy=BY_SLOT,
        persist_result=True,
        cache_result_in_memory=False,
        result_storage=records.storage(slot.store),
        result_serializer=records.serializer(slot.store),
        refresh_cache=refresh,
        retries=len(RETRY_SECONDS),
        retry_delay_seconds=list(RETRY_SECONDS),
        retry_condition_fn=passing,
    )


def save(
    slot: Slot,
    tables: Mapping[str, Table],
    pictures: Mapping[str, bytes] | None = None,
    *,
    epoch_seconds: Sequence[float] = (),
) -> Artifact:
    """Store a task's result, with the seconds that it took since the task run began.

    Of a training, `epoch_seconds` tells them: from its beginning to the end of every epoch.
    """
    if epoch_seconds:
        seconds = epoch_seconds[-1]
    else:
        context = TaskRunContext.get()
        now = datetime.now(UTC)
        seconds = (now - (context.start_time if context else now)).total_seconds()
    return slot.store.write(
        slot, tables, pictures, duration_seconds=seconds, epoch_seconds=epoch_seconds
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
