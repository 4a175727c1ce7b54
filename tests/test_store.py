"""The store: what is written is read back, what is damaged is told, and nothing is half written."""

import hashlib
import json
import logging
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cyclical.errors import InputError
from cyclical.manifests import MANIFEST, Artifact, DamagedError, recipe_key
from cyclical.store import Slot, Store, write_atomically

RECIPE = {"inputs": {"epochs": 3}, "code": {"cyclical.training": "ab"}, "versions": {"keras": "3"}}
HISTORY = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, np.nan], "status": ["a", "b"]})
COUNTS = pa.table({"label": pa.array([0, 1, 2], pa.uint8())})
PICTURE = b"\x89PNG\r\n\x1a\n and so on"
TABLES = {"history.parquet": HISTORY, "counts.parquet": COUNTS}
Damage = Callable[[Path], object]


def slot_in(
    root: Path, step: str = "lr_sweep", label: str = "lr=0.1-seed=0", **recipe: Any
) -> Slot:
    """Make a slot whose key is its recipe's."""
    return Slot(store=Store(root=root), step=step, label=label, recipe=RECIPE | recipe)


@pytest.fixture
def shelf(tmp_path: Path) -> Store:
    return Store(root=tmp_path / "artifacts")


@pytest.fixture
def slot(shelf: Store) -> Slot:
    return slot_in(shelf.root)


@pytest.fixture
def written(shelf: Store, slot: Slot) -> Artifact:
    """An artifact of two tables and a picture."""
    return shelf.write(slot, TABLES, {"history.png": PICTURE}, duration_seconds=1.23456)


def files_below(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# Writing and reading


def test_what_was_written_is_found_whole_and_read_back(
    shelf: Store, slot: Slot, written: Artifact
) -> None:
    assert shelf.find(slot) == written
    shelf.check(written)
    pd.testing.assert_frame_equal(shelf.frame(written, "history.parquet"), HISTORY)
    assert shelf.read(written, "counts.parquet").equals(COUNTS)
    assert [picture.read_bytes() for picture in shelf.pictures(written)] == [PICTURE]


def test_a_reference_names_the_tables_with_their_content_and_rows_and_no_picture(
    shelf: Store, slot: Slot, written: Artifact
) -> None:
    folder = shelf.root / written.path
    contents = {name: (folder / name).read_bytes() for name in TABLES}
    assert written.files == {name: sha256(content) for name, content in contents.items()}
    assert written.rows == {"history.parquet": 2, "counts.parquet": 3}
    assert written.path == f"lr_sweep/lr=0.1-seed=0-{slot.key[:12]}"


def test_an_artifacts_folder_holds_its_files_and_nothing_else(
    shelf: Store, written: Artifact
) -> None:
    names = {"history.parquet", "counts.parquet", "history.png", "manifest.json"}
    assert files_below(shelf.root) == {f"{written.path}/{name}" for name in names}


def test_nan_stays_nan_and_does_not_become_null(shelf: Store, written: Artifact) -> None:
    file = shelf.root / written.path / "history.parquet"
    column = pq.read_table(file)["train_loss"]
    assert column.null_count == 0
    assert column.to_pylist()[0] == 0.5
    assert math.isnan(column.to_pylist()[1])


def test_columns_keep_their_types_and_carry_nothing_of_pandas(shelf: Store, slot: Slot) -> None:
    table = pd.DataFrame(
        {
            "epoch": np.array([1], np.int64),
            "loss": np.array([0.1], np.float32),
            "mean": np.array([0.1]),
            "holds": [True],
            "arm": ["clr"],
        },
        index=[7],
    )
    artifact = shelf.write(slot, {"t.parquet": table}, duration_seconds=0)
    schema = shelf.read(artifact, "t.parquet").schema
    types = [pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.string()]
    assert schema.names == list(table.columns)
    assert schema.types == types
    assert schema.metadata is None
    read = shelf.frame(artifact, "t.parquet")
    pd.testing.assert_frame_equal(read, table.reset_index(drop=True))


def test_an_empty_table_has_no_rows_and_keeps_its_columns(shelf: Store, slot: Slot) -> None:
    artifact = shelf.write(slot, {"t.parquet": HISTORY[:0]}, duration_seconds=0)
    assert artifact.rows == {"t.parquet": 0}
    assert list(shelf.frame(artifact, "t.parquet").columns) == list(HISTORY.columns)
    assert shelf.find(slot) == artifact


def test_an_artifact_of_pictures_alone_is_found_and_has_an_empty_reference(
    shelf: Store, slot: Slot
) -> None:
    artifact = shelf.write(slot, {}, {"b.png": b"b", "a.png": b"a"}, duration_seconds=0)
    assert artifact == Artifact(path=slot.path, files={}, rows={})
    assert shelf.find(slot) == artifact
    assert [picture.name for picture in shelf.pictures(artifact)] == ["a.png", "b.png"]


def test_the_same_table_has_the_same_content_wherever_and_whenever_it_is_written(
    tmp_path: Path,
) -> None:
    first, second = (Store(root=tmp_path / name) for name in ("first", "second"))
    one = first.write(slot_in(first.root), TABLES, duration_seconds=1)
    copies = {name: table[:] for name, table in TABLES.items()}
    two = second.write(slot_in(second.root), copies, duration_seconds=2)
    again = first.write(slot_in(first.root, epochs=4), TABLES, duration_seconds=3)
    assert one == two
    assert one.files == again.files
    assert one.path != again.path


def test_another_process_writes_the_same_bytes(shelf: Store, slot: Slot, written: Artifact) -> None:
    code = """
import sys
from pathlib import Path
import numpy as np, pandas as pd
from cyclical.store import Slot, Store
table = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, np.nan], "status": ["a", "b"]})
slot = Slot.model_validate_json(sys.argv[1])
written = slot.store.write(slot, {"t.parquet": table}, duration_seconds=0)
print(written.files["t.parquet"])
"""
    other = slot.model_copy(update={"store": Store(root=shelf.root / "other")})
    ran = subprocess.run(
        [sys.executable, "-c", code, other.model_dump_json()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == written.files["history.parquet"]


numbers = st.floats(width=64) | st.integers(-(2**40), 2**40).map(float)


@settings(deadline=None)
@given(values=st.lists(st.tuples(numbers, st.integers(-(2**63), 2**63 - 1)), max_size=20))
def test_any_numbers_are_read_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[float, int]]
) -> None:
    store = Store(root=tmp_path_factory.getbasetemp() / "any-numbers")
    floats = np.array([value for value, _ in values], np.float64)
    integers = np.array([value for _, value in values], np.int64)
    table = pd.DataFrame({"loss": floats, "count": integers})
    artifact = store.write(slot_in(store.root), {"t.parquet": table}, duration_seconds=0)
    store.check(artifact)
    read = store.frame(artifact, "t.parquet")
    pd.testing.assert_frame_equal(read, table, check_exact=True)
    assert np.signbit(read["loss"]).tolist() == np.signbit(floats).tolist()


def test_nothing_is_found_where_nothing_was_written(
    shelf: Store, slot: Slot, caplog: pytest.LogCaptureFixture
) -> None:
    assert shelf.find(slot) is None
    (shelf.root / slot.path).mkdir(parents=True)
    assert shelf.find(slot) is None
    assert not caplog.records


def test_a_slot_of_another_recipe_is_not_found(shelf: Store, written: Artifact) -> None:
    assert shelf.find(slot_in(shelf.root, epochs=4)) is None
    assert shelf.find(slot_in(shelf.root, label="lr=1-seed=0")) is None
    assert shelf.find(slot_in(shelf.root, step="batch_sweep")) is None


def test_a_store_that_was_moved_is_as_whole_as_before(
    shelf: Store, written: Artifact, tmp_path: Path
) -> None:
    moved = Store(root=Path(shutil.move(shelf.root, tmp_path / "moved")))
    moved.check(written)
    assert moved.find(slot_in(moved.root)) == written


def test_a_file_of_the_store_itself_is_put_and_got(shelf: Store) -> None:
    assert shelf.get("latest.json") is None
    shelf.ensure_writable()
    assert shelf.get("latest.json") is None
    shelf.put("latest.json", b"first")
    shelf.put("latest.json", b"second")
    assert shelf.get("latest.json") == b"second"
    assert files_below(shelf.root) == {"latest.json"}


# The manifest


def test_a_manifest_tells_where_an_artifact_came_from_and_what_belongs_to_it(
    shelf: Store, slot: Slot, written: Artifact
) -> None:
    folder = shelf.root / written.path
    told = json.loads((folder / MANIFEST).read_text())
    rest = {name: value for name, value in told.items() if name != "digest"}
    assert told.pop("digest") == sha256(json.dumps(rest, separators=(",", ":")).encode())
    age = datetime.now(UTC) - datetime.fromisoformat(told.pop("written"))
    assert timedelta() <= age < timedelta(minutes=5)
    contents = {name: (folder / name).read_bytes() for name in [*TABLES, "history.png"]}
    rows = {"history.parquet": 2, "counts.parquet": 3, "history.png": None}
    assert told == {
        "schema_version": 3,
        "step": "lr_sweep",
        "label": "lr=0.1-seed=0",
        "key": slot.key,
        "recipe": RECIPE,
        "duration_seconds": 1.235,
        "epoch_seconds": [],
        "files": {
            name: {"sha256": sha256(content), "bytes": len(content), "rows": rows[name]}
            for name, content in contents.items()
        },
    }


def test_a_manifest_is_read_back(shelf: Store, slot: Slot, written: Artifact) -> None:
    manifest = shelf.manifest(written.path)
    assert (manifest.step, manifest.label, manifest.key) == (slot.step, slot.label, slot.key)
    assert recipe_key(manifest.step, manifest.label, manifest.recipe) == slot.key
    assert manifest.duration_seconds == 1.235


# Damage


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def lengthened(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\n")


def replaced_by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def replaced_by_a_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


DAMAGES = [flipped, truncated, emptied, lengthened, Path.unlink, replaced_by_a_folder]


def told_as_damaged(
    shelf: Store, slot: Slot, artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> str:
    """Let `find` and `check` both see the damage; return the one warning."""
    with caplog.at_level(logging.WARNING):
        assert shelf.find(slot) is None
    with pytest.raises(DamagedError):
        shelf.check(artifact)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "computed again" in record.getMessage()
    return record.getMessage()


@pytest.mark.parametrize("damage", [*DAMAGES, replaced_by_a_loop])
@pytest.mark.parametrize("name", ["history.parquet", "counts.parquet", "history.png"])
def test_a_damaged_file_is_told_by_name_and_not_served(
    shelf: Store,
    slot: Slot,
    written: Artifact,
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: Damage,
) -> None:
    damage(shelf.root / written.path / name)
    assert name in told_as_damaged(shelf, slot, written, caplog)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_changed_bit_of_any_file_is_seen(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = Store(root=tmp_path_factory.getbasetemp() / "changed-bits")
    slot = slot_in(store.root)
    artifact = store.write(slot, TABLES, {"p.png": PICTURE}, duration_seconds=0)
    assert store.find(slot) == artifact
    file = store.root / artifact.path / data.draw(st.sampled_from([*TABLES, "p.png"]))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    assert store.find(slot) is None
    with pytest.raises(DamagedError, match=file.name):
        store.check(artifact)


def no_json(manifest: Path) -> None:
    manifest.write_text("{")


def other_json(manifest: Path) -> None:
    manifest.write_text("[1, 2]")


def no_text(manifest: Path) -> None:
    manifest.write_bytes(b"\xff\xfe\x00")


def without_files(manifest: Path) -> None:
    told = json.loads(manifest.read_text())
    del told["files"]
    manifest.write_text(json.dumps(told))


def with_something_unknown(manifest: Path) -> None:
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"unknown": 1}))


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        emptied,
        no_json,
        other_json,
        no_text,
        without_files,
        with_something_unknown,
        replaced_by_a_folder,
    ],
)
def test_a_damaged_manifest_is_told_and_its_artifact_not_served(
    shelf: Store, slot: Slot, written: Artifact, caplog: pytest.LogCaptureFixture, damage: Damage
) -> None:
    damage(shelf.root / written.path / MANIFEST)
    assert MANIFEST in told_as_damaged(shelf, slot, written, caplog)


def test_the_manifest_of_another_artifact_is_told_and_its_files_not_served(
    shelf: Store, slot: Slot, written: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    other = shelf.write(slot_in(shelf.root, epochs=4), {"x.parquet": COUNTS}, duration_seconds=0)
    shutil.copy(shelf.root / other.path / MANIFEST, shelf.root / written.path / MANIFEST)
    assert "of another key" in told_as_damaged(shelf, slot, written, caplog)


def test_a_whole_artifact_in_the_place_of_another_is_not_served(
    shelf: Store, slot: Slot, written: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    other = shelf.write(slot_in(shelf.root, epochs=4), {"x.parquet": COUNTS}, duration_seconds=0)
    shutil.rmtree(shelf.root / written.path)
    shutil.copytree(shelf.root / other.path, shelf.root / written.path)
    told_as_damaged(shelf, slot, written, caplog)


def test_a_deleted_manifest_is_as_if_nothing_had_been_written(
    shelf: Store, slot: Slot, written: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    (shelf.root / written.path / MANIFEST).unlink()
    assert shelf.find(slot) is None
    assert not caplog.records
    with pytest.raises(DamagedError, match=MANIFEST):
        shelf.check(written)


def test_a_reference_to_what_was_computed_again_otherwise_is_refused(
    shelf: Store, slot: Slot, written: Artifact
) -> None:
    changed = {**TABLES, "history.parquet": HISTORY.assign(epoch=[1, 3])}
    again = shelf.write(slot, changed, {"history.png": PICTURE}, duration_seconds=1)
    shelf.check(again)
    with pytest.raises(DamagedError, match="computed again with another content"):
        shelf.check(written)


def test_what_was_damaged_is_whole_once_it_is_written_again(
    shelf: Store, slot: Slot, written: Artifact
) -> None:
    for name in ("history.parquet", "history.png", MANIFEST):
        truncated(shelf.root / written.path / name)
        assert shelf.find(slot) is None
        again = shelf.write(slot, TABLES, {"history.png": PICTURE}, duration_seconds=9)
        assert again == written
        assert shelf.find(slot) == written


# Places outside the store


@pytest.mark.parametrize("path", ["..", "../elsewhere", "lr_sweep/../../elsewhere", "/etc", "link"])
def test_a_reference_that_points_outside_the_store_is_refused(
    shelf: Store, tmp_path: Path, path: str
) -> None:
    outside = tmp_path / "elsewhere"
    store = Store(root=outside)
    whole = store.write(slot_in(outside), TABLES, {"p.png": PICTURE}, duration_seconds=0)
    shelf.ensure_writable()
    (shelf.root / "link").symlink_to(outside)
    reference = whole.model_copy(update={"path": f"{path}/{whole.path}"})
    for use in (
        lambda: shelf.check(reference),
        lambda: shelf.manifest(reference.path),
        lambda: shelf.read(reference, "history.parquet"),
        lambda: shelf.frame(reference, "history.parquet"),
        lambda: shelf.pictures(reference),
    ):
        with pytest.raises(DamagedError, match="points outside the store"):
            use()


@pytest.mark.parametrize(
    "part",
    [
        {"step": "../up"},
        {"step": "a/b"},
        {"step": ""},
        {"step": "lr_sweep\n"},
        {"label": "../up"},
        {"label": "a/b"},
        {"label": ""},
        {"label": "lr 0.1"},
        {"label": "lr=0.1\n"},
    ],
)
def test_a_slot_whose_name_is_no_folders_name_is_refused(slot: Slot, part: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Slot(**{**dict(slot), **part})


# Atomic writing


def test_a_file_is_written_and_then_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_atomically(file, b"long content")
    assert file.read_bytes() == b"long content"
    write_atomically(file, b"short")
    assert file.read_bytes() == b"short"
    assert files_below(tmp_path) == {"report.json"}
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_reader_that_has_the_old_file_open_goes_on_reading_it(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_atomically(file, b"old content")
    with file.open("rb") as reader:
        write_atomically(file, b"new")
        assert reader.read() == b"old content"


@pytest.mark.parametrize("content", ["text", None, 3.5, [b"bytes"]])
def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_beside_it(
    tmp_path: Path, content: Any
) -> None:
    file = tmp_path / "report.json"
    write_atomically(file, b"old content")
    with pytest.raises(TypeError):
        write_atomically(file, content)
    assert file.read_bytes() == b"old content"
    assert files_below(tmp_path) == {"report.json"}


def test_a_write_onto_a_folder_fails_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", b"content")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_an_interruption_leaves_nothing_behind_and_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cyclical.files.os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "report.json", b"content")
    assert files_below(tmp_path) == set()


def test_an_artifact_whose_writing_failed_is_not_there(shelf: Store, slot: Slot) -> None:
    bad: Any = "no bytes"
    with pytest.raises(TypeError):
        shelf.write(slot, TABLES, {"history.png": bad}, duration_seconds=0)
    assert shelf.find(slot) is None
    assert {Path(name).name for name in files_below(shelf.root)} == set(TABLES)


def test_an_artifact_whose_rewriting_failed_is_served_as_it_was(
    shelf: Store, slot: Slot, written: Artifact
) -> None:
    bad: Any = "no bytes"
    with pytest.raises(TypeError):
        shelf.write(slot, TABLES, {"history.png": bad}, duration_seconds=0)
    assert shelf.find(slot) == written


def test_an_artifact_that_was_half_rewritten_is_not_served(
    shelf: Store, slot: Slot, written: Artifact
) -> None:
    bad: Any = "no bytes"
    changed = {"history.parquet": HISTORY.assign(epoch=[1, 3])}
    with pytest.raises(TypeError):
        shelf.write(slot, changed, {"history.png": bad}, duration_seconds=0)
    assert shelf.find(slot) is None


# The root


def test_a_root_is_made_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    store = Store(root=tmp_path / "some/where/artifacts")
    store.ensure_writable()
    store.ensure_writable()
    assert list(store.root.iterdir()) == []


@pytest.mark.parametrize("below", ["", "artifacts", "deep/er/artifacts"])
def test_a_root_that_is_or_lies_below_a_regular_file_is_refused_with_a_remedy(
    tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    root = tmp_path / "file" / below
    with pytest.raises(InputError) as caught:
        Store(root=root).ensure_writable()
    message = str(caught.value)
    assert str(root) in message
    assert "--set artifacts=FOLDER" in message
    assert len(message.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_root_that_exists_but_takes_no_file_is_refused_with_a_remedy() -> None:
    with pytest.raises(InputError, match=r"/proc can't be written .*--set artifacts=FOLDER"):
        Store(root=Path("/proc")).ensure_writable()


# Keys

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('abc"é\n,:', max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)
recipes = st.dictionaries(st.text("abcd", min_size=1, max_size=2), plain, max_size=4)


def reordered(value: Any) -> Any:
    """Turn round the order of all dictionaries."""
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def test_a_key_is_a_sha256() -> None:
    text = b'["lr_sweep","lr=0.1",{"epochs":3}]'
    assert recipe_key("lr_sweep", "lr=0.1", {"epochs": 3}) == sha256(text)


@given(recipe=recipes)
def test_a_key_does_not_depend_on_the_order_of_a_recipe(recipe: dict[str, Any]) -> None:
    assert recipe_key("s", "l", reordered(recipe)) == recipe_key("s", "l", recipe)


@given(recipe=recipes, other=recipes)
def test_recipes_that_differ_have_keys_that_differ(
    recipe: dict[str, Any], other: dict[str, Any]
) -> None:
    same = json.dumps(recipe, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (recipe_key("s", "l", recipe) == recipe_key("s", "l", other)) == same


def test_a_key_changes_with_every_part_and_at_any_depth() -> None:
    variants = [
        ("lr_sweep", "a", {"x": {"y": [1, 2]}}),
        ("lr_swee", "pa", {"x": {"y": [1, 2]}}),
        ("lr_sweep", "b", {"x": {"y": [1, 2]}}),
        ("lr_sweep", "a", {"x": {"y": [2, 1]}}),
        ("lr_sweep", "a", {"x": {"y": [1, 2.5]}}),
        ("lr_sweep", "a", {"x": {"y": ["1", 2]}}),
        ("lr_sweep", "a", {"x": {"z": [1, 2]}}),
        ("lr_sweep", "a", {"x": {"y": [1, 2], "z": None}}),
        ("lr_sweep", "a", {}),
    ]
    assert len({recipe_key(*variant) for variant in variants}) == len(variants)


def test_two_learning_rates_one_bit_apart_have_keys_of_their_own() -> None:
    close = float(np.nextafter(0.1, 1))
    assert recipe_key("s", "l", {"rate": 0.1}) != recipe_key("s", "l", {"rate": close})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_recipe_with_a_figure_that_json_has_not_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        recipe_key("s", "l", {"rate": value})


def test_a_key_does_not_depend_on_the_process() -> None:
    code = (
        "from cyclical.store import recipe_key;"
        "print(recipe_key('lr_sweep', 'a', {'versions': {'b': 1, 'a': 2}, 'code': {}}))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert runs == {recipe_key("lr_sweep", "a", {"code": {}, "versions": {"a": 2, "b": 1}})}
