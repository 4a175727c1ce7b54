"""A training that makes no progress is cut off, and its run goes on or fails with a line."""

import re
import shutil
from pathlib import Path

from tests import running

SCALE = """
import os
import time
from pathlib import Path


def scale(cycle):
    '''Hang in a worker: always, or where no other has hung before.'''
    marker = Path(__file__).with_name("hung")
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1" and ({always} or not marker.exists()):
        marker.touch()
        time.sleep(10**6)
    return 1 / cycle
"""
UNTIL = ("--until-step", "clr_training")


def with_patience(seconds: int, tmp_path: Path) -> Path:
    """Copy the sources, with so much patience before a training's first progress."""
    for package in ("cyclical", "tasks", "flows"):
        shutil.copytree(running.ROOT / package, tmp_path / "source" / package)
    watching = tmp_path / "source" / "tasks" / "watching.py"
    text, changed = re.subn(
        r"^FIRST_SECONDS = \d+", f"FIRST_SECONDS = {seconds}", watching.read_text(), flags=re.M
    )
    assert changed == 1
    watching.write_text(text)
    return tmp_path / "source"


def run(source: Path, tmp_path: Path, *, always: bool) -> running.Ran:
    (tmp_path / "mine.py").write_text(SCALE.format(always=always))
    artifacts = tmp_path / "artifacts"
    changes = {"clr__policy": "mine:scale", "lr_bounds__fixed": [0.01, 0.1], "workers": 2}
    options = running.settings(artifacts, **changes)
    report = tmp_path / "audit"
    return running.command("run", *options, *UNTIL, report=report, source=source, cwd=tmp_path)


def test_a_training_that_hangs_is_taken_up_by_another_worker(
    fashion_mnist: Path, prefect_server: None, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(running.ROOT / "data")
    ran = run(with_patience(30, tmp_path), tmp_path, always=False)
    assert ran.status == 0, ran.error
    assert len(list(tmp_path.glob("artifacts/clr_training/clr-*/history.parquet"))) == 2
    assert "made no progress for" in ran.out


def test_one_that_always_hangs_fails_with_a_line(
    fashion_mnist: Path, prefect_server: None, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(running.ROOT / "data")
    ran = run(with_patience(10, tmp_path), tmp_path, always=True)
    assert ran.status == 1
    [line] = ran.error.splitlines()
    assert re.search(
        r"clr_training clr-\w+-seed=0 failed \(no progress for \d+ s, at attempt [34]\)", line
    )
