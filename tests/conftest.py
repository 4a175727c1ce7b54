"""Fixtures that more than one test file needs."""

import _thread
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from cyclical.errors import InputError
from cyclical.fashion_mnist import find_source
from cyclical.store import Store
from flows import server
from tasks.cluster import WORKER_ENVIRONMENT
from tests import once, running

os.environ.update(WORKER_ENVIRONMENT)  # the tests' own trainings run as a worker's do
settings.register_profile("untimed", deadline=None)  # a slow machine is no defect
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """Return the folder of the real data set's four IDX files; CI must have it."""
    try:
        return find_source(None)
    except InputError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))  # it ends with the remedy, `make data`


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start one real Prefect server for all tests that need one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.delenv("PREFECT_API_URL", raising=False)
        with server.running(_thread.interrupt_main):
            yield


@pytest.fixture(scope="session")
def finished(
    fashion_mnist: Path, prefect_server: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run the small experiment once, from nothing; return its store, which is not to be changed."""

    def make(folder: Path) -> None:
        ran = running.run(folder / "artifacts")
        assert ran.status == 0, ran.error

    return once.made(tmp_path_factory, "finished", make) / "artifacts"


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished store, at another place."""
    return Path(shutil.copytree(finished, tmp_path / "artifacts"))


@pytest.fixture
def shelf(tmp_path: Path) -> Store:
    """Return an empty store."""
    made = Store(root=tmp_path / "artifacts")
    made.ensure_writable()
    return made
