"""A run among faults ends with the bytes of an undisturbed one, or with a line and no harm."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from cyclical import upkeep
from cyclical.files import TEMPORARY
from cyclical.results import LATEST_REPORT
from cyclical.store import Store
from tests import once, running
from tests.faults.campaign import Kill, Place, Undisturbed, campaign, plan, undisturbed

KILLS = plan(seed=20, count=3)


@pytest.fixture(scope="session")
def expected(
    fashion_mnist: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Undisturbed]:
    def make(folder: Path) -> None:
        (folder / "told").write_text(json.dumps(asdict(undisturbed(folder / "place"))))

    folder = once.made(tmp_path_factory, "undisturbed", make)
    return folder / "place" / "artifacts", Undisturbed(**json.loads((folder / "told").read_text()))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


@pytest.fixture
def copied(expected: tuple[Path, Undisturbed], place: Place) -> Place:
    """A place in which the experiment was run."""
    shutil.copytree(expected[0], place.artifacts)
    return place


def assert_well(place: Place, expected: Undisturbed) -> None:
    """Compare with the undisturbed run, and look for what may be left behind."""
    assert running.hashes(place.artifacts) == expected.hashes
    assert [path for path in place.artifacts.rglob("*") if TEMPORARY.fullmatch(path.name)] == []
    assert list(place.artifacts.glob(".checkpoints/*")) == []
    assert upkeep.verify(Store(root=place.artifacts)) == []


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: f"{kill.victim} at {kill.at:.2f}")
def test_a_killed_run_goes_on_to_the_same_bytes(
    kill: Kill, place: Place, expected: tuple[Path, Undisturbed]
) -> None:
    campaign(kill, place, expected[1])


def test_two_runs_of_the_same_at_once_end_well(
    place: Place, expected: tuple[Path, Undisturbed]
) -> None:
    other = Place(place.artifacts.parent / "other")
    other.artifacts = place.artifacts
    with ThreadPoolExecutor() as pool:
        for run in [pool.submit(each.run) for each in (place, other)]:
            run.result()
    assert_well(place, expected[1])


def test_a_bit_flipped_in_every_file_is_found_and_all_is_computed_again(
    copied: Place, expected: tuple[Path, Undisturbed]
) -> None:
    draw = random.Random(7)
    for file in sorted(copied.artifacts.rglob("*")):
        if not file.is_file() or file.name in {".lock", "README.md"}:
            continue
        content = bytearray(file.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
    copied.run()
    assert "Traceback" not in copied.said()
    assert running.hashes(copied.artifacts) == expected[1].hashes
    store = Store(root=copied.artifacts)
    upkeep.discard(store, upkeep.verify(store))  # of the earlier run's own file at most
    copied.run()
    assert_well(copied, expected[1])


def test_a_clock_that_is_set_back_changes_nothing(
    copied: Place, expected: tuple[Path, Undisturbed]
) -> None:
    before = running.manifests(copied.artifacts)
    copied.run(["faketime", "-f", "-3d"])
    assert running.manifests(copied.artifacts) == before
    assert_well(copied, expected[1])
    shutil.rmtree(next(copied.artifacts.glob("lr_bounds/bounds-*")))
    copied.run(["faketime", "-f", "-3d"])
    assert_well(copied, expected[1])


@contextmanager
def disk(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system of its own, in memory, at a folder."""
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    mounted = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if mounted.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(mounted.stderr)
        pytest.skip(f"no file system can be mounted: {mounted.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def test_a_full_disk_is_told_in_a_line_and_what_was_finished_goes_on_when_there_is_room(
    place: Place, expected: tuple[Path, Undisturbed]
) -> None:
    results = [file for file in expected[0].rglob("*") if file.name != LATEST_REPORT]
    pages = sum(file.stat().st_size // 4096 + 1 for file in results)
    with disk(place.artifacts, f"size={3 * pages}k"):  # three quarters of what is needed
        status = place.status()
        said = place.said()
        assert (status, "Traceback" in said) == (1, False), said
        assert "No space left on device" in said
        finished = running.manifests(place.artifacts)
        assert finished
        remount(place.artifacts, "size=200m")
        place.run()
        after = running.manifests(place.artifacts)
        assert {name: after[name] for name in finished} == finished
        assert_well(place, expected[1])


def test_read_only_artifacts_are_told_in_a_line_and_can_be_read(
    place: Place, expected: tuple[Path, Undisturbed]
) -> None:
    with disk(place.artifacts, "size=200m"):
        shutil.copytree(expected[0], place.artifacts, dirs_exist_ok=True)
        remount(place.artifacts, "ro")
        for words in (["run"], ["gc"], ["verify", "--repair"]):
            status = place.status(words)
            if words[0] == "verify":  # all is whole: there is nothing to write
                assert status == 0, place.said()
                continue
            assert status == 2, place.said()
            line = f"cyclical: the artifacts folder {place.artifacts} can't be written"
            assert place.said().startswith(line)
            assert len(place.said().splitlines()) == 1
        for words in (["show"], ["verify"], ["gc", "--dry-run"], ["plan"]):
            assert place.status(words) == 0, place.said()
        remount(place.artifacts, "rw")
        assert_well(place, expected[1])


def test_a_repair_runs_again_what_used_damaged_results_and_leaves_the_latest_the_latest(
    fashion_mnist: Path, place: Place
) -> None:
    questions = [{"lr_sweep__epochs": 1}, {"lr_sweep__epochs": 2}, {"lr_sweep__epochs": 3}]
    options = [running.settings(place.artifacts, **changes) for changes in questions]
    for chosen in options:
        assert place.status(["run", *chosen, "--until-step", "lr_bounds"]) == 0
    hashes = running.hashes(place.artifacts)
    latest = (place.artifacts / "latest.json").read_bytes()
    (place.artifacts / "latest.toml").write_bytes(b"# what the latest run was told by")
    damaged = list(place.artifacts.glob("lr_sweep/lr=0.01-seed=0-*/history.parquet"))
    assert len(damaged) == 3
    damaged.remove(max(damaged, key=lambda file: file.stat().st_mtime_ns))  # the latest run's
    for file in damaged:
        file.write_bytes(b"damaged")

    assert place.status(["verify"]) == 1
    for file in damaged:
        assert f"{file} differs from its manifest" in place.said().replace("\n", "")
    assert place.status(["verify", "--repair"]) == 0, place.said()
    assert place.status(["verify"]) == 0
    assert running.hashes(place.artifacts) == hashes
    assert (place.artifacts / "latest.toml").read_bytes().startswith(b"# what")
    told = json.loads((place.artifacts / "latest.json").read_bytes())
    assert told["configuration"] == json.loads(latest)["configuration"]
