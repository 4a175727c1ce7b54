"""Fixtures that more than one test file needs."""

import os
from pathlib import Path

import pytest

from cyclical.datasets import find_source
from cyclical.errors import InputError


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """Return the folder of the real data set's four IDX files; CI must have it."""
    try:
        return find_source(None)
    except InputError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))  # it ends with the remedy, `make data`
