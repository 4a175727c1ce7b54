"""Fetching Fashion-MNIST, each time in a process of its own that `make data` would start."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cyclical.datasets import load
from cyclical.idx import FILES, to_idx

FETCH = """
import socket
import sys
from pathlib import Path
from cyclical.errors import InputError
from cyclical.fetching import fetch
socket.setdefaulttimeout(7)
try:
    print("fetched", fetch(Path("data/fashion-mnist")))
except InputError as error:
    print("refused", error)
print("keras" in sys.modules)
print(socket.getdefaulttimeout())
"""
OFFLINE_KERAS = """
import socket
from types import SimpleNamespace
def load_data():
    raise Exception(f"URL fetch failure\\nafter {socket.getdefaulttimeout():g} s")
datasets = SimpleNamespace(fashion_mnist=SimpleNamespace(load_data=load_data))
"""
PROJECT = Path(__file__).parents[1]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A project whose data are damaged, so that no source of this machine is as good."""
    data = tmp_path / "data/fashion-mnist"
    data.mkdir(parents=True)
    for name in FILES:
        (data / f"{name}.gz").write_bytes(b"damaged")
    (tmp_path / "bin").mkdir()
    (tmp_path / "stubs").mkdir()
    return tmp_path


def fetched(place: Path, **environment: str) -> tuple[str, str, bool]:
    """Run `fetch` in `place`: (fetched or refused, folder or message, whether Keras was used)."""
    environment = {
        **os.environ,
        "KERAS_HOME": str(place / "keras"),
        "PYTHONPATH": f"{place / 'stubs'}{os.pathsep}{PROJECT}",
        "no_proxy": "",
        "https_proxy": "http://127.0.0.1:9",  # nobody listens: Keras's download fails at once
        **environment,
    }
    ran = subprocess.run(
        [sys.executable, "-c", FETCH],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert ran.returncode == 0, ran.stderr
    *_, outcome, keras_was_used, socket_timeout = ran.stdout.splitlines()
    assert socket_timeout == "7.0", "the caller's socket timeout was not restored"
    kind, _, said = outcome.partition(" ")
    return kind, said, keras_was_used == "True"


def keras_offline(place: Path) -> None:
    """Put a stand-in for the keras package in place, which has no network and no import time."""
    (place / "stubs/keras.py").write_text(OFFLINE_KERAS)


def program(place: Path, name: str, script: str) -> None:
    """Put a stand-in for a program of the system on the PATH of `place`."""
    file = place / "bin" / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def leftovers(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "data").iterdir() if path.name != "fashion-mnist")


def test_a_valid_source_is_returned_without_a_download_or_a_subprocess(
    place: Path, fashion_mnist: Path
) -> None:
    shutil.rmtree(place / "data/fashion-mnist")
    (place / "data/fashion-mnist").symlink_to(fashion_mnist)
    for name in ("apt-get", "dpkg"):
        program(place, name, f"touch {place}/started")
    outcome = fetched(place, PATH=str(place / "bin"))
    assert outcome == ("fetched", str(place / "data/fashion-mnist"), False)
    assert not (place / "started").exists()


def test_without_network_and_tools_the_line_has_every_reason_and_both_remedies(
    place: Path,
) -> None:
    kind, message, keras_was_used = fetched(place, PATH=str(place / "bin"))
    assert (kind, keras_was_used) == ("refused", True)
    for said in (
        f"on this machine: {place}/data/fashion-mnist/train-images-idx3-ubyte.gz can't be read",
        "Keras's download: URL fetch failure on ",
        "Debian's package dataset-fashion-mnist: there is no apt-get on this machine",
        "`cyclical data`",
        "`--set data.path=FOLDER`",
    ):
        assert said in message
    assert leftovers(place) == []


def test_keras_data_replace_damaged_ones(place: Path, fashion_mnist: Path) -> None:
    cache = place / "keras/datasets/fashion-mnist"
    cache.mkdir(parents=True)
    whole = load("fashion_mnist", fashion_mnist, None, None)
    parts = (whole.train.images[..., 0], whole.train.labels)
    parts += (whole.test.images[..., 0], whole.test.labels)
    for name, values in zip(FILES, parts, strict=True):
        (cache / f"{name}.gz").write_bytes(gzip.compress(to_idx(values), compresslevel=1))
    kind, folder, _ = fetched(place, PATH=str(place / "bin"))
    assert (kind, folder) == ("fetched", str(place / "data/fashion-mnist"))
    replaced = load("fashion_mnist", Path(folder), None, None)
    assert (replaced.train.images == whole.train.images).all()
    assert sorted(file.name for file in Path(folder).iterdir()) == sorted(FILES)
    assert leftovers(place) == []


def test_debians_package_replaces_damaged_data(place: Path) -> None:
    if shutil.which("apt-get") is None and os.environ.get("CI") != "true":
        pytest.skip("there is no apt-get on this machine")
    keras_offline(place)
    kind, folder, _ = fetched(place, https_proxy=os.environ.get("https_proxy", ""))
    assert kind == "fetched", folder
    assert folder == str(place / "data/fashion-mnist")
    assert len(load("fashion_mnist", Path(folder), None, None).train.labels) == 60_000
    assert leftovers(place) == []


def test_reasons_of_keras_and_apt_are_told_in_one_line(place: Path) -> None:
    keras_offline(place)
    program(place, "dpkg", "exit 0")
    program(place, "apt-get", 'echo "W: a warning" >&2; echo "E: no $1 for you" >&2; exit 100')
    kind, message, _ = fetched(place, PATH=str(place / "bin"))
    assert kind == "refused"
    assert "Keras's download: URL fetch failure after 15 s;" in message
    assert "`apt-get download` failed: E: no download for you" in message
    assert "`apt-get update` failed: E: no update for you" in message


def test_a_failed_update_does_not_keep_the_package_from_coming(
    place: Path, fashion_mnist: Path
) -> None:
    keras_offline(place)
    program(place, "apt-get", f'[ "$1" = download ] && {shutil.which("touch")} $2_1_all.deb')
    unpack = (
        f'[ "$1" = -x ] && [ -f "$2" ] || exit 3\n'
        f"folder=$3/usr/share/datasets\n{shutil.which('mkdir')} -p $folder\n"
        f"{shutil.which('cp')} -r {fashion_mnist} $folder/fashion-mnist"
    )
    program(place, "dpkg", unpack)
    kind, folder, _ = fetched(place, PATH=str(place / "bin"))
    assert kind == "fetched", folder
    assert len(load("fashion_mnist", Path(folder), None, None).test.labels) == 10_000


def test_a_download_that_is_not_fashion_mnist_is_refused_and_not_kept(place: Path) -> None:
    keras_offline(place)
    program(place, "apt-get", f'[ "$1" = download ] && {shutil.which("touch")} $2_1_all.deb')
    files = " ".join(FILES)
    unpack = (
        f"folder=$3/usr/share/datasets/fashion-mnist\n{shutil.which('mkdir')} -p $folder\n"
        f'for name in {files}; do echo "<html>" > $folder/$name; done'
    )
    program(place, "dpkg", unpack)
    kind, message, _ = fetched(place, PATH=str(place / "bin"))
    assert kind == "refused"
    assert "train-images-idx3-ubyte is truncated" in message
    kept = (place / "data/fashion-mnist").iterdir()
    assert all(file.read_bytes() == b"damaged" for file in kept)
    assert leftovers(place) == []


def test_a_target_that_cannot_be_made_is_refused_in_one_line(place: Path) -> None:
    if Path("/usr/share/datasets/fashion-mnist").exists():
        pytest.skip("Debian's package is installed here and is found")
    keras_offline(place)
    shutil.rmtree(place / "data")
    (place / "data").write_text("a file in the way")
    kind, message, _ = fetched(place, PATH=str(place / "bin"))
    assert kind == "refused"
    assert "File exists" in message
    assert "`cyclical data`" in message
