"""What a store's upkeep finds, what it clears away, and what it never touches."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

from cyclical import checkpoints, ledger, results, upkeep
from cyclical.checkpoints import Checkpoint
from cyclical.config import QUICK
from cyclical.errors import InputError
from cyclical.ledger import Header
from cyclical.manifests import DamagedError
from cyclical.results import Point
from cyclical.store import Store
from tests import shelves

TABLE = pd.DataFrame({"x": [1.0, 2.0]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "artifacts").mkdir()
    return Store(root=tmp_path / "artifacts")


def point(store: Store, label: str) -> Point:
    """Write an artifact with its record and, as if it had been killed, its checkpoint."""
    written = shelves.point(store, "lr_sweep", label, sweep=TABLE, drawn=b"\x89PNG")
    key = store.manifest(written.artifact.path).key
    record = {"metadata": {}, "result": written.artifact.model_dump_json()}
    (store.root / ".records").mkdir(exist_ok=True)
    store.put(f".records/{key}", json.dumps(record).encode())
    state = Checkpoint(TABLE["x"].to_numpy().view("uint8"), TABLE, TABLE, 1.0)
    checkpoints.write(store.blob(f".checkpoints/{key}"), state)
    return written


def header(number: int, **changes: object) -> Header:
    asked = json.loads(QUICK.model_copy(update=changes).model_dump_json())
    return Header(flow_run_id=f"run-{number}", profile="quick", configuration=asked)


def ran(store: Store, told: Header, *points: Point, finished: bool = True) -> None:
    with ledger.opened(store.root, told) as claims:
        for each in points:
            claims.add(each.artifact.path)
        if finished:
            claims.finish()


def files_of(store: Store) -> set[str]:
    return {str(file.relative_to(store.root)) for file in store.root.rglob("*") if file.is_file()}


def paths(findings: list[upkeep.Finding] | list[upkeep.Removal]) -> set[str]:
    return {finding.path for finding in findings}


# Verifying


@pytest.fixture
def whole(store: Store) -> tuple[Store, Point]:
    one = point(store, "lr=0.1-seed=0")
    ran(store, header(1), one)
    results.record(store, shelves.run_of(one))
    return store, one


def test_a_whole_store_has_no_findings(whole: tuple[Store, Point]) -> None:
    assert upkeep.verify(whole[0]) == []


def test_a_bit_that_is_flipped_anywhere_in_a_result_is_found(whole: tuple[Store, Point]) -> None:
    store, one = whole
    folder = store.root / one.artifact.path
    for file in sorted(folder.glob("*.p*")):
        content = file.read_bytes()
        for place in {0, len(content) // 2, len(content) - 1}:
            changed = bytearray(content)
            changed[place] ^= 4
            file.write_bytes(changed)
            assert one.artifact.path in paths(upkeep.verify(store)), (file, place)
        file.write_bytes(content)
    assert upkeep.verify(store) == []


def test_a_bit_that_is_flipped_anywhere_in_a_manifest_is_found(whole: tuple[Store, Point]) -> None:
    store, one = whole
    file = store.root / one.artifact.path / "manifest.json"
    content = file.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 7
        file.write_bytes(changed)
        with pytest.raises(DamagedError):
            store.manifest(one.artifact.path)


@pytest.mark.parametrize("folder", [".records", ".checkpoints", ".runs"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00", b'{"result": 3}'])
def test_a_damaged_file_beside_the_results_is_found_and_discarded(
    whole: tuple[Store, Point], folder: str, content: bytes
) -> None:
    store, one = whole
    [file] = (store.root / folder).iterdir()
    file.write_bytes(content)
    found = upkeep.verify(store)
    assert paths(found) == {f"{folder}/{file.name}"}
    assert str(file) in found[0].what
    upkeep.discard(store, found)
    assert upkeep.verify(store) == []
    assert shelves.holds(store, one.artifact)


def test_a_record_of_another_result_is_found(whole: tuple[Store, Point]) -> None:
    store, _ = whole
    [record] = (store.root / ".records").iterdir()
    record.rename(record.with_name("0" * 64))
    assert paths(upkeep.verify(store)) == {f".records/{'0' * 64}"}


def test_the_latest_runs_missing_result_is_found_and_its_run_is_to_be_repeated(
    whole: tuple[Store, Point],
) -> None:
    store, one = whole
    (store.root / one.artifact.path / "sweep.parquet").unlink()
    found = upkeep.verify(store)
    assert paths(found) == {one.artifact.path, "latest.json"}
    assert upkeep.to_repeat(store, found) == [header(1)]
    upkeep.discard(store, found)
    assert not shelves.holds(store, one.artifact)
    assert paths(upkeep.verify(store)) == {"latest.json"}, "it still tells what is to be run again"
    assert results.latest(store) == shelves.run_of(one)


def test_a_record_of_the_latest_run_that_cannot_be_read_is_discarded(
    whole: tuple[Store, Point],
) -> None:
    store, _ = whole
    (store.root / "latest.json").write_bytes(b"{")
    upkeep.discard(store, upkeep.verify(store))
    assert not (store.root / "latest.json").exists()
    assert upkeep.verify(store) == []


def test_only_runs_that_used_damaged_results_are_repeated_and_the_latest_after_them(
    store: Store,
) -> None:
    one, two, three = (point(store, f"lr={rate}-seed=0") for rate in (1, 2, 3))
    for number, used in enumerate([[one, two], [one], [two], [three]]):
        ran(store, header(number, workers=1, seeds=(number,)), *used)
    (store.root / two.artifact.path / "sweep.parquet").unlink()
    again = upkeep.to_repeat(store, upkeep.verify(store))
    assert [each.flow_run_id for each in again] == ["run-0", "run-2", "run-3"]


def test_no_run_is_repeated_that_did_not_finish(store: Store) -> None:
    one = point(store, "lr=1-seed=0")
    ran(store, header(0), one)
    ran(store, header(1, seeds=(9,)), one, finished=False)
    (store.root / one.artifact.path / "sweep.parquet").unlink()
    again = upkeep.to_repeat(store, upkeep.verify(store))
    assert [each.flow_run_id for each in again] == ["run-0"]


def test_a_live_runs_files_are_left_alone(store: Store) -> None:
    one = point(store, "lr=1-seed=0")
    with ledger.opened(store.root, header(0)) as claims:
        claims.add(one.artifact.path)
        (store.root / one.artifact.path / "sweep.parquet").write_bytes(b"it is just written")
        next((store.root / ".records").iterdir()).write_bytes(b"so is")
        assert upkeep.verify(store) == []
    found = upkeep.verify(store)
    assert len(found) == 2
    with ledger.opened(store.root, header(1)) as claims:
        claims.add(one.artifact.path)  # between the look and the discarding
        upkeep.discard(store, found)
        assert (store.root / one.artifact.path / "manifest.json").exists()


def test_results_of_an_earlier_version_are_no_damage_and_no_results(store: Store) -> None:
    one = point(store, "lr=1-seed=0")
    file = store.root / one.artifact.path / "manifest.json"
    told = json.loads(file.read_bytes())
    file.write_text(json.dumps({**told, "schema_version": 1}))
    assert upkeep.verify(store) == []
    assert not shelves.holds(store, one.artifact)


def test_what_a_killed_process_left_half_done_is_no_damage(store: Store) -> None:
    half = point(store, "lr=0.1-seed=0")
    (store.root / half.artifact.path / "manifest.json").unlink()
    (store.root / ".records" / ".name-abcdefgh.partial").write_bytes(b"half")
    assert upkeep.verify(store) == []


def test_a_store_that_is_not_there_is_told(tmp_path: Path) -> None:
    for function in (upkeep.verify, upkeep.unreferenced, upkeep.collect):
        with pytest.raises(InputError, match=r"nowhere holds no results: .*--artifacts"):
            function(Store(root=tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


# Clearing away


def test_what_the_last_runs_and_the_latest_of_every_question_use_stays(store: Store) -> None:
    points = [point(store, f"lr={number}-seed=0") for number in range(6)]
    unclaimed = point(store, "lr=9-seed=0")
    for number, used in enumerate(points[:5]):  # a question that is asked again in the third run
        seeds = {0: (7,), 1: (8,), 2: (7,), 3: (9,), 4: (9,)}[number]
        ran(store, header(number, seeds=seeds, workers=number + 1), used)
    gone = [points[0], points[5], unclaimed]
    keys = {store.manifest(each.artifact.path).key for each in gone}
    expected = {each.artifact.path for each in gone} | {
        f"{folder}/{key}" for folder in (".records", ".checkpoints") for key in keys
    }
    run_file = next((store.root / ".runs").glob("*-run-0.jsonl"))
    expected.add(f".runs/{run_file.name}")
    before = files_of(store)

    listed = upkeep.unreferenced(store, last=2)
    assert paths(listed) == expected
    assert files_of(store) == before
    assert all(each.bytes > 0 for each in listed)

    assert upkeep.collect(store, last=2) == listed
    left = {path for path in before if not any(path.startswith(each) for each in expected)}
    assert files_of(store) == left
    assert upkeep.collect(store, last=2) == []


def test_the_latest_finished_run_keeps_its_results_also_without_a_file_of_its_own(
    store: Store,
) -> None:
    one = point(store, "lr=0.1-seed=0")
    results.record(store, shelves.run_of(one))
    upkeep.collect(store, last=1)
    assert shelves.holds(store, one.artifact)


def test_an_unfinished_run_keeps_what_it_finished(store: Store) -> None:
    one = point(store, "lr=0.1-seed=0")
    file = store.root / ".runs" / "20260101T000000.000000Z-killed.jsonl"
    ran(store, header(1), one, finished=False)
    [made] = (store.root / ".runs").iterdir()
    made.rename(file)
    file.write_bytes(file.read_bytes() + b'"lr_sweep/cut o')  # killed while it wrote
    assert upkeep.collect(store, last=1) == []
    assert upkeep.verify(store) == []


def test_a_later_run_that_failed_takes_nothing_from_the_one_that_finished(store: Store) -> None:
    one, two, three = (point(store, f"lr={rate}-seed=0") for rate in (1, 2, 3))
    notebook = {"seeds": (5,)}
    ran(store, header(0, **notebook), one)
    ran(store, header(1, **notebook), two, finished=False)
    for number in range(2, 5):
        ran(store, header(number), three)
    gone = paths(upkeep.collect(store, last=1))
    assert {path[-11:] for path in gone} == {"run-2.jsonl", "run-3.jsonl"}
    assert all(shelves.holds(store, each.artifact) for each in (one, two, three))


def test_a_live_run_keeps_all_it_uses_however_many_came_after_it(store: Store) -> None:
    one, two = point(store, "lr=1-seed=0"), point(store, "lr=2-seed=0")
    with ledger.opened(store.root, header(0)) as claims:
        claims.add(one.artifact.path)
        for number in range(1, 4):
            ran(store, header(number), two)
        assert one.artifact.path not in paths(upkeep.collect(store, last=1))
        assert shelves.holds(store, one.artifact)
    assert one.artifact.path in paths(upkeep.collect(store, last=1))
    assert not shelves.holds(store, one.artifact)
    assert shelves.holds(store, two.artifact)


def test_results_of_a_run_that_can_not_be_read_stay(store: Store) -> None:
    one = point(store, "lr=1-seed=0")
    ran(store, header(0), one)
    [file] = (store.root / ".runs").iterdir()
    file.write_bytes(b"{" + file.read_bytes())
    ran(store, header(1))
    assert upkeep.collect(store, last=1) == []


def test_files_of_others_stay(store: Store) -> None:
    others = [
        *("README.md", ".env-template", "notes/mine-0123456789ab/file", "lr_sweep/mine/file"),
        *("lr_sweep/mine-0123456789ab", "a/b-0123/c"),
    ]
    for name in others:
        (store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.root / name).write_text("mine")
    assert upkeep.collect(store, last=1) == []
    assert set(others) <= files_of(store)


CLAIMING = """
import sys
from pathlib import Path
from cyclical import ledger

header = ledger.Header(flow_run_id="other", profile="quick", configuration={})
with ledger.opened(Path(sys.argv[1]), header) as claims:
    print("open", flush=True)
    for line in sys.stdin:
        claims.add(line.strip())
        print("claimed", flush=True)
"""


@pytest.fixture
def other(store: Store) -> Iterator["subprocess.Popen[str]"]:
    """A run in another process, which claims what it is told to."""
    words = [sys.executable, "-c", CLAIMING, str(store.root)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def test_a_run_in_another_process_is_live_until_it_is_killed(
    store: Store, other: "subprocess.Popen[str]"
) -> None:
    one = point(store, "lr=1-seed=0")
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdin.write(f"{one.artifact.path}\n")
    other.stdin.flush()
    assert other.stdout.readline() == "claimed\n"
    [entry] = ledger.entries(store.root)
    assert entry.live
    assert entry.paths == {one.artifact.path}
    other.kill()
    other.wait()
    assert not ledger.entries(store.root)[0].live


def test_nothing_is_claimed_while_a_clearing_goes_on(
    store: Store, other: "subprocess.Popen[str]"
) -> None:
    import fcntl
    import select

    assert other.stdin is not None
    assert other.stdout is not None
    with ExitStack() as stack:
        stack.enter_context(ledger.locked(store.root, fcntl.LOCK_EX))
        other.stdin.write("lr_sweep/lr=1-0123456789ab\n")
        other.stdin.flush()
        assert select.select([other.stdout], [], [], 0.5)[0] == []
        assert ledger.entries(store.root)[0].paths == frozenset()
    assert other.stdout.readline() == "claimed\n"
