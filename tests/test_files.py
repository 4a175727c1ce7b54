"""Files are written whole or not at all, and what a killed writer leaves is removed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyclical.files import remove_abandoned, write_atomically

WRITER = """
import os, signal, sys
from pathlib import Path
from cyclical.files import write_atomically

def stop(*_):
    print("writing", flush=True)
    sys.stdin.readline()

os.fsync = stop
write_atomically(Path(sys.argv[1]), b"new")
"""


@pytest.fixture
def writer(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """A process that stands still in the middle of writing a file."""
    (tmp_path / "step").mkdir()
    words = [sys.executable, "-c", WRITER, str(tmp_path / "step" / "file")]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "writing\n"
        yield started
        started.kill()


def test_a_file_that_is_being_written_stays_and_that_of_a_killed_writer_goes(
    writer: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert remove_abandoned([tmp_path, tmp_path / "step"]) == []
    [temporary] = (tmp_path / "step").iterdir()
    writer.kill()
    writer.wait()
    assert remove_abandoned([tmp_path, tmp_path / "step"]) == [temporary]
    assert list((tmp_path / "step").iterdir()) == []


def test_a_writer_that_goes_on_finds_its_file_again(
    writer: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    remove_abandoned([tmp_path, tmp_path / "step"])
    writer.communicate("\n")
    assert writer.returncode == 0
    assert (tmp_path / "step" / "file").read_bytes() == b"new"
    assert remove_abandoned([tmp_path, tmp_path / "step"]) == []


def test_a_writer_whose_new_file_was_taken_for_abandoned_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    flock, taken = fcntl.flock, []

    def late(handle: int, how: int) -> None:
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].unlink()
        flock(handle, how)

    monkeypatch.setattr("cyclical.files.fcntl.flock", late)
    write_atomically(tmp_path / "file", b"content")
    assert taken
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_only_temporary_files_are_removed(tmp_path: Path) -> None:
    names = [".records", ".env-template", ".file-ABC.partial", "file-abcdefgh.partial"]
    names += [".file-abcd_ef0.partial"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in remove_abandoned([tmp_path, tmp_path / "step"])] == [
        ".file-abcd_ef0.partial"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[:-1])
