"""Whatever is typed or stands in a file gets a result or a line: no traceback, hang or harm."""

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cyclical import checkpoints, idx, ledger, results, upkeep
from cyclical.config import Experiment
from cyclical.errors import InputError
from cyclical.files import File as OnDisk
from cyclical.manifests import DamagedError, File, Manifest
from cyclical.settings import fields, parse_settings, resolve
from cyclical.store import Slot, Store
from flows.cli import app

T = TypeVar("T")
FIELDS = st.sampled_from(fields())
EXTREMES = st.sampled_from(
    [0, 1, -1, 2**31 - 1, 2**31, 10**30, 1e-320, 1e308, 0.1, [], [1], [2, 1]]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = EXTREMES | st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
on_files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def result_or_line(compute: Callable[[], T]) -> T | None:
    """Return a result; None where it was refused, which must be in one line."""
    try:
        return compute()
    except InputError as error:
        lines = str(error).splitlines()
    assert len(lines) == 1
    return None


# What is typed


@given(st.dictionaries(FIELDS | st.text(max_size=10), JSON, min_size=1, max_size=3))
def test_any_settings_make_an_experiment_or_are_refused_in_a_line(values: dict[str, Any]) -> None:
    chosen = result_or_line(lambda: resolve("quick", values))
    if chosen is not None:
        assert Experiment.model_validate_json(chosen.model_dump_json()) == chosen


@given(st.lists(st.text(max_size=30), max_size=3))
@example(["lr_sweep.epochs=" + "[" * 100_000])
@example(["lr_sweep.epochs=" + "9" * 10_000])
@example(['lr_sweep.epochs={"a": ' * 10_000])
def test_any_words_after_set_are_read_or_refused_in_a_line(words: list[str]) -> None:
    result_or_line(lambda: parse_settings(words))


@pytest.mark.parametrize(
    "pairs",
    [
        {"lr_sweep.epochs": 10**9},
        {"lr_sweep.epochs": 10_000, "training.epochs": 10_000, "batch_sweep.epochs": 10_000},
        {"lr_sweep.learning_rates": [10.0**-power for power in range(300)]},
        {"effective_batch.group": 10**9},
        {"effective_batch.group": 1000},
        {"clr.step_size": 2**31 - 1},
        {"batch_sweep.batch_sizes": [1 << power for power in range(31)]},
        {"batch_bounds.fixed": [1, 2**30], "cyclic_batch.spacing": "linear"},
        {"lr_sweep.method": "clock", "lr_sweep.range_updates": 2**31 - 1},
        {"seeds": list(range(10**5))},
        {"cyclic_batch.reference": [16] * 10**6},
        {"data.path": "\0"},
        {"data.path": "/dev/zero"},
        {"artifacts": "\0"},
        {"clr.policy": "os:abort"},
        {"workers": 2**31 - 1},
        {"gpus": 10**6},
    ],
    ids=", ".join,
)
def test_the_most_that_can_be_asked_for_is_planned_or_refused_soon(
    pairs: dict[str, Any], tmp_path: Path
) -> None:
    asked = {"artifacts": str(tmp_path / "artifacts")} | pairs
    words = [
        word for name, value in asked.items() for word in ("--set", f"{name}={json.dumps(value)}")
    ]
    began = time.process_time()
    ran = CliRunner().invoke(app, ["plan", *words])
    assert time.process_time() - began < 30  # it would take hours, where it took long
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exc_info
    assert ran.exit_code in {0, 2}
    if ran.exit_code:
        assert ran.stderr.startswith("cyclical: ")
        assert len(ran.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# What stands in files


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "artifacts" / ledger.RUNS).mkdir(parents=True)
    return Store(root=tmp_path / "artifacts")


CONTENT = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())


@given(CONTENT)
@on_files
def test_any_content_of_the_stores_own_files_is_told_or_passed_over(
    store: Store, content: bytes
) -> None:
    (store.root / results.LATEST).write_bytes(content)
    (store.root / ledger.RUNS / "20260101T000000.000000Z-x.jsonl").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        results.latest(store)
    found = {finding.path for finding in upkeep.verify(store)}
    assert results.LATEST in found
    assert upkeep.collect(store) == []


TABLE = pd.DataFrame({"x": [1.0]})


def slot_in(store: Store) -> Slot:
    return Slot(store=store, step="lr_sweep", label="lr=0.1-seed=0", recipe={"epochs": 3})


@given(CONTENT)
@on_files
def test_any_content_of_a_manifest_is_no_result(store: Store, content: bytes) -> None:
    slot = slot_in(store)
    store.write(slot, {"t.parquet": TABLE}, duration_seconds=1)
    (store.root / slot.path / "manifest.json").write_bytes(content)
    with pytest.raises(DamagedError):
        store.manifest(slot.path)
    assert store.find(slot) is None
    assert store.earlier(slot.step, slot.label) == []


NAMES = st.sampled_from(["../t.parquet", "/etc/passwd", "a/../../t.parquet", ".t.parquet", "t", ""])


@given(NAMES)
@on_files
def test_a_manifest_names_no_file_outside_its_folder_however_well_it_is_sealed(
    store: Store, name: str
) -> None:
    slot = slot_in(store)
    artifact = store.write(slot, {"t.parquet": TABLE}, duration_seconds=1)
    told = dict(store.manifest(artifact.path))
    del told["digest"]
    forged = Manifest.model_construct(**told | {"files": {name: File(sha256="0" * 64, bytes=1)}})
    sealed = forged.model_copy(update={"digest": forged._hash()})
    (store.root / slot.path / "manifest.json").write_text(sealed.model_dump_json())
    with pytest.raises(DamagedError, match="can't be read"):
        store.manifest(slot.path)


@given(st.sampled_from(["../elsewhere/x-0123456789ab", "/etc/x-0123456789ab", "..", ""]))
@on_files
def test_a_path_that_points_outside_the_store_is_refused(store: Store, path: str) -> None:
    with pytest.raises(DamagedError):
        store.manifest(path)


@given(st.binary(max_size=200))
@on_files
def test_any_content_of_a_checkpoint_begins_the_training_anew(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "checkpoint"
    file.write_bytes(content)
    assert checkpoints.read(OnDisk(file)) is None
    assert not checkpoints.whole(content)


@given(st.binary(max_size=40), st.booleans())
@on_files
def test_any_content_of_an_idx_file_is_refused_in_a_line_and_in_little_memory(
    tmp_path: Path, content: bytes, packed: bool
) -> None:
    import gzip

    kind = (2051).to_bytes(4, "big") if len(content) % 2 else b""
    name = "train-images-idx3-ubyte"
    for old in tmp_path.glob(f"{name}*"):
        old.unlink()
    raw = kind + content
    (tmp_path / (f"{name}.gz" if packed else name)).write_bytes(
        gzip.compress(raw) if packed else raw
    )
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as refused:
            idx.read(tmp_path, name, dimensions=3)
        assert tracemalloc.get_traced_memory()[1] < 3 * idx.MOST_BYTES
    finally:
        tracemalloc.stop()
    assert len(str(refused.value).splitlines()) == 1
