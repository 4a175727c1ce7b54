"""What the processes that share the tests make once for all of them."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` filled, and that is not to be changed.

    The first process that asks makes it, while the others wait; where it failed, all fail.
    """
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    folder.mkdir(exist_ok=True)
    failed, content = folder / "failed", folder / "made"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not content.exists() and not failed.exists():
            failed.write_text("another process did not end it")
            content.mkdir()
            try:
                make(content)
            except BaseException as error:
                failed.write_text(str(error))
                raise
            failed.unlink()
    if failed.exists():
        pytest.fail(f"{name}: {failed.read_text()}")
    return content
